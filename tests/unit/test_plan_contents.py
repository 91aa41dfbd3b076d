"""What stands in a plan: one action for each item, all that it rests on, and a digest of just that."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from inventory.model import ArtefactKind, PrincipalId
from inventory.roster.model import WorkerId
from reconciler.core.canonical import digest_of, dumps, sha256_hex
from reconciler.core.evidence import item_evidence
from reconciler.core.model import Action, CycleId, Effect, Finding, Need
from reconciler.core.planning import action_id
from tests.builders import NOW, PROVIDER, SCOPE, credential, finding, grant, principal, snapshot
from tests.builders import inventory as inventory_of
from tests.plan_builders import match, plan_for

KEY = credential()
ACCOUNT = credential(kind=ArtefactKind.ACCOUNT)
REVOKE, QUARANTINE = Effect.REVOKE, Effect.QUARANTINE


def asked(*asks: tuple[str, Effect]) -> tuple[Finding, ...]:
    """Build what rules ask to do with the key."""
    return tuple(finding(KEY, rule=rule, effect=effect) for rule, effect in asks)


@pytest.mark.parametrize(
    ("findings", "chosen"),
    [
        pytest.param(asked(("a", QUARANTINE), ("b", REVOKE)), ("b", REVOKE), id="the stronger comes second"),
        pytest.param(asked(("a", REVOKE), ("b", QUARANTINE)), ("a", REVOKE), id="the stronger comes first"),
        pytest.param(asked(("b", REVOKE), ("a", REVOKE)), ("a", REVOKE), id="the first rule of equals"),
        pytest.param(asked(("a", Effect.KEEP), ("b", REVOKE)), ("b", REVOKE), id="keep does not outweigh"),
        pytest.param(asked(("a", Effect.REVIEW), ("b", REVOKE)), ("b", REVOKE), id="review does not outweigh"),
    ],
)
def test_an_item_has_one_action_of_the_strongest_rule(
    findings: tuple[Finding, ...], chosen: tuple[str, Effect]
) -> None:
    """Whatever several rules ask for one item, the strongest is done, in the name of the rule that asked for it."""
    for order in (findings, findings[::-1]):
        assert [(one.rule, one.effect) for one in plan_for((KEY,), findings=order).actions] == [chosen]


def test_what_may_be_done_is_compared_and_not_what_was_asked() -> None:
    """A revocation lowered to a quarantine gives way to one that needs no owner's confidence."""
    findings = (finding(KEY, rule="a"), finding(KEY, None, rule="b"))
    unsure = (match(principal(), 95),)
    actions = plan_for((KEY,), findings=findings, correlations=unsure).actions
    assert [(one.rule, one.effect) for one in actions] == [("b", REVOKE)]


def test_a_withheld_finding_keeps_none_behind_it_from_being_planned() -> None:
    """What is kept, asked about or withheld stands first here, and the others go on."""
    indirect, last = grant(role="a", direct=False), grant(role="b")
    findings = (
        finding(credential(access_id="alice/a"), effect=Effect.KEEP),
        finding(credential(access_id="alice/b"), effect=Effect.REVIEW),
        finding(indirect),
        finding(last),
    )
    plan = plan_for((indirect, last), findings=findings)
    assert [action.item for action in plan.actions] == [last]
    assert plan.reviews == (findings[1],)
    assert [one.finding for one in plan.withheld] == [findings[2]]


def test_an_action_carries_all_that_it_rests_on() -> None:
    """Executor, journal and attestation take from the action who, what, by which rule, why and on what evidence."""
    found = finding(KEY, rule="stale", code="unused_90d", needs=Need.SCOPE, reason="unused since 2025-11-01")
    (action,) = plan_for((KEY,), findings=(found,)).actions
    assert replace(action, phase=0) == Action(
        action_id=action_id(CycleId("c1"), action),
        provider=PROVIDER,
        provider_type="aws_iam",
        principal=principal(),
        item=KEY,
        effect=REVOKE,
        worker_id=WorkerId("E1001"),
        rule="stale",
        code="unused_90d",
        needs=Need.SCOPE,
        reason="unused since 2025-11-01",
        phase=0,
        evidence=item_evidence(KEY),
    )


def test_a_plan_says_what_it_was_made_of() -> None:
    """The guard's time to live and the attestation rest on cycle, instant, policies and roster of the plan."""
    later = NOW + timedelta(minutes=3)
    plan = plan_for((KEY,), planned_at=later)
    assert (plan.cycle_id, plan.created_at) == ("c1", later)
    assert (plan.policy_digest, plan.roster_digest) == ("sha256:p", "sha256:r")


def test_phases_begin_with_containment() -> None:
    """Containing an account is phase 0; what is taken first afterwards is phase 1."""
    session = credential(kind=ArtefactKind.SESSION)
    findings = (finding(ACCOUNT, effect=QUARANTINE), finding(session))
    plan = plan_for((ACCOUNT, session), findings=findings)
    assert [(action.item.kind, action.phase) for action in plan.actions] == [
        (ArtefactKind.ACCOUNT, 0),
        (ArtefactKind.SESSION, 1),
    ]


def test_a_containment_in_a_deletion_s_place_takes_no_other_action_away() -> None:
    """Where one account is only suspended because a membership stays, what is planned for others goes on."""
    people = (principal("a"), principal("b"))
    key, account, stays = credential("a"), credential("b", kind=ArtefactKind.ACCOUNT), grant("b", holders=1)
    plan = plan_for((key, account, stays), people)
    assert [(action.item, action.effect) for action in plan.actions] == [(key, REVOKE), (account, QUARANTINE)]


def test_the_digest_of_a_plan_keeps_its_form() -> None:
    """An approval given before an upgrade still names the plan after it: the digested document stays as it is."""
    step = [PROVIDER, SCOPE, "alice", KEY.access_id, "revoke", "E1001", "leaver", item_evidence(KEY)]
    assert plan_for((KEY,)).digest == digest_of({"actions": [step], "policy": "sha256:p"})


def one_key(**changes: Any) -> dict[str, Any]:
    """Build a world of one key that differs from the plain one."""
    key = replace(KEY, **changes)
    return {"snapshot": snapshot(inventory_of((principal(),), (key,))), "findings": (finding(key),)}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"policy_digest": "sha256:other"}, id="policies"),
        pytest.param({"findings": (finding(KEY, effect=QUARANTINE),)}, id="effect"),
        pytest.param({"findings": (finding(KEY, rule="stale"),)}, id="rule"),
        pytest.param({"findings": (finding(KEY, None),)}, id="worker"),
        pytest.param({"findings": ()}, id="no action"),
        pytest.param(one_key(access_id="alice/access_key/2"), id="item"),
        pytest.param(one_key(fingerprint="SHA256:other"), id="evidence"),
    ],
)
def test_another_plan_has_another_digest(changes: dict[str, Any]) -> None:
    """What an approver was shown cannot be swapped: each change of what is done, or rests upon, changes the digest."""
    assert plan_for((KEY,), **changes).digest != plan_for((KEY,)).digest


@pytest.mark.parametrize(
    "changes",
    [{"cycle_id": CycleId("c2")}, {"planned_at": NOW + timedelta(hours=1)}, {"roster_digest": "sha256:other"}],
)
def test_the_same_plan_of_a_later_cycle_has_the_same_digest(changes: dict[str, Any]) -> None:
    """An approval of a held plan still fits when the next cycle finds the same."""
    assert plan_for((KEY,), **changes).digest == plan_for((KEY,)).digest


def ids(actions: Iterable[Action]) -> list[str]:
    """Return the ids of actions."""
    return [one.action_id for one in actions]


def test_an_action_s_id_names_one_effect_on_one_item_in_one_cycle() -> None:
    """The same act has the same id each time the cycle is planned; another cycle, item, owner or effect another one."""
    (action,) = plan_for((KEY,)).actions
    assert ids(plan_for((KEY,)).actions) == [action.action_id]
    assert action.action_id == sha256_hex(dumps(["c1", PROVIDER, "alice", KEY.access_id, "revoke"]))
    others = [
        *plan_for((KEY,), cycle_id=CycleId("c2")).actions,
        *plan_for((KEY,), findings=(finding(KEY, effect=QUARANTINE),)).actions,
        *plan_for((credential(access_id="alice/access_key/2"),)).actions,
        *plan_for((replace(KEY, principal_id=PrincipalId("bob")),), (principal("bob"),)).actions,
    ]
    assert len({action.action_id, *ids(others)}) == len(others) + 1
