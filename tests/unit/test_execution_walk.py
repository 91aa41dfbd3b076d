"""How an approved plan is carried out: in order, once, on the planned world only, and proven by reading again."""

from dataclasses import replace
from datetime import timedelta

import pytest

from inventory.errors import (
    ObjectChanged,
    ObjectMissing,
    ProviderError,
    Unavailable,
)
from inventory.model import ArtefactKind, PrincipalId, ReadState
from reconciler.core.model import Effect, Mode
from reconciler.execution import execute
from tests.builders import NOW, action, credential, grant, principal
from tests.fakes.stage import (
    ABSENT,
    DONE,
    FAILED,
    GONE,
    SKIPPED,
    THERE,
    Stage,
    ends,
)
from tests.fakes.world import approve, plan_of


def test_a_plan_is_carried_out_and_proven() -> None:
    """Every item is taken once, in order, journalled before, verified after, and reported in the plan's order."""
    stage = Stage("alice", "bob")
    results = stage.run()
    assert ends(results) == [(DONE, GONE)] * 4
    assert stage.aws.items == {}
    assert stage.aws.effects == [("revoke", result.action.item.access_id) for result in results]
    assert [entry.outcome for entry in stage.journal.entries()] == [DONE] * 4
    assert stage.journal.unsettled() == ()
    assert stage.aws.reads == 4
    assert [step.done for step in stage.watcher.steps] == [2, 4]
    assert all(result.acted_at and result.verified_at and result.decided_at == NOW for result in results)
    assert all(result.effective_by == NOW + timedelta(seconds=300) for result in results)


def test_an_empty_plan_calls_nobody() -> None:
    """A plan without actions has no results."""
    assert execute(approve(plan_of()), Stage().crew()) == ()


def test_only_an_approved_plan_executes() -> None:
    """A bare plan is refused by the type checker (the ignore below is needed, or mypy complains) and at run time."""
    stage = Stage()
    with pytest.raises(AttributeError):
        execute(stage.plan(), stage.crew())  # type: ignore[arg-type]  # exactly the promise
    assert stage.aws.calls == []


def test_quarantine_is_quarantine() -> None:
    """A quarantine disables and is verified by the item being disabled, not absent."""
    stage = Stage()
    results = stage.run(replace(stage.key(), effect=Effect.QUARANTINE))
    assert ends(results) == [(DONE, GONE)]
    assert stage.aws.effects == [("quarantine", credential().access_id)]


def test_a_review_is_never_carried_out() -> None:
    """An action that asks for no act is a defect that stops everything before any call."""
    stage = Stage()
    approved = approve(stage.plan(stage.key()))
    plan = replace(approved.plan, actions=(replace(approved.plan.actions[0], effect=Effect.REVIEW),))
    object.__setattr__(approved, "plan", plan)  # the guard lets no such plan be made
    with pytest.raises(ValueError, match="no act"):
        execute(approved, stage.crew())
    assert stage.aws.calls == []


def test_the_intent_keeps_what_undo_needs() -> None:
    """The journal holds before-image, epoch, plan and policy digest of the act."""
    stage = Stage()
    plan = stage.plan(stage.member())
    execute(approve(plan), stage.crew())
    (entry,) = stage.journal.entries()
    assert entry.intent.before.restorable
    assert entry.intent.epoch == stage.epoch
    assert (entry.intent.plan_digest, entry.intent.policy_digest) == (plan.digest, plan.policy_digest)
    assert entry.intent.action == plan.actions[0]


def test_a_principal_that_is_gone_needs_no_call() -> None:
    """Its actions are already absent, with an intent and an outcome each, verified, and nothing to restore."""
    stage = Stage()
    plan = stage.plan()
    stage.aws.principals.clear()
    stage.aws.items.clear()
    results = execute(approve(plan), stage.crew())
    assert ends(results) == [(ABSENT, GONE)] * 2
    assert stage.aws.calls == []
    assert [(entry.outcome, entry.intent.before.restorable) for entry in stage.journal.entries()] == [
        (ABSENT, False)
    ] * 2
    assert stage.journal.unsettled() == ()


def test_an_item_that_is_gone_needs_no_call() -> None:
    """One item already absent does not keep the other from being taken."""
    stage = Stage()
    plan = stage.plan()
    del stage.aws.items[credential().access_id]
    assert ends(execute(approve(plan), stage.crew())) == [(ABSENT, GONE), (DONE, GONE)]


def test_an_item_that_vanishes_before_its_before_image() -> None:
    """An item missing at the before-image is already absent, without a call."""
    stage = Stage()
    stage.aws.fail("before_image", ObjectMissing("gone"))
    results = stage.run(stage.key())
    assert [result.outcome for result in results] == [ABSENT]
    assert stage.aws.calls == []


def test_a_changed_item_goes_back_to_the_next_cycle() -> None:
    """An item whose stable facts changed is skipped without intent or call; the other one is taken."""
    stage = Stage()
    plan = stage.plan()
    stage.aws.items[credential().access_id] = credential(enabled=False)
    results = execute(approve(plan), stage.crew())
    assert ends(results) == [(SKIPPED, None), (DONE, GONE)]
    assert "has changed" in results[0].detail
    assert [entry.intent.action.item.kind for entry in stage.journal.entries()] == [ArtefactKind.GROUP_MEMBERSHIP]


def test_the_last_holder_is_left() -> None:
    """A group whose other members went meanwhile is not emptied."""
    stage = Stage()
    plan = stage.plan(stage.member())
    stage.aws.items[grant().access_id] = grant(holders=1)
    (result,) = execute(approve(plan), stage.crew())
    assert (result.outcome, result.detail) == (SKIPPED, "the principal is the last holder")


def test_a_kind_that_cannot_be_read_is_left() -> None:
    """A partial read of one kind skips the actions on that kind only."""
    stage = Stage()
    stage.aws.states[ArtefactKind.ACCESS_KEY] = ReadState.PARTIAL
    results = stage.run()
    assert ends(results) == [(SKIPPED, None), (DONE, GONE)]


def test_a_principal_that_cannot_be_read_is_left() -> None:
    """Without a precondition read nothing is called."""
    stage = Stage()
    stage.aws.fail("read", Unavailable("no answer"), Unavailable("no answer"))
    results = stage.run()
    assert ends(results) == [(SKIPPED, None)] * 2
    assert "Unavailable: no answer" in results[0].detail
    assert stage.aws.calls == []


def test_a_rehired_worker_is_left() -> None:
    """Whatever the plan says, an action that is not asked for any more is skipped with the reason, before any read."""
    stage = Stage("alice", "bob")
    stage.why = lambda act: "the worker is active again" if act.principal.principal_id == "alice" else ""
    results = stage.run()
    assert ends(results) == [(SKIPPED, None)] * 2 + [(DONE, GONE)] * 2
    assert results[0].detail == "the worker is active again"
    assert stage.aws.reads == 2


def test_a_failed_action_does_not_stop_the_next() -> None:
    """The independent rest of a principal goes on after a failure."""
    stage = Stage()
    stage.aws.fail("revoke", ObjectChanged("412"))
    assert ends(stage.run()) == [(FAILED, THERE), (DONE, GONE)]


@pytest.mark.parametrize("fault", [ObjectChanged("412"), Unavailable("no answer")])
def test_a_principal_is_not_removed_over_a_failure(fault: ProviderError) -> None:
    """The account itself stays while anything of it could not be taken."""
    stage = Stage()
    account = credential(kind=ArtefactKind.ACCOUNT)
    stage.aws.items[account.access_id] = account
    stage.aws.fail("revoke", fault)
    results = stage.run(stage.key(), action(principal(), account))
    assert results[1].outcome is SKIPPED
    assert "1 earlier actions" in results[1].detail
    assert PrincipalId("alice") in stage.aws.principals


def test_an_account_is_still_disabled_after_a_failure() -> None:
    """Quarantine of the account is containment, not removal: a failure elsewhere does not stop it."""
    stage = Stage()
    account = credential(kind=ArtefactKind.ACCOUNT)
    stage.aws.items[account.access_id] = account
    stage.aws.fail("revoke", ObjectChanged("412"))
    results = stage.run(stage.key(), action(principal(), account, Effect.QUARANTINE))
    assert ends(results) == [(FAILED, THERE), (DONE, GONE)]


def test_a_principal_is_removed_last() -> None:
    """Removing the account after everything else is verified by the principal's absence."""
    stage = Stage()
    account = credential(kind=ArtefactKind.ACCOUNT)
    stage.aws.items[account.access_id] = account
    assert ends(stage.run(stage.key(), action(principal(), account))) == [(DONE, GONE)] * 2
    assert stage.aws.principals == {}


def test_what_is_absent_does_not_keep_a_principal() -> None:
    """An item that went by itself is no reason to leave the account."""
    stage = Stage()
    account = credential(kind=ArtefactKind.ACCOUNT)
    stage.aws.items[account.access_id] = account
    plan = stage.plan(stage.key(), action(principal(), account))
    del stage.aws.items[credential().access_id]
    assert ends(execute(approve(plan), stage.crew())) == [(ABSENT, GONE), (DONE, GONE)]


def test_a_before_image_that_cannot_be_read_means_no_call() -> None:
    """Without a before-image there is no intent and no call."""
    stage = Stage()
    stage.aws.fail("before_image", Unavailable("no answer"))
    (result,) = stage.run(stage.key())
    assert ends([result]) == [(FAILED, None)]
    assert "not called" in result.detail
    assert (stage.aws.calls, stage.journal.entries()) == ([], ())


def test_planning_again_after_executing_finds_nothing() -> None:
    """What a plan took is not there to be planned again: a second execution of the same plan changes nothing."""
    stage = Stage("alice", "bob")
    plan = stage.plan()
    execute(approve(plan), stage.crew())
    stage.journal.begin_cycle(plan_of(cycle_id="cycle-2").cycle_id, Mode.ENFORCE, NOW)
    before = list(stage.aws.effects)
    results = execute(approve(plan_of(*plan.actions, cycle_id="cycle-2")), stage.crew())
    assert ends(results) == [(ABSENT, GONE)] * 4
    assert stage.aws.effects == before
