"""The last verb: turns the record of a cycle into stored evidence and a chained statement, and has it signed.

Evidence first, then the statement that names it: a crash in between leaves evidence that nobody names, never a
statement whose evidence is missing. With the statement the cycle is recorded for good; its signature comes after
everything else, and may come late.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from inventory.model import Snapshot
from reconciler.core.canonical import sha256_hex
from reconciler.core.errors import EvidenceError, SigningError
from reconciler.core.grounds import NO_GROUNDS, Grounds
from reconciler.core.leaves import KEY_BYTES, NONCE_BYTES
from reconciler.core.record import CycleRecord
from reconciler.core.spooling import USUAL_PACE, Pace
from reconciler.core.standing import Standing
from reconciler.core.statement import Link, StatementFacts, build_statement, chain_genesis, documents
from reconciler.evidence_ports import EvidenceLog, EvidenceStore, Signer
from reconciler.ports import Clock, CycleEntry
from reconciler.spool import SIGN_AS_BEFORE, Spool, behind

_OTHERS_SECONDS = 120.0
"""How long a cycle that needs everything signed waits for somebody who is signing: longer than one signature takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attested:
    """A cycle with its stored statement."""

    record: CycleRecord
    statement_digest: str
    """`sha256:` and hex of the statement's bytes."""
    path: str
    """Where the signed bundle lies; the statement while it waits for its signature."""
    snapshot: Snapshot | None = None
    """What was looked at, so that people can be shown names; never part of the attestation."""
    standing: Standing | None = None
    """What a whole pass saw, laid out for the leavers' passes that follow it."""
    gave_way: bool = False
    """The cycle did nothing, because something urgent came in between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attester:
    """Attests cycles in one signing mode into one evidence store."""

    store: EvidenceStore
    log: EvidenceLog
    signer: Signer
    instance_id: str
    random_bytes: Callable[[int], bytes]
    required: bool = False
    """No attestation, no act: nothing begins while a statement waits for its signature."""
    at_once: bool = True
    """Whether a cycle signs at its end. The daemon's do not: it signs beside them, so that no leaver waits for it."""
    pace: Pace = USUAL_PACE

    def attest(self, record: CycleRecord, journal: Sequence[CycleEntry], grounds: Grounds = NO_GROUNDS) -> Attested:
        """Store the evidence of a cycle and state it, durably. The statement waits for its signature.

        Raises `EvidenceError` when the chain does not continue or nothing can be stored.
        """
        previous = self.store.head(journal)
        key = self.random_bytes(KEY_BYTES)
        made = documents(record, key, self._nonces(), previous, grounds)
        logged = self.log.extended(made.leaves, previous)
        for name, content in made.files:
            self.store.put(content, kind=name)
        payload = build_statement(
            record,
            StatementFacts(
                documents=made,
                key=key,
                previous=previous,
                genesis=self._genesis,
                log=logged.section,
                instance_id=self.instance_id,
                signing_mode=self.signer.mode,
                assurance=self.signer.assurance,
            ),
        )
        self.store.put_pseudonym_key(record.sequence, record.cycle_id, key)
        self.store.put_disclosures(record.sequence, record.cycle_id, made.disclosures)
        path = self.store.put_statement(record.sequence, record.cycle_id, payload)
        digest = "sha256:" + sha256_hex(payload)
        self.log.commit(logged, Link(sequence=record.sequence, cycle_id=record.cycle_id, digest=digest))
        return Attested(record=record, statement_digest=digest, path=path)

    def sign(self, attested: Attested, clock: Clock) -> Attested:
        """Sign what waits, oldest first, the statement of this cycle last; say so where it stays unsigned.

        What was done stays done and the chain goes on from the statement, so a failure here is no failure of a cycle.
        """
        if not self.at_once:
            return attested
        try:
            left = self.spool(clock).work()
        except (SigningError, EvidenceError) as error:
            return _unsigned(attested, error)
        unsigned = behind(left)
        if unsigned is not None:
            return _unsigned(attested, unsigned)
        record = attested.record
        return replace(attested, path=self.store.bundle_path(record.sequence, record.cycle_id))

    def spool(self, clock: Clock) -> Spool:
        """Return the statements that wait, with whom they are signed by."""
        return Spool(
            store=self.store,
            signer=self.signer,
            genesis=self._genesis,
            clock=clock,
            random_bytes=self.random_bytes,
            pace=self.pace,
        )

    def resume(self, journal: Sequence[CycleEntry], clock: Clock) -> None:
        """Check that the chain ends where the journal says it does.

        Raises `EvidenceError` when attestations are missing or changed, or later than what the journal knows: nothing
        is acted upon on top of a broken chain, nor with a journal that lost its end or belongs elsewhere, nor on top of
        a log whose hashes or leaves are not those that the statements tell; and `SigningError` when the chain is signed
        in another mode or by another signer, in whose place this one would silently stand, or when attestations are
        `required` and one still waits for its signature.
        """
        head = self.store.head(journal)
        self._same_signer(head)
        last = max((entry.sequence for entry in journal), default=0)
        if head is not None and head.sequence > last:
            msg = f"the attestations go to cycle {head.sequence}, the journal only to {last}"
            raise EvidenceError(
                msg, advice="a journal was lost, rolled back or mixed up: see Restore in docs/operations.md"
            )
        self.log.resume(head)
        if self.required:
            unsigned = behind(self.spool(clock).work(wait_seconds=_OTHERS_SECONDS))
            if unsigned is not None:
                raise unsigned

    @property
    def _genesis(self) -> str:
        return chain_genesis(self.instance_id, self.signer.identity)

    def _same_signer(self, head: Link | None) -> None:
        if head is not None and head.signing_mode not in {"", self.signer.mode}:
            msg = f"the attestations here are signed in mode {head.signing_mode}; configured is {self.signer.mode}"
            raise SigningError(msg, advice=SIGN_AS_BEFORE)
        if head is not None and head.genesis not in {"", self._genesis}:
            msg = f"the attestations here are signed by another one than {self.signer.identity}"
            raise SigningError(msg, advice=SIGN_AS_BEFORE)

    def attested_already(self, entry: CycleEntry) -> Link | None:
        """Return the statement of a cycle that was stored before the journal could note it, after a crash."""
        return self.store.attested(entry.sequence)

    def _nonces(self) -> Iterator[bytes]:
        while True:
            yield self.random_bytes(NONCE_BYTES)


def _unsigned(attested: Attested, error: SigningError | EvidenceError) -> Attested:
    told = f"{type(error).__name__}: the statement waits for its signature: {error}"
    return replace(attested, record=replace(attested.record, errors=(*attested.record.errors, told)))
