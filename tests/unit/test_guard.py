"""The guard: what holds a plan, what an approval lifts, and what no approved plan can ever hold."""

from dataclasses import replace

import pytest

from inventory.model import Principal, PrincipalKind, PrincipalRead
from reconciler.core.errors import LimitExceeded
from reconciler.core.guard import ApprovedPlan, Circumstances, HeldPlan, Limits, Population, guard
from reconciler.core.model import Approval, CycleId, Effect, HoldCode, HoldReason, Need, Plan, PlanDigest, Touch
from tests import builders

DIGEST = PlanDigest("sha256:plan")


def plan_of(*principals: Principal, need: Need = Need.ITEM) -> Plan:
    """Build a plan with one action on each principal."""
    actions = tuple(builders.action(one, builders.credential(one.principal_id), needs=need) for one in principals)
    return Plan(
        digest=DIGEST,
        cycle_id=CycleId("c1"),
        created_at=builders.NOW,
        policy_digest="sha256:p",
        roster_digest="sha256:r",
        actions=actions,
        reviews=(),
        withheld=(),
    )


def people(count: int) -> tuple[Principal, ...]:
    """Build as many principals."""
    return tuple(builders.principal(f"p{number}") for number in range(count))


def around(population: int = 50, **changes: object) -> Circumstances:
    """Build circumstances under which nothing is held by itself."""
    known = Population(
        provider=builders.PROVIDER, principals=population, identity_known=True, complete_scopes=(builders.SCOPE,)
    )
    fine = Circumstances(now=builders.NOW, limits=Limits(), populations=(known,))
    return replace(fine, **changes)  # type: ignore[arg-type] # tests name real fields


def approval(digest: PlanDigest = DIGEST) -> Approval:
    """Build an approval of the plan."""
    shown = tuple(code for code in HoldCode if code.releasable)
    return Approval(
        plan_digest=digest, approved_by="ops", approved_at=builders.NOW, expires_at=builders.NOW, lifts=shown
    )


def codes(decision: ApprovedPlan | HeldPlan) -> set[HoldCode]:
    """Return the codes that hold a plan."""
    return {reason.code for reason in decision.reasons} if isinstance(decision, HeldPlan) else set()


@pytest.mark.parametrize(("count", "held"), [(25, False), (26, True)])
def test_the_count_cap_holds_from_the_first_principal_over_it(count: int, held: bool) -> None:  # noqa: FBT001 - a table
    """Exactly the limit passes, one more is held with zero acts."""
    decision = guard(plan_of(*people(count)), around(population=99))
    assert codes(decision) == ({HoldCode.CAP_COUNT} if held else set())


@pytest.mark.parametrize(
    ("count", "population", "held"), [(10, 100, False), (11, 100, True), (11, 99, False), (20, 200, False)]
)
def test_the_percent_cap_is_armed_from_its_population(count: int, population: int, held: bool) -> None:  # noqa: FBT001 - a table
    """A percentage counts from 100 principals on, and exactly the limit passes."""
    decision = guard(plan_of(*people(count)), around(population=population))
    assert codes(decision) == ({HoldCode.CAP_PERCENT} if held else set())


def test_the_window_adds_up_and_counts_a_principal_once() -> None:
    """Principals touched in the last 24 h count with those of the plan, the same one only once."""
    touched = tuple(
        Touch(provider=builders.PROVIDER, principal_id=one.principal_id, effect=Effect.REVOKE) for one in people(25)
    )
    again = guard(plan_of(*people(25)), around(touched=touched))
    another = guard(plan_of(builders.principal("new")), around(touched=touched))
    assert isinstance(again, ApprovedPlan)
    assert codes(another) == {HoldCode.CAP_COUNT}


def test_effects_add_up_over_one_provider() -> None:
    """Quarantines and revocations of different principals count together against the cap of the provider."""
    touched = tuple(
        Touch(provider=builders.PROVIDER, principal_id=one.principal_id, effect=Effect.QUARANTINE) for one in people(25)
    )
    assert codes(guard(plan_of(builders.principal("new")), around(touched=touched))) == {HoldCode.CAP_COUNT}


def test_an_empty_plan_is_never_held() -> None:
    """Nothing to do is approved under any circumstances: there is nothing to stop."""
    hold = HoldReason(code=HoldCode.ROSTER_STALE, message="old")
    assert isinstance(guard(plan_of(), around(roster_holds=(hold,))), ApprovedPlan)


def test_an_approval_lifts_the_caps_of_exactly_its_plan() -> None:
    """The digest of the plan releases it; another digest does not."""
    plan = plan_of(*people(30))
    assert isinstance(guard(plan, around(approval=approval())), ApprovedPlan)
    assert isinstance(guard(plan, around(approval=approval(PlanDigest("sha256:other")))), HeldPlan)


@pytest.mark.parametrize("code", [code for code in HoldCode if not code.releasable])
def test_no_approval_lifts_what_is_not_releasable(code: HoldCode) -> None:
    """A stale roster, an unknown identity or an incomplete scope holds in spite of an approval."""
    hold = HoldReason(code=code, message="no")
    decision = guard(plan_of(*people(1)), around(approval=approval(), roster_holds=(hold,)))
    assert codes(decision) == {code}


def test_an_unknown_identity_holds() -> None:
    """Without an answer to who-am-I nothing is done at that provider."""
    unknown = Population(provider=builders.PROVIDER, principals=50)
    assert codes(guard(plan_of(*people(1)), around(populations=(unknown,)))) == {HoldCode.IDENTITY_UNKNOWN}
    assert codes(guard(plan_of(*people(1)), around(populations=()))) == {HoldCode.IDENTITY_UNKNOWN}


def test_an_incomplete_scope_holds_what_rests_on_it() -> None:
    """A scope action needs its scope whole; an item action does not."""
    partial = Population(provider=builders.PROVIDER, principals=50, identity_known=True)
    circumstances = around(populations=(partial,))
    assert codes(guard(plan_of(*people(1), need=Need.SCOPE), circumstances)) == {HoldCode.SCOPE_INCOMPLETE}
    assert isinstance(guard(plan_of(*people(1)), circumstances), ApprovedPlan)


def test_an_approved_plan_over_the_cap_cannot_be_made() -> None:
    """Making an `ApprovedPlan` by hand checks the limits all the same."""
    with pytest.raises(LimitExceeded, match="must be held"):
        ApprovedPlan(plan=plan_of(*people(26)), circumstances=around())


@pytest.mark.parametrize(
    "principal",
    [
        builders.principal(kind=PrincipalKind.SERVICE),
        builders.principal(kind=PrincipalKind.BREAK_GLASS),
        builders.principal(kind=PrincipalKind.UNKNOWN),
        builders.principal(read=PrincipalRead(live=False)),
    ],
)
def test_an_approved_plan_cannot_name_whom_nothing_may_touch(principal: Principal) -> None:
    """Services, break-glass, unknown kinds and principals not read whole make an approved plan impossible."""
    with pytest.raises(LimitExceeded, match="may never be acted upon"):
        ApprovedPlan(plan=plan_of(principal), circumstances=around(approval=approval()))


def test_an_approved_plan_cannot_name_ourselves() -> None:
    """Our own principal, as the who-am-I call returned it, is out of reach even with an approval."""
    own = Population(
        provider=builders.PROVIDER, principals=5, identity_known=True, own_principals=(people(1)[0].principal_id,)
    )
    with pytest.raises(LimitExceeded):
        guard(plan_of(*people(1)), around(populations=(own,), approval=approval()))


def test_each_hold_names_its_provider_and_tells_the_numbers_it_rests_on() -> None:
    """Who is asked for an approval reads which provider, how many, within which time and what the limit is."""
    decision = guard(plan_of(*people(26)), around(1_000))
    assert isinstance(decision, HeldPlan)
    assert {(one.code, one.provider) for one in decision.reasons} == {(HoldCode.CAP_COUNT, builders.PROVIDER)}
    told = sorted(one.message for one in decision.reasons)
    assert told == [
        "corp-aws: 26 principals (any effect) within 24 h; the limit is 25",
        "corp-aws: 26 principals (revoke) within 24 h; the limit is 25",
    ]
    percent = guard(plan_of(*people(11)), around(100))
    assert isinstance(percent, HeldPlan)
    assert {(one.code, one.provider) for one in percent.reasons} == {(HoldCode.CAP_PERCENT, builders.PROVIDER)}
    assert sorted(one.message for one in percent.reasons) == [
        "corp-aws: 11 of 100 principals (any effect) within 24 h; the limit is 10 %",
        "corp-aws: 11 of 100 principals (revoke) within 24 h; the limit is 10 %",
    ]


def test_a_held_plan_is_kept_with_its_reasons_and_an_approved_one_with_what_was_lifted() -> None:
    """The approval and the record refer to the very plan, and to the reasons that the approver was shown."""
    plan = plan_of(*people(26))
    held = guard(plan, around(1_000))
    assert isinstance(held, HeldPlan)
    assert held.plan is plan
    released = guard(plan, around(1_000, approval=approval(plan.digest)))
    assert isinstance(released, ApprovedPlan)
    assert released.lifted == held.reasons


def test_what_a_provider_did_not_say_is_named() -> None:
    """An unknown identity and a scope that was not read whole are told with the provider they are of."""
    decision = guard(plan_of(*people(1), need=Need.SCOPE), around(populations=()))
    assert isinstance(decision, HeldPlan)
    assert {(one.code, one.provider, one.message) for one in decision.reasons} == {
        (
            HoldCode.IDENTITY_UNKNOWN,
            builders.PROVIDER,
            "corp-aws did not say who we are there, so our own access cannot be kept safe",
        ),
        (
            HoldCode.SCOPE_INCOMPLETE,
            builders.PROVIDER,
            "corp-aws/123456789012 was not read whole, and an action rests on what was not seen there",
        ),
    }


def test_who_makes_an_approved_plan_that_must_be_held_is_told_what_to_do() -> None:
    """The error says what to do: ask for an approval, or report a planner that names the untouchable."""
    with pytest.raises(LimitExceeded, match="the limit is 25") as over:
        ApprovedPlan(plan=plan_of(*people(26)), circumstances=around(1_000))
    assert over.value.advice == "hold it and ask for an approval"
    robot = builders.principal(kind=PrincipalKind.SERVICE)
    with pytest.raises(LimitExceeded, match="may never be acted upon") as forbidden:
        ApprovedPlan(plan=plan_of(robot), circumstances=around())
    assert forbidden.value.advice == "this is a defect of the planner: report it"


def test_what_rests_on_a_scope_that_was_read_whole_is_not_held() -> None:
    """A complete scope of the very provider lets an action through that rests on what was not seen there."""
    assert isinstance(guard(plan_of(*people(1), need=Need.SCOPE), around()), ApprovedPlan)


def test_a_provider_nobody_counted_is_empty_and_does_not_know_us() -> None:
    """An unknown provider has no principals to take a share of, no identity and no complete scope."""
    assert around(populations=()).population(builders.PROVIDER) == Population(provider=builders.PROVIDER, principals=0)


def test_a_single_reason_to_hold_is_told_by_the_error() -> None:
    """One reason is enough to refuse, and the error tells it."""
    stranger = Population(provider=builders.PROVIDER, principals=50)
    with pytest.raises(LimitExceeded, match="did not say who we are"):
        ApprovedPlan(plan=plan_of(*people(1)), circumstances=around(populations=(stranger,)))
