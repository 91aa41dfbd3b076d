"""The sections of a statement's predicate that come from the record of a cycle: counts, digests and codes.

Nothing that a person typed passes through here. What may be prose becomes a code or a count, persons and scopes become
pseudonyms, and the rest is numbers, instants, digests and the operator's own names for providers and rules.
"""

import re
from collections import Counter
from collections.abc import Container, Iterable
from datetime import timedelta

from inventory.model import ArtefactKind, Coverage, ReadState
from reconciler.core.canonical import Json, plain, rfc3339
from reconciler.core.leaves import cycle_facts, decisions, reference
from reconciler.core.model import Approval, OutcomeState, VerificationState
from reconciler.core.record import CycleOutcome, CycleRecord, InventoryFacts, LeaverState

ERROR_CODES = {
    "interrupted": "interrupted",
    "Rehearsal": "rehearsal",
    "Waiver refused": "waiver_refused",
    "Policies refused": "policies_refused",
    "Policies not compared": "policies_not_compared",
    "SettingsError": "settings",
    "PolicyError": "policy_engine",
    "PolicyFileError": "policy_file",
    "Undecided": "undecided",
    "RosterRefused": "roster_refused",
    "JournalError": "journal",
    "AuditError": "audit_trail",
    "LeaseLost": "lease_lost",
    "Superseded": "superseded",
    "LimitExceeded": "limit_exceeded",
    "EvidenceError": "evidence",
    "SigningError": "signing",
    "UnverifiedSignature": "signing",
    "ApprovalRefused": "approval_refused",
    "ProviderError": "provider",
    "Throttled": "provider_throttled",
    "Unavailable": "provider_unavailable",
    "Denied": "provider_denied",
    "Misconfigured": "provider_misconfigured",
    "Unsupported": "provider_unsupported",
    "ObjectMissing": "object_missing",
    "ObjectChanged": "object_changed",
}
"""The words an error line of a record begins with, before its colon (mostly error types), and their codes."""
READ_FAILED = "read_failed"
"""The code of an error line that begins with a provider's name and scope."""
UNCLASSIFIED = "unclassified"
"""Stands for every text that is no known code."""

_REASON_CODES = {
    ReadState.PARTIAL: "read_interrupted",
    ReadState.DENIED: "reader_refused",
    ReadState.UNSUPPORTED: "not_offered_by_provider",
    ReadState.EXCLUDED: "excluded_by_operator",
}
_DECISION_STATES = ("keep", "review", "quarantine", "revoke", "waived", "undecided")
_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")
_KEY_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}\Z")
_COMMIT = re.compile(r"[0-9a-f]{7,64}\Z")
_ROSTER_PROBLEM = re.compile(r"line \d+, column \d+: (?P<code>[a-z][a-z0-9_]{0,63})\Z")
_MISSING = re.compile(r"(?P<provider>[^/\s]+)/(?:.*/)?(?P<kind>[a-z_]+): (?P<state>[a-z]+)\Z", re.DOTALL)
_KINDS = frozenset(kind.value for kind in ArtefactKind)
_STATES = frozenset(state.value for state in ReadState)
_SHA256 = re.compile(r"(?:sha256:)?(?P<hex>[0-9a-f]{64})\Z")


def digest_set(digest: str) -> Json:
    """Return an in-toto digest set, or null where there is no digest."""
    match = _SHA256.match(digest)
    return None if match is None else {"sha256": match["hex"]}


def _code(text: str) -> str:
    """Let codes through and nothing that could be prose."""
    return text if _CODE.match(text) else UNCLASSIFIED


def _tally(codes: Iterable[str]) -> dict[str, Json]:
    return dict[str, Json](sorted(Counter(codes).items()))


def cycle(record: CycleRecord) -> dict[str, Json]:
    """Return which cycle it was, how it ended, and how old its data were; error lines become a count and codes."""
    started = [facts.started_at for facts in record.inventories]
    finished = [facts.finished_at for facts in record.inventories]
    providers = {facts.provider for facts in record.inventories}
    return {
        **cycle_facts(record),
        "dataAsOf": {
            "roster": None if record.roster is None else plain(record.roster.as_of),
            "snapshotOldest": plain(min(started, default=None)),
            "snapshotNewest": plain(max(finished, default=None)),
        },
        "errors": {
            "count": len(record.errors),
            "codes": _tally(_error_code(line, providers) for line in record.errors),
        },
    }


def _error_code(line: str, providers: Container[str]) -> str:
    """Return the code of an error line; its text never leaves the record."""
    head = line.split(":", 1)[0]
    return READ_FAILED if line.split("/", 1)[0] in providers else ERROR_CODES.get(head, UNCLASSIFIED)


def policy(record: CycleRecord) -> Json:
    """Return which policies decided and on which engine; null when the cycle had none."""
    if record.policy is None:
        return None
    engine = record.engine
    return {
        "bundleDigest": digest_set(record.policy.digest),
        "gitCommit": record.policy.git_commit if _COMMIT.match(record.policy.git_commit) else "",
        "signatureKeyId": record.policy.key_id if _KEY_ID.match(record.policy.key_id) else "",
        "engine": None if engine is None else engine.name,
        "engineVersion": None if engine is None else engine.version,
        "engineRevision": None if engine is None else digest_set(engine.revision),
        "rules": [rule.rule_id for rule in record.policy.rules],
    }


def roster_fresh(record: CycleRecord) -> bool:
    """Say whether the roster was no older than its limit when it was fetched."""
    facts = record.roster
    if facts is None or facts.as_of is None:
        return False
    return (facts.fetched_at - facts.as_of).total_seconds() <= facts.max_age_seconds


def roster(record: CycleRecord) -> Json:
    """Return what was known of the roster, without its path; null when there was none."""
    facts = record.roster
    if facts is None:
        return None
    matches = (_ROSTER_PROBLEM.match(problem) for problem in facts.problems)
    return {
        "digest": digest_set(facts.digest),
        "asOf": plain(facts.as_of),
        "fetchedAt": rfc3339(facts.fetched_at),
        "maxAgeSeconds": facts.max_age_seconds,
        "accepted": facts.accepted,
        "fresh": roster_fresh(record),
        "rowCount": facts.rows,
        "recordCount": facts.workers,
        "leavers": facts.leavers,
        "problems": _tally(UNCLASSIFIED if match is None else match["code"] for match in matches),
    }


def inventory(record: CycleRecord, key: bytes) -> dict[str, Json]:
    """Return what was read of each scope and what was not."""
    scopes = [
        (facts.provider, reference(key, "scope", facts.provider, facts.scope), facts) for facts in record.inventories
    ]
    return {
        "snapshotDigest": digest_set(record.snapshot_digest),
        "complete": record.snapshot_complete,
        "providers": [_scope(pseudonym, facts) for _, pseudonym, facts in sorted(scopes, key=lambda scope: scope[:2])],
    }


def _scope(pseudonym: str, facts: InventoryFacts) -> dict[str, Json]:
    return {
        "id": facts.provider,
        "kind": facts.provider_type,
        "scope": pseudonym,
        "complete": facts.complete,
        "startedAt": rfc3339(facts.started_at),
        "finishedAt": rfc3339(facts.finished_at),
        "digest": digest_set(facts.digest),
        "apiCalls": facts.api_calls,
        "readErrors": len(facts.errors),
        "counts": {
            "principals": facts.principals,
            "credentials": facts.credentials,
            "grants": facts.grants,
            "sessions": facts.sessions,
        },
        "coverage": [_coverage(entry) for entry in sorted(facts.coverage, key=lambda entry: entry.kind.value)],
    }


def _coverage(entry: Coverage) -> dict[str, Json]:
    told: dict[str, Json] = {
        "kind": entry.kind.value,
        "state": entry.state.value,
        "count": entry.count,
        "extent": entry.extent.value,
    }
    if entry.state in _REASON_CODES:
        told["reasonCode"] = _REASON_CODES[entry.state]
    if entry.as_of is not None:
        told["asOf"] = rfc3339(entry.as_of)
    return told


def decision_counts(record: CycleRecord) -> dict[str, Json]:
    """Return how many access items each decision was made for; `keep` to `undecided` add up to `total`."""
    made = decisions(record)
    states = Counter(decision.state for decision in made)
    return {
        "evaluated": record.evaluated,
        "undecidedPrincipals": record.undecided,
        "total": len(made),
        **{state: states[state] for state in _DECISION_STATES},
        "findings": len(record.findings),
        "byRule": _tally(finding.rule for finding in record.findings),
        "withheld": _tally(_code(code) for decision in made for code in decision.withheld),
    }


def _approver(approval: Approval, key: bytes) -> dict[str, Json]:
    """Return who approved and when: a pseudonym of the account, of the given name only where no account is known."""
    name = approval.approved_by if approval.uid is None else f"{approval.uid} {approval.login}"
    return {"approver": reference(key, "approver", name), "approvedAt": rfc3339(approval.approved_at)}


def plan(record: CycleRecord, key: bytes) -> dict[str, Json]:
    """Return the plan's digest, what held it, and its approvals under pseudonyms of the approvers."""
    approval = record.guard.approval
    holds = sorted({(reason.code.value, reason.provider or "") for reason in record.guard.hold_reasons})
    told: Json = None
    if approval is not None:
        told = {
            "planDigest": digest_set(approval.plan_digest),
            **_approver(approval, key),
            "beside": [_approver(one, key) for one in approval.beside],
        }
    return {
        "digest": None if record.plan is None else digest_set(record.plan.digest),
        "held": record.outcome is CycleOutcome.HELD,
        "holdReasons": [{"code": code, "provider": provider or None} for code, provider in holds],
        "approval": told,
    }


def action_counts(record: CycleRecord) -> dict[str, Json]:
    """Return how the actions ended; `intended` is `attempted` and `skipped` and `notAttempted` together."""
    outcomes = Counter(result.outcome for result in record.results)
    planned = set() if record.plan is None else {action.action_id for action in record.plan.actions}
    with_result = {result.action.action_id for result in record.results}
    attempted = [result for result in record.results if result.outcome is not OutcomeState.SKIPPED]
    verified = Counter(result.verification for result in attempted)
    gone = VerificationState.GONE
    return {
        "intended": len(planned - with_result) + len(record.results),
        "attempted": len(attempted),
        "succeeded": outcomes[OutcomeState.DONE],
        "alreadyGone": outcomes[OutcomeState.ALREADY_ABSENT],
        "failed": outcomes[OutcomeState.FAILED],
        "unknown": outcomes[OutcomeState.UNKNOWN],
        "skipped": outcomes[OutcomeState.SKIPPED],
        "notAttempted": len(planned - with_result),
        "verifiedGone": sum(1 for one in attempted if one.outcome is OutcomeState.DONE and one.verification is gone),
        "verification": {
            "gone": verified[gone],
            "stillThere": verified[VerificationState.STILL_THERE],
            "unknown": verified[VerificationState.UNKNOWN],
            "none": verified[None],
        },
        "reverted": {"begun": record.reverted.begun, "confirmed": record.reverted.confirmed},
    }


def guardrails(record: CycleRecord) -> dict[str, Json]:
    """Return the limits in force."""
    guard = record.guard
    return {
        "maxPrincipals": guard.max_principals,
        "maxPercent": guard.max_percent,
        "percentPopulation": guard.percent_population,
        "windowSeconds": guard.window_seconds,
        "minAdmins": guard.min_admins,
        "planTtlSeconds": guard.plan_ttl_seconds,
        "approvalsNeeded": guard.approvals_needed,
        "tripped": bool(guard.hold_reasons),
    }


def leavers(record: CycleRecord) -> dict[str, Json]:
    """Return how many leavers have which verdict, and which provider and kind of access stood in the way."""
    states = Counter(verdict.state for verdict in record.leavers)
    missing = {_missing(text) for verdict in record.leavers for text in verdict.missing}
    return {
        "total": len(record.leavers),
        "clean": states[LeaverState.CLEAN],
        "violation": states[LeaverState.VIOLATION],
        "cannotConclude": states[LeaverState.CANNOT_CONCLUDE],
        "missing": [*sorted(missing)],
    }


def _missing(text: str) -> str:
    """Return `provider/kind: state` of `provider/scope/kind: state`: the scope may name a person."""
    match = _MISSING.match(text)
    if match is None or match["kind"] not in _KINDS or match["state"] not in _STATES:
        return UNCLASSIFIED
    return f"{match['provider']}/{match['kind']}: {match['state']}"


def waivers(record: CycleRecord) -> dict[str, Json]:
    """Return how many waivers were in force, how many of them end soon, their digest, and how many were malformed."""
    facts = record.waivers
    return {
        "inForce": facts.in_force,
        "expiringWithin30d": facts.expiring_soon,
        "refused": facts.refused,
        "setDigest": digest_set(facts.digest),
    }


def slo(record: CycleRecord) -> dict[str, Json]:
    """Return the seconds from decision to verified removal, rounded up: the longest and the 95th percentile."""
    seconds = sorted(
        -((result.decided_at - result.verified_at) // timedelta(seconds=1))
        for result in record.results
        if result.outcome is OutcomeState.DONE
        and result.verification is VerificationState.GONE
        and result.verified_at is not None
    )
    return {
        "measured": len(seconds),
        "maxTimeToRevokeSeconds": seconds[-1] if seconds else None,
        "p95TimeToRevokeSeconds": seconds[(95 * len(seconds) + 99) // 100 - 1] if seconds else None,
    }


def controls(record: CycleRecord) -> list[Json]:
    """Return the controls that the rules in force serve."""
    rules = () if record.policy is None else record.policy.rules
    return [*sorted({control for rule in rules for control in rule.controls})]
