"""The running log on disk: the hash of every leaf of every cycle, append-only, and a checkpoint after each cycle.

Under the root of the evidence store:

    log/leaf-hashes                       32 bytes for each leaf, in order
    log/vkey                              the public key of the checkpoints
    checkpoints/000001-<cycle id>.txt     what the log was after that cycle, signed

A cycle's statement is written before its hashes: it is what counts. So the hashes are never ahead of the statements
unless statements were removed, and what a crash kept from the hashes is added from the leaves that the statement names.
Nothing is ever cut off or written over.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from reconciler.adapters.attestation_document import StatementDocument, parsed_statement
from reconciler.adapters.attestation_names import STATEMENT_SUFFIX, parse_name
from reconciler.adapters.durable_file import OWNER_ONLY, create_file, make_folder, write_into_file
from reconciler.adapters.evidence_store import ATTESTATIONS, attestation_stem, evidence_path
from reconciler.adapters.log_files import (
    CHECKPOINT_SUFFIX,
    CHECKPOINTS,
    LEAF_HASHES,
    VERIFIER_KEY,
    HashFile,
    checkpoint_path,
)
from reconciler.adapters.log_key import LogKey
from reconciler.core.canonical import sha256_hex
from reconciler.core.errors import EvidenceError
from reconciler.core.leaves import leaves_of
from reconciler.core.merkle import HASH_BYTES, Frontier, leaf_hash
from reconciler.core.running_log import LOGGED, Extension, LogReplay, LogSection, Place, extension
from reconciler.core.statement import Link

_RESTORE = "nothing is done on top of a log that was changed: restore the evidence folder as a whole from a backup"


@dataclass(frozen=True, slots=True)
class _Known:
    """What this process has recomputed, and of which files."""

    head: str
    """Digest of the last statement."""
    frontier: Frontier
    stamp: tuple[int, int, int] | None
    """Identity, size and time of change of the hash file; None while there is none."""


def hashes_of(root: Path, document: StatementDocument) -> Mapping[str, tuple[bytes, ...]]:
    """Return the leaf hashes of each leaf file that a statement names and that is still there.

    Raises `EvidenceError` for a file that is not what its digest says, and OSError when one cannot be read.
    """
    found = {}
    for subject in document.subject:
        if subject.name not in LOGGED:
            continue
        path = evidence_path(root, subject.digest.sha256)
        try:
            content = path.read_bytes()
        except FileNotFoundError:  # erased: its hashes stay
            continue
        if sha256_hex(content) != subject.digest.sha256:
            msg = f"the {subject.name} of cycle {document.predicate.sequence} was changed after it was written"
            raise EvidenceError(msg, advice=f"{path}: {_RESTORE}")
        found[subject.name] = tuple(map(leaf_hash, leaves_of(content)))
    return found


class FileEvidenceLog:
    """Implements `reconciler.evidence_ports.EvidenceLog` in the folder of the evidence store."""

    def __init__(self, root: Path, key: LogKey) -> None:
        self._root = root
        self._key = key
        self._known: _Known | None = None

    def resume(self, head: Link | None) -> None:
        """Recompute the log up to the last statement, once, and add what a crash kept from it.

        Later calls only look whether the files are still those. Raises `EvidenceError` when the log, a leaf file or a
        statement was changed, cut off or taken out, or when the statements name another key.
        """
        try:
            if self._known is None or self._known != _Known(_digest(head), self._known.frontier, self._stamp()):
                self._known = None
                self._known = self._recomputed(head)
        except OSError as error:
            _cannot("read", error)

    def extended(self, leaves: Sequence[bytes], head: Link | None) -> Extension:
        """Lay the leaves of a new cycle out behind those of the last statement; nothing is written.

        Raises `EvidenceError` as `resume` does.
        """
        self.resume(head)
        assert self._known is not None  # noqa: S101 - resume has set it; narrows the type
        verifier = self._key.verifier
        return extension(self._known.frontier, leaves, origin=verifier.name, verifier_key=verifier.text)

    def commit(self, made: Extension, head: Link) -> None:
        """Add the leaves of a cycle whose statement is stored, and sign the checkpoint after them.

        Raises `EvidenceError` when the disk refuses; the next `resume` adds what is missing then.
        """
        self._known = None
        try:
            self._write(b"".join(made.hashes), made.section.before.size * HASH_BYTES)
            self._checkpoint(attestation_stem(head.sequence, head.cycle_id), made.section)
            self._known = _Known(_digest(head), made.frontier, self._stamp())
        except OSError as error:
            _cannot("extend", error)

    @property
    def _path(self) -> Path:
        return self._root / LEAF_HASHES

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            facts = self._path.stat()
        except FileNotFoundError:
            return None
        return facts.st_ino, facts.st_size, facts.st_mtime_ns

    def _recomputed(self, head: Link | None) -> _Known:
        """Follow every statement over the hashes and the leaves that are still there."""
        written, missing = self._written(), dict[str, LogSection]()
        with HashFile.open(self._path) as source:
            replay = LogReplay(source.hashes)
            for stem, document in self._statements():
                place = document.place(continues=True)
                self._same_key(stem, place.section)
                files = hashes_of(self._root, document)
                if head is not None and document.predicate.sequence == head.sequence:
                    source.tail = _kept_from_the_log(source, place, files)
                for code, text in replay.follow(place, files):
                    _refuse(f"{_cycle(stem)}: {text} ({code})")
                if stem not in written:
                    missing[stem] = place.section
            if replay.frontier is None or source.size != replay.frontier.size * HASH_BYTES:
                _refuse("it has leaves that no statement tells of: statements at the end were removed")
            frontier, tail = replay.frontier, source.tail
        self._repair(tail, source.size - len(tail), missing)
        return _Known(_digest(head), frontier, self._stamp())

    def _statements(self) -> Iterator[tuple[str, StatementDocument]]:
        """Yield every statement in the order of the cycles."""
        folder = self._root / ATTESTATIONS
        names = (path.name for path in folder.iterdir()) if folder.is_dir() else iter(())
        parsed = (parse_name(name) for name in names if name.endswith(STATEMENT_SUFFIX))
        for sequence, cycle_id, suffix in sorted(name for name in parsed if name is not None):
            stem = attestation_stem(sequence, cycle_id)
            yield stem, parsed_statement((folder / (stem + suffix)).read_bytes())

    def _same_key(self, stem: str, section: LogSection) -> None:
        ours = self._key.verifier
        if (section.origin, section.verifier_key) != (ours.name, ours.text):
            msg = f"{_cycle(stem)} names another log or another key of it: {section.verifier_key}, not {ours.text}"
            raise EvidenceError(
                msg, advice="take keys/log.pem from a backup, or begin a chain of its own with a new state_dir"
            )

    def _written(self) -> frozenset[str]:
        """Return the cycles whose checkpoint is there; an empty file is what a power cut leaves of one."""
        make_folder(self._root / CHECKPOINTS)
        with os.scandir(self._root / CHECKPOINTS) as found:
            return frozenset(one.name.removesuffix(CHECKPOINT_SUFFIX) for one in found if one.stat().st_size)

    def _repair(self, tail: bytes, start: int, missing: Mapping[str, LogSection]) -> None:
        """Add the hashes and the checkpoints that a crash kept from the disk; what is there stays as it is."""
        make_folder(self._path.parent)
        if tail:
            self._write(tail, start)
        for stem, section in missing.items():
            checkpoint_path(self._root, stem).unlink(missing_ok=True)
            self._checkpoint(stem, section)
        vkey = self._root / VERIFIER_KEY
        if not vkey.exists():
            create_file(vkey, self._key.verifier.text.encode() + b"\n")

    def _write(self, content: bytes, start: int) -> None:
        """Write hashes at their place: a process that was paused here and goes on after its heir adds none twice."""
        write_into_file(self._path, content, start)

    def _checkpoint(self, stem: str, section: LogSection) -> None:
        """Write the checkpoint after a cycle, unsynced: it follows from the statement, and is written again if lost."""
        path = checkpoint_path(self._root, stem)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY), "wb") as sink:
            sink.write(self._key.note(section.checkpoint))


def _kept_from_the_log(source: HashFile, place: Place, files: Mapping[str, tuple[bytes, ...]]) -> bytes:
    """Return the end of the last cycle's hashes, which a crash kept from the file, as far as its leaves tell them."""
    start, stop = place.section.before.size * HASH_BYTES, place.section.after.size * HASH_BYTES
    told = b"".join(one for name, _ in place.counts for one in files.get(name, ()))
    there = source.read(start, stop)
    whole = source.size >= start and len(told) == stop - start and told.startswith(there)
    return told[len(there) :] if whole else b""


def _digest(head: Link | None) -> str:
    return "" if head is None else head.digest


def _cycle(stem: str) -> str:
    sequence, cycle_id = stem.split("-", 1)
    return f"cycle {int(sequence)} ({cycle_id})"


def _refuse(text: str) -> NoReturn:
    msg = f"the log of all records does not agree with the statements: {text}"
    raise EvidenceError(msg, advice=_RESTORE)


def _cannot(verb: str, error: OSError) -> NoReturn:
    msg = f"cannot {verb} the log of all records: {error.strerror or error}"
    raise EvidenceError(
        msg, advice="check the evidence folder: its rights, its space, and whether it was moved"
    ) from error
