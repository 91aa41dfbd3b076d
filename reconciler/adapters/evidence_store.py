"""Evidence on disk, by content: the same bytes have the same name, and bytes are checked whenever they are read.

Under one root (folders 0700, files 0600):

    sha256/ab/ab12…                                what statements name by digest
    attestations/000001-<cycle id>.statement.json  the statement, canonical bytes; alone, it waits for its signature
    attestations/000001-<cycle id>.sigstore.json   the bundle that signs it
    signing.json, signing.lock                     what is remembered of attempts to sign
    pseudonym-keys/000001-<cycle id>.key           destroy one to make that cycle's leaves anonymous
    disclosures/000001-<cycle id>.jsonl            opens those leaves one by one: personal data; may be destroyed
    unfinished/                                    files being written; may be emptied while nothing runs

Nothing is ever replaced. Attestations are chained, so a second one for a sequence number is refused.
"""

import hashlib
import re
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import NoReturn, TypeVar

from reconciler.adapters.attestation_document import read_statement
from reconciler.adapters.attestation_names import BUNDLE_SUFFIX, STATEMENT_SUFFIX, AttestationNames, sequence_of
from reconciler.adapters.durable_file import create_file, make_folder, remove_file
from reconciler.adapters.evidence_files import Entry
from reconciler.adapters.spool_file import SpoolFile
from reconciler.core.errors import EvidenceError
from reconciler.core.leaves import KEY_BYTES
from reconciler.core.model import CycleId
from reconciler.core.spooling import Stated, Waiting
from reconciler.core.statement import Link
from reconciler.ports import CycleEntry

ATTESTATIONS = "attestations"
PSEUDONYM_KEYS = "pseudonym-keys"
DISCLOSURES = "disclosures"
_Root = TypeVar("_Root", bound=Entry)

_DIGEST = re.compile(r"sha256:(?P<hex>[0-9a-f]{64})\Z")
_CYCLE_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]{0,63}\Z")


def attestation_stem(sequence: int, cycle_id: str) -> str:
    """Return the file name of a cycle's attestation without its suffix.

    Raises `EvidenceError` for a sequence number below 1 and for a cycle id that is no plain word.
    """
    if sequence < 1 or not _CYCLE_ID.match(cycle_id):
        msg = f"no attestation can be named after sequence {sequence} and cycle {cycle_id!r}"
        raise EvidenceError(msg, advice="cycles count from 1 and are named by UUIDs")
    return f"{sequence:06d}-{cycle_id}"


def evidence_path(root: _Root, hex_digest: str) -> _Root:
    """Return where bytes of this digest lie under a root."""
    return root / f"sha256/{hex_digest[:2]}/{hex_digest}"  # one step: asked thousands of times at each start


def disclosures_path(root: _Root, sequence: int, cycle_id: str) -> _Root:
    """Return where the lines lie that open a cycle's leaves, under a root."""
    return root / f"{DISCLOSURES}/{attestation_stem(sequence, cycle_id)}.jsonl"


class FileEvidenceStore:
    """Implements `evidence_ports.EvidenceStore` in a folder. Raises `EvidenceError` for all that goes wrong."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._staging = root / "unfinished"
        self._signing = SpoolFile(root)
        self._names = AttestationNames(root / ATTESTATIONS)

    @property
    def root(self) -> Path:
        """Return the folder that holds everything."""
        return self._root

    @property
    def signing(self) -> SpoolFile:
        """Return what is remembered of attempts to sign."""
        return self._signing

    def put(self, content: bytes, *, kind: str) -> str:
        """Store durably and return `sha256:` and the hex digest; bytes that are there already are checked."""
        hex_digest = hashlib.sha256(content).hexdigest()
        digest = "sha256:" + hex_digest
        path = evidence_path(self._root, hex_digest)
        try:
            self._create(path, content)
        except FileExistsError:
            self.get(digest)
        except OSError as error:
            _cannot("store", f"the {kind}", error)
        return digest

    def get(self, digest: str) -> bytes:
        """Return the bytes; raises `EvidenceError` when missing or not what the digest says."""
        match = _DIGEST.match(digest)
        if match is None:
            msg = f"{digest!r} is no evidence digest"
            raise EvidenceError(msg, advice="write sha256: and 64 lower-case hex digits")
        path = evidence_path(self._root, match["hex"])
        try:
            content = path.read_bytes()
        except OSError as error:
            _cannot("read", f"evidence {digest}", error)
        if hashlib.sha256(content).hexdigest() != match["hex"]:
            msg = f"evidence {digest} is not what its digest says"
            raise EvidenceError(msg, advice=f"{path} was changed after it was written; restore it from a backup")
        return content

    def put_statement(self, sequence: int, cycle_id: CycleId, payload: bytes) -> str:
        """Store a statement durably, before it is signed; return its path. The chain goes on from it."""
        path = self._folder / (attestation_stem(sequence, cycle_id) + STATEMENT_SUFFIX)
        try:
            self._refuse_taken(sequence)
            self._names.add(path.name, partial(self._create, path, payload))
        except OSError as error:
            _cannot("store", f"the statement of cycle {cycle_id}", error)
        return str(path)

    def put_bundle(self, waiting: Waiting, bundle: bytes) -> None:
        """Store the signature of a statement durably."""
        path = Path(self.bundle_path(waiting.sequence, waiting.cycle_id))
        try:
            self._names.add(path.name, partial(self._create, path, bundle))
        except OSError as error:
            _cannot("store", f"the signature of cycle {waiting.cycle_id}", error)

    def bundle_path(self, sequence: int, cycle_id: CycleId) -> str:
        """Return where the signature of a statement lies, or will."""
        return str(self._folder / (attestation_stem(sequence, cycle_id) + BUNDLE_SUFFIX))

    def waiting(self) -> tuple[Waiting, ...]:
        """Return the statements that are not signed yet, oldest first."""
        try:
            return tuple(_waiting(stem) for stem in self._names.waiting())
        except OSError as error:
            _cannot("look for", "statements without a signature", error)

    def statement(self, waiting: Waiting) -> bytes:
        """Return the bytes of a statement that waits; raises `EvidenceError` when they cannot be read."""
        return _content(self._folder / (attestation_stem(waiting.sequence, waiting.cycle_id) + STATEMENT_SUFFIX))

    def stated(self, waiting: Waiting) -> Stated:
        """Return what a statement that waits says of its signing; raises `EvidenceError` when it cannot be read."""
        predicate = read_statement(self.statement(waiting)).predicate
        return Stated(
            signing_mode=predicate.reconciler.signing_mode,
            genesis=predicate.chain_genesis.sha256,
            finished_at=datetime.fromisoformat(predicate.finished_at),
        )

    def head(self, recorded: Sequence[CycleEntry] = ()) -> Link | None:
        """Return the last attestation, which the next statement follows; None when there is none.

        `recorded` are the cycles that the journal knows: raises `EvidenceError` when it knows a later attestation or
        another last one, so that a chain whose tail was cut off is never continued as if nothing had happened.
        """
        try:
            newest = self._names.newest()
        except OSError as error:
            _cannot("look for", "the last attestation", error)
        last = None if newest is None else self._folder / (newest + STATEMENT_SUFFIX)
        latest = max((one for one in recorded if one.statement_digest), key=lambda one: one.sequence, default=None)
        if latest is not None:
            named = f"the attestation of cycle {latest.sequence} ({latest.cycle_id})"
            if last is None or sequence_of(last.name) < latest.sequence:
                msg = f"{named} is gone; the journal knows it"
                raise EvidenceError(msg, advice="restore the attestations from a backup; see `attestations verify`")
            if sequence_of(last.name) == latest.sequence and _digest(_content(last)) != latest.statement_digest:
                msg = f"{named} is not the one in the journal"
                raise EvidenceError(msg, advice="restore the attestations from a backup; see `attestations verify`")
        return None if last is None else _link(last)

    def attested(self, sequence: int) -> Link | None:
        """Return the attestation of this sequence number, if there is one.

        After a crash between storing it and noting it in the journal, this one counts and is not made again.
        """
        try:
            names = [name for name in self._names.of(sequence) if name.endswith(STATEMENT_SUFFIX)]
        except OSError as error:
            _cannot("look for", f"the attestation of cycle {sequence}", error)
        return _link(self._folder / names[0]) if names else None

    def put_pseudonym_key(self, sequence: int, cycle_id: CycleId, key: bytes) -> None:
        """Keep the key under which a cycle's leaves name persons, apart from the evidence.

        The key of an attested cycle is never replaced; one that a crash left without an attestation is.
        """
        if len(key) != KEY_BYTES:
            msg = f"the pseudonym key of cycle {cycle_id} has {len(key)} bytes"
            raise EvidenceError(msg, advice=f"hand in {KEY_BYTES} random bytes")
        self._put_beside(sequence, self._key_path(sequence, cycle_id), key, f"the pseudonym key of cycle {cycle_id}")

    def put_disclosures(self, sequence: int, cycle_id: CycleId, content: bytes) -> None:
        """Keep the lines that open a cycle's leaves, apart from the evidence; without lines there is no file.

        Those of an attested cycle are never replaced; those that a crash left without an attestation are.
        """
        path = disclosures_path(self._root, sequence, cycle_id)
        self._put_beside(sequence, path, content, f"the disclosures of cycle {cycle_id}")

    def _put_beside(self, sequence: int, path: Path, content: bytes, what: str) -> None:
        try:
            self._refuse_taken(sequence)
            if path.exists():
                remove_file(path)  # a crash came before the statement: nothing ever rested on this
            if content:
                self._create(path, content)
            if content and self._names.of(sequence) and path.read_bytes() == content:
                remove_file(path)  # an heir attested the cycle without it while this process was paused
        except OSError as error:
            _cannot("store", what, error)

    def pseudonym_key(self, sequence: int, cycle_id: CycleId) -> bytes:
        """Return a cycle's key; raises `EvidenceError` when it was destroyed."""
        try:
            return self._key_path(sequence, cycle_id).read_bytes()
        except OSError as error:
            _cannot("read", f"the pseudonym key of cycle {cycle_id}", error)

    def destroy_pseudonym_key(self, sequence: int, cycle_id: CycleId) -> None:
        """Make a cycle's leaves anonymous for good; digests, roots and proofs still verify.

        The file is removed: keep this folder out of backups, or destroy the key there too.
        """
        try:
            remove_file(self._key_path(sequence, cycle_id))
        except OSError as error:
            _cannot("destroy", f"the pseudonym key of cycle {cycle_id}", error)

    @property
    def _folder(self) -> Path:
        return self._root / ATTESTATIONS

    def _key_path(self, sequence: int, cycle_id: CycleId) -> Path:
        return self._root / PSEUDONYM_KEYS / (attestation_stem(sequence, cycle_id) + ".key")

    def _refuse_taken(self, sequence: int) -> None:
        taken = self._names.of(sequence)
        if taken:
            msg = f"sequence {sequence} already has an attestation: {taken[0]}"
            raise EvidenceError(msg, advice="attestations are never replaced; the journal is older than the store")

    def _create(self, path: Path, content: bytes) -> None:
        make_folder(self._staging)
        make_folder(path.parent)
        create_file(path, content, staging=self._staging)


def _content(statement: Path) -> bytes:
    try:
        return statement.read_bytes()
    except OSError as error:
        _cannot("read", statement.name, error)


def _digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def _link(statement: Path) -> Link:
    content = _content(statement)
    sequence, cycle_id = statement.name.removesuffix(STATEMENT_SUFFIX).split("-", 1)
    predicate = read_statement(content).predicate
    return Link(
        sequence=int(sequence),
        cycle_id=CycleId(cycle_id),
        digest=_digest(content),
        outcome=predicate.outcome,
        signing_mode=predicate.reconciler.signing_mode,
        genesis=predicate.chain_genesis.sha256,
    )


def _waiting(stem: str) -> Waiting:
    sequence, cycle_id = stem.split("-", 1)
    return Waiting(sequence=int(sequence), cycle_id=CycleId(cycle_id))


def _cannot(verb: str, what: str, error: OSError) -> NoReturn:
    msg = f"cannot {verb} {what}: {error.strerror or error}"
    raise EvidenceError(
        msg, advice="check the evidence folder: its rights, its space, and whether it was moved"
    ) from error
