"""Where the running log lies under the root of an evidence store, and its file of leaf hashes; for reading alone."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import BinaryIO, Self, TypeVar

from reconciler.adapters.evidence_files import Entry
from reconciler.core.merkle import HASH_BYTES

LOG = "log"
LEAF_HASHES = "log/leaf-hashes"
VERIFIER_KEY = "log/vkey"
CHECKPOINTS = "checkpoints"
CHECKPOINT_SUFFIX = ".txt"
_Root = TypeVar("_Root", bound=Entry)


def checkpoint_path(root: _Root, stem: str) -> _Root:
    """Return where the checkpoint after a cycle lies."""
    return root / f"{CHECKPOINTS}/{stem}{CHECKPOINT_SUFFIX}"


class HashFile:
    """The file of leaf hashes, read a stretch at a time."""

    def __init__(self, content: BinaryIO, size: int) -> None:
        self._content = content
        self._size = size
        self.tail = b""
        """Bytes that belong behind the end of the file and are not there yet."""

    @classmethod
    @contextmanager
    def open(cls, path: Entry) -> Iterator[Self]:
        """Open the file for reading; one that is not there yet is empty."""
        if not path.is_file():
            yield cls(BytesIO(), 0)
            return
        with path.open("rb") as content:
            yield cls(content, content.seek(0, os.SEEK_END))

    def look_again(self) -> None:
        """Take in what was added to the file since it was opened."""
        self._size = self._content.seek(0, os.SEEK_END)

    @property
    def size(self) -> int:
        """Return the number of bytes, the tail included."""
        return self._size + len(self.tail)

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes from one place up to another; fewer when the file ends before."""
        self._content.seek(start)
        found = self._content.read(max(0, min(stop, self._size) - start))
        return found + self.tail[max(0, start - self._size) : max(0, stop - self._size)]

    def hashes(self, start: int, stop: int) -> tuple[bytes, ...]:
        """Return the leaf hashes from one index up to another; fewer when the file ends before."""
        found = self.read(start * HASH_BYTES, stop * HASH_BYTES)
        return tuple(found[at : at + HASH_BYTES] for at in range(0, len(found) - HASH_BYTES + 1, HASH_BYTES))
