"""What files of waivers said when they were last whole, kept in a small file of the state folder.

A file that is half-written, or mistyped, waives nothing. What it alone kept is not acted upon at once, though: a person
has one grace to repair it. Losing this memory loses that grace and nothing else.
"""

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import structlog
from pydantic import TypeAdapter, ValidationError

from inventory.regular_files import read_regular
from reconciler.adapters.durable_file import replace_file
from reconciler.adapters.waiver_files import ReadWaivers
from reconciler.core.waivers import HeldWaiver, Remembered, RememberedFile, SeenFile, held_back, remember

log = structlog.get_logger(__name__)

_FILES: Final = TypeAdapter(dict[str, RememberedFile])
_MOST_BYTES: Final = 50_000_000


class WaiverMemory:
    """Remembers files of waivers from one look to the next, also over a restart."""

    def __init__(self, path: Path, grace: timedelta, *, keep: bool) -> None:
        """Remember in a file; one that only looks (`keep` is False) goes by what is there and writes nothing."""
        self._path = path
        self._grace = grace
        self._keep = keep
        self._unkept: Remembered | None = None
        """What could not be written; else the file counts, which another pass may have written since."""

    def held(self, read: ReadWaivers, now: datetime) -> tuple[HeldWaiver, ...]:
        """Take note of what the files say, and return the waivers for which acts wait."""
        before = self._load() if self._unkept is None else self._unkept
        after = remember(before, _seen(read), now)
        if self._keep and after != before:
            self._tell(before, after)
            self._save(after)
        return held_back(after, (one.waiver for one in read.whole), now, self._grace)

    def _tell(self, before: Remembered, after: Remembered) -> None:
        for path, file in after.items():
            known = before.get(path)
            if file.malformed_since is not None and (known is None or known.malformed_since is None):
                log.error(
                    "waivers.malformed",
                    path=path,
                    waivers=len(file.waivers),
                    acts_wait_until=(file.malformed_since + self._grace).isoformat(),
                    advice="repair the file, or remove it: `access-reconciler policies check` names the line",
                )

    def _load(self) -> Remembered:
        try:
            return _FILES.validate_json(read_regular(self._path, _MOST_BYTES))
        except FileNotFoundError:
            return {}
        except (OSError, ValidationError) as error:
            log.warning("waivers.forgotten", error=type(error).__name__, advice="acts do not wait for malformed files")
            return {}

    def _save(self, files: Remembered) -> None:
        try:
            replace_file(self._path, _FILES.dump_json(dict(files)))
            self._unkept = None
        except OSError as error:
            self._unkept = files
            log.warning("waivers.not_kept", error=error.strerror, advice="after a restart no act waits")


def _seen(read: ReadWaivers) -> Mapping[str, SeenFile]:
    malformed = {error.path for error in read.refused}
    whole = defaultdict(list)
    for one in read.whole:
        whole[one.path].append(one.waiver)
    return {path: SeenFile(whole=tuple(whole[path]), malformed=path in malformed) for path in read.files}
