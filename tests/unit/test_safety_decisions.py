"""Safety of a decision: hostile and unlucky worlds in which nobody else's access goes and nothing is called clean."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from inventory.collection import Source, collect
from inventory.model import (
    AccessItem,
    ArtefactKind,
    Coverage,
    Principal,
    PrincipalId,
    PrincipalReading,
    ProviderInventory,
    ReadState,
    Snapshot,
)
from inventory.provider import Interest
from inventory.roster.model import AcceptedRoster, Roster, RosterVerdict, Worker, WorkerId
from reconciler.circumstances import Ground, recheck
from reconciler.core.correlation import CorrelationSettings, correlate_one, index_roster
from reconciler.core.guard import ApprovedPlan, Circumstances, HeldPlan, Limits, Population, guard
from reconciler.core.model import (
    Action,
    Approval,
    Correlation,
    CorrelationState,
    CycleId,
    Effect,
    Finding,
    HoldCode,
    HoldReason,
    Mode,
    PolicySet,
    Waiver,
)
from reconciler.core.planning import make_plan
from reconciler.core.record import LeaverState
from reconciler.core.verdicts import VerdictWorld, judge_leavers
from reconciler.core.waivers import WaiverSet
from reconciler.core.withholding import PlanningWorld, Protection, Reach
from reconciler.observation import protected_today
from tests import builders
from tests.builders import NOW, PROVIDER
from tests.fakes.clock import FakeClock
from tests.fakes.world import plan_of

ALL = frozenset((kind, effect) for kind in ArtefactKind for effect in (Effect.QUARANTINE, Effect.REVOKE))
LEAVER = WorkerId("E1001")


def sure(principal: Principal, worker_id: str = LEAVER, **changes: Any) -> Correlation:
    """Build a sure match of a principal with a worker."""
    values: dict[str, Any] = {
        "provider": principal.provider,
        "principal_id": principal.principal_id,
        "state": CorrelationState.MATCHED,
        "worker_id": WorkerId(worker_id),
        "rule": "employee_id",
        "confidence": 98,
        "identity": True,
    }
    return Correlation(**(values | changes))


def planning(
    items: tuple[AccessItem, ...], findings: tuple[Finding, ...] | None = None, **changes: Any
) -> PlanningWorld:
    """Build a world in which one leaver's items are all found wrong."""
    alice = builders.principal()
    values: dict[str, Any] = {
        "cycle_id": CycleId("c1"),
        "now": NOW,
        "planned_at": NOW,
        "snapshot": builders.snapshot(builders.inventory((alice,), items)),
        "correlations": (sure(alice),),
        "findings": tuple(builders.finding(item) for item in items) if findings is None else findings,
        "reach": {
            PROVIDER: Reach(provider_type="aws_iam", effects=ALL, account_contains=True, mode=Mode.ENFORCE),
        },
        "policy_digest": "sha256:p",
        "roster_digest": "sha256:r",
    }
    return PlanningWorld(**(values | changes))


def verdict(snapshot: Snapshot, *correlations: Correlation, **changes: Any) -> LeaverState:
    """Judge the leaver E1001."""
    world = VerdictWorld(now=NOW, workers=(builders.leaver(),), snapshot=snapshot, correlations=correlations)
    (judged,) = judge_leavers(replace(world, **changes))
    return judged.state


EXCLUDED = tuple(Coverage(kind=kind, state=ReadState.EXCLUDED) for kind in ArtefactKind)


@pytest.mark.parametrize(
    "snapshot",
    [
        pytest.param(builders.snapshot(), id="no provider"),
        pytest.param(builders.snapshot(builders.inventory(coverage=())), id="nothing said of any kind"),
        pytest.param(builders.snapshot(builders.inventory(coverage=EXCLUDED)), id="everything excluded"),
    ],
)
def test_nobody_is_clean_where_nothing_was_read(snapshot: Snapshot) -> None:
    """A snapshot of nothing, and a scope that says nothing of itself, conclude nothing."""
    assert verdict(snapshot) is LeaverState.CANNOT_CONCLUDE


def test_items_of_a_principal_that_nobody_listed_conclude_nothing() -> None:
    """Access that hangs on an unlisted principal may be anybody's: no leaver is clean beside it."""
    stray = builders.credential("nobody-listed")
    undecided = frozenset({(PROVIDER, PrincipalId("nobody-listed"))})
    snapshot = builders.snapshot(builders.inventory((), (stray,)))
    assert verdict(snapshot, undecided=undecided) is LeaverState.CANNOT_CONCLUDE


class Silent:
    """A collector that answers, and reports no scope at all."""

    def collect(self, interest: Interest) -> tuple[ProviderInventory, ...]:
        return ()

    def read_principal(self, principal: Principal) -> PrincipalReading:
        raise NotImplementedError

    def close(self) -> None:
        return None


def test_a_provider_that_reports_no_scope_does_not_vanish() -> None:
    """A configured provider without a single scope leaves the snapshot incomplete and is named in it."""
    source = Source(provider=PROVIDER, provider_type="aws_iam", collector=Silent())
    snapshot = collect({PROVIDER: source}, lambda _: True, FakeClock(NOW))
    assert [one.provider for one in snapshot.inventories] == [PROVIDER]
    assert not snapshot.complete


def test_two_principals_with_one_access_id_are_not_mixed_up() -> None:
    """A finding on the leaver never becomes an act on an item of somebody else that has the same id."""
    alice, bob = builders.principal("alice"), builders.principal("bob")
    mine, other = builders.credential("alice", access_id="twin"), builders.credential("bob", access_id="twin")
    for items in ((mine, other), (other, mine)):
        world = planning(
            items,
            (builders.finding(mine),),
            snapshot=builders.snapshot(builders.inventory((alice, bob), items)),
            correlations=(sure(alice), sure(bob, "E1002")),
        )
        assert all(action.item.principal_id == action.principal.principal_id for action in make_plan(world).actions)


ACCOUNT = builders.credential(kind=ArtefactKind.ACCOUNT)


def test_a_waived_item_is_not_stopped_by_its_account() -> None:
    """Where a waiver keeps one key, the account that the key works by is neither suspended nor removed."""
    key = builders.credential()
    waiver = Waiver(
        waiver_id="w1", rule="leaver", access_id=key.access_id, reason="hand-over", owner="ops", approved_by="ciso",
        expires_at=NOW + timedelta(days=1),
    )  # fmt: skip
    for effect in (Effect.QUARANTINE, Effect.REVOKE):
        findings = (builders.finding(ACCOUNT, effect=effect), builders.finding(key))
        plan = make_plan(planning((ACCOUNT, key), findings, waivers=(waiver,)))
        assert plan.actions == ()
        assert {one.finding.access_id for one in plan.withheld} == {ACCOUNT.access_id, key.access_id}


@pytest.mark.parametrize(
    "kept",
    [
        pytest.param(builders.grant(holders=1), id="last member"),
        pytest.param(builders.grant(holders=None), id="member of an uncounted group"),
        pytest.param(builders.credential(live=False), id="not live"),
    ],
)
def test_an_account_is_not_deleted_over_what_is_kept(kept: AccessItem) -> None:
    """Deleting a principal takes everything with it: it is only planned when everything else is."""
    findings = (builders.finding(ACCOUNT), builders.finding(kept))
    plan = make_plan(planning((ACCOUNT, kept), findings))
    assert [(one.item.kind, one.effect, one.phase) for one in plan.actions] == [
        (ArtefactKind.ACCOUNT, Effect.QUARANTINE, 0)
    ]


def test_a_suspended_account_stays_so_over_what_is_kept() -> None:
    """Where suspending is all that may be done and is done already, deletion waits for a human."""
    suspended, kept = replace(ACCOUNT, enabled=False), builders.grant(holders=1)
    plan = make_plan(planning((suspended, kept)))
    assert plan.actions == ()
    assert {one.code for one in plan.withheld} == {"account_needed", "last_member"}


class Feed:
    """A roster source whose file changes."""

    def __init__(self, roster: Roster) -> None:
        self.roster = roster

    def load(self, previous: AcceptedRoster | None) -> RosterVerdict:
        return RosterVerdict(roster=self.roster)

    def fingerprint(self) -> str:
        return self.roster.digest


POLICIES = PolicySet(digest="sha256:p", rules=(), modules=(), data="{}")


def asking(feed: Feed) -> Callable[[Action], str]:
    """Build the re-check of a plan made on the roster `sha256:aaa…`."""
    no_waivers: Callable[[datetime], WaiverSet] = lambda _: WaiverSet()  # noqa: E731 - two lines would say no more
    return recheck(
        Ground(
            clock=FakeClock(NOW),
            roster=feed,
            last_roster=None,
            load_policies=lambda: POLICIES,
            load_waivers=no_waivers,
            policy_digest="sha256:p",
            roster_digest="sha256:" + "a" * 64,
        )
    )


def changed(*workers: Worker) -> Feed:
    """Build a feed that is another one than the plan was made on."""
    return Feed(builders.roster(*workers, digest="sha256:" + "c" * 64))


ACT = builders.action(builders.principal(), builders.credential())


def test_a_person_who_may_be_back_is_left_alone() -> None:
    """When the new roster says that the leaver may be somebody newly hired, the act goes back to the next cycle."""
    back = builders.leaver(LEAVER, possible_rehire_of=(WorkerId("E2002"),))
    assert asking(changed(back, builders.worker("E2002")))(ACT)
    assert asking(changed(builders.leaver(LEAVER)))(ACT) == ""


def test_an_orphan_is_left_alone_when_the_roster_has_changed() -> None:
    """An act that rests on nobody owning a principal does not outlive the roster that says so."""
    orphan = replace(ACT, worker_id=None, rule="orphan")
    assert asking(changed(builders.worker("E7")))(orphan)
    assert asking(Feed(builders.roster(builders.worker("E7"))))(orphan) == ""


POPULATION = Population(provider=PROVIDER, principals=1000, identity_known=True, complete_scopes=(builders.SCOPE,))


def test_an_approval_lifts_only_what_its_approver_saw() -> None:
    """Approved as a new policy, a plan stays held when the roster has shrunken since."""
    plan = plan_of(ACT)
    seen = HoldReason(code=HoldCode.NEW_POLICY, message="new policy")
    unseen = HoldReason(code=HoldCode.ROSTER_SHRUNKEN, message="half of the workers are missing")
    approval = Approval(
        plan_digest=plan.digest, approved_by="ann", approved_at=NOW, expires_at=NOW + timedelta(hours=1),
        lifts=(HoldCode.NEW_POLICY,),
    )  # fmt: skip
    world = Circumstances(now=NOW, limits=Limits(), populations=(POPULATION,), novelties=(seen,), approval=approval)
    assert isinstance(guard(plan, world), ApprovedPlan)
    assert isinstance(guard(plan, replace(world, roster_holds=(unseen,))), HeldPlan)


def test_two_reviewed_facts_that_disagree_decide_nothing() -> None:
    """A principal that the explicit map gives to two workers belongs to neither."""
    pairs = tuple((PROVIDER, PrincipalId("alice"), WorkerId(one)) for one in ("E1", "E2"))
    people = builders.roster(builders.leaver("E1"), builders.worker("E2"))
    for explicit in (pairs, pairs[::-1]):
        found = correlate_one(builders.principal(), index_roster(people, CorrelationSettings(explicit=explicit)))
        assert found.state is CorrelationState.AMBIGUOUS


@pytest.mark.parametrize(("one", "other"), [("strasse", "stra\u00dfe"), ("sue", "\u017fue"), ("file", "\ufb01le")])
def test_letters_that_fold_together_stay_different_people(one: str, other: str) -> None:
    """Two mailboxes that only a linguist calls the same are two mailboxes."""
    people = builders.roster(builders.leaver("E1", emails=(f"{one}@example.com",), usernames=(one,)))
    stranger = builders.principal("p", emails=(f"{other}@example.com",), login_names=(other,))
    found = correlate_one(stranger, index_roster(people, CorrelationSettings()))
    assert found.state is CorrelationState.ORPHAN


def test_a_stale_credential_of_nobody_knows_whom_stays() -> None:
    """Whatever rule asks for it, nothing goes from an account that more than one worker may stand behind."""
    key, alice = builders.credential(), builders.principal()
    doubtful = Correlation(provider=PROVIDER, principal_id=alice.principal_id, state=CorrelationState.AMBIGUOUS)
    plan = make_plan(planning((key,), (builders.finding(key, None, rule="stale"),), correlations=(doubtful,)))
    assert plan.actions == ()
    assert [one.code for one in plan.withheld] == ["ambiguous"]


@pytest.mark.parametrize("named", ["ALICE", "alice ", "Alice"])
def test_protection_does_not_hang_on_letter_case(named: str) -> None:
    """Directories and AWS take names in any case: so does the list of whom never to touch."""
    world = planning((builders.credential(),), protection=Protection(principals=frozenset({(PROVIDER, named)})))
    plan = make_plan(world)
    assert plan.actions == ()
    assert [one.code for one in plan.withheld] == ["protected"]


def test_a_legal_hold_outlives_a_new_worker_id() -> None:
    """A worker protected under an id of an earlier employment stays protected under the id of today."""
    people = builders.roster(builders.leaver("E9", former_ids=(WorkerId("E1"),)), builders.leaver("E2"))
    protection = protected_today(Protection(workers=frozenset({"E1"})), people)
    assert protection.workers == {"E1", "E9"}
