"""The promises of correlation, planning and guard, over generated companies."""

from dataclasses import replace
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from inventory.model import (
    AccessItem,
    ArtefactKind,
    Coverage,
    Grant,
    Principal,
    PrincipalKind,
    PrincipalRead,
    ReadState,
    Snapshot,
)
from inventory.roster.model import Roster, Worker
from reconciler.core.correlation import CorrelationSettings, correlate, index_roster
from reconciler.core.guard import ApprovedPlan, Circumstances, HeldPlan, Limits, Population, guard
from reconciler.core.model import CycleId, Effect, Finding, Mode, Plan
from reconciler.core.planning import make_plan
from reconciler.core.withholding import PlanningWorld, Protection, Reach
from tests import builders

EFFECTS = frozenset((kind, effect) for kind in ArtefactKind for effect in (Effect.QUARANTINE, Effect.REVOKE))
REACH = {builders.PROVIDER: Reach(provider_type="aws_iam", effects=EFFECTS, account_contains=True, mode=Mode.ENFORCE)}
KINDS = (ArtefactKind.ACCOUNT, ArtefactKind.ACCESS_KEY, ArtefactKind.SSH_KEY)


@st.composite
def companies(draw: st.DrawFn) -> tuple[Roster, Snapshot]:
    """Draw a roster and a snapshot in which some principals are nobody's, some odd, some partly read."""
    count = draw(st.integers(1, 8))
    workers: list[Worker] = []
    principals: list[Principal] = []
    items: list[AccessItem] = []
    members: list[str] = []
    for number in range(count):
        worker_id = f"E{number}"
        gone = draw(st.booleans())
        workers.append(builders.leaver(worker_id) if gone else builders.worker(worker_id))
        known_by = draw(st.sampled_from(["employee_id", "email", "name", "nothing"]))
        read = draw(st.sampled_from([PrincipalRead(live=True), PrincipalRead(live=False)]))
        kind = draw(st.sampled_from([PrincipalKind.HUMAN, PrincipalKind.HUMAN, *PrincipalKind]))
        name = f"p{number}"
        principals.append(
            builders.principal(
                name,
                kind=kind,
                read=read,
                employee_ids=(worker_id,) if known_by == "employee_id" else (),
                emails=(f"e{number}@example.com",) if known_by == "email" else (),
                privileged=draw(st.booleans()),
            )
        )
        items += [builders.credential(name, one) for one in draw(st.sets(st.sampled_from(KINDS)))]
        if draw(st.booleans()):
            members.append(name)
    holders = draw(st.none() | st.integers(0, 2).map(lambda others: len(members) + others))
    items += [builders.grant(name, holders=holders) for name in members]
    inventory = builders.inventory(tuple(principals), tuple(items))
    if draw(st.booleans()):
        gap = Coverage(kind=ArtefactKind.MFA_DEVICE, state=ReadState.PARTIAL, reason="page 2 failed")
        inventory = replace(inventory, coverage=(*inventory.coverage, gap))
    return builders.roster(*workers), builders.snapshot(inventory)


def findings_of(roster: Roster, snapshot: Snapshot) -> tuple[Finding, ...]:
    """State the leaver rule in Python: every item of a principal that correlates to somebody who left."""
    gone = {worker.worker_id for worker in roster.workers if worker.access_end_at is not None}
    owners = {
        one.principal_id: one.worker_id
        for one in correlate(snapshot.principals(), snapshot.items(), index_roster(roster, CorrelationSettings()))
    }
    return tuple(
        builders.finding(item, owners[item.principal_id])
        for item in snapshot.items()
        if owners.get(item.principal_id) in gone
    )


def world_of(roster: Roster, snapshot: Snapshot, **changes: object) -> PlanningWorld:
    """Build the planning world of a company."""
    world = PlanningWorld(
        cycle_id=CycleId("c1"),
        now=builders.NOW,
        planned_at=builders.NOW,
        snapshot=snapshot,
        correlations=correlate(snapshot.principals(), snapshot.items(), index_roster(roster, CorrelationSettings())),
        findings=findings_of(roster, snapshot),
        reach=REACH,
        policy_digest="sha256:p",
        roster_digest=roster.digest,
    )
    return replace(world, **changes)  # type: ignore[arg-type] # the tests name real fields


@given(companies())
@settings(max_examples=60, deadline=None)
def test_every_action_rests_on_a_finding_and_on_a_whole_read_of_a_person(company: tuple[Roster, Snapshot]) -> None:
    """No action exists without a finding, a live and whole read, and a principal that is a person."""
    roster, snapshot = company
    world = world_of(roster, snapshot)
    known = {(finding.provider, finding.access_id, finding.rule) for finding in world.findings}
    for action in make_plan(world).actions:
        assert (action.provider, action.item.access_id, action.rule) in known
        assert action.principal.read.whole
        assert action.principal.kind in (PrincipalKind.HUMAN, PrincipalKind.EXTERNAL)


@given(companies(), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_the_plan_does_not_depend_on_the_order_of_its_input(company: tuple[Roster, Snapshot], random: object) -> None:
    """Shuffling principals, items, findings and correlations gives the same plan."""
    roster, snapshot = company
    world = world_of(roster, snapshot)
    inventory = snapshot.inventories[0]
    shuffle = getattr(random, "sample")  # noqa: B009 - hypothesis hands in a Random typed as object
    mixed = replace(
        inventory,
        principals=tuple(shuffle(inventory.principals, len(inventory.principals))),
        items=tuple(shuffle(inventory.items, len(inventory.items))),
    )
    shuffled = replace(
        world,
        snapshot=builders.snapshot(mixed),
        findings=tuple(shuffle(world.findings, len(world.findings))),
        correlations=tuple(shuffle(world.correlations, len(world.correlations))),
    )
    assert make_plan(shuffled) == make_plan(world)


def _fewer_holders(item: AccessItem, taken: int) -> AccessItem:
    """Count the members that a group has left: all grants of the generated company are of one group."""
    if isinstance(item, Grant) and item.holders is not None:
        return replace(item, holders=item.holders - taken)
    return item


@given(companies())
@settings(max_examples=60, deadline=None)
def test_a_carried_out_plan_leaves_nothing_to_plan(company: tuple[Roster, Snapshot]) -> None:
    """Once its actions are done, the same world without those items plans nothing."""
    roster, snapshot = company
    plan = make_plan(world_of(roster, snapshot, min_admins=0))
    done = {action.item.access_id for action in plan.actions}
    inventory = snapshot.inventories[0]
    taken = sum(action.item.kind is ArtefactKind.GROUP_MEMBERSHIP for action in plan.actions)
    left = tuple(_fewer_holders(item, taken) for item in inventory.items if item.access_id not in done)
    after = builders.snapshot(replace(inventory, items=left))
    assert make_plan(world_of(roster, after, min_admins=0)).actions == ()


@given(companies(), st.integers(100, 120))
@settings(max_examples=60, deadline=None)
def test_adding_a_worker_never_adds_a_revocation_for_someone_else(
    company: tuple[Roster, Snapshot], number: int
) -> None:
    """A larger roster can only shrink what is taken from the workers that were there before."""
    roster, snapshot = company
    larger = builders.roster(*roster.workers, builders.worker(f"E{number}"))
    before = {action.item.access_id for action in make_plan(world_of(roster, snapshot)).actions}
    after = {action.item.access_id for action in make_plan(world_of(larger, snapshot)).actions}
    assert after <= before


@given(companies(), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_enough_administrators_remain_after_any_plan(company: tuple[Roster, Snapshot], least: int) -> None:
    """A plan that touches an administrator leaves at least the set number of others."""
    roster, snapshot = company
    plan = make_plan(world_of(roster, snapshot, min_admins=least))
    admins = {one.principal_id for one in snapshot.principals() if one.privileged}
    touched = {action.principal.principal_id for action in plan.actions} & admins
    assert not touched or len(admins - touched) >= least


@given(companies())
@settings(max_examples=60, deadline=None)
def test_no_group_is_emptied(company: tuple[Roster, Snapshot]) -> None:
    """The memberships that a plan removes never add up to all holders of a group."""
    roster, snapshot = company
    plan = make_plan(world_of(roster, snapshot))
    taken = [action for action in plan.actions if action.item.kind is ArtefactKind.GROUP_MEMBERSHIP]
    assert all(isinstance(action.item, Grant) and len(taken) < (action.item.holders or 0) for action in taken)


@given(companies(), st.integers(0, 9))
@settings(max_examples=80, deadline=None)
def test_the_guard_holds_everything_or_nothing(company: tuple[Roster, Snapshot], most: int) -> None:
    """A plan that touches more principals than the cap is held whole; any other is approved whole."""
    roster, snapshot = company
    plan = make_plan(world_of(roster, snapshot))
    circumstances = Circumstances(
        now=builders.NOW,
        limits=Limits(max_principals=most),
        populations=(Population(provider=builders.PROVIDER, principals=8, identity_known=True),),
    )
    decision = guard(plan, circumstances)
    touched = {action.principal.principal_id for action in plan.actions}
    if len(touched) > most:
        assert isinstance(decision, HeldPlan)
    else:
        assert isinstance(decision, ApprovedPlan)
        assert decision.plan == plan


@given(companies())
@settings(max_examples=60, deadline=None)
def test_protected_own_and_undecided_principals_are_never_planned_against(
    company: tuple[Roster, Snapshot],
) -> None:
    """Protection by settings, by who-am-I and by an undecided evaluation each empty the plan for that principal."""
    roster, snapshot = company
    everyone = [one.principal_id for one in snapshot.principals()]
    inventory = snapshot.inventories[0]
    protection = Protection(principals=frozenset((builders.PROVIDER, one) for one in everyone))
    own = builders.snapshot(replace(inventory, own_principals=tuple(everyone)))
    undecided = frozenset((builders.PROVIDER, one) for one in everyone)
    plans: list[Plan] = [
        make_plan(world_of(roster, snapshot, protection=protection)),
        make_plan(world_of(roster, own)),
        make_plan(world_of(roster, snapshot, undecided=undecided)),
    ]
    assert all(plan.actions == () for plan in plans)


@given(companies())
@settings(max_examples=40, deadline=None)
def test_the_digest_of_a_plan_is_the_same_in_another_cycle(company: tuple[Roster, Snapshot]) -> None:
    """The same world gives the same digest under another cycle id and at another time; action ids differ."""
    roster, snapshot = company
    first = make_plan(world_of(roster, snapshot))
    second = make_plan(world_of(roster, snapshot, cycle_id=CycleId("c2"), now=builders.NOW + timedelta(minutes=5)))
    assert first.digest == second.digest
    ids = {action.action_id for action in first.actions}
    assert ids.isdisjoint(action.action_id for action in second.actions)
