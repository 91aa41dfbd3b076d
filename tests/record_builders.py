"""Builders of the record of a whole cycle and its parts, and of a chain of signed attestations."""

import itertools
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

from inventory.model import ArtefactKind, Coverage, ReadState
from inventory.roster.model import WorkerId
from reconciler.adapters.attestations import Report, verify
from reconciler.adapters.evidence_log import FileEvidenceLog
from reconciler.adapters.evidence_store import FileEvidenceStore, evidence_path
from reconciler.adapters.key_signer import KeySigner
from reconciler.adapters.log_key import LogKey
from reconciler.adapters.sigstore_bundle import VerifyingKey
from reconciler.core.canonical import sha256_hex
from reconciler.core.checkpoint import VerifierKey
from reconciler.core.merkle import Frontier
from reconciler.core.model import (
    ActionResult,
    CycleId,
    EngineInfo,
    Mode,
    Need,
    OutcomeState,
    Plan,
    PlanDigest,
    PolicySet,
    Rule,
    Severity,
    VerificationState,
    Withheld,
)
from reconciler.core.record import (
    CycleOutcome,
    CycleRecord,
    GuardFacts,
    InventoryFacts,
    LeaverState,
    LeaverVerdict,
    RosterFacts,
    WaiverFacts,
)
from reconciler.core.running_log import LOGGED, extension
from reconciler.core.spooling import Waiting
from reconciler.core.statement import Link, StatementFacts, build_statement, chain_genesis, documents
from reconciler.evidence_ports import SignedStatement
from reconciler.ports import CycleEntry
from tests.builders import NOW, PROVIDER, SCOPE, action, credential, finding, grant, principal

KEY = b"k" * 32
LOG_KEY = VerifierKey("access-reconciler.dev/log/test-installation", b"l" * 32)
"""A pseudonym key for tests."""


def policy_set(**changes: Any) -> PolicySet:
    """Build a policy set of the one rule `leaver`."""
    rule = Rule(
        rule_id="leaver",
        title="A leaver holds access",
        description="Access outlives the worker's last day.",
        code="leaver",
        severity=Severity.CRITICAL,
        needs=Need.ITEM,
        controls=("SOC2:CC6.2", "ISO27001:A.5.18"),
        remediation="Revoke it.",
    )
    values: dict[str, Any] = {
        "digest": "sha256:" + "b" * 64,
        "rules": (rule,),
        "modules": (("access/driver.rego", "package access.driver\n"),),
        "data": "{}",
        "git_commit": "c" * 40,
    }
    return PolicySet(**(values | changes))


def roster_facts(**changes: Any) -> RosterFacts:
    """Build the facts of an accepted roster, an hour old."""
    values: dict[str, Any] = {
        "source": "csv:roster.csv",
        "digest": "sha256:" + "a" * 64,
        "as_of": NOW - timedelta(hours=1),
        "fetched_at": NOW,
        "rows": 40,
        "workers": 39,
        "leavers": 1,
        "accepted": True,
        "max_age_seconds": 86_400,
    }
    return RosterFacts(**(values | changes))


def inventory_facts(**changes: Any) -> InventoryFacts:
    """Build the facts of one scope that was read to its end."""
    values: dict[str, Any] = {
        "provider": PROVIDER,
        "provider_type": "aws_iam",
        "scope": SCOPE,
        "complete": True,
        "started_at": NOW,
        "finished_at": NOW + timedelta(seconds=2),
        "digest": "sha256:" + "d" * 64,
        "principals": 12,
        "credentials": 20,
        "grants": 15,
        "sessions": 0,
        "api_calls": 9,
        "coverage": (
            Coverage(kind=ArtefactKind.PRINCIPAL, state=ReadState.COMPLETE, count=12),
            Coverage(kind=ArtefactKind.ACCESS_KEY, state=ReadState.COMPLETE, count=20),
        ),
    }
    return InventoryFacts(**(values | changes))


def guard_facts(**changes: Any) -> GuardFacts:
    """Build the default limits, holding nothing."""
    values: dict[str, Any] = {
        "max_principals": 25,
        "max_percent": 10,
        "percent_population": 100,
        "window_seconds": 86_400,
        "min_admins": 2,
        "plan_ttl_seconds": 900,
    }
    return GuardFacts(**(values | changes))


def action_result(**changes: Any) -> ActionResult:
    """Build the result of a revocation that was done and verified gone after four seconds."""
    item = credential()
    values: dict[str, Any] = {
        "action": action(principal(), item),
        "outcome": OutcomeState.DONE,
        "verification": VerificationState.GONE,
        "decided_at": NOW + timedelta(seconds=3),
        "acted_at": NOW + timedelta(seconds=4),
        "verified_at": NOW + timedelta(seconds=7),
        "effective_by": NOW + timedelta(seconds=64),
    }
    return ActionResult(**(values | changes))


def plan(**changes: Any) -> Plan:
    """Build a plan of one revocation, with one waived and one reviewed finding beside it."""
    item = credential()
    membership = grant()
    values: dict[str, Any] = {
        "digest": PlanDigest("sha256:" + "e" * 64),
        "cycle_id": CycleId("11111111-1111-4111-8111-000000000001"),
        "created_at": NOW + timedelta(seconds=3),
        "policy_digest": "sha256:" + "b" * 64,
        "roster_digest": "sha256:" + "a" * 64,
        "actions": (action(principal(), item),),
        "reviews": (finding(grant("bob")),),
        "withheld": (Withheld(finding=finding(membership), code="waived", message="waived until 2026-06-01"),),
    }
    return Plan(**(values | changes))


def cycle_id(sequence: int) -> CycleId:
    """Return a cycle id that tells its sequence number."""
    return CycleId(f"11111111-1111-4111-8111-{sequence:012d}")


def cycle_record(**changes: Any) -> CycleRecord:
    """Build the record of an enforced cycle: one revocation verified gone, one finding waived, one in review."""
    sequence = changes.get("sequence", 1)
    values: dict[str, Any] = {
        "cycle_id": cycle_id(sequence),
        "sequence": sequence,
        "mode": Mode.ENFORCE,
        "outcome": CycleOutcome.COMPLETE,
        "started_at": NOW,
        "finished_at": NOW + timedelta(seconds=8),
        "version": "0.1.0",
        "config_digest": "sha256:" + "f" * 64,
        "roster": roster_facts(),
        "policy": policy_set(),
        "engine": EngineInfo(name="opa", version="1.22.2", revision="sha256:" + "b" * 64),
        "inventories": (inventory_facts(),),
        "snapshot_digest": "sha256:" + "9" * 64,
        "findings": (finding(credential()), finding(grant()), finding(grant("bob"))),
        "evaluated": 35,
        "undecided": 0,
        "plan": plan(cycle_id=cycle_id(sequence)),
        "guard": guard_facts(),
        "results": (action_result(),),
        "leavers": (
            LeaverVerdict(
                worker_id=WorkerId("E1001"),
                state=LeaverState.CLEAN,
                access_end_at=NOW - timedelta(days=14),
                remaining=0,
            ),
        ),
        "waivers": WaiverFacts(in_force=1, expiring_soon=1, digest="sha256:" + "d" * 64),
    }
    return CycleRecord(**(values | changes))


def nonces() -> Iterator[bytes]:
    """Yield distinct nonces without end."""
    return (number.to_bytes(16, "big") for number in itertools.count())


def evidence_log(root: Path) -> FileEvidenceLog:
    """Open the log of a store, with a key beside it."""
    return FileEvidenceLog(root, LogKey.open(root / "keys" / "log.pem", "test-installation"))


def statement_facts(record: CycleRecord, **changes: Any) -> StatementFacts:
    """Build the facts that go with a record, as the first of its chain and of its log."""
    made = documents(record, KEY, nonces(), changes.get("previous"))
    log = extension(Frontier(), made.leaves, origin=LOG_KEY.name, verifier_key=LOG_KEY.text)
    values: dict[str, Any] = {
        "documents": made,
        "key": KEY,
        "previous": None,
        "genesis": chain_genesis("test-installation", "sha256:" + "0" * 64),
        "log": log.section,
        "instance_id": "test-installation",
        "signing_mode": "managed-key",
        "assurance": "local-key",
    }
    return StatementFacts(**(values | changes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A store with a chain of signed attestations."""

    store: FileEvidenceStore
    signer: KeySigner
    links: tuple[Link, ...]

    @property
    def folder(self) -> Path:
        """Return the folder of the attestations."""
        return self.store.root / "attestations"

    @property
    def key(self) -> VerifyingKey:
        """Return the key that the auditor trusts."""
        return self.signer.verifying_key

    def copied(self, root: Path) -> Self:
        """Copy the whole store to a new folder, to be damaged there."""
        shutil.copytree(self.store.root, root)
        return replace(self, store=FileEvidenceStore(root))

    def files(self, sequence: int) -> tuple[Path, Path]:
        """Return statement and bundle of a cycle."""
        stem = f"{sequence:06d}-{cycle_id(sequence)}"
        return self.folder / f"{stem}.statement.json", self.folder / f"{stem}.sigstore.json"


def log_file(chain: Chain, sequence: int, name: str) -> Path:
    """Return where the evidence file of a cycle lies."""
    statement = json.loads(chain.files(sequence)[0].read_bytes())
    digests = {subject["name"]: subject["digest"]["sha256"] for subject in statement["subject"]}
    return evidence_path(chain.store.root, digests[name])


def erased(chain: Chain, sequence: int) -> None:
    """Destroy the records of a cycle."""
    for name in LOGGED:
        log_file(chain, sequence, name).unlink()


def cut_off(chain: Chain, sequence: int) -> None:
    """Remove a cycle and all later ones without a trace in the folder: attestations, checkpoints and log."""
    statement = json.loads(chain.files(sequence)[0].read_bytes())
    os.truncate(chain.store.root / "log" / "leaf-hashes", 32 * statement["predicate"]["log"]["treeSizeBefore"])
    for link in chain.links[sequence - 1 :]:
        checkpoint = chain.store.root / "checkpoints" / f"{link.sequence:06d}-{link.cycle_id}.txt"
        for path in (*chain.files(link.sequence), checkpoint):
            path.unlink()


def verified(chain: Chain) -> Report:
    """Verify a chain without any knowledge but the key."""
    return verify(chain.store.root, chain.key)


def blamed(report: Report) -> set[tuple[str, str]]:
    """Return which cycle is blamed for what; nothing may count as verified then."""
    assert not report.verified
    assert report.head is None
    return {(problem.cycle_id, problem.code) for problem in report.problems}


def put_attestation(store: FileEvidenceStore, sequence: int, cycle: CycleId, signed: SignedStatement) -> None:
    """Store a statement and then its bundle, as a cycle and whoever signs it do."""
    store.put_statement(sequence, cycle, signed.payload)
    store.put_bundle(Waiting(sequence=sequence, cycle_id=cycle), signed.bundle)


def attested_chain(root: Path, *records: CycleRecord) -> Chain:
    """Attest records one after another with a key of their own, as a cycle does, and keep all evidence."""
    store, signer = FileEvidenceStore(root), KeySigner.open(root / "keys" / "attestation.pem")
    log = evidence_log(root)
    links: list[Link] = []
    for record in records:
        previous = store.head()
        made = documents(record, KEY, nonces(), previous)
        logged = log.extended(made.leaves, previous)
        facts = statement_facts(
            record,
            documents=made,
            previous=previous,
            genesis=chain_genesis("test-installation", signer.identity),
            log=logged.section,
        )
        for name, content in facts.documents.files:
            store.put(content, kind=name)
        store.put_disclosures(record.sequence, record.cycle_id, made.disclosures)
        payload = build_statement(record, facts)
        put_attestation(store, record.sequence, record.cycle_id, signer.sign(payload))
        digest = "sha256:" + sha256_hex(payload)
        links.append(
            Link(
                sequence=record.sequence,
                cycle_id=record.cycle_id,
                digest=digest,
                outcome=record.outcome.value,
                signing_mode=signer.mode,
                genesis=chain_genesis("test-installation", signer.identity),
            )
        )
        log.commit(logged, links[-1])
    return Chain(store=store, signer=signer, links=tuple(links))


def journal_of(chain: Chain) -> tuple[CycleEntry, ...]:
    """Return what the journal of an undamaged chain holds."""
    return tuple(
        CycleEntry(
            sequence=link.sequence,
            cycle_id=link.cycle_id,
            mode=Mode.ENFORCE,
            started_at=NOW,
            outcome=CycleOutcome.COMPLETE,
            finished_at=NOW,
            statement_digest=link.digest,
        )
        for link in chain.links
    )
