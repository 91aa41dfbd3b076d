"""Nothing personal gets into a statement or the logs that it names, whatever the world is called."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from inventory.model import ArtefactKind, Coverage, PrincipalId, ReadState, ScopeId
from inventory.roster.model import WorkerId
from reconciler.core.canonical import sha256_hex
from reconciler.core.model import (
    Approval,
    HoldCode,
    HoldReason,
    OutcomeState,
    PlanDigest,
    VerificationState,
    Withheld,
)
from reconciler.core.record import CycleOutcome, CycleRecord, LeaverState, LeaverVerdict
from reconciler.core.running_log import LOGGED
from reconciler.core.statement import build_statement, documents
from tests.builders import NOW, action, credential, finding, grant, principal
from tests.record_builders import (
    KEY,
    action_result,
    cycle_record,
    guard_facts,
    inventory_facts,
    nonces,
    plan,
    roster_facts,
    statement_facts,
)

# Shapes that personal data comes in; `zq` keeps them apart from every word of ours.
names = st.text(alphabet="abcdefghijklmnopqrstuvwxyz_", min_size=4, max_size=12).map(lambda text: f"zq{text}zq")
shapes = st.sampled_from(
    [
        "{}",
        "{}@example.com",
        "uid={},ou=people,dc=example,dc=com",
        "{}: x",
        "/home/{}/r",
        "line 1, column 2: {} é",
        "{}/a",
    ]
)
markers = st.builds(lambda shape, name: (shape.format(name), name), shapes, names)


def personal_record(text: str) -> CycleRecord:
    """Return the record of a cycle in which everything that may be personal says `text`."""
    scope = ScopeId(text)
    owner = principal(
        text,
        scope=scope,
        display_name=text,
        emails=(text,),
        external_ids=(text,),
        employee_ids=(text,),
        owner_hints=(text,),
    )
    named: dict[str, Any] = {"scope": scope, "principal_id": PrincipalId(text), "address": (("name", text),)}
    key = credential(text, access_id=text + "#1", label=text, fingerprint=text, **named)
    membership = grant(text, text, access_id=text + "#2", resource=text, via=text, **named)
    found = [finding(item, text, reason=text) for item in (key, membership)]
    act = action(owner, key, worker_id=WorkerId(text), reason=text, action_id=text)
    reason = HoldReason(code=HoldCode.CAP_COUNT, message=text)
    approval = Approval(plan_digest=PlanDigest("sha256:" + "e" * 64), approved_by=text, approved_at=NOW, expires_at=NOW)
    gap = Coverage(kind=ArtefactKind.SESSION, state=ReadState.DENIED, reason=text)
    verdict = LeaverVerdict(
        worker_id=WorkerId(text),
        state=LeaverState.VIOLATION,
        access_end_at=NOW,
        remaining=1,
        missing=(f"corp-aws/{text}/session: denied", text),
    )
    return cycle_record(
        outcome=CycleOutcome.PARTIAL,
        roster=roster_facts(source=f"csv:{text}", problems=(f"{text}.",)),  # `.`: no code of the roster's gate
        inventories=(inventory_facts(scope=scope, complete=False, coverage=(gap,), errors=(text,)),),
        findings=tuple(found),
        plan=plan(actions=(act,), reviews=(), withheld=(Withheld(finding=found[1], code="last_member", message=text),)),
        guard=guard_facts(hold_reasons=(reason,), approval=approval),
        results=(
            action_result(
                action=act, outcome=OutcomeState.UNKNOWN, verification=VerificationState.UNKNOWN, detail=text
            ),
        ),
        leavers=(verdict,),
        errors=(text, f"EvidenceError: {text}", f"corp-aws/{text}: failed"),
    )


@given(markers)
def test_nothing_personal_is_stated(marker: tuple[str, str]) -> None:
    """Neither the text, nor the name in it, nor a plain digest of either is in statement, logs or checkpoint."""
    text, name = marker
    record = personal_record(text)
    files = dict(documents(record, KEY, nonces(), None).files)
    facts = statement_facts(record)
    published = [build_statement(record, facts), facts.log.checkpoint.body, *(files[name] for name in LOGGED)]
    for content in published:
        assert name.encode() not in content
        for secret in (text, name, text + "#1", text + "#2"):
            assert sha256_hex(secret.encode()).encode() not in content
