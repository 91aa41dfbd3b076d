"""The records under a cycle's Merkle roots: one leaf for each decision and each action, under pseudonyms.

A leaf is canonical JSON with a nonce of its own, so that nobody can guess a leaf from its hash. Persons, principals,
access items and scopes appear as HMAC-SHA256 under a key of this one cycle: references do not link across cycles, and
destroying the key makes the leaves anonymous while every digest and proof above them still verifies.
"""

import hmac
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256

from inventory.model import AccessId, ArtefactKind, PrincipalId, ProviderName, ScopeId
from reconciler.core.canonical import Json, dumps, rfc3339
from reconciler.core.errors import EvidenceError
from reconciler.core.model import Action, ActionResult, Effect, Finding
from reconciler.core.record import CycleRecord

KEY_BYTES = 32
"""Length of a cycle key: the block strength of HMAC-SHA256 (RFC 2104 section 3)."""
NONCE_BYTES = 16
"""Length of a leaf's nonce: 128 bits cannot be searched."""

WAIVED = "waived"
"""The withholding code that makes a decision `waived`; every other code makes it `review`."""
UNDECIDED = "undecided"
"""A cycle without a plan found something and settled nothing."""
NOT_ATTEMPTED = "not_attempted"
"""A planned action that the cycle never came to: observed, held or stopped."""
_CONTAINED = frozenset({"already_contained", "contained_with_account"})
"""Withholding codes of items that a quarantine already covers: the decision is `quarantine`, and it is in place."""

Subject = tuple[ProviderName, PrincipalId, AccessId]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What was decided of one access item that a rule found wrong."""

    subject: Subject
    scope: ScopeId
    kind: ArtefactKind
    findings: tuple[Finding, ...]
    state: str
    """An effect (`keep`, `review`, `quarantine`, `revoke`), `waived` or `undecided`."""
    withheld: tuple[str, ...]
    """Codes of what held findings of this item back, sorted."""


def reference(key: bytes, kind: str, *parts: str) -> str:
    """Return the pseudonym of a stable id: HMAC-SHA256 in hex under the cycle's key.

    The kind and the parts go in as canonical JSON, so that no two ids share a message. Raises `EvidenceError` for a key
    that is not `KEY_BYTES` long.
    """
    if len(key) != KEY_BYTES:
        msg = f"a cycle key has {KEY_BYTES} bytes, this one has {len(key)}"
        raise EvidenceError(msg, advice="hand in fresh random bytes for every cycle")
    return hmac.new(key, dumps([kind, *parts]), sha256).hexdigest()


def key_commitment(key: bytes) -> str:
    """Return the SHA-256 (hex) that a statement commits to, so that a key disclosed later is known to be the one."""
    return sha256(key).hexdigest()


def decisions(record: CycleRecord) -> tuple[Decision, ...]:
    """Fold findings by access item and say what was decided of each, sorted by item."""
    grouped: dict[Subject, list[Finding]] = {}
    for finding in record.findings:
        grouped.setdefault(_subject(finding), []).append(finding)
    planned = {} if record.plan is None else {_action_subject(action): action.effect for action in record.plan.actions}
    withheld = _withheld(record)
    return tuple(
        Decision(
            subject=subject,
            scope=findings[0].scope,
            kind=findings[0].kind,
            findings=tuple(findings),
            state=_state(record, findings, planned.get(subject), withheld.get(subject, [])),
            withheld=tuple(sorted({code for _, code in withheld.get(subject, [])})),
        )
        for subject, findings in sorted(grouped.items())
    )


def _withheld(record: CycleRecord) -> Mapping[Subject, list[tuple[Finding, str]]]:
    found: dict[Subject, list[tuple[Finding, str]]] = {}
    for entry in () if record.plan is None else record.plan.withheld:
        found.setdefault(_subject(entry.finding), []).append((entry.finding, entry.code))
    return found


def _state(
    record: CycleRecord, findings: list[Finding], planned: Effect | None, withheld: list[tuple[Finding, str]]
) -> str:
    if planned is not None:
        return planned.value
    if record.plan is None:
        return UNDECIDED
    asking = {one.rule for one in findings if one.effect is not Effect.KEEP and one.applies_from is None}
    if not asking:
        return Effect.KEEP.value
    if asking <= {finding.rule for finding, code in withheld if code == WAIVED}:
        return WAIVED
    contained = {finding.rule for finding, code in withheld if code in _CONTAINED}
    return Effect.QUARANTINE.value if asking <= contained else Effect.REVIEW.value


def decision_leaves(record: CycleRecord, key: bytes, nonces: Iterable[bytes]) -> tuple[bytes, ...]:
    """Return one leaf for each access item with a finding, in the order of their pseudonyms.

    One nonce is taken for each leaf. Raises `EvidenceError` when nonces run out, are short, or repeat.
    """
    made = (_decision_leaf(record, decision, key) for decision in decisions(record))
    return _with_nonces(made, nonces)


def action_leaves(record: CycleRecord, key: bytes, nonces: Iterable[bytes]) -> tuple[bytes, ...]:
    """Return one leaf for each action that was planned or has a result, in the order of their pseudonyms.

    One nonce is taken for each leaf: hand in others than for the decisions. Raises `EvidenceError` as there.
    """
    results = {result.action.action_id: result for result in record.results}
    planned = {} if record.plan is None else {action.action_id: action for action in record.plan.actions}
    actions = {**planned, **{action_id: result.action for action_id, result in results.items()}}
    made = (_action_leaf(record, action, results.get(action_id), key) for action_id, action in actions.items())
    return _with_nonces(made, nonces)


def leaf_file(leaves: tuple[bytes, ...]) -> bytes:
    """Return leaves as JSON lines; the tree is over each line without its newline."""
    return b"".join(leaf + b"\n" for leaf in leaves)


def leaves_of(content: bytes) -> tuple[bytes, ...]:
    """Return the leaves of a leaf file. Raises `EvidenceError` when its last line has no end."""
    if content and not content.endswith(b"\n"):
        msg = "the last line of a leaf file has no end"
        raise EvidenceError(msg, advice="the file is torn: take the copy of a backup")
    return tuple(content.split(b"\n")[:-1])


def _subject(finding: Finding) -> Subject:
    return (finding.provider, finding.principal_id, finding.access_id)


def _action_subject(action: Action) -> Subject:
    return (action.provider, action.principal.principal_id, action.item.access_id)


def _references(key: bytes, subject: Subject, scope: ScopeId, worker_id: str | None) -> dict[str, Json]:
    provider, principal_id, access_id = subject
    return {
        "provider": provider,
        "scope": reference(key, "scope", provider, scope),
        "principal": reference(key, "principal", provider, principal_id),
        "access": reference(key, "access", provider, access_id),
        "worker": None if worker_id is None else reference(key, "worker", worker_id),
    }


def _decision_leaf(record: CycleRecord, decision: Decision, key: bytes) -> dict[str, Json]:
    worker_id = next((finding.worker_id for finding in decision.findings if finding.worker_id is not None), None)
    findings: list[tuple[str, dict[str, Json]]] = [
        (
            f"{finding.rule} {finding.code} {finding.effect.value}",
            {
                "rule": finding.rule,
                "code": finding.code,
                "severity": finding.severity.value,
                "effect": finding.effect.value,
                "needs": finding.needs.value,
            },
        )
        for finding in decision.findings
    ]
    return {
        "type": "decision/1",
        "cycleId": record.cycle_id,
        **_references(key, decision.subject, decision.scope, worker_id),
        "kind": decision.kind.value,
        "decision": decision.state,
        "withheld": list(decision.withheld),
        "findings": [entry for _, entry in sorted(findings, key=lambda pair: pair[0])],
    }


def _action_leaf(record: CycleRecord, action: Action, result: ActionResult | None, key: bytes) -> dict[str, Json]:
    return {
        "type": "action/1",
        "cycleId": record.cycle_id,
        **_references(key, _action_subject(action), action.scope, action.worker_id),
        "action": reference(key, "action", action.action_id),
        "kind": action.item.kind.value,
        "effect": action.effect.value,
        "rule": action.rule,
        "code": action.code,
        "phase": action.phase,
        **_end_of(result),
    }


def _end_of(result: ActionResult | None) -> dict[str, Json]:
    if result is None:
        return {"outcome": NOT_ATTEMPTED}
    instants = {
        "decidedAt": result.decided_at,
        "actedAt": result.acted_at,
        "verifiedAt": result.verified_at,
        "effectiveBy": result.effective_by,
    }
    return {
        "outcome": result.outcome.value,
        "verification": None if result.verification is None else result.verification.value,
        **{name: rfc3339(at) for name, at in instants.items() if at is not None},
    }


def _with_nonces(leaves: Iterable[dict[str, Json]], nonces: Iterable[bytes]) -> tuple[bytes, ...]:
    ordered = sorted(leaves, key=lambda leaf: (str(leaf["access"]), str(leaf["principal"]), str(leaf.get("action"))))
    source = iter(nonces)
    used: set[bytes] = set()
    made: list[bytes] = []
    for leaf in ordered:
        nonce = _next_nonce(source, used)
        made.append(dumps({**leaf, "nonce": nonce.hex()}))
    return tuple(made)


def _next_nonce(source: Iterator[bytes], used: set[bytes]) -> bytes:
    nonce = next(source, b"")
    if len(nonce) < NONCE_BYTES or nonce in used:
        msg = f"no fresh nonce of at least {NONCE_BYTES} bytes for a leaf"
        raise EvidenceError(msg, advice="hand in one random nonce for each leaf")
    used.add(nonce)
    return nonce
