"""The JSON documents of `plan` and `cycle`: fields may be added, never renamed.

Their schema is `reconciler/schemas/cycle.schema.json`.
"""

from collections import Counter
from collections.abc import Sequence

from inventory.model import ReadState
from reconciler.attestation import Attested
from reconciler.core.canonical import Json, plain
from reconciler.core.model import Action, ActionResult, Finding, OutcomeState, PolicySet, VerificationState, Withheld
from reconciler.core.record import CycleRecord, InventoryFacts, WillApply

_WORST_FIRST = (
    ReadState.PARTIAL,
    ReadState.DENIED,
    ReadState.UNSUPPORTED,
    ReadState.EXCLUDED,
    ReadState.COMPLETE,
)


def cycle_document(attested: Attested, *, verified: bool) -> dict[str, Json]:
    """Return what `cycle --output json` prints."""
    return {
        **record_document(attested.record),
        "attestation": {"path": attested.path, "digest": attested.statement_digest, "verified": verified},
    }


def record_document(record: CycleRecord) -> dict[str, Json]:
    """Return the record of a cycle as one JSON document."""
    reasons = record.guard.hold_reasons
    digest = record.policy.digest if record.policy else None
    return {
        "cycle_id": record.cycle_id,
        "sequence": record.sequence,
        "mode": record.mode.value,
        "breadth": record.breadth.value,
        "outcome": record.outcome.value,
        "held": bool(reasons),
        "hold_reasons": [{"code": one.code.value, "provider": one.provider, "message": one.message} for one in reasons],
        "started_at": plain(record.started_at),
        "finished_at": plain(record.finished_at),
        "roster": plain(record.roster),
        "engine": plain(record.engine),
        "policy_digest": digest,
        "policy": _revision(record.policy),
        "policy_change": plain(record.policy_change),
        "plan_digest": record.plan.digest if record.plan else None,
        "snapshot": _snapshot(record),
        "findings": [{**_finding(one), "policy_digest": digest} for one in record.findings],
        "withheld": [withheld_document(one) for one in record.plan.withheld] if record.plan else [],
        "will_apply": [_coming(one) for one in record.will_apply],
        "actions": action_counts(record),
        "items": _items(record),
        "reverted": plain(record.reverted),
        "waivers": plain(record.waivers),
        "leavers": plain(record.leavers),
        "armed": plain(record.armed),
        "errors": list(record.errors),
    }


def _revision(policy: PolicySet | None) -> Json:
    """Return which revision of the policies decided, and where it came from; empty text where that is not known."""
    if policy is None:
        return None
    return {"digest": policy.digest, "git_commit": policy.git_commit, "key_id": policy.key_id}


def _snapshot(record: CycleRecord) -> dict[str, Json]:
    names = sorted({facts.provider for facts in record.inventories})
    providers: dict[str, Json] = {
        name: _provider([facts for facts in record.inventories if facts.provider == name]) for name in names
    }
    return {"digest": record.snapshot_digest, "complete": record.snapshot_complete, "providers": providers}


def _provider(scopes: Sequence[InventoryFacts]) -> dict[str, Json]:
    states: dict[str, ReadState] = {}
    for entry in (entry for facts in scopes for entry in facts.coverage):
        known = states.get(entry.kind.value, ReadState.COMPLETE)
        states[entry.kind.value] = min(known, entry.state, key=_WORST_FIRST.index)
    return {
        "complete": all(facts.complete for facts in scopes),
        "scopes": [facts.scope for facts in scopes],
        "artefacts": {kind: state.value for kind, state in sorted(states.items())},
        "counts": {
            "principals": sum(facts.principals for facts in scopes),
            "credentials": sum(facts.credentials for facts in scopes),
            "grants": sum(facts.grants for facts in scopes),
            "sessions": sum(facts.sessions for facts in scopes),
        },
        "api_calls": sum(facts.api_calls for facts in scopes),
    }


def _finding(finding: Finding) -> dict[str, Json]:
    return {
        "rule": finding.rule,
        "code": finding.code,
        "severity": finding.severity.value,
        "effect": finding.effect.value,
        "needs": finding.needs.value,
        "provider": finding.provider,
        "principal_id": finding.principal_id,
        "access_id": finding.access_id,
        "kind": finding.kind.value,
        "worker_id": finding.worker_id,
        "reason": finding.reason,
        "applies_from": plain(finding.applies_from),
    }


def _coming(rule: WillApply) -> dict[str, Json]:
    return {
        "rule": rule.rule,
        "effective_on": plain(rule.effective_on),
        "findings": rule.findings,
        "principals": rule.principals,
        "by_effect": {effect.value: count for effect, count in rule.by_effect},
    }


def withheld_document(withheld: Withheld) -> dict[str, Json]:
    """Return a finding that is not acted upon, and why."""
    finding = withheld.finding
    return {
        "code": withheld.code,
        "message": withheld.message,
        "provider": finding.provider,
        "principal_id": finding.principal_id,
        "access_id": finding.access_id,
        "worker_id": finding.worker_id,
        "effect": finding.effect.value,
    }


def action_counts(record: CycleRecord) -> dict[str, Json]:
    """Count the actions of a cycle; done but not verified gone counts as unknown, never as done."""
    outcomes = Counter(_counted(result) for result in record.results)
    gone = sum(result.verification is VerificationState.GONE for result in record.results)
    return {
        "planned": len(record.plan.actions) if record.plan else 0,
        "done": outcomes["done"],
        "already_absent": outcomes["already_absent"],
        "verified_gone": gone,
        "unknown": outcomes["unknown"],
        "failed": outcomes["failed"],
        "skipped": outcomes["skipped"],
    }


def _counted(result: ActionResult) -> str:
    if result.outcome is OutcomeState.DONE and result.verification is not VerificationState.GONE:
        return OutcomeState.UNKNOWN.value
    return result.outcome.value


def _items(record: CycleRecord) -> list[Json]:
    if record.results:
        return [{**step_document(result.action), **_ending(result)} for result in record.results]
    return [{**step_document(action), **_ending(None)} for action in record.plan.actions] if record.plan else []


def step_document(action: Action) -> dict[str, Json]:
    """Return one step of a plan."""
    return {
        "action_id": action.action_id,
        "provider": action.provider,
        "principal_id": action.principal.principal_id,
        "access_id": action.item.access_id,
        "kind": action.item.kind.value,
        "effect": action.effect.value,
        "worker_id": action.worker_id,
        "rule": action.rule,
        "reason": action.reason,
    }


def _ending(result: ActionResult | None) -> dict[str, Json]:
    if result is None:
        return {"outcome": None, "verification": None, "seconds": None, "detail": "", "effective_by": None}
    seconds = None if result.verified_at is None else (result.verified_at - result.decided_at).total_seconds()
    return {
        "outcome": result.outcome.value,
        "verification": result.verification.value if result.verification else None,
        "seconds": seconds,
        "detail": result.detail,
        "effective_by": plain(result.effective_by),
    }
