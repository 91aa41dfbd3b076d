"""Where evidence is read from: a folder on disk, or a zip file whose members are read where they lie.

Readers of evidence take an `Entry` and do not care which of the two it is; `pathlib.Path` is one.
"""

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from io import BufferedReader
from typing import Literal, Protocol, Self

from reconciler.core.errors import EvidenceError


class Entry(Protocol):
    """A file or a folder that is read. Methods raise OSError as those of a path do."""

    @property
    def name(self) -> str:
        """Return the last part of its path; empty for the root of a zip file."""

    @property
    def parent(self) -> Self:
        """Return the folder that it lies in."""

    def __truediv__(self, name: str, /) -> Self:
        """Return what has this name below it, there or not."""

    def is_file(self) -> bool:
        """Say whether there is such a file."""

    def is_dir(self) -> bool:
        """Say whether there is such a folder."""

    def iterdir(self) -> Iterator[Self]:
        """Yield what lies in a folder."""

    def read_bytes(self) -> bytes:
        """Return the whole of a file."""

    def open(self, mode: Literal["rb"]) -> BufferedReader:
        """Open a file for reading it a piece at a time."""


class Listed(ABC):
    """An entry of which more is known than the disk tells of a path: all was seen when it was opened."""

    @abstractmethod
    def names(self) -> Iterator[str]:
        """Yield the names of all files below it, in no order, with `/` between their parts."""

    @abstractmethod
    def digest(self) -> str:
        """Return the SHA-256 (hex) of a file. Raises OSError when there is no such file."""

    @abstractmethod
    def size(self) -> int:
        """Return the bytes of a file. Raises OSError when there is no such file."""


def files_in(folder: Entry) -> Iterator[str]:
    """Yield the names of all files in a folder, sorted, with `/` between their parts; none of a folder not there."""
    found = folder.names() if isinstance(folder, Listed) else _names_in(str(folder), "")
    yield from sorted(found, key=lambda name: name.split("/"))


def _names_in(folder: str, before: str) -> Iterator[str]:
    try:
        entries = os.scandir(folder)  # without a path for every name, which would be most of the work
    except FileNotFoundError:
        return
    with entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _names_in(entry.path, f"{before}{entry.name}/")
            elif entry.is_file():
                yield before + entry.name


def file_digest(path: Entry) -> str:
    """Return the SHA-256 (hex) of a file."""
    if isinstance(path, Listed):
        return path.digest()
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def read_here(path: Entry) -> bytes | None:
    """Return the content of a file; None where there is none. Raises `EvidenceError` when it cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EvidenceError(
            f"{path} cannot be read: {error.strerror}", advice="check the rights of the folder"
        ) from error
