"""Cycles that decided about the sample company, attested with everything that their decisions rest on."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconciler.adapters.attestation_document import StatementDocument, read_statement
from reconciler.adapters.disclosures import CycleLeaves
from reconciler.adapters.evidence_store import FileEvidenceStore, attestation_stem, disclosures_path, evidence_path
from reconciler.adapters.key_signer import KeySigner
from reconciler.core.canonical import dumps
from reconciler.core.document import EvaluationWorld
from reconciler.core.grounds import Grounds, GroundsKeeper
from reconciler.core.record import CycleOutcome, CycleRecord
from reconciler.core.statement import build_statement, chain_genesis, documents
from reconciler.evaluation import evaluate
from reconciler.ports import PolicyEngine
from tests.record_builders import (
    KEY,
    cycle_id,
    cycle_record,
    evidence_log,
    nonces,
    plan,
    put_attestation,
    roster_facts,
    statement_facts,
)
from tests.worlds import company


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """A cycle that decided, with what its decisions rest on."""

    record: CycleRecord
    grounds: Grounds


def decided(engine: PolicyEngine, sequence: int = 1, world: EvaluationWorld | None = None, **changes: Any) -> Decided:
    """Have the policies decide about a world; `changes` are made to the record."""
    asked = world or company(cycle_id=cycle_id(sequence))
    keeper = GroundsKeeper()
    evaluation = evaluate(engine, asked, grounds=keeper)
    values: dict[str, Any] = {
        "sequence": sequence,
        "outcome": CycleOutcome.PARTIAL,
        "roster": roster_facts(leavers=1),
        "policy": asked.policies,
        "engine": evaluation.engine,
        "findings": evaluation.findings,
        "evaluated": evaluation.evaluated,
        "undecided": len(evaluation.unknown),
        "plan": plan(cycle_id=cycle_id(sequence), actions=(), reviews=(), withheld=()),
        "results": (),
    }
    return Decided(record=cycle_record(**(values | changes)), grounds=keeper.grounds())


class Disclosing:
    """A store with such cycles, chained and signed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = FileEvidenceStore(root)
        self.signer = KeySigner.open(root / "keys" / "attestation.pem")
        self.log = evidence_log(root)
        self.documents: dict[int, StatementDocument] = {}

    def attest(self, cycle: Decided) -> None:
        """Add a cycle to the chain."""
        record = cycle.record
        previous = self.store.head()
        made = documents(record, KEY, nonces(), previous, cycle.grounds)
        logged = self.log.extended(made.leaves, previous)
        for name, content in made.files:
            self.store.put(content, kind=name)
        self.store.put_pseudonym_key(record.sequence, record.cycle_id, KEY)
        self.store.put_disclosures(record.sequence, record.cycle_id, made.disclosures)
        genesis = chain_genesis("test-installation", self.signer.identity)
        facts = statement_facts(record, documents=made, previous=previous, genesis=genesis, log=logged.section)
        signed = self.signer.sign(build_statement(record, facts))
        put_attestation(self.store, record.sequence, record.cycle_id, signed)
        self.documents[record.sequence] = read_statement(signed.payload)
        head = self.store.head()
        assert head is not None
        self.log.commit(logged, head)

    def evidence(self, sequence: int, name: str) -> Path:
        """Return where an evidence file of a cycle lies."""
        named = {subject.name: subject.digest.sha256 for subject in self.documents[sequence].subject}
        return evidence_path(self.root, named[name])

    def disclosures(self, sequence: int) -> Path:
        """Return where the lines of a cycle lie."""
        return disclosures_path(self.root, sequence, cycle_id(sequence))

    def packed(self, folder: Path, chosen: Mapping[int, list[tuple[str, int]]]) -> Path:
        """Lay out a pack that shows some leaves of each cycle, with the policies; return its folder."""
        (folder / "decisions").mkdir(parents=True)
        for sequence, places in chosen.items():
            shown = CycleLeaves.open(self.root, self.documents[sequence]).show(places)
            name = attestation_stem(sequence, cycle_id(sequence)) + ".jsonl"
            (folder / "decisions" / name).write_bytes(shown.content())
            policies = self.evidence(sequence, "policy-bundle")
            place = folder / policies.relative_to(self.root)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(policies.read_bytes())
        (folder / "attestations").symlink_to(self.root / "attestations")
        (folder / "keys").symlink_to(self.root / "keys")
        return folder


def altered(grounds: Grounds, **changes: Any) -> Grounds:
    """Return grounds that say something else was asked or answered, as a cycle that lied would have signed it."""
    asked = {place: dumps({**json.loads(content), **changes}) for place, content in grounds.asked.items()}
    return Grounds(common=grounds.common, asked=asked, leavers=grounds.leavers)
