"""Opening an evidence pack: a folder as it is, a zip file laid out in a temporary one for as long as it is read.

A pack comes from outside, so nothing in it is believed. Ours are stored without compression and hold regular files
under plain names; anything else is refused before a byte is written: no pack writes elsewhere or grows on unpacking.
"""

import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from reconciler.adapters.evidence_store import ATTESTATIONS
from reconciler.adapters.log_files import CHECKPOINTS
from reconciler.core.errors import EvidenceError

_PART = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_NAME = re.compile(rf"{_PART}(?:/{_PART})*\Z")
"""Names of a pack's files: no absolute path, no `..`, no hidden file, nothing that a shell reads in another way."""
_LONGEST = 200
_SMALL = frozenset({ATTESTATIONS, CHECKPOINTS})
_SMALL_BYTES = 4 << 20
"""A statement is kept below 64 KiB, and its bundle holds it once."""
_ADVICE = "it was not made by `attestations export`, or was changed; unpack it yourself only if you know why"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A pack that can be read."""

    folder: Path
    damaged: tuple[str, ...] = ()
    """Files whose bytes are not those that the zip file's own checksum tells; they are left out of the folder."""


@contextmanager
def opened(pack: Path) -> Iterator[Opened]:
    """Give a folder with the pack's files; that of a zip file is removed at the end. Raises `EvidenceError`."""
    if pack.is_dir():
        yield Opened(folder=pack)
        return
    with tempfile.TemporaryDirectory(prefix="pack-") as folder:
        try:
            damaged = _unpack(pack, Path(folder))
        except BadZipFile as error:
            raise EvidenceError(f"{pack} is no readable zip file: {error}", advice=_ADVICE) from error
        except OSError as error:
            msg = f"the pack {pack} cannot be read: {error.strerror or error}"
            raise EvidenceError(msg, advice="check the path, and that the temporary folder has space") from error
        yield Opened(folder=Path(folder), damaged=damaged)


def _unpack(pack: Path, folder: Path) -> tuple[str, ...]:
    damaged: list[str] = []
    with ZipFile(pack) as archive:
        entries = archive.infolist()
        _refuse_strange(pack, entries)
        for entry in entries:
            target = folder / entry.filename
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with archive.open(entry) as source, target.open("xb") as copy:
                    shutil.copyfileobj(source, copy)
            except BadZipFile:
                target.unlink(missing_ok=True)
                damaged.append(entry.filename)
    return tuple(damaged)


def _refuse_strange(pack: Path, entries: list[ZipInfo]) -> None:
    names = [entry.filename for entry in entries]
    if len(set(names)) != len(names):
        raise EvidenceError(f"{pack} holds two files of the same name", advice=_ADVICE)
    if sum(entry.file_size for entry in entries) > pack.stat().st_size:
        raise EvidenceError(f"{pack} tells of more bytes than it has", advice=_ADVICE)
    for entry in entries:
        kind = stat.S_IFMT(entry.external_attr >> 16)
        plain = kind in {0, stat.S_IFREG} and entry.compress_type == ZIP_STORED and not entry.flag_bits & 1
        if not plain or len(entry.filename) > _LONGEST or not _NAME.match(entry.filename):
            raise EvidenceError(f"{pack} holds {entry.filename[:_LONGEST]!r}, which no pack does", advice=_ADVICE)


def refuse_irregular(root: Path) -> None:
    """See that there are plain files and folders alone, and no attestation of a size that none has.

    A link leads out of what was handed over, a pipe or a device never ends. Raises `EvidenceError` that names the file.
    """
    folders = [root]
    try:
        while folders:
            with os.scandir(folders.pop()) as found:
                for one in found:
                    if one.is_dir(follow_symlinks=False):
                        folders.append(Path(one.path))
                    else:
                        _see(root, one)
    except OSError as error:
        msg = f"{root} cannot be looked through: {error.strerror or error}"
        raise EvidenceError(msg, advice="check the rights of the folder and its files") from error


def _see(root: Path, one: os.DirEntry[str]) -> None:
    try:
        facts = one.stat(follow_symlinks=False)
    except FileNotFoundError:  # a store in use: what was being written has its name now
        return
    name = Path(one.path).relative_to(root)
    if not stat.S_ISREG(facts.st_mode):
        raise EvidenceError(f"{root} holds {name.as_posix()!r}, which is no plain file", advice=_ADVICE)
    if name.parts[0] in _SMALL and facts.st_size > _SMALL_BYTES:
        msg = f"{root} holds {name.as_posix()!r} of {facts.st_size} bytes, which no attestation has"
        raise EvidenceError(msg, advice=_ADVICE)
