"""What the files that decide say now, as one digest: the truth beside which every file event is only a hint."""

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

_HASHED_BYTES: Final = 64 * 1024 * 1024
"""A larger file is told apart by size and times; no roster or policy that is accepted is larger by default."""
_HASHED_IN_ALL: Final = 256 * 1024 * 1024
"""Beyond this much in one look every further file is told apart so: a look stays within a second or two."""
_MOST_FILES: Final = 20_000
"""So many files of a tree are looked at; a policy tree has a few dozen."""
_CHUNK: Final = 1024 * 1024


def digest_of_files(files: Sequence[Path], trees: Sequence[Path]) -> str:
    """Return a digest over the bytes of the files, and over names and bytes of everything below the trees.

    Links are followed, as the readers of these files follow them: a ConfigMap swaps a link and touches no file. What is
    missing or cannot be read counts as such and never raises; nothing but regular files is opened.
    """
    total = hashlib.sha256()
    look = _Look()
    for path in files:
        _add(total, str(path), look.content(path))
    for root in trees:
        for path in _below(root):
            _add(total, str(path), look.content(path))
    return total.hexdigest()


class _Look:
    """One look at the files, which hashes so much and no more."""

    def __init__(self) -> None:
        self._left = _HASHED_IN_ALL

    def content(self, path: Path) -> str:
        """Return what tells the content of a path from every other one."""
        try:
            found = path.stat()
            if not stat.S_ISREG(found.st_mode):
                return "no file"
            if found.st_size > min(_HASHED_BYTES, self._left):
                return f"{found.st_dev} {found.st_ino} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"
            self._left -= found.st_size
            return _hashed(path)
        except OSError as error:
            return f"unreadable {error.errno}"


def _add(total: "hashlib._Hash", name: str, content: str) -> None:
    total.update(f"{len(name)}:{name}={content};".encode(errors="surrogateescape"))


def _below(root: Path) -> Iterator[Path]:
    """Yield the files of a tree in a fixed order; a folder reached twice, as by a link upwards, is entered once."""
    entered: set[tuple[int, int]] = set()
    found = 0
    for folder, folders, names in os.walk(root, followlinks=True):
        identity = identity_of(Path(folder))
        if identity is None or identity in entered:
            folders.clear()
            continue
        entered.add(identity)
        folders[:] = sorted(name for name in folders if name != ".git")
        for name in sorted(names):
            found += 1
            if found > _MOST_FILES:
                return
            yield Path(folder, name)


def identity_of(path: Path) -> tuple[int, int] | None:
    """Return which file or folder a path leads to now; None when it leads nowhere."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _hashed(path: Path) -> str:
    """Return the digest of a file, or of its beginning where it grows while it is read."""
    digest = hashlib.sha256()
    # Without blocking: a pipe may have taken the file's place since it was looked at.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        for _ in range(_HASHED_BYTES // _CHUNK):
            digest.update(chunk := os.read(descriptor, _CHUNK))
            if not chunk:
                break
    finally:
        os.close(descriptor)
    return digest.hexdigest()
