"""The records under a cycle's Merkle roots: one leaf for the cycle, each leaver, decision and action, under pseudonyms.

A leaf is canonical JSON with a nonce of its own, so that nobody can guess a leaf from its hash. Persons, principals,
access items and scopes appear as HMAC-SHA256 under a key of this one cycle: references do not link across cycles, and
destroying the key makes the leaves anonymous while every digest and proof above them still verifies. A leaf of a leaver
or a decision commits to the line that opens it (`core.disclosure`), which is shown, kept or destroyed on its own.
"""

import hmac
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from inventory.model import AccessId, ArtefactKind, PrincipalId, ProviderName, ScopeId
from inventory.roster.model import WorkerId
from reconciler.core.canonical import Json, dumps, rfc3339
from reconciler.core.errors import EvidenceError
from reconciler.core.model import Action, ActionResult, Effect, Finding, OutcomeState, VerificationState
from reconciler.core.record import CycleRecord, LeaverVerdict

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

    @property
    def worker_id(self) -> WorkerId | None:
        """Return whose the item is, by the first finding that knows."""
        return next((finding.worker_id for finding in self.findings if finding.worker_id is not None), None)


@dataclass(slots=True)
class Nonces:
    """Gives each line and each leaf of a cycle a random value of its own."""

    source: Iterator[bytes]
    _used: set[bytes] = field(default_factory=set)

    def fresh(self) -> bytes:
        """Return the next nonce. Raises `EvidenceError` when they run out, are short, or repeat."""
        nonce = next(self.source, b"")
        if len(nonce) < NONCE_BYTES or nonce in self._used:
            msg = f"no fresh nonce of at least {NONCE_BYTES} bytes for a leaf"
            raise EvidenceError(msg, advice="hand in one random nonce for each leaf")
        self._used.add(nonce)
        return nonce


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


def cycle_leaf(record: CycleRecord, previous: str, nonces: Nonces) -> bytes:
    """Return the leaf that every cycle has, also one that found nothing, was held or failed: the log's heartbeat.

    `previous` is `sha256:` and the hex digest of the statement before, empty for the first one. Raises `EvidenceError`
    when nonces run out.
    """
    told: dict[str, Json] = {
        "type": "cycle/1",
        **cycle_facts(record),
        "previousStatement": previous.removeprefix("sha256:") or None,
    }
    return dumps({**told, "nonce": nonces.fresh().hex()})


def cycle_facts(record: CycleRecord) -> dict[str, Json]:
    """Return which cycle it was, when, and how it ended."""
    return {
        "cycleId": record.cycle_id,
        "sequence": record.sequence,
        "mode": record.mode.value,
        "breadth": record.breadth.value,
        "outcome": record.outcome.value,
        "startedAt": rfc3339(record.started_at),
        "finishedAt": rfc3339(record.finished_at),
    }


def leaver_leaves(
    record: CycleRecord, key: bytes, disclosed: Mapping[WorkerId, str], nonces: Nonces
) -> tuple[bytes, ...]:
    """Return one leaf for each leaver that the cycle judged, in the order of their pseudonyms.

    `disclosed` is the digest of the line that opens each. Raises `EvidenceError` when nonces run out.
    """
    results: dict[WorkerId, list[ActionResult]] = {}
    for result in record.results:
        if result.action.worker_id is not None:
            results.setdefault(result.action.worker_id, []).append(result)
    made = (
        {
            "type": "leaver/1",
            "cycleId": record.cycle_id,
            "worker": reference(key, "worker", verdict.worker_id),
            "accessEndedAt": rfc3339(verdict.access_end_at),
            **_removal(verdict, results.get(verdict.worker_id, [])),
            "disclosure": disclosed[verdict.worker_id],
        }
        for verdict in record.leavers
    )
    return _with_nonces(made, nonces)


def _removal(verdict: LeaverVerdict, results: list[ActionResult]) -> dict[str, Json]:
    """Return a leaver's state and when this cycle dealt with it: decided first, and the last of everything after.

    Verified, and effective, is only whose every act was seen to its end: one that is still there leaves both out.
    """
    attempted = [result for result in results if result.outcome is not OutcomeState.SKIPPED]
    told: dict[str, Json] = {"state": verdict.state.value}
    if results:
        told["decidedAt"] = rfc3339(min(result.decided_at for result in results))
    acted = [result.acted_at for result in attempted if result.acted_at is not None]
    if acted:
        told["actedAt"] = rfc3339(max(acted))
    if attempted and all(result.verification is VerificationState.GONE for result in attempted):
        for name, known in (
            ("verifiedAt", [result.verified_at for result in attempted]),
            ("effectiveBy", [result.effective_by for result in attempted]),
        ):
            instants = [at for at in known if at is not None]
            if len(instants) == len(attempted):
                told[name] = rfc3339(max(instants))
    return told


def decision_leaves(
    record: CycleRecord, key: bytes, disclosed: Mapping[Subject, str], nonces: Nonces
) -> tuple[bytes, ...]:
    """Return one leaf for each access item with a finding, in the order of their pseudonyms.

    `disclosed` is the digest of the line that opens each. Raises `EvidenceError` when nonces run out.
    """
    made = (
        {**_decision_leaf(record, decision, key), "disclosure": disclosed[decision.subject]}
        for decision in decisions(record)
    )
    return _with_nonces(made, nonces)


def action_leaves(record: CycleRecord, key: bytes, nonces: Nonces) -> tuple[bytes, ...]:
    """Return one leaf for each action that was planned or has a result, in the order of their pseudonyms.

    Raises `EvidenceError` when nonces run out.
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
        **_references(key, decision.subject, decision.scope, decision.worker_id),
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


def _with_nonces(leaves: Iterable[dict[str, Json]], nonces: Nonces) -> tuple[bytes, ...]:
    fields = ("access", "principal", "action", "worker")
    ordered = sorted(leaves, key=lambda leaf: [str(leaf.get(name)) for name in fields])
    return tuple(dumps({**leaf, "nonce": nonces.fresh().hex()}) for leaf in ordered)
