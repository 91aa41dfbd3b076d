"""What the files that decide say now, as one digest: the truth beside which every file event is only a hint."""

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

_HASHED_BYTES: Final = 64 * 1024 * 1024
"""A larger file is told apart by size and times; no roster or policy that is accepted is larger by default."""
_MOST_FILES: Final = 20_000
"""So many files of a tree are looked at; a policy tree has a few dozen."""
_CHUNK: Final = 1024 * 1024


def digest_of_files(files: Sequence[Path], trees: Sequence[Path]) -> str:
    """Return a digest over the bytes of the files, and over names and bytes of everything below the trees.

    Links are followed, as the readers of these files follow them: a ConfigMap swaps a link and touches no file. What is
    missing or cannot be read counts as such and never raises; nothing but regular files is opened.
    """
    total = hashlib.sha256()
    for path in files:
        _add(total, str(path), _content(path))
    for root in trees:
        for path in _below(root):
            _add(total, str(path), _content(path))
    return total.hexdigest()


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


def _content(path: Path) -> str:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            return "no file"
        if found.st_size > _HASHED_BYTES:
            return f"{found.st_dev} {found.st_ino} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"
        return _hashed(path)
    except OSError as error:
        return f"unreadable {error.errno}"


def _hashed(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for chunk in iter(lambda: stream.read(_CHUNK), b""):
            digest.update(chunk)
    return digest.hexdigest()
