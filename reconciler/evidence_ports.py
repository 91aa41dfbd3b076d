"""What attesting needs from outside, as protocols only: who signs, where evidence is kept, and the log over it."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from reconciler.core.model import CycleId
from reconciler.core.running_log import Extension
from reconciler.core.spooling import Attempts, Stated, Waiting
from reconciler.core.statement import Link
from reconciler.ports import CycleEntry


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedStatement:
    """Canonical statement bytes and the bundle that signs them."""

    payload: bytes
    bundle: bytes
    """Sigstore bundle v0.3 JSON."""


class Signer(Protocol):
    """Signs in-toto statements in one configured mode, never falling back to another."""

    @property
    def mode(self) -> str:
        """Return `managed-key` or `keyless`, as the statement says it."""

    @property
    def assurance(self) -> str:
        """Return what the mode is worth, such as `local-key`."""

    @property
    def identity(self) -> str:
        """Return who signs: in managed-key mode `sha256:` and the fingerprint of the public key."""

    def sign(self, payload: bytes) -> SignedStatement:
        """Sign and verify the result at once; raises `SigningError`."""


class SigningMemory(Protocol):
    """What is remembered of attempts to sign one chain, and the right to be the one who signs it."""

    def load(self) -> Attempts:
        """Return what was kept last; nothing when there is nothing that can be read."""

    def reserve(self, attempts: Attempts) -> None:
        """Keep durably that an attempt begins, and see that its bundle will have room; raises `EvidenceError`."""

    def keep(self, attempts: Attempts) -> None:
        """Keep what came of an attempt; where that cannot be written, this process remembers it alone."""

    def alone(self, wait_seconds: float) -> AbstractContextManager[None]:
        """Be the only one who signs meanwhile; raises `SigningError` when somebody else is for longer."""


class EvidenceStore(Protocol):
    """Keeps evidence by content: the same bytes have the same name, and bytes are checked when read."""

    def put(self, content: bytes, *, kind: str) -> str:
        """Store durably and return `sha256:` and the hex digest."""

    def get(self, digest: str) -> bytes:
        """Return the bytes; raises `EvidenceError` when missing or not what the digest says."""

    @property
    def signing(self) -> SigningMemory:
        """Return what is remembered of attempts to sign this chain."""

    def put_statement(self, sequence: int, cycle_id: CycleId, payload: bytes) -> str:
        """Store a statement durably, before it is signed; return its path. The chain goes on from it."""

    def put_bundle(self, waiting: Waiting, bundle: bytes) -> None:
        """Store the signature of a statement durably."""

    def bundle_path(self, sequence: int, cycle_id: CycleId) -> str:
        """Return where the signature of a statement lies, or will."""

    def waiting(self) -> Sequence[Waiting]:
        """Return the statements that are not signed yet, oldest first."""

    def statement(self, waiting: Waiting) -> bytes:
        """Return the bytes of a statement that waits; raises `EvidenceError` when they cannot be read."""

    def stated(self, waiting: Waiting) -> Stated:
        """Return what a statement that waits says of its signing; raises `EvidenceError` when it cannot be read."""

    def put_pseudonym_key(self, sequence: int, cycle_id: CycleId, key: bytes) -> None:
        """Keep the key under which a cycle's leaves name persons, apart from the evidence."""

    def put_disclosures(self, sequence: int, cycle_id: CycleId, content: bytes) -> None:
        """Keep the lines that open a cycle's leaves, apart from the evidence; without lines there is no file."""

    def head(self, recorded: Sequence[CycleEntry] = ()) -> Link | None:
        """Return the last attestation; raises `EvidenceError` when the journal knows a later or another one."""

    def attested(self, sequence: int) -> Link | None:
        """Return the attestation of one cycle, if it is there."""


class EvidenceLog(Protocol):
    """Keeps the log over the records of all cycles, append-only. Raises `EvidenceError` for all that is wrong."""

    def resume(self, head: Link | None) -> None:
        """See that the log is the one that the statements up to the last one tell; adds what a crash kept from it."""

    def extended(self, leaves: Sequence[bytes], head: Link | None) -> Extension:
        """Lay the leaves of a new cycle out behind those of the last statement; nothing is written."""

    def commit(self, made: Extension, head: Link) -> None:
        """Add the leaves of a cycle whose statement is stored."""
