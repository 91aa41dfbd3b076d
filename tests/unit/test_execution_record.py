"""What an execution leaves behind: each field of a result, of the journal and of the progress that is told."""

from datetime import timedelta

import pytest

from inventory.errors import Denied, Misconfigured, ObjectChanged, ObjectMissing, ProviderError, Throttled, Unavailable
from inventory.model import ArtefactKind, Principal, PrincipalReading
from reconciler.core.model import ActionResult, BeforeImage, Effect, OutcomeState
from reconciler.execution import execute
from reconciler.ports import Intent, JournalEntry, Progress
from tests.builders import NOW, action, credential, grant, principal
from tests.fakes.stage import ABSENT, DONE, FAILED, GONE, LDAP, LOST, SKIPPED, THERE, UNKNOWN, Stage, ends
from tests.fakes.world import Fault, approve

SECOND = timedelta(seconds=1)


def slow(stage: Stage) -> Stage:
    """Let every read and every act take a second, and the execution begin five seconds after the plan."""
    real = stage.aws.read_principal

    def read(principal: Principal) -> PrincipalReading:
        stage.clock.sleep(1)
        return real(principal)

    stage.aws.read_principal = read  # type: ignore[method-assign]  # a read that takes its time
    stage.aws.on_effect = lambda *_: stage.clock.sleep(1)
    stage.clock.sleep(5)
    return stage


def test_every_field_of_an_act() -> None:
    """Result and journal say what was done, on what plan, and when it was decided, meant, done and seen."""
    stage = slow(Stage())
    plan = stage.plan(stage.member())
    (planned,) = plan.actions
    assert execute(approve(plan), stage.crew()) == (
        ActionResult(
            action=planned,
            outcome=DONE,
            verification=GONE,
            detail="done",
            decided_at=NOW,
            acted_at=NOW + 7 * SECOND,
            verified_at=NOW + 8 * SECOND,
            effective_by=NOW + 307 * SECOND,
        ),
    )
    intent = Intent(
        action=planned,
        before=BeforeImage(restorable=True, document='{"enabled": true}'),
        cycle_id=plan.cycle_id,
        epoch=stage.epoch,
        plan_digest=plan.digest,
        policy_digest=plan.policy_digest,
        recorded_at=NOW + 6 * SECOND,
    )
    assert stage.journal.entries() == (
        JournalEntry(
            intent=intent,
            outcome=DONE,
            outcome_detail="done",
            outcome_at=NOW + 7 * SECOND,
            verification=GONE,
            verified_at=NOW + 8 * SECOND,
        ),
    )


@pytest.mark.parametrize("vanished", ["principal", "item", "before-image"])
def test_every_field_of_what_needed_no_call(vanished: str) -> None:
    """What is gone already is journalled and seen like an act, without a time of acting and with nothing to restore."""
    stage = slow(Stage())
    plan = stage.plan(stage.member())
    reason = "the access item does not exist"
    if vanished == "principal":
        stage.aws.principals.clear()
        reason = "the principal does not exist"
    if vanished == "before-image":
        stage.aws.fail("before_image", ObjectMissing("gone"))
        real = stage.aws.read_principal
        stage.aws.read_principal = lambda principal: (real(principal), stage.aws.items.clear())[0]  # type: ignore[method-assign,func-returns-value]  # gone after the first read
    else:
        stage.aws.items.clear()
    (result,) = execute(approve(plan), stage.crew())
    assert result == ActionResult(
        action=plan.actions[0],
        outcome=ABSENT,
        verification=GONE,
        detail=reason,
        decided_at=NOW,
        verified_at=NOW + 7 * SECOND,
    )
    (entry,) = stage.journal.entries()
    assert entry.intent.before == BeforeImage(restorable=False, document="{}")
    assert (entry.outcome, entry.outcome_detail) == (ABSENT, reason)
    assert (entry.intent.recorded_at, entry.outcome_at, entry.verified_at) == (
        NOW + 6 * SECOND,
        NOW + 6 * SECOND,
        NOW + 7 * SECOND,
    )
    assert stage.aws.calls == []


def test_every_field_of_what_was_not_begun() -> None:
    """A skipped action has a reason and the time of its decision, and nothing else."""
    stage = slow(Stage())
    stage.why = lambda _: "the worker is active again"
    plan = stage.plan(stage.key())
    assert execute(approve(plan), stage.crew()) == (
        ActionResult(action=plan.actions[0], outcome=SKIPPED, detail="the worker is active again", decided_at=NOW),
    )
    assert stage.journal.entries() == ()


def test_every_field_of_what_nobody_may_do() -> None:
    """Where no revoker is configured, each action of that provider says so, and of no other."""
    stage = slow(Stage())
    stage.add(LDAP, "bob")
    plan = stage.plan()
    results = execute(approve(plan), stage.crew(revokers={LDAP: stage.providers[LDAP]}))
    assert [result.action for result in results] == list(plan.actions)
    assert results[:2] == tuple(
        ActionResult(action=one, outcome=SKIPPED, detail="no revoker is configured for this provider", decided_at=NOW)
        for one in plan.actions[:2]
    )
    assert ends(results[2:]) == [(DONE, GONE)] * 2


def test_progress_counts_actions_and_names_the_principal() -> None:
    """Whoever watches is told of each principal that has ended, of how many actions have, and of how many there are."""
    stage = Stage()
    ldap = stage.add(LDAP, "bob")
    execute(approve(stage.plan()), stage.crew(revokers={LDAP: ldap}))
    assert stage.watcher.steps == [Progress(stage="execute", message="corp-ldap: bob", done=4, total=4)]
    alone = Stage("alice", "bob")
    alone.run()
    assert [(step.done, step.total) for step in alone.watcher.steps] == [(2, 4), (4, 4)]
    assert {step.message for step in alone.watcher.steps} == {"corp-aws: alice", "corp-aws: bob"}


@pytest.mark.parametrize(
    ("verb", "error", "outcome", "detail"),
    [
        ("revoke", Unavailable("no answer"), LOST, "Unavailable: no answer"),
        ("revoke", ObjectChanged("412"), FAILED, "changed: ObjectChanged: 412"),
        ("revoke", Misconfigured("no region"), FAILED, "Misconfigured: no region"),
        ("revoke", ObjectMissing("404"), ABSENT, "ObjectMissing: 404"),
        ("revoke", Throttled("slow", retry_after_seconds=31), FAILED, "Throttled: slow"),
        ("before_image", Denied("no right"), FAILED, "not called, no before-image: Denied: no right"),
        ("read", Denied("no right"), SKIPPED, "could not be read just before the act: Denied: no right"),
    ],
)
def test_an_error_is_told_by_its_kind_and_its_words(
    verb: str, error: ProviderError, outcome: OutcomeState, detail: str
) -> None:
    """The result, and the journal where something was called, say which error it was and how far we had come."""
    stage = Stage()
    stage.aws.fail(verb, error)
    (result,) = stage.run(stage.key())
    assert (result.outcome, result.detail) == (outcome, detail)
    entries = stage.journal.entries()
    assert [(entry.outcome, entry.outcome_detail) for entry in entries] == [(outcome, detail)] * (verb == "revoke")
    assert (result.acted_at is not None) is (verb == "revoke")
    assert (result.effective_by is not None) is (outcome in {LOST, ABSENT})


def test_what_the_act_and_what_the_reading_said_are_both_told() -> None:
    """An unknown outcome that could not be verified either tells both reasons."""
    stage = Stage()
    stage.aws.fail("revoke", Unavailable("cut off"))
    stage.aws.fail("read", Fault(), Denied("no right"))
    (result,) = stage.run(stage.key())
    assert ends([result]) == [(LOST, UNKNOWN)]
    assert result.detail == "Unavailable: cut off; Denied: no right"


def test_a_refused_call_is_judged_by_one_read() -> None:
    """A call that was positively refused is looked at once: nobody waits for an item to go that nobody took."""
    stage = Stage()
    stage.aws.fail("revoke", ObjectChanged("412"))
    assert ends(stage.run(stage.key())) == [(FAILED, THERE)]
    assert (stage.clock.slept, stage.aws.reads) == ([], 2)
    assert [entry.verification for entry in stage.journal.entries()] == [THERE]


def test_what_was_never_called_is_not_read_again() -> None:
    """Without a call there is nothing to verify."""
    stage = Stage()
    stage.aws.fail("before_image", Unavailable("no answer"))
    assert ends(stage.run(stage.key())) == [(FAILED, None)]
    assert stage.aws.reads == 1


def test_every_earlier_failure_that_keeps_a_principal_is_counted() -> None:
    """The reason names how many of the principal's actions did not succeed; those that did are not among them."""
    stage = Stage()
    account = credential(kind=ArtefactKind.ACCOUNT)
    third = credential(access_id="alice/access_key/2")
    stage.aws.items |= {account.access_id: account, third.access_id: third}
    stage.aws.fail("revoke", ObjectChanged("412"), Fault(), Unavailable("no answer"))
    alice = principal()
    results = stage.run(*(action(alice, item) for item in (credential(), grant(), third, account)))
    assert [result.outcome for result in results] == [FAILED, DONE, LOST, SKIPPED]
    assert results[3].detail == "2 earlier actions on this principal did not succeed"


def test_a_failure_keeps_no_other_item() -> None:
    """Only the removal of the principal waits: whatever is not the account, or leaves it, is taken all the same."""
    stage = Stage()
    account = credential(kind=ArtefactKind.ACCOUNT)
    stage.aws.items[account.access_id] = account
    stage.aws.fail("revoke", ObjectChanged("412"))
    alice = principal()
    results = stage.run(action(alice, credential()), action(alice, account, Effect.QUARANTINE), action(alice, grant()))
    assert [result.outcome for result in results] == [FAILED, DONE, DONE]
