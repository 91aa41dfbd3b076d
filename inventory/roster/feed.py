"""The bytes of a feed: opened once, hashed while they are read, decoded strictly, cut into lines.

Nothing is repaired here. Bytes that are not what they claim to be refuse the whole feed, by line and column.
"""

import codecs
import csv
import hashlib
import io
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from inventory.roster.model import RosterProblem

CHUNK_BYTES = 64 * 1024
MAX_LINE_CHARACTERS = 1024 * 1024
"""No row of a roster is a mebibyte; without a bound one missing newline would fill the memory."""

_MARKS = (
    (codecs.BOM_UTF32_LE, ""),
    (codecs.BOM_UTF32_BE, ""),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
"""Byte order marks, the longer ones first; an empty name is an encoding that no HR system exports."""
_MOJIBAKE = re.compile("\ufffd|[\u00c2\u00c3][\u0080-\u00bf]|\u00e2\u20ac")
"""UTF-8 read as Latin-1 or Windows-1252 and written again (`MÃ¼ller`), and the mark of characters already lost."""
_MARKUP = re.compile(r"\s*(<|\{|\[)")


class FeedRefused(Exception):
    """The feed cannot be used at all; carries the problem that is reported."""

    def __init__(self, code: str, message: str, *, line: int = 0, column: int = 0) -> None:
        super().__init__(message)
        self.problem = RosterProblem(line=line, column=column, code=code, message=message)


@dataclass(slots=True, kw_only=True)
class OpenFeed:
    """An open roster file while it is read; the digest is whole once `lines` is exhausted."""

    stream: BinaryIO
    modified_at: datetime
    max_bytes: int
    size: int = 0
    hasher: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    @property
    def digest(self) -> str:
        """Return the digest of the bytes read so far."""
        return f"sha256:{self.hasher.hexdigest()}"

    def read(self) -> bytes:
        """Return the next bytes, counted and hashed; empty at the end."""
        chunk = self.stream.read(CHUNK_BYTES)
        self.size += len(chunk)
        if self.size > self.max_bytes:
            raise too_large(self.max_bytes)
        self.hasher.update(chunk)
        return chunk


def too_large(max_bytes: int) -> FeedRefused:
    """Return the refusal of a file beyond the limit."""
    return FeedRefused("too_large", f"the file is larger than {max_bytes} bytes: check it, or raise max_bytes")


@contextmanager
def open_feed(path: Path, max_bytes: int) -> Iterator[OpenFeed]:
    """Open a regular file for reading once, and refuse it when it changed under the reading.

    Raises `FeedRefused` when it cannot be opened or read, is no regular file, is too large, or was written to
    meanwhile. Opened without blocking, so that a pipe put in its place cannot stop a cycle.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise _unreadable(error) from error
    try:
        before = _checked(descriptor, max_bytes)
    except FeedRefused:
        os.close(descriptor)
        raise
    with os.fdopen(descriptor, "rb", buffering=0) as stream:
        modified_at = datetime.fromtimestamp(before.st_mtime, UTC)
        try:
            yield OpenFeed(stream=stream, modified_at=modified_at, max_bytes=max_bytes)
        except OSError as error:
            raise _unreadable(error) from error
        after = os.fstat(descriptor)
        if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
            raise FeedRefused(
                "changed_while_read", "the file was written to while it was read: write a new file and rename it"
            )


def _checked(descriptor: int, max_bytes: int) -> os.stat_result:
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode):
        raise FeedRefused("not_a_file", "the path names no regular file: point it at the exported CSV file")
    if facts.st_size > max_bytes:
        raise too_large(max_bytes)
    return facts


def _unreadable(error: OSError) -> FeedRefused:
    return FeedRefused(
        "unreadable", f"the file cannot be read ({error.strerror}): check that it exists and that we may read it"
    )


def lines_of(feed: OpenFeed, encoding: str) -> Iterator[str]:
    """Yield the physical lines with their line ends, decoded strictly.

    Raises `FeedRefused` for an empty file, bytes that are not text, NUL, text that was decoded wrongly before, an
    overlong line, and a web page or JSON in the place of CSV.
    """
    chunk, encoding = _first_chunk(feed, encoding)
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(encoding)("strict"), translate=False)
    number, rest = 0, ""
    while True:
        try:
            text = rest + decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            raise _undecodable(error, number, rest, encoding) from error
        lines = list(io.StringIO(text, newline=""))
        rest = lines.pop() if chunk and lines and not lines[-1].endswith(("\n", "\r")) else ""
        for line in lines:
            number += 1
            _check_line(line, number)
            yield line
        if len(rest) > MAX_LINE_CHARACTERS:
            raise _overlong(number + 1)
        if not chunk:
            return
        chunk = feed.read()


def _first_chunk(feed: OpenFeed, encoding: str) -> tuple[bytes, str]:
    chunk = feed.read()
    if not chunk:
        raise FeedRefused("empty_file", "the file is empty: the export failed")
    marked = next(((mark, name) for mark, name in _MARKS if chunk.startswith(mark)), (b"", encoding))
    if not marked[1] or (encoding != "auto" and marked[0] and marked[1] != encoding):
        raise FeedRefused("encoding_unexpected", "the byte order mark names another encoding: export UTF-8", line=1)
    return chunk[len(marked[0]) :], "utf-8" if marked[1] == "auto" else marked[1]


def _undecodable(error: UnicodeDecodeError, number: int, rest: str, encoding: str) -> FeedRefused:
    lines = list(io.StringIO(rest + error.object[: error.start].decode(encoding, "replace"), newline="")) or [""]
    prefix = "" if lines[-1].endswith("\n") else lines[-1]
    line = number + len(lines) + (1 if lines[-1].endswith("\n") else 0)
    return FeedRefused(
        "encoding_invalid",
        f"the bytes are not {encoding}: export UTF-8, or name the encoding in the settings",
        line=line,
        column=field_at(prefix),
    )


def field_at(prefix: str) -> int:
    """Return the number (from 1) of the field in which a line's prefix ends, by the delimiter it uses most."""
    delimiter = max(",;\t|", key=prefix.count)
    row = next(csv.reader([prefix.strip("\r\n")], delimiter=delimiter), [])
    return max(1, len(row))


def _overlong(number: int) -> FeedRefused:
    return FeedRefused("line_too_long", f"a line has more than {MAX_LINE_CHARACTERS} characters", line=number)


def _check_line(line: str, number: int) -> None:
    if len(line) > MAX_LINE_CHARACTERS:
        raise _overlong(number)
    if number == 1 and _MARKUP.match(line):
        raise FeedRefused(
            "not_csv", "it is a web page or JSON, not CSV: the download was a sign-in or error page", line=1, column=1
        )
    if "\0" in line:
        column = field_at(line[: line.index("\0")])
        raise FeedRefused("nul_byte", "it holds NUL bytes: the file is damaged", line=number, column=column)
    garbled = None if line.isascii() else _MOJIBAKE.search(line)
    if garbled is not None:
        raise FeedRefused(
            "mojibake",
            "text was decoded with the wrong encoding before it was exported: export UTF-8 from the source",
            line=number,
            column=field_at(line[: garbled.start()]),
        )


def stamp_of(path: Path, max_bytes: int) -> tuple[str, datetime]:
    """Return digest and modification time of the file as it lies there now; raises `FeedRefused`."""
    with open_feed(path, max_bytes) as feed:
        while feed.read():
            pass
        return feed.digest, feed.modified_at


def digest_of(path: Path, max_bytes: int) -> str:
    """Return the digest of the file as it lies there now, or `unreadable:` and the code of the refusal."""
    try:
        return stamp_of(path, max_bytes)[0]
    except FeedRefused as refusal:
        return f"unreadable:{refusal.problem.code}"
