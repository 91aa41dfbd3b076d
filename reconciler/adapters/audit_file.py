"""The audit trail as a file of JSON lines: appended and synced, its owner's only, each record once.

A process killed between the write and the cursor hands the same records over again: those that the end of the file
already holds are left out. A line cut off by a crash or a full disk is removed first and written again whole.
"""

import json
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from reconciler.adapters.audit_outbox import KeptRecord
from reconciler.adapters.durable_file import OWNER_ONLY
from reconciler.core.errors import AuditError

LINES_AT_ONCE: Final = 500
"""Records of one hand-over; as many lines at the end of the file are looked through for records that are there."""
_BLOCK: Final = 64 * 1024
_RECORD_BEGINS: Final = b'{"at":"'
"""How each record begins: canonical JSON sorts the fields."""
_OPEN: Final = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


class JsonLinesStream:
    """Appends the trail to one file. It is opened anew each time, so that it can be rotated by renaming it."""

    name = "jsonl"
    records_at_once = LINES_AT_ONCE
    backfill_days: int | None = None

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, records: Sequence[KeptRecord]) -> None:
        """Append records durably, leaving out those that the end of the file holds; raises `AuditError`."""
        with self._opened() as handle:
            self._remove_cut_off_line(handle)
            known = _last_ids(handle, LINES_AT_ONCE)
            content = b"".join(
                record.document.encode("utf-8") + b"\n" for record in records if record.record_id not in known
            )
            _write_all(handle, content)
            os.fsync(handle)

    def close(self) -> None:
        """Nothing is kept open."""

    @contextmanager
    def _opened(self) -> Iterator[int]:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(self.path, _OPEN, OWNER_ONLY)
            try:
                self._check(handle)
                yield handle
            finally:
                os.close(handle)
        except OSError as error:
            raise AuditError(
                f"the audit file {self.path} cannot be written: {error.strerror}",
                advice="make room or give the file to this account; the records wait in the journal",
            ) from error

    def _check(self, handle: int) -> None:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise AuditError(f"{self.path} is no regular file", advice="name a file of its own in audit.jsonl")
        if stat.S_IMODE(found.st_mode) != OWNER_ONLY:
            os.fchmod(handle, OWNER_ONLY)
        if found.st_size == 0:
            _sync_folder(self.path.parent)

    def _remove_cut_off_line(self, handle: int) -> None:
        """Cut the file behind its last whole line; only ever removes the beginning of a record of ours."""
        end = _end_of_whole_lines(handle)
        if end == os.fstat(handle).st_size:
            return
        beginning = os.pread(handle, len(_RECORD_BEGINS), end)
        if not _RECORD_BEGINS.startswith(beginning):
            raise AuditError(
                f"{self.path} ends in a line that is no audit record", advice="name a file of its own in audit.jsonl"
            )
        os.ftruncate(handle, end)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_all(handle: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(handle, rest) :]


def _end_of_whole_lines(handle: int) -> int:
    """Return where the last whole line ends; 0 when there is none."""
    end = os.fstat(handle).st_size
    while end > 0:
        start = max(0, end - _BLOCK)
        newline = os.pread(handle, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def _last_ids(handle: int, lines: int) -> set[str]:
    """Return the ids of the last whole lines."""
    start = os.fstat(handle).st_size
    tail = b""
    while start > 0 and tail.count(b"\n") <= lines:
        begin = max(0, start - _BLOCK)
        tail = os.pread(handle, start - begin, begin) + tail
        start = begin
    whole = tail.split(b"\n")[:-1]
    return {record_id for line in whole[-lines:] if (record_id := _id_of(line))}


def _id_of(line: bytes) -> str:
    """Return the id of a line; empty for one that is not ours, which is left alone."""
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        return ""
    return str(document.get("id", "")) if isinstance(document, dict) else ""
