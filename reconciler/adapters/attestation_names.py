"""What the names in the folder of attestations tell, without listing it for every question.

There are two files for each cycle that ever was. The folder is listed when it has changed by another hand than ours;
what we add ourselves is noted. Only what is asked for is kept: the last statement, the highest number, what waits.
"""

import os
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

STATEMENT_SUFFIX = ".statement.json"
BUNDLE_SUFFIX = ".sigstore.json"

_NAME = re.compile(
    r"(?P<sequence>[0-9]{6}|[1-9][0-9]{6,15})-(?P<cycle>[0-9A-Za-z][0-9A-Za-z-]{0,63})(?P<suffix>\.(?:statement|sigstore)\.json)\Z"
)


def parse_name(name: str) -> tuple[int, str, str] | None:
    """Return (sequence, cycle id, suffix) of an attestation's file name, or None when it is none."""
    match = _NAME.match(name)
    if match is None:
        return None
    return int(match["sequence"]), match["cycle"], match["suffix"]


def sequence_of(name: str) -> int:
    """Return the sequence number that a file name or stem begins with."""
    return int(name.split("-", maxsplit=1)[0])


class AttestationNames:
    """Answers from the folder as it is now. May be used by many threads; methods raise OSError as listing does."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.RLock()
        self._seen: int | None = None
        """When the folder was last changed, as of what is kept here, in nanoseconds; None when nothing is."""
        self._newest = ""
        self._highest = 0
        self._waiting: set[str] = set()

    def newest(self) -> str | None:
        """Return the stem of the statement with the highest number; None when there is none."""
        with self._lock:
            self._refresh()
            return self._newest or None

    def waiting(self) -> list[str]:
        """Return the stems of statements without a bundle, lowest number first."""
        with self._lock:
            self._refresh()
            return sorted(self._waiting, key=sequence_of)

    def of(self, sequence: int) -> list[str]:
        """Return the names of the files with a sequence number, sorted."""
        with self._lock:
            self._refresh()
            if sequence > self._highest:
                return []
            return sorted(name for name in self._listed() if sequence_of(name) == sequence)

    def add(self, name: str, create: Callable[[], None]) -> None:
        """Create a file of this name with `create`; raises whatever that raises."""
        with self._lock:
            self._refresh()
            try:
                create()
            except OSError:
                self._seen = None  # the name is taken, or who knows: what is kept here is not believed any more
                raise
            self._note(name)
            self._seen = self._changed_at()

    def _refresh(self) -> None:
        changed_at = self._changed_at()
        if self._seen is not None and self._seen == changed_at:
            return
        self._newest, self._highest, self._waiting = "", 0, set()
        bundles = set()
        for name in self._listed():
            if name.endswith(BUNDLE_SUFFIX):
                bundles.add(name.removesuffix(BUNDLE_SUFFIX))
            self._note(name)
        self._waiting -= bundles
        self._seen = changed_at

    def _note(self, name: str) -> None:
        sequence = sequence_of(name)
        self._highest = max(self._highest, sequence)
        if name.endswith(BUNDLE_SUFFIX):
            self._waiting.discard(name.removesuffix(BUNDLE_SUFFIX))
            return
        stem = name.removesuffix(STATEMENT_SUFFIX)
        self._waiting.add(stem)
        if not self._newest or sequence > sequence_of(self._newest):
            self._newest = stem

    def _listed(self) -> Iterator[str]:
        try:
            found = os.listdir(self._folder)  # noqa: PTH208 - a path for every name would be most of the work
        except FileNotFoundError:
            return
        yield from (name for name in found if parse_name(name) is not None)

    def _changed_at(self) -> int | None:
        try:
            return self._folder.stat().st_mtime_ns
        except FileNotFoundError:
            return None
