"""Planning: what is withheld and why, what is lowered, and in which order actions stand."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from inventory.model import (
    AccessItem,
    ArtefactKind,
    Coverage,
    Principal,
    PrincipalKind,
    PrincipalRead,
    ReadState,
)
from inventory.roster.model import WorkerId
from reconciler.core.model import (
    CorrelationState,
    Effect,
    Mode,
    Need,
    Plan,
    Waiver,
)
from reconciler.core.planning import DELETE_ORDER
from reconciler.core.withholding import Protection
from tests import builders
from tests.plan_builders import match, plan_for, reach


def withheld(plan: Plan) -> list[str]:
    """Return the codes of what a plan withholds, when it does nothing."""
    assert plan.actions == ()
    return [one.code for one in plan.withheld]


KEY = builders.credential()


def test_a_sure_leaver_loses_what_was_found() -> None:
    """A revoke finding on a principal matched with 98 % becomes a revoke action that carries its evidence."""
    (action,) = plan_for((KEY,)).actions
    assert (action.effect, action.item, action.worker_id, action.rule) == (Effect.REVOKE, KEY, "E1001", "leaver")
    assert len(action.action_id) == 64


@pytest.mark.parametrize(
    ("confidence", "effect"),
    [
        (100, Effect.REVOKE),
        (98, Effect.REVOKE),
        (97, Effect.QUARANTINE),
        (90, Effect.QUARANTINE),
    ],
)
def test_confidence_lowers_the_effect(confidence: int, effect: Effect) -> None:
    """Below 98 % nothing is removed, only suspended."""
    plan = plan_for((KEY,), correlations=(match(builders.principal(), confidence),))
    assert [action.effect for action in plan.actions] == [effect]


def test_an_uncertain_match_is_for_a_human() -> None:
    """Below 90 % nothing is done."""
    assert withheld(plan_for((KEY,), correlations=(match(builders.principal(), 89),))) == ["confidence"]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"state": CorrelationState.AMBIGUOUS, "worker_id": None}, "ambiguous"),
        ({"identity": False}, "not_identity"),
        ({"worker_id": WorkerId("E2")}, "not_identity"),
    ],
)
def test_no_act_without_a_known_owner(changes: dict[str, Any], code: str) -> None:
    """Ambiguous, owned or otherwise matched principals are withheld."""
    assert withheld(plan_for((KEY,), correlations=(match(builders.principal(), **changes),))) == [code]


@pytest.mark.parametrize(
    ("principal", "code"),
    [
        (builders.principal(kind=PrincipalKind.BREAK_GLASS), "break_glass"),
        (builders.principal(kind=PrincipalKind.SERVICE), "not_personal"),
        (builders.principal(kind=PrincipalKind.SHARED), "not_personal"),
        (builders.principal(kind=PrincipalKind.UNKNOWN), "not_personal"),
        (builders.principal(read=PrincipalRead(live=False)), "not_whole"),
        (builders.principal(read=PrincipalRead(live=True, partial=(ArtefactKind.SSH_KEY,))), "not_whole"),
    ],
)
def test_principals_out_of_reach_are_withheld(principal: Principal, code: str) -> None:
    """Emergency access, accounts that are no person's, and half-read principals are never acted upon."""
    assert withheld(plan_for((KEY,), (principal,))) == [code]


def test_a_refused_kind_does_not_shield_what_was_read() -> None:
    """A denied artefact kind is a gap of the principal, not a reason to leave its key alone."""
    principal = builders.principal(read=PrincipalRead(live=True, gaps=(ArtefactKind.SSH_KEY,)))
    assert len(plan_for((KEY,), (principal,)).actions) == 1


def test_protection_by_login_name_and_by_worker() -> None:
    """Settings protect a principal by its login name, and everything of a worker."""
    by_name = Protection(principals=frozenset({(builders.PROVIDER, "alice")}))
    by_worker = Protection(workers=frozenset({"E1001"}))
    assert withheld(plan_for((KEY,), protection=by_name)) == ["protected"]
    assert withheld(plan_for((KEY,), protection=by_worker)) == ["protected"]


@pytest.mark.parametrize(("days", "waived"), [(1, True), (-1, False)])
def test_a_waiver_counts_until_it_expires(days: int, waived: bool) -> None:  # noqa: FBT001 - a table
    """A finding is waived exactly as long as the waiver lasts."""
    waiver = Waiver(
        waiver_id="w1",
        rule="leaver",
        worker_id=WorkerId("E1001"),
        reason="handover",
        owner="ann",
        approved_by="bob",
        expires_at=builders.NOW + timedelta(days=days),
    )
    plan = plan_for((KEY,), waivers=(waiver,))
    assert [one.code for one in plan.withheld] == (["waived"] if waived else [])
    assert len(plan.actions) == (0 if waived else 1)


def test_a_scope_finding_needs_its_scope_whole_and_an_item_finding_does_not() -> None:
    """Where a page is missing, only what rests on a positive fact is planned."""
    inventory = builders.inventory((builders.principal(),), (KEY,))
    torn = Coverage(kind=ArtefactKind.PRINCIPAL, state=ReadState.PARTIAL, reason="page 2 failed")
    snapshot = builders.snapshot(replace(inventory, coverage=(torn,)))
    scope = (builders.finding(KEY, needs=Need.SCOPE),)
    assert withheld(plan_for((KEY,), snapshot=snapshot, findings=scope)) == ["scope_incomplete"]
    assert len(plan_for((KEY,), snapshot=snapshot).actions) == 1


def test_a_leavers_copy_of_a_public_key_goes_though_another_principal_has_one_too() -> None:
    """A copy elsewhere keeps nobody's access: taking the leaver's own copy leaves the other one as it is."""
    key = builders.credential(fingerprint="SHA256:k")
    other = builders.credential("bot", fingerprint="SHA256:k")
    principals = (builders.principal(), builders.principal("bot"))
    elsewhere = (match(principals[0]), match(principals[1], worker_id=WorkerId("E2")))
    plan = plan_for((key, other), principals, (builders.finding(key),), correlations=elsewhere)
    assert [action.item for action in plan.actions] == [key]


@pytest.mark.parametrize(
    "one_object",
    [
        pytest.param({"address": (("secret", "team"),)}, id="one address"),
        pytest.param({"access_id": "team/secret", "address": ()}, id="one id"),
    ],
)
def test_one_secret_of_two_principals_is_for_a_human(one_object: dict[str, Any]) -> None:
    """One object that somebody else's principal holds too is withheld; that the worker's second one holds is not."""
    key, other = (builders.credential(name, **one_object) for name in ("alice", "bot"))
    principals = (builders.principal(), builders.principal("bot"))
    elsewhere = (match(principals[0]), match(principals[1], worker_id=WorkerId("E2")))
    findings = (builders.finding(key),)
    assert withheld(plan_for((other, key), principals, findings, correlations=elsewhere)) == ["shared_credential"]
    assert len(plan_for((other, key), principals, findings).actions) == 1


def test_a_key_marked_as_shared_is_for_a_human() -> None:
    """What the provider's tag calls shared is rotated and handed over, not removed."""
    assert withheld(plan_for((builders.credential(shared=True),))) == ["shared_credential"]


def test_the_grants_that_a_shared_key_works_by_are_for_a_human() -> None:
    """Where others depend on a principal's key, its memberships stay too: without them the key is worthless."""
    key, membership = builders.credential(shared=True), builders.grant()
    findings = (builders.finding(membership),)
    assert withheld(plan_for((key, membership), findings=findings)) == ["shared_credential"]


def test_a_member_of_an_uncounted_group_stays() -> None:
    """A membership whose group nobody counted may be the last one and is withheld; an attached policy goes."""
    assert withheld(plan_for((builders.grant(holders=None),))) == ["last_member_unknown"]
    policy = builders.grant(kind=ArtefactKind.ATTACHED_POLICY, holders=None)
    assert [one.item for one in plan_for((policy,)).actions] == [policy]


def test_the_last_member_stays() -> None:
    """A group is not emptied, and neither by several leavers at once."""
    assert withheld(plan_for((builders.grant(holders=1),))) == ["last_member"]
    people = tuple(builders.principal(name) for name in ("a", "b"))
    plan = plan_for(tuple(builders.grant(one.principal_id, holders=2) for one in people), people)
    assert [action.principal.principal_id for action in plan.actions] == ["a"]
    assert [one.code for one in plan.withheld] == ["last_member"]


def test_the_last_administrators_stay() -> None:
    """When fewer administrators than the minimum would remain, nothing is done to the ones who leave."""
    people = tuple(builders.principal(name, privileged=True) for name in ("a", "b", "c"))
    keys = tuple(builders.credential(name) for name in ("a", "b", "c"))
    one_leaves = plan_for(keys, people, (builders.finding(keys[0]),))
    two_leave = plan_for(keys, people, (builders.finding(keys[0]), builders.finding(keys[1])))
    assert len(one_leaves.actions) == 1
    assert withheld(two_leave) == ["last_admins", "last_admins"]


def test_a_disabled_administrator_does_not_count_as_remaining() -> None:
    """Administrators who cannot sign in keep no scope alive."""
    people = (
        builders.principal("a", privileged=True),
        builders.principal("b", privileged=True),
        builders.principal("c", privileged=True, enabled=False),
    )
    key = builders.credential("a")
    assert withheld(plan_for((key,), people, (builders.finding(key),))) == ["last_admins"]


def test_modes_lower_the_effect() -> None:
    """Quarantine mode suspends what enforce mode removes, and observe mode does neither."""
    quarantine = plan_for((KEY,), reach={builders.PROVIDER: reach(Mode.QUARANTINE)})
    observe = plan_for((KEY,), reach={builders.PROVIDER: reach(Mode.OBSERVE)})
    assert [action.effect for action in quarantine.actions] == [Effect.QUARANTINE]
    assert withheld(observe) == ["observe_mode"]


def test_nothing_beyond_the_capabilities_is_planned() -> None:
    """Without a revoke the item is suspended; without either it is withheld, contained or not."""
    only_quarantine = frozenset({(ArtefactKind.ACCESS_KEY, Effect.QUARANTINE)})
    lowered = plan_for((KEY,), reach={builders.PROVIDER: reach(effects=only_quarantine)})
    none = plan_for((KEY,), reach={builders.PROVIDER: reach(effects=frozenset())})
    contained = plan_for((KEY,), reach={builders.PROVIDER: reach(Mode.QUARANTINE, effects=frozenset())})
    assert [action.effect for action in lowered.actions] == [Effect.QUARANTINE]
    assert withheld(none) == ["no_capability"]
    assert withheld(contained) == ["contained_with_account"]


def test_what_is_suspended_already_is_not_suspended_again() -> None:
    """A disabled key is not quarantined a second time, and is still removed where removal is asked."""
    key = builders.credential(enabled=False)
    finding = builders.finding(key, effect=Effect.QUARANTINE)
    assert withheld(plan_for((key,), findings=(finding,))) == ["already_contained"]
    assert [action.effect for action in plan_for((key,)).actions] == [Effect.REVOKE]


def test_reviews_are_kept_apart_and_keeps_are_dropped() -> None:
    """A rule that asks a human lands in the reviews; one that asks to keep lands nowhere."""
    review = builders.finding(KEY, effect=Effect.REVIEW)
    plan = plan_for((KEY,), findings=(review, builders.finding(KEY, effect=Effect.KEEP, rule="other")))
    assert (plan.actions, plan.reviews, plan.withheld) == ((), (review,), ())


def test_inside_a_principal_containment_comes_first_and_deletion_follows_the_order() -> None:
    """The account is suspended first; keys go before policies, policies before groups."""
    kinds = [kind for kind in DELETE_ORDER if kind not in (ArtefactKind.ACCOUNT, ArtefactKind.GROUP_MEMBERSHIP)]
    items: list[AccessItem] = [*(builders.credential(kind=kind) for kind in reversed(kinds)), builders.grant()]
    account = builders.credential(kind=ArtefactKind.ACCOUNT)
    findings = (
        *(builders.finding(item) for item in items),
        builders.finding(account, effect=Effect.QUARANTINE),
    )
    plan = plan_for((*items, account), findings=findings)
    expected = [ArtefactKind.ACCOUNT, *kinds, ArtefactKind.GROUP_MEMBERSHIP]
    assert [action.item.kind for action in plan.actions] == expected


def test_a_removed_account_goes_last() -> None:
    """Where a policy asks to delete the account, everything it holds is taken away before."""
    items = (builders.credential(kind=ArtefactKind.ACCOUNT), builders.grant(), KEY)
    assert [action.item.kind for action in plan_for(items).actions][-1] is ArtefactKind.ACCOUNT


def test_a_finding_about_nothing_known_does_nothing() -> None:
    """A finding that names no item of the snapshot is withheld, not guessed at."""
    assert withheld(plan_for((), findings=(builders.finding(KEY),))) == ["unknown_item"]
