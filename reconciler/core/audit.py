"""The audit trail as records: each decision, act, outcome, approval and refused input, one line each.

Built from what the journal and the record of a cycle already say, and from nothing else, so that the same fact always
gives the same record with the same id. Ids of workers, principals and access items are in it; names, e-mails, login
names, free text of providers and whatever a before-image holds are not. `docs/audit.md` describes each field.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from reconciler.core.canonical import Json, digest_of, dumps, rfc3339, sha256_hex
from reconciler.core.model import (
    Action,
    Approval,
    CycleId,
    Effect,
    Finding,
    HoldCode,
    HoldReason,
    Mode,
    OutcomeState,
    Plan,
    PlanDigest,
    VerificationState,
)
from reconciler.core.ocsf import OCSF_VERSION, STATUS, event
from reconciler.core.record import CycleOutcome, CycleRecord

SCHEMA: Final = "access-reconciler/audit/v1"
"""Fields may be added under this name, never renamed or given another meaning."""
MOST_PLACES: Final = 100
"""Places of a refused roster that one record names; the count beside them is of all."""


class AuditKind(StrEnum):
    """What a record tells, in the order in which a cycle comes to it."""

    REFUSED_INPUT = "refused_input"
    POLICY_CHANGE = "policy_change"
    """What a new revision of the policies changed in its first cycle, in numbers."""
    PLAN = "plan"
    DECISION = "decision"
    APPROVAL = "approval"
    RELEASE = "release"
    """An approval was spent: the held plan that it names was carried out."""
    ACT = "act"
    """An act is about to be made; durable in the journal before the provider is called."""
    OUTCOME = "outcome"
    VERIFICATION = "verification"
    UNDO = "undo"
    CYCLE = "cycle"
    ERASURE = "erasure"
    """What is personal of a past cycle was destroyed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord:
    """One fact of the audit trail."""

    kind: AuditKind
    key: tuple[str, ...]
    """What makes the fact unique among those of its kind; the id is made from it."""
    at: datetime
    """When it happened, as the journal says; never when it was exported."""
    cycle_id: CycleId | None
    subject: Mapping[str, Json] | None = None
    facts: Mapping[str, Json]
    ocsf: Mapping[str, Json] | None = None

    @property
    def record_id(self) -> str:
        """Return the id: the same fact has the same one, however often it is exported."""
        return sha256_hex(dumps([self.kind.value, *self.key]))[:32]

    def document(self) -> dict[str, Json]:
        """Return the record as the streams carry it; every record has all of these fields."""
        ocsf: Json = None
        if self.ocsf is not None:
            ocsf = {**self.ocsf, "time": int(self.at.timestamp() * 1000), "metadata": self._ocsf_metadata()}
        return {
            "schema": SCHEMA,
            "id": self.record_id,
            "kind": self.kind.value,
            "at": rfc3339(self.at),
            "cycle_id": self.cycle_id,
            "subject": None if self.subject is None else dict(self.subject),
            "facts": dict(self.facts),
            "ocsf": ocsf,
        }

    def _ocsf_metadata(self) -> dict[str, Json]:
        product: dict[str, Json] = {"name": "access-reconciler", "vendor_name": "access-reconciler"}
        return {"uid": self.record_id, "version": OCSF_VERSION, "product": product}


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedCycle:
    """A cycle with its end, as the journal holds it."""

    cycle_id: CycleId
    sequence: int
    mode: Mode
    outcome: CycleOutcome
    statement_digest: str
    started_at: datetime
    finished_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of an act, with the act that it belongs to."""

    action: Action
    cycle_id: CycleId
    at: datetime


def cycle_ended(entry: EndedCycle) -> AuditRecord:
    """Tell that a cycle ended, how, and which signed statement says the rest."""
    return AuditRecord(
        kind=AuditKind.CYCLE,
        key=(entry.cycle_id,),
        at=entry.finished_at,
        cycle_id=entry.cycle_id,
        facts={
            "sequence": entry.sequence,
            "mode": entry.mode.value,
            "outcome": entry.outcome.value,
            "started_at": rfc3339(entry.started_at),
            "statement_digest": entry.statement_digest,
        },
    )


def cycle_erased(cycle_id: CycleId, sequence: int, destroyed: Sequence[str], at: datetime) -> AuditRecord:
    """Tell what of a past cycle was destroyed. Who did it stands in the record of erasures, and only there."""
    parts: list[Json] = [*destroyed]
    return AuditRecord(
        kind=AuditKind.ERASURE,
        key=(cycle_id, rfc3339(at), *destroyed),
        at=at,
        cycle_id=cycle_id,
        facts={"sequence": sequence, "destroyed": parts},
    )


def plan_made(plan: Plan, holds: Sequence[HoldReason], previous: Plan | None) -> tuple[AuditRecord, ...]:
    """Tell a plan and each decision in it; decisions equal to the previous plan's are referred to, not repeated.

    A daemon decides the same every few minutes: the trail holds each decision when it is first made and when anything
    about it changes.
    """
    decisions = _decisions(plan)
    same = previous is not None and _lasting(decisions) == _lasting(_decisions(previous))
    codes: list[Json] = [*sorted({hold.code.value for hold in holds})]
    head = AuditRecord(
        kind=AuditKind.PLAN,
        key=(plan.cycle_id,),
        at=plan.created_at,
        cycle_id=plan.cycle_id,
        facts={
            "plan_digest": plan.digest,
            "policy_digest": plan.policy_digest,
            "roster_digest": plan.roster_digest,
            "held": bool(holds),
            "hold_codes": codes,
            "actions": len(plan.actions),
            "reviews": len(plan.reviews),
            "withheld": len(plan.withheld),
            "decisions_as_in_cycle": previous.cycle_id if same and previous is not None else None,
        },
    )
    return (head, *_refused_by_guard(plan, holds), *(() if same else decisions))


def _refused_by_guard(plan: Plan, holds: Sequence[HoldReason]) -> tuple[AuditRecord, ...]:
    codes = sorted({hold.code for hold in holds} & _ROSTER_HOLDS)
    return tuple(_refused(plan.cycle_id, plan.created_at, "roster", code.value, {}) for code in codes)


_ROSTER_HOLDS: Final = frozenset({HoldCode.ROSTER_STALE, HoldCode.ROSTER_SHRUNKEN})


def _decisions(plan: Plan) -> tuple[AuditRecord, ...]:
    made = [_planned(plan, action) for action in plan.actions]
    made += [_found(plan, one, Effect.REVIEW, "") for one in plan.reviews]
    made += [_found(plan, one.finding, Effect.KEEP, one.code) for one in plan.withheld]
    return tuple({record.key: record for record in made}.values())


def _lasting(decisions: Sequence[AuditRecord]) -> str:
    """Return the digest of what decisions say, without the cycle that they were made in."""
    said = [[record.subject, {**record.facts, "action_id": None}] for record in decisions]
    return digest_of(sorted(said, key=digest_of))


def _planned(plan: Plan, action: Action) -> AuditRecord:
    return AuditRecord(
        kind=AuditKind.DECISION,
        key=(plan.cycle_id, "action", action.action_id),
        at=plan.created_at,
        cycle_id=plan.cycle_id,
        subject=_subject(action),
        facts={
            "asked": action.effect.value,
            "effect": action.effect.value,
            "withheld": None,
            "rule": action.rule,
            "code": action.code,
            "needs": action.needs.value,
            "action_id": action.action_id,
        },
    )


def _found(plan: Plan, finding: Finding, effect: Effect, withheld: str) -> AuditRecord:
    identity = (finding.provider, finding.principal_id, finding.access_id, finding.rule, finding.code, withheld)
    return AuditRecord(
        kind=AuditKind.DECISION,
        key=(plan.cycle_id, "finding", *identity, finding.effect.value),
        at=plan.created_at,
        cycle_id=plan.cycle_id,
        subject={
            "provider": finding.provider,
            "scope": finding.scope,
            "principal_id": finding.principal_id,
            "access_id": finding.access_id,
            "artefact": finding.kind.value,
            "worker_id": finding.worker_id,
        },
        facts={
            "asked": finding.effect.value,
            "effect": effect.value,
            "withheld": withheld or None,
            "rule": finding.rule,
            "code": finding.code,
            "needs": finding.needs.value,
            "action_id": None,
        },
    )


def approval_given(position: int, approval: Approval) -> AuditRecord:
    """Tell that a person released a held plan. Who it was stands in the journal, at this position, and only there."""
    lifts: list[Json] = [*sorted(code.value for code in approval.lifts)]
    return AuditRecord(
        kind=AuditKind.APPROVAL,
        key=(str(position), approval.plan_digest, rfc3339(approval.approved_at)),
        at=approval.approved_at,
        cycle_id=None,
        facts={
            "plan_digest": approval.plan_digest,
            "expires_at": rfc3339(approval.expires_at),
            "lifts": lifts,
            "journal_approval": position,
        },
    )


def approval_spent(position: int, plan_digest: PlanDigest, cycle_id: CycleId, at: datetime) -> AuditRecord:
    """Tell that a cycle used an approval; it is good for nothing after that."""
    return AuditRecord(
        kind=AuditKind.RELEASE,
        key=(str(position), plan_digest, cycle_id),
        at=at,
        cycle_id=cycle_id,
        facts={"plan_digest": plan_digest, "journal_approval": position},
    )


def act_begun(step: Step, *, epoch: int, plan_digest: PlanDigest, restorable: bool) -> AuditRecord:
    """Tell that an act is about to be made: its intent is in the journal."""
    facts: dict[str, Json] = {
        "epoch": epoch,
        "plan_digest": plan_digest,
        "restorable": restorable,
        "rule": step.action.rule,
    }
    return _step(AuditKind.ACT, step, (), facts)


def act_ended(step: Step, outcome: OutcomeState) -> AuditRecord:
    """Tell how an act ended, as the provider answered."""
    return _step(AuditKind.OUTCOME, step, (), {"outcome": outcome.value}, event(step.action, STATUS[outcome]))


def read_again(step: Step, position: int, state: VerificationState) -> AuditRecord:
    """Tell what reading again showed; an act may be read again more than once, the latest counts."""
    return _step(AuditKind.VERIFICATION, step, (str(position),), {"verification": state.value})


def given_back(step: Step) -> AuditRecord:
    """Tell that an act was undone and seen to be undone."""
    return _step(AuditKind.UNDO, step, (), {}, event(step.action, STATUS[OutcomeState.DONE], undone=True))


def _step(
    kind: AuditKind,
    step: Step,
    more: tuple[str, ...],
    facts: Mapping[str, Json],
    ocsf: Mapping[str, Json] | None = None,
) -> AuditRecord:
    action = step.action
    return AuditRecord(
        kind=kind,
        key=(action.action_id, *more),
        at=step.at,
        cycle_id=step.cycle_id,
        subject=_subject(action),
        facts={"action_id": action.action_id, "effect": action.effect.value, **facts},
        ocsf=ocsf,
    )


def _subject(action: Action) -> dict[str, Json]:
    return {
        "provider": action.provider,
        "scope": action.scope,
        "principal_id": action.principal.principal_id,
        "access_id": action.item.access_id,
        "artefact": action.item.kind.value,
        "worker_id": action.worker_id,
    }


def inputs_refused(record: CycleRecord) -> tuple[AuditRecord, ...]:
    """Tell which input a cycle would not decide on, by code and place; the journal does not know these by itself."""
    refused = []
    for line in record.errors:
        name, colon, _ = line.partition(":")
        source = _INPUT_OF_ERROR.get(name) if colon else None
        if source is not None:
            refused.append(_refused(record.cycle_id, record.started_at, source, name, {}))
    roster = record.roster
    if roster is not None and roster.problems:
        places: list[Json] = [*roster.problems[:MOST_PLACES]]
        facts: dict[str, Json] = {"digest": roster.digest, "places": places, "count": len(roster.problems)}
        refused.append(_refused(record.cycle_id, record.started_at, "roster", "rows", facts))
    return tuple({one.key: one for one in refused}.values())


def policies_compared(record: CycleRecord) -> tuple[AuditRecord, ...]:
    """Tell in numbers what a new revision of the policies changed; whom it concerns is told as decisions are made."""
    change = record.policy_change
    if change is None:
        return ()
    counts: dict[str, Json] = {**change.counts}
    facts: dict[str, Json] = {"state": change.state.value, "before": change.before or None, "after": change.after}
    return (
        AuditRecord(
            kind=AuditKind.POLICY_CHANGE,
            key=(record.cycle_id, change.after),
            at=change.at,
            cycle_id=record.cycle_id,
            facts={**facts, "counts": counts or None},
        ),
    )


_INPUT_OF_ERROR: Final = {
    "RosterRefused": "roster",
    "PolicyError": "policies",
    "PolicyFileError": "policies",
    "Undecided": "policies",
    "Waiver refused": "waivers",
    "Policies refused": "policies",
}
"""Errors of a cycle that mean: an input was refused; what precedes the colon of the record's line."""


def _refused(cycle_id: CycleId, at: datetime, source: str, code: str, facts: Mapping[str, Json]) -> AuditRecord:
    return AuditRecord(
        kind=AuditKind.REFUSED_INPUT,
        key=(cycle_id, source, code),
        at=at,
        cycle_id=cycle_id,
        facts={"input": source, "code": code, **facts},
    )
