"""Files that are either not there or whole, also after a power cut: written aside, synced, then given their name."""

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

OWNER_ONLY = 0o600


def make_folder(path: Path) -> None:
    """Make a folder that only its owner may enter (0700), and its missing parents; existing ones stay as they are."""
    missing = []
    here = path
    while not here.exists():
        missing.append(here)
        here = here.parent
    for folder in reversed(missing):
        folder.mkdir(mode=0o700, exist_ok=True)
        _sync_folder(folder.parent)


def create_file(path: Path, content: bytes, *, staging: Path | None = None, mode: int = OWNER_ONLY) -> None:
    """Create a file durably with its whole content; never replaces one.

    The staging folder holds the unfinished file and must be on the same file system; by default it is the file's own.
    Raises FileExistsError when the name is taken, by whomever.
    """
    handle, name = tempfile.mkstemp(dir=staging or path.parent, prefix=".unfinished-")  # O_EXCL, mode 0600
    unfinished = Path(name)
    try:
        with os.fdopen(handle, "wb") as sink:
            sink.write(content)
            sink.flush()
            os.fchmod(sink.fileno(), mode)
            os.fsync(sink.fileno())
        os.link(unfinished, path)
        _sync_folder(path.parent)
    finally:
        unfinished.unlink()


def append_to_file(path: Path, content: bytes) -> None:
    """Add bytes to the end of a file durably, making it on first use; a crash may leave the beginning of them there."""
    new = not path.exists()
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, OWNER_ONLY)
    with os.fdopen(handle, "ab") as sink:
        sink.write(content)
        sink.flush()
        os.fsync(sink.fileno())
    if new:
        _sync_folder(path.parent)


def write_into_file(path: Path, content: bytes, start: int) -> None:
    """Write bytes at a place of a file durably, making it on first use; written twice, they are there once."""
    new = not path.exists()
    handle = os.open(path, os.O_WRONLY | os.O_CREAT, OWNER_ONLY)
    with os.fdopen(handle, "wb") as sink:
        sink.seek(start)
        sink.write(content)
        sink.flush()
        os.fsync(sink.fileno())
    if new:
        _sync_folder(path.parent)


def replace_file(path: Path, content: bytes) -> None:
    """Put a whole file in the place of whatever has the name now, durably; readable by its owner only."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".unfinished-")  # O_EXCL, mode 0600
    unfinished = Path(name)
    try:
        with os.fdopen(handle, "wb") as sink:
            sink.write(content)
            sink.flush()
            os.fsync(sink.fileno())
        unfinished.replace(path)
        _sync_folder(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)


def remove_file(path: Path) -> None:
    """Remove a file durably. Raises FileNotFoundError when there is none."""
    path.unlink()
    _sync_folder(path.parent)


def remove_files(paths: Iterable[Path]) -> None:
    """Remove files durably, each folder synced once; what is not there is as good as removed."""
    folders = set()
    for path in paths:
        path.unlink(missing_ok=True)
        folders.add(path.parent)
    for folder in sorted(folders):
        _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
