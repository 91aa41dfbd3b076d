"""Opening an evidence pack: a folder as it is, a zip file without laying it out anywhere.

A pack comes from outside, so nothing in it is believed. Ours are stored without compression and hold regular files
under plain names; anything else is refused before a byte of it is read: no pack leads elsewhere or grows on reading.
"""

import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from reconciler.adapters.evidence_files import Entry, Listed
from reconciler.adapters.evidence_store import ATTESTATIONS
from reconciler.adapters.log_files import CHECKPOINTS
from reconciler.adapters.zip_files import ZipMembers
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

    folder: Entry
    damaged: tuple[str, ...] = ()
    """Files whose bytes are not those that the zip file's own checksum tells; they are not in the folder."""


@contextmanager
def opened(pack: Path) -> Iterator[Opened]:
    """Give a folder with the pack's files. Raises `EvidenceError`, also when a zip file changes while it is read."""
    if pack.is_dir():
        yield Opened(folder=pack)
        return
    with ExitStack() as stack:
        try:
            members = stack.enter_context(ZipMembers.opened(pack))
            before = members.mark
            found = Opened(folder=members.root, damaged=_listed(pack, members))
        except BadZipFile as error:
            raise EvidenceError(f"{pack} is no readable zip file: {error}", advice=_ADVICE) from error
        except OSError as error:
            msg = f"the pack {pack} cannot be read: {error.strerror or error}"
            raise EvidenceError(msg, advice="check the path and the rights of the file") from error
        yield found
        if members.mark != before:
            raise EvidenceError(f"{pack} was changed while it was read", advice="run the command again")


def _listed(pack: Path, members: ZipMembers) -> tuple[str, ...]:
    """Take in every member and return the names of the damaged ones."""
    with members.stream() as content, ZipFile(content) as archive:
        entries = archive.infolist()
    _refuse_strange(pack, entries)
    return tuple(entry.filename for entry in entries if not members.add(entry))


def _refuse_strange(pack: Path, entries: list[ZipInfo]) -> None:
    names = [entry.filename for entry in entries]
    if len(set(names)) != len(names):
        raise EvidenceError(f"{pack} holds two files of the same name", advice=_ADVICE)
    if sum(entry.file_size for entry in entries) > pack.stat().st_size:
        raise EvidenceError(f"{pack} tells of more bytes than it has", advice=_ADVICE)
    for entry in entries:
        kind = stat.S_IFMT(entry.external_attr >> 16)
        stored = entry.compress_type == ZIP_STORED and entry.compress_size == entry.file_size
        plain = kind in {0, stat.S_IFREG} and stored and not entry.flag_bits & 1
        if not plain or len(entry.filename) > _LONGEST or not _NAME.match(entry.filename):
            raise EvidenceError(f"{pack} holds {entry.filename[:_LONGEST]!r}, which no pack does", advice=_ADVICE)
    for name in sorted(_folders(names).intersection(names)):
        raise EvidenceError(f"{pack} holds {name!r} as a file and as a folder", advice=_ADVICE)


def _folders(names: Iterable[str]) -> set[str]:
    """Return every folder that a file lies in, at any depth."""
    found: set[str] = set()
    for name in names:
        folder = name.rpartition("/")[0]
        while folder and folder not in found:
            found.add(folder)
            folder = folder.rpartition("/")[0]
    return found


def refuse_irregular(root: Entry) -> None:
    """See that there are plain files and folders alone, and no attestation of a size that none has.

    A link leads out of what was handed over, a pipe or a device never ends. Raises `EvidenceError` that names the file.
    """
    if isinstance(root, Path):
        _refuse_in_folder(root)
    elif isinstance(root, Listed):
        for name in root.names():
            _refuse_large(root, name, (root / name).size())


def _refuse_in_folder(root: Path) -> None:
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
    _refuse_large(root, name.as_posix(), facts.st_size)


def _refuse_large(root: Entry, name: str, size: int) -> None:
    if name.partition("/")[0] in _SMALL and size > _SMALL_BYTES:
        raise EvidenceError(f"{root} holds {name!r} of {size} bytes, which no attestation has", advice=_ADVICE)
