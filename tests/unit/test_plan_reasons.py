"""What a person reads beside a withheld finding, and whom the revoker's own names keep out of reach."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from inventory.model import (
    AccessItem,
    ArtefactKind,
    Coverage,
    Principal,
    PrincipalId,
    PrincipalKind,
    ProviderName,
    ReadState,
)
from inventory.roster.model import WorkerId
from reconciler.core.model import CorrelationState, Effect, Mode, Need, Plan, Waiver
from reconciler.core.withholding import Protection, claim_own
from tests import builders
from tests.builders import NOW, PROVIDER, SCOPE, credential, finding, grant, inventory, principal, snapshot
from tests.plan_builders import match, plan_for, reach

ALICE = principal()
KEY = credential()
ACCOUNT = credential(kind=ArtefactKind.ACCOUNT)


def told(plan: Plan) -> dict[str, str]:
    """Return the code and the sentence of what a plan withholds."""
    return {one.code: one.message for one in plan.withheld}


def torn() -> Any:
    """Build a snapshot of the key whose second page is missing."""
    page = Coverage(kind=ArtefactKind.PRINCIPAL, state=ReadState.PARTIAL, reason="page 2 failed")
    return snapshot(replace(inventory((ALICE,), (KEY,)), coverage=(page,)))


def kept(item: AccessItem) -> Waiver:
    """Build a waiver that keeps an item."""
    return Waiver(
        waiver_id="w1", rule="leaver", access_id=item.access_id, reason="hand-over", owner="ops", approved_by="ciso",
        expires_at=NOW + timedelta(days=1),
    )  # fmt: skip


def over(effects: frozenset[tuple[ArtefactKind, Effect]], mode: Mode = Mode.ENFORCE) -> dict[ProviderName, Any]:
    """Build the reach of the test's provider."""
    return {PROVIDER: reach(mode, effects)}


SENTENCES: tuple[tuple[str, str, tuple[AccessItem, ...], tuple[Principal, ...], dict[str, Any]], ...] = (
    (
        "own_principal",
        "this is the reconciler's own principal",
        (credential("access-reconciler"),),
        (principal("access-reconciler"),),
        {},
    ),
    (
        "break_glass",
        "emergency access is kept on purpose",
        (KEY,),
        (principal(kind=PrincipalKind.BREAK_GLASS),),
        {},
    ),
    (
        "protected",
        "the settings protect this principal",
        (KEY,),
        (ALICE,),
        {"protection": Protection(principals=frozenset({(PROVIDER, "alice")}))},
    ),
    (
        "protected",
        "the settings protect this worker",
        (KEY,),
        (ALICE,),
        {"protection": Protection(workers=frozenset({"E1001"}))},
    ),
    ("waived", "waiver w1 is in force", (KEY,), (ALICE,), {"waivers": (kept(KEY),)}),
    (
        "undecided",
        "the policy engine could not decide on this principal",
        (KEY,),
        (ALICE,),
        {"undecided": frozenset({(PROVIDER, ALICE.principal_id)})},
    ),
    (
        "not_personal",
        "a principal of kind service is handed over, not removed",
        (KEY,),
        (principal(kind=PrincipalKind.SERVICE),),
        {},
    ),
    (
        "ambiguous",
        "more than one worker may be behind this principal",
        (KEY,),
        (ALICE,),
        {"correlations": (match(ALICE, state=CorrelationState.AMBIGUOUS),)},
    ),
    (
        "not_identity",
        "the worker is not known to be this principal",
        (KEY,),
        (ALICE,),
        {"correlations": (match(ALICE, identity=False),)},
    ),
    (
        "confidence",
        "matched by employee_id with 89 %, 90 % are needed",
        (KEY,),
        (ALICE,),
        {"correlations": (match(ALICE, 89),)},
    ),
    (
        "scope_incomplete",
        "rests on what was not seen, and this scope was not read whole",
        (KEY,),
        (ALICE,),
        {"findings": (finding(KEY, needs=Need.SCOPE),), "snapshot": torn()},
    ),
    ("not_whole", "this principal was not read live and whole", (credential(live=False),), (ALICE,), {}),
    (
        "shared_credential",
        "others depend on this credential: rotate it and hand it over",
        (credential(shared=True),),
        (ALICE,),
        {},
    ),
    (
        "shared_credential",
        "others depend on a credential of this principal, which works by this grant",
        (credential(shared=True), grant()),
        (ALICE,),
        {"findings": (finding(grant()),)},
    ),
    (
        "indirect",
        "held through admins; goes with the direct membership",
        (grant(direct=False, via="admins"),),
        (ALICE,),
        {},
    ),
    ("indirect", "held through a group; goes with the direct membership", (grant(direct=False),), (ALICE,), {}),
    ("last_member_unknown", "nobody counted the members of the group", (grant(holders=None),), (ALICE,), {}),
    ("last_member", "the group would be left without a member", (grant(holders=1),), (ALICE,), {}),
    (
        "last_admins",
        "fewer than 2 administrators would remain in this scope",
        (KEY,),
        (principal(privileged=True),),
        {},
    ),
    ("unknown_item", "the finding names nothing in this snapshot", (), (ALICE,), {"findings": (finding(KEY),)}),
    ("observe_mode", "this provider is set to observe", (KEY,), (ALICE,), {"reach": {PROVIDER: reach(Mode.OBSERVE)}}),
    (
        "already_contained",
        "suspended already",
        (credential(enabled=False),),
        (ALICE,),
        {"reach": {PROVIDER: reach(Mode.QUARANTINE)}},
    ),
    (
        "contained_with_account",
        "suspended with its account",
        (KEY,),
        (ALICE,),
        {"reach": over(frozenset(), Mode.QUARANTINE)},
    ),
    ("no_capability", "access_key cannot be taken away here", (KEY,), (ALICE,), {"reach": over(frozenset())}),
)


@pytest.mark.parametrize(("code", "sentence", "items", "principals", "changes"), SENTENCES)
def test_whoever_is_asked_reads_why_it_was_held_back(
    code: str, sentence: str, items: tuple[AccessItem, ...], principals: tuple[Principal, ...], changes: dict[str, Any]
) -> None:
    """Each reason to withhold has its code, which tools sort by, and a sentence for the human who has to decide."""
    plan = plan_for(items, principals, **changes)
    assert plan.actions == ()
    assert told(plan) == {code: sentence}


@pytest.mark.parametrize(
    ("stays", "changes", "sentence"),
    [
        (KEY, {"waivers": (kept(KEY),)}, "a waiver keeps an item that works by this account"),
        (grant(holders=1), {}, "deleting it would take items along that stay for now"),
    ],
)
def test_an_account_that_is_needed_says_for_what(stays: AccessItem, changes: dict[str, Any], sentence: str) -> None:
    """Where an account stays because of what hangs on it, the plan says so beside the reason of the item itself."""
    suspended = replace(ACCOUNT, enabled=False)
    plan = plan_for((suspended, stays), **changes)
    assert plan.actions == ()
    assert told(plan)["account_needed"] == sentence


def test_a_credential_somebody_unknown_holds_too_is_for_a_human() -> None:
    """A holder whom nobody correlated is somebody else until proven otherwise."""
    address = (("secret", "team"),)
    mine, other = credential(address=address), credential("stranger", address=address)
    people = (ALICE, principal("stranger"))
    plan = plan_for((mine, other), people, (finding(mine),), correlations=(match(ALICE),))
    assert list(told(plan)) == ["shared_credential"]


def test_credentials_without_an_address_are_not_one_object() -> None:
    """Two people's keys that the provider gives no address of have nothing in common but that."""
    mine, other = credential(address=()), credential("bob", address=())
    people = (ALICE, principal("bob"))
    found = (match(ALICE), match(people[1], worker_id=WorkerId("E2")))
    plan = plan_for((mine, other), people, (finding(mine),), correlations=found)
    assert [action.item for action in plan.actions] == [mine]


@pytest.mark.parametrize("missing", [{"correlations": ()}, {"reach": {}}])
def test_what_is_known_in_part_is_not_acted_upon(missing: dict[str, Any]) -> None:
    """An item whose owner was not correlated, or whose provider nobody can act upon, is withheld and not guessed at."""
    assert list(told(plan_for((KEY,), **missing))) == ["unknown_item"]


def test_members_are_counted_group_by_group() -> None:
    """One that leaves two groups is the second to last of each; a group is told by provider, role and attribute."""
    first, second = grant(role="a", holders=2), grant(role="b", holders=2)
    members, owners = (
        grant(role="c", holders=2, access_id=f"alice/{name}", address=(("dn", "cn=c"), ("attribute", name)))
        for name in ("member", "owner")
    )
    plan = plan_for((first, second, members, owners))
    assert [action.item for action in plan.actions] == [first, second, members, owners]


def test_each_membership_is_looked_at_whatever_stands_before_it() -> None:
    """Neither a key nor a group that nobody counted, taken earlier, lets the last member of a later group go."""
    unknown, last = grant(role="a", holders=None), grant(role="b", holders=1)
    plan = plan_for((KEY, unknown, last))
    assert [action.item for action in plan.actions] == [KEY]
    assert [(one.finding.access_id, one.code) for one in plan.withheld] == [
        (unknown.access_id, "last_member_unknown"),
        (last.access_id, "last_member"),
    ]


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("bot", ("access-reconciler", "bot")),
        ("BOT ", ("access-reconciler", "bot")),
        ("arn:aws:iam::1:user/bot", ("access-reconciler", "bot")),
        ("access-reconciler", ("access-reconciler",)),
        ("somebody", ("access-reconciler",)),
    ],
)
def test_whom_the_revoker_signs_in_as_is_ours(name: str, ours: tuple[str, ...]) -> None:
    """Our own principal is found by its id and by each part of its address, in any case, and is listed once."""
    bot = principal("bot", address=(("name", "robot"), ("arn", "arn:aws:iam::1:user/bot")))
    people = (ALICE, bot, principal("access-reconciler"))
    before = snapshot(inventory(people, (KEY,)))
    after = claim_own(before, frozenset({(PROVIDER, name)}))
    assert tuple(after.inventories[0].own_principals) == ours
    assert replace(after, inventories=(replace(after.inventories[0], own_principals=()),)) == replace(
        before, inventories=(replace(before.inventories[0], own_principals=()),)
    )


def test_a_name_is_ours_at_its_own_provider_alone() -> None:
    """The revoker's name at one provider protects nobody of that name at another."""
    before = snapshot(inventory((ALICE,)))
    assert claim_own(before, frozenset({(ProviderName("corp-ldap"), "alice")})) == before


def test_our_own_principal_is_told_by_the_provider_s_answer() -> None:
    """What the who-am-I call returned is out of reach under that id, whatever else carries the name."""
    other = principal("alice", scope=SCOPE, login_names=("access-reconciler",))
    assert len(plan_for((KEY,), (other,)).actions) == 1
    mine = snapshot(inventory((other,), (KEY,), own_principals=(PrincipalId("alice"),)))
    assert list(told(plan_for((KEY,), (other,), snapshot=mine))) == ["own_principal"]


def test_builders_give_what_is_acted_upon() -> None:
    """The world these tables start from plans an action: what they withhold is withheld for what they changed."""
    assert [action.item for action in plan_for((builders.credential(),)).actions] == [KEY]
