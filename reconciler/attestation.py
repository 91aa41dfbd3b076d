"""The last verb: turns the record of a cycle into stored evidence and a signed, chained statement.

Evidence first, then the statement that names it, then its signature: a crash in between leaves evidence that nobody
names, never a statement whose evidence is missing.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from inventory.model import Snapshot
from reconciler.core.canonical import sha256_hex
from reconciler.core.errors import EvidenceError, SigningError
from reconciler.core.grounds import NO_GROUNDS, Grounds
from reconciler.core.leaves import KEY_BYTES, NONCE_BYTES
from reconciler.core.record import CycleRecord
from reconciler.core.standing import Standing
from reconciler.core.statement import Link, StatementFacts, build_statement, chain_genesis, documents
from reconciler.ports import CycleEntry, EvidenceLog, EvidenceStore, Signer

_MOST_AT_ONCE = 20
"""Statements signed late in one cycle: more would keep the next cycle waiting."""


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

    def attest(self, record: CycleRecord, journal: Sequence[CycleEntry], grounds: Grounds = NO_GROUNDS) -> Attested:
        """Store the evidence of a cycle, state it, sign it and store the bundle.

        A statement that cannot be signed now is stored without its signature and waits: what was done stays done, and
        the chain goes on from it. Statements are signed strictly in order, so later ones wait behind it.

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
                genesis=chain_genesis(self.instance_id, self.signer.identity),
                log=logged.section,
                instance_id=self.instance_id,
                signing_mode=self.signer.mode,
                assurance=self.signer.assurance,
            ),
        )
        self.store.put_pseudonym_key(record.sequence, record.cycle_id, key)
        self.store.put_disclosures(record.sequence, record.cycle_id, made.disclosures)
        digest = "sha256:" + sha256_hex(payload)
        try:
            self._sign_waiting(_MOST_AT_ONCE)
            signed = self.signer.sign(payload)
        except SigningError as error:
            path = self.store.put_statement(record.sequence, record.cycle_id, payload)
            told = f"SigningError: the statement waits for its signature: {error}"
            record = replace(record, errors=(*record.errors, told))
        else:
            path = self.store.put_attestation(record.sequence, record.cycle_id, signed)
        self.log.commit(logged, Link(sequence=record.sequence, cycle_id=record.cycle_id, digest=digest))
        return Attested(record=record, statement_digest=digest, path=path)

    def _sign_waiting(self, most: int) -> None:
        """Sign what waits, oldest first; raises `SigningError` when anything is left waiting."""
        waiting = self.store.waiting()
        for one in waiting[:most]:
            self.store.put_bundle(one, self.signer.sign(one.payload).bundle)
        if len(waiting) > most:
            msg = f"{len(waiting) - most} earlier statements wait for theirs"
            raise SigningError(msg, advice=f"nothing is to be done: each cycle signs up to {most} of them")

    def resume(self, journal: Sequence[CycleEntry]) -> None:
        """Finish what a crash left half-stored and check that the chain ends where the journal says it does.

        Raises `EvidenceError` when attestations are missing or changed, or later than what the journal knows: nothing
        is acted upon on top of a broken chain, nor with a journal that lost its end or belongs elsewhere, nor on top of
        a log whose hashes or leaves are not those that the statements tell; and
        `SigningError` when the chain is signed in another mode, in whose place this one would silently stand, or when
        attestations are `required` and one still waits for its signature.
        """
        self.store.recover()
        head = self.store.head(journal)
        self._same_mode(head)
        last = max((entry.sequence for entry in journal), default=0)
        if head is not None and head.sequence > last:
            msg = f"the attestations go to cycle {head.sequence}, the journal only to {last}"
            raise EvidenceError(
                msg, advice="a journal was lost, rolled back or mixed up: see Restore in docs/operations.md"
            )
        self.log.resume(head)
        if self.required:
            self._sign_waiting(_MOST_AT_ONCE)

    def _same_mode(self, head: Link | None) -> None:
        if head is not None and head.signing_mode not in {"", self.signer.mode}:
            msg = f"the attestations here are signed in mode {head.signing_mode}; configured is {self.signer.mode}"
            raise SigningError(
                msg, advice="set signing back as it was, or begin a chain of its own with a new state_dir"
            )

    def attested_already(self, entry: CycleEntry) -> Link | None:
        """Return the statement of a cycle that was stored before the journal could note it, after a crash."""
        return self.store.attested(entry.sequence)

    def _nonces(self) -> Iterator[bytes]:
        while True:
            yield self.random_bytes(NONCE_BYTES)
