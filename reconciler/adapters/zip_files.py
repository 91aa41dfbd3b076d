"""The members of a zip file, read where they lie: nothing is laid out on disk, and no more is held than is asked for.

The list at the end of the file says what there is. Each member is read once when the file is opened, against the list's
checksum, and its digest is kept; later reads are of the same bytes at the same place.
"""

import errno
import hashlib
import io
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, Literal, NamedTuple, Self
from zipfile import ZipInfo

from reconciler.adapters.evidence_files import Listed

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_HEADER: Final = struct.Struct("<4s22xHH")
"""What stands before a member: a mark, what the list tells too, and how long its name and its extra field are."""
_MARK: Final = b"PK\x03\x04"
_CHUNK: Final = 1 << 20


class _Member(NamedTuple):
    start: int
    size: int
    digest: bytes


class ZipMembers:
    """The members of one zip file that is open for reading."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._members: dict[str, _Member] = {}
        self._folders: dict[str, set[str]] = {"": set()}

    @classmethod
    @contextmanager
    def opened(cls, path: Path) -> Iterator[Self]:
        """Hold a zip file open. Raises OSError."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # waits for no writer of a pipe
        try:
            yield cls(path, descriptor)
        finally:
            os.close(descriptor)

    @property
    def root(self) -> "ZipEntry":
        """Return the folder that holds all."""
        return ZipEntry(self, "")

    @property
    def mark(self) -> tuple[int, int]:
        """Return what differs once somebody has written to the file: its length, and a time that cannot be set back."""
        facts = os.fstat(self._descriptor)
        return facts.st_size, facts.st_ctime_ns

    def stream(self) -> BinaryIO:
        """Return the whole file, to be read from its beginning."""
        return open(os.dup(self._descriptor), "rb")  # noqa: PTH123 - of a descriptor; whoever asked closes it

    def add(self, entry: ZipInfo) -> bool:
        """Take in a member that is stored as it is; False when its bytes are not those that the list tells of."""
        start = self._start(entry)
        digest, checksum, left = hashlib.sha256(), 0, entry.file_size
        while left and start is not None:
            chunk = os.pread(self._descriptor, min(left, _CHUNK), start + entry.file_size - left)
            if not chunk:
                return False
            digest.update(chunk)
            checksum, left = zlib.crc32(chunk, checksum), left - len(chunk)
        if start is None or checksum != entry.CRC:
            return False
        self._members[entry.filename] = _Member(start, entry.file_size, digest.digest())
        self._place(entry.filename)
        return True

    def _start(self, entry: ZipInfo) -> int | None:
        """Return where a member's bytes begin; None when what stands there is not what the list leads to."""
        told = os.pread(self._descriptor, _HEADER.size, entry.header_offset)
        if len(told) < _HEADER.size:
            return None
        mark, name, extra = _HEADER.unpack(told)
        at = entry.header_offset + _HEADER.size
        if mark != _MARK or os.pread(self._descriptor, name, at) != entry.filename.encode():
            return None
        return int(at + name + extra)

    def _place(self, name: str) -> None:
        folder, _, last = name.rpartition("/")
        known = folder in self._folders
        self._folders.setdefault(folder, set()).add(last)
        if not known:
            self._place(folder)

    def member(self, name: str) -> _Member:
        """Return where a file lies. Raises FileNotFoundError."""
        try:
            return self._members[name]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, "there is no such file in the zip file", name) from None

    def read(self, member: _Member, start: int, size: int) -> bytes:
        """Return bytes of a file; fewer at its end. Raises OSError when the zip file has become shorter."""
        wanted = max(0, min(size, member.size - start))
        found = os.pread(self._descriptor, wanted, member.start + start)
        if len(found) < wanted:
            raise OSError(errno.EIO, "the zip file was cut off while it was read", str(self._path))
        return found

    def files(self) -> Iterator[str]:
        """Yield the names of all files."""
        return iter(self._members)

    def has(self, name: str) -> bool:
        """Say whether there is a file of this name."""
        return name in self._members

    def inside(self, folder: str) -> set[str]:
        """Return the names of what lies in a folder. Raises FileNotFoundError."""
        try:
            return self._folders[folder]
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, "there is no such folder in the zip file", folder) from None

    def has_folder(self, folder: str) -> bool:
        """Say whether a file lies in such a folder."""
        return folder in self._folders

    def __str__(self) -> str:
        return str(self._path)


@dataclass(frozen=True, slots=True)
class ZipEntry(Listed):
    """Implements `evidence_files.Entry` and `Listed` for a name in a zip file, whether something is there or not."""

    members: ZipMembers
    at: str
    """Its place, with `/` between the parts; empty for the root."""

    @property
    def name(self) -> str:
        """Return the last part of its place."""
        return self.at.rpartition("/")[2]

    @property
    def parent(self) -> "ZipEntry":
        """Return the folder that it lies in; of the root, the root."""
        return ZipEntry(self.members, self.at.rpartition("/")[0])

    def __truediv__(self, name: str, /) -> "ZipEntry":
        """Return what has this name below it."""
        return ZipEntry(self.members, f"{self.at}/{name}" if self.at else name)

    def __str__(self) -> str:
        return f"{self.members}/{self.at}"

    def is_file(self) -> bool:
        """Say whether there is such a file."""
        return self.members.has(self.at)

    def is_dir(self) -> bool:
        """Say whether there is such a folder."""
        return self.members.has_folder(self.at)

    def iterdir(self) -> Iterator["ZipEntry"]:
        """Yield what lies in a folder."""
        return (self / name for name in sorted(self.members.inside(self.at)))

    def read_bytes(self) -> bytes:
        """Return the whole of a file."""
        member = self.members.member(self.at)
        return self.members.read(member, 0, member.size)

    def open(self, mode: Literal["rb"]) -> io.BufferedReader:  # noqa: ARG002 - as a path has it
        """Open a file for reading it a piece at a time."""
        return io.BufferedReader(_Stretch(self.members, self.members.member(self.at)))

    def names(self) -> Iterator[str]:
        """Yield the names of all files below it."""
        before = f"{self.at}/" if self.at else ""
        return (name.removeprefix(before) for name in self.members.files() if name.startswith(before))

    def digest(self) -> str:
        """Return the SHA-256 (hex) of a file."""
        return self.members.member(self.at).digest.hex()

    def size(self) -> int:
        """Return the bytes of a file."""
        return self.members.member(self.at).size


class _Stretch(io.RawIOBase):
    """One member as a stream."""

    def __init__(self, members: ZipMembers, member: _Member) -> None:
        super().__init__()
        self._members = members
        self._member = member
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        target = memoryview(buffer)
        found = self._members.read(self._member, self._at, len(target))
        target[: len(found)] = found
        self._at += len(found)
        return len(found)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._member.size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def tell(self) -> int:
        return self._at
