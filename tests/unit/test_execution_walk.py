"""How an approved plan is carried out: in order, once, on the planned world only, and proven by reading again."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from inventory.errors import (
    Denied,
    Misconfigured,
    ObjectChanged,
    ObjectMissing,
    ProviderError,
    Throttled,
    Unavailable,
    Unsupported,
)
from inventory.model import ArtefactKind, Principal, PrincipalId, PrincipalReading, ProviderName, ReadState
from reconciler.core.errors import JournalError, LeaseLost
from reconciler.core.model import Action, ActionId, ActionResult, Effect, Mode, OutcomeState, Plan, VerificationState
from reconciler.execution import Crew, execute
from reconciler.ports import Intent
from reconciler.rereading import Patience
from tests.builders import NOW, PROVIDER, action, credential, grant, principal
from tests.fakes.clock import FakeClock
from tests.fakes.journal import MemoryJournal
from tests.fakes.world import FakeProvider, Fault, Watcher, approve, plan_of

DONE, ABSENT, FAILED = OutcomeState.DONE, OutcomeState.ALREADY_ABSENT, OutcomeState.FAILED
LOST, SKIPPED = OutcomeState.UNKNOWN, OutcomeState.SKIPPED
GONE, THERE, UNKNOWN = VerificationState.GONE, VerificationState.STILL_THERE, VerificationState.UNKNOWN
LDAP = ProviderName("corp-ldap")


class Stage:
    """A world, a journal with a cycle begun, and whoever executes."""

    def __init__(self, *names: str, provider: ProviderName = PROVIDER) -> None:
        self.clock = FakeClock(NOW)
        self.journal = MemoryJournal()
        self.epoch = self.journal.take_over(NOW)
        self.watcher = Watcher()
        self.providers: dict[ProviderName, FakeProvider] = {}
        self.why: Callable[[Action], str] = lambda _: ""
        self.parallel = 1
        self.add(provider, *(names or ("alice",)))

    def add(self, name: ProviderName, *people: str) -> FakeProvider:
        """Add a provider where each principal has a key and a membership."""
        principals = [principal(one, provider=name) for one in people]
        items = [made(one, provider=name) for one in people for made in (credential, grant)]
        provider = FakeProvider(name, items, principals)
        provider.intent_exists = lambda action_id: self.journal.entry(action_id) is not None
        self.providers[name] = provider
        return provider

    @property
    def aws(self) -> FakeProvider:
        return self.providers[PROVIDER]

    def plan(self, *actions: Action) -> Plan:
        """Plan these actions, or the removal of everything there is."""
        everything = [
            action(provider.principals[item.principal_id], item)
            for provider in self.providers.values()
            for item in provider.items.values()
        ]
        plan = plan_of(*(actions or everything))
        if not self.journal.cycles():
            self.journal.begin_cycle(plan.cycle_id, Mode.ENFORCE, NOW)
        return plan

    def crew(self, **changes: object) -> Crew:
        values = {
            "journal": self.journal,
            "clock": self.clock,
            "epoch": self.epoch,
            "collectors": self.providers,
            "revokers": self.providers,
            "still_planned": self.why,
            "observer": self.watcher,
            "verification": Patience(window_seconds=10),
            "max_parallel_principals": self.parallel,
        }
        return Crew(**(values | changes))  # type: ignore[arg-type]  # a builder takes whatever is asked

    def run(self, *actions: Action) -> tuple[ActionResult, ...]:
        return execute(approve(self.plan(*actions)), self.crew())

    def key(self, who: str = "alice") -> Action:
        return action(self.aws.principals[PrincipalId(who)], credential(who))

    def member(self, who: str = "alice") -> Action:
        return action(self.aws.principals[PrincipalId(who)], grant(who))


def ends(results: Sequence[ActionResult]) -> list[tuple[OutcomeState, VerificationState | None]]:
    """Return outcome and verification of each result."""
    return [(result.outcome, result.verification) for result in results]


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


def test_an_expired_plan_does_nothing() -> None:
    """From the instant of expiry nothing is read, journalled or called."""
    stage = Stage()
    approved = approve(stage.plan())
    stage.clock.at = approved.expires_at
    results = execute(approved, stage.crew())
    assert ends(results) == [(SKIPPED, None)] * 2
    assert {result.detail for result in results} == {"the plan has expired"}
    assert (stage.aws.reads, stage.aws.calls, stage.journal.entries()) == (0, [], ())


def test_a_plan_that_expires_on_the_way_stops_there() -> None:
    """What was begun is verified, what was not is skipped."""
    stage = Stage()
    approved = approve(stage.plan())
    stage.aws.on_effect = lambda *_: setattr(stage.clock, "at", approved.expires_at)
    assert ends(execute(approved, stage.crew())) == [(DONE, GONE), (SKIPPED, None)]


def test_without_a_revoker_nothing_is_called() -> None:
    """A provider in observe mode has no revoker: its actions are skipped, the other provider's carried out."""
    stage = Stage()
    stage.add(LDAP, "bob")
    results = execute(approve(stage.plan()), stage.crew(revokers={LDAP: stage.providers[LDAP]}))
    assert ends(results) == [(SKIPPED, None)] * 2 + [(DONE, GONE)] * 2
    assert stage.aws.reads == 0


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (Unavailable("no answer"), LOST),
        (ProviderError("who knows"), LOST),
        (Misconfigured("no such region"), FAILED),
        (Unsupported("no such call"), FAILED),
        (ObjectChanged("412"), FAILED),
        (Denied("no right"), FAILED),
        (ObjectMissing("404"), ABSENT),
    ],
)
def test_answers_become_outcomes(error: ProviderError, outcome: OutcomeState) -> None:
    """A positive refusal is failed, silence is unknown, missing is already absent; nothing is called twice."""
    stage = Stage()
    stage.aws.fail("revoke", error)
    (result,) = stage.run(stage.key())
    assert ends([result]) == [(outcome, THERE)]
    assert str(error) in result.detail
    assert len(stage.aws.calls) == 1
    assert [entry.outcome for entry in stage.journal.entries()] == [outcome]
    assert result.effective_by is None or outcome is not FAILED


def test_a_conflict_says_changed() -> None:
    """A compare-and-set that found another state is named as such."""
    stage = Stage()
    stage.aws.fail("revoke", ObjectChanged("412"))
    assert stage.run(stage.key())[0].detail.startswith("changed: ")


def test_a_lost_reply_is_unknown_and_reading_tells() -> None:
    """A call that took effect though its answer was lost stays unknown, is verified gone, and is not made again."""
    stage = Stage()
    stage.aws.fail("revoke", Fault(error=Unavailable("cut off"), applied=True))
    results = stage.run(stage.key())
    assert ends(results) == [(LOST, GONE)]
    assert len(stage.aws.calls) == 1
    assert stage.journal.unsettled() == ()


def test_a_yes_that_did_nothing_is_not_believed() -> None:
    """A provider that says done while the item stays is reported still there, after the whole window."""
    stage = Stage()
    stage.aws.fail("revoke", Fault(ignored=True))
    results = stage.run(stage.key())
    assert ends(results) == [(DONE, THERE)]
    assert sum(stage.clock.slept) == pytest.approx(10)
    assert len(stage.journal.unsettled()) == 1


def test_a_stale_read_is_read_again() -> None:
    """A provider that shows the old state for a while is asked at growing intervals until it shows the new one."""
    stage = Stage()
    stage.aws.on_effect = lambda *_: stage.aws.stale.extend([before] * 3)
    before = stage.aws.reading(PrincipalId("alice"))
    assert ends(stage.run(stage.key())) == [(DONE, GONE)]
    assert stage.clock.slept == pytest.approx([0.2, 0.4, 0.8])


def test_a_world_that_cannot_be_read_after_the_act_is_unknown() -> None:
    """An act that nobody can see the result of is done by the provider's word, and unverified by ours."""
    stage = Stage()
    stage.aws.on_effect = lambda *_: stage.aws.fail("read", *([Unavailable("no answer")] * 50))
    (result,) = stage.run(stage.key())
    assert ends([result]) == [(DONE, UNKNOWN)]
    assert "no answer" in result.detail
    assert len(stage.journal.unsettled()) == 1


def test_a_refused_reader_is_not_asked_again() -> None:
    """Verification ends at once when our reader is refused."""
    stage = Stage()
    stage.aws.on_effect = lambda *_: stage.aws.fail("read", Denied("no right"))
    assert ends(stage.run(stage.key())) == [(DONE, UNKNOWN)]
    assert stage.clock.slept == []


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


def test_the_first_refusal_of_our_identity_stops_the_provider() -> None:
    """After one denial nothing more is called at that provider; another provider goes on."""
    stage = Stage("alice", "bob", "carol")
    stage.add(LDAP, "dora")
    stage.aws.fail("revoke", Denied("expired token"))
    results = stage.run()
    assert [result.outcome for result in results] == [FAILED] + [SKIPPED] * 5 + [DONE] * 2
    assert len(stage.aws.calls) == 1
    assert "refused our identity" in results[1].detail


def test_a_refused_reader_stops_the_provider() -> None:
    """A denied precondition read counts as a refusal of our identity too."""
    stage = Stage("alice", "bob")
    stage.aws.fail("read", Denied("expired token"))
    results = stage.run()
    assert [result.outcome for result in results] == [SKIPPED] * 4
    assert stage.aws.reads == 1


def test_three_failures_in_a_row_stop_the_provider() -> None:
    """The third failure in a row is the last call."""
    stage = Stage("alice", "bob", "carol")
    stage.aws.fail("revoke", *([Misconfigured("no")] * 6))
    results = stage.run()
    assert [result.outcome for result in results] == [FAILED] * 3 + [SKIPPED] * 3
    assert "3 failures in a row" in results[3].detail


def test_failures_with_a_success_between_do_not() -> None:
    """Two failures, a success and two failures are no row of three."""
    stage = Stage("alice", "bob", "carol")
    no = Fault(error=Misconfigured("no"))
    stage.aws.fail("revoke", no, no, Fault(), no, no, Fault())
    assert [result.outcome for result in stage.run()] == [FAILED, FAILED, DONE, FAILED, FAILED, DONE]


def test_three_unverified_principals_in_a_row_stop_the_provider() -> None:
    """A provider that says yes three times and does nothing is not asked a fourth time."""
    stage = Stage("alice", "bob", "carol", "dora")
    stage.aws.fail("revoke", *([Fault(ignored=True)] * 8))
    results = stage.run()
    assert ends(results) == [(DONE, THERE)] * 6 + [(SKIPPED, None)] * 2


@pytest.mark.parametrize(("asked", "waited"), [(None, 1.0), (2.5, 2.5), (30.0, 30.0), (-1.0, 0.0)])
def test_a_throttled_call_is_made_once_more(asked: float | None, waited: float) -> None:
    """A call refused for its rate was not made: after one wait, and a fresh read, it is made again."""
    stage = Stage()
    stage.aws.fail("revoke", Throttled("slow down", retry_after_seconds=asked))
    assert ends(stage.run(stage.key())) == [(DONE, GONE)]
    assert stage.clock.slept == [waited]
    assert (len(stage.aws.calls), stage.aws.reads) == (2, 3)
    assert len(stage.journal.entries()) == 1


def test_a_long_throttle_is_not_waited_for() -> None:
    """Beyond the bound the call has failed, positively."""
    stage = Stage()
    stage.aws.fail("revoke", Throttled("slow down", retry_after_seconds=30.1))
    assert ends(stage.run(stage.key())) == [(FAILED, THERE)]
    assert stage.clock.slept == []


@pytest.mark.parametrize(
    ("second", "outcome"),
    [(Throttled("again"), FAILED), (Unavailable("no answer"), LOST), (ObjectMissing("404"), ABSENT)],
)
def test_the_second_answer_counts(second: ProviderError, outcome: OutcomeState) -> None:
    """There is no third call."""
    stage = Stage()
    stage.aws.fail("revoke", Throttled("slow down"), second)
    (result,) = stage.run(stage.key())
    assert result.outcome is outcome
    assert len(stage.aws.calls) == 2


def test_a_world_that_moved_during_the_wait_is_left() -> None:
    """The wait ends with a fresh read: a changed item stays, an absent one is absent, an expired plan is over."""
    for change, outcome in (
        (lambda stage: stage.aws.items.update({credential().access_id: credential(shared=True)}), FAILED),
        (lambda stage: stage.aws.items.pop(credential().access_id), ABSENT),
        (lambda stage: setattr(stage.clock, "at", NOW + timedelta(hours=1)), FAILED),
    ):
        stage = Stage()
        stage.aws.fail("revoke", Throttled("slow down"))
        stage.clock.sleep = lambda _, stage=stage, change=change: change(stage)  # type: ignore[method-assign,misc]  # the wait is when it moves
        (result,) = stage.run(stage.key())
        assert result.outcome is outcome
        assert len(stage.aws.calls) == 1


def test_our_own_act_does_not_spoil_the_next_compare_and_set() -> None:
    """Where a provider versions objects, the principal is read again between acts, and the fresh version is used."""
    stage = Stage()
    alice = principal(revision="1")
    stage.aws.principals[alice.principal_id] = alice
    seen: list[str] = []
    real = stage.aws.revoke

    def revoke(act: Action) -> object:
        seen.append(act.principal.revision)
        receipt = real(act)
        bumped: Principal = replace(alice, revision=str(int(act.principal.revision) + 1))
        stage.aws.principals[alice.principal_id] = bumped
        return receipt

    stage.aws.revoke = revoke  # type: ignore[method-assign,assignment]  # a provider that versions
    results = stage.run(action(alice, credential()), action(alice, grant()))
    assert ends(results) == [(DONE, GONE)] * 2
    assert seen == ["1", "2"]
    assert results[1].action.principal.revision == "1"


class Breaking(MemoryJournal):
    """Fails at the n-th write of one kind."""

    def __init__(self, verb: str, at: int, error: Exception) -> None:
        super().__init__()
        self._countdown = {verb: at}
        self._error = error

    def _tick(self, verb: str) -> None:
        self._countdown[verb] = self._countdown.get(verb, 0) - 1
        if self._countdown[verb] == 0:
            raise self._error

    def record_intent(self, intent: Intent) -> None:
        self._tick("intent")
        super().record_intent(intent)

    def record_outcome(self, action_id: ActionId, *rest: Any) -> None:
        self._tick("outcome")
        super().record_outcome(action_id, *rest)

    def record_verification(self, action_id: ActionId, *rest: Any) -> None:
        self._tick("verification")
        super().record_verification(action_id, *rest)


@pytest.mark.parametrize("error", [JournalError("disk full"), LeaseLost("another process took over")])
@pytest.mark.parametrize(("verb", "calls"), [("intent", 1), ("outcome", 2), ("verification", 2)])
def test_a_failing_journal_stops_everything(verb: str, calls: int, error: Exception) -> None:
    """No call without a durable intent, and none after the journal failed; the error reaches the caller."""
    stage = Stage("alice", "bob", "carol")
    stage.journal = Breaking(verb, 2 if verb != "verification" else 1, error)
    stage.epoch = stage.journal.take_over(NOW)
    with pytest.raises(type(error), match=str(error)):
        stage.run()
    assert len(stage.aws.calls) == calls


def test_an_old_epoch_calls_nobody() -> None:
    """A process that lost its lease cannot act, whatever plan it holds."""
    stage = Stage()
    stage.journal.take_over(NOW)
    with pytest.raises(LeaseLost):
        stage.run()
    assert stage.aws.calls == []


def test_a_defect_of_a_revoker_is_not_swallowed() -> None:
    """An unforeseen error stops everything and is raised; its intent stays open for recovery."""
    stage = Stage("alice", "bob")
    stage.aws.fail("revoke", Fault(error=KeyError("defect")))
    with pytest.raises(KeyError, match="defect"):
        stage.run()
    assert len(stage.aws.calls) == 1
    assert [entry.outcome for entry in stage.journal.unsettled()] == [None]


def test_a_verification_under_way_ends_when_the_journal_fails() -> None:
    """Nobody waits for a provider, or writes, after the journal failed elsewhere."""
    stage = Stage("alice", "bob")
    stage.journal = Breaking("intent", 2, JournalError("disk full"))
    stage.epoch = stage.journal.take_over(NOW)
    stage.parallel = 2
    stage.aws.fail("revoke", Fault(ignored=True))
    waiting, slept, real = threading.Event(), [0], stage.aws.read_principal

    def read(owner: Principal) -> PrincipalReading:
        if owner.principal_id == "bob":
            waiting.wait(timeout=10)
        return real(owner)

    def sleep(_: float) -> None:
        waiting.set()
        time.sleep(0.001)
        slept[0] += 1
        if slept[0] > 2000:
            stage.clock.at += timedelta(seconds=1)

    stage.aws.read_principal = read  # type: ignore[method-assign]  # bob waits for alice to be verified
    stage.clock.sleep = sleep  # type: ignore[method-assign]  # time stands still unless nobody stops
    with pytest.raises(JournalError, match="disk full"):
        stage.run(stage.key("alice"), stage.key("bob"))
    assert slept[0] <= 2000
    assert [entry.verification for entry in stage.journal.entries()] == [None]


def test_an_interrupt_ends_the_calls_in_flight_first() -> None:
    """An interrupt from outside stops what has not begun and is raised after the threads have ended."""
    stage = Stage("alice", "bob", "carol")

    interrupted, real = threading.Event(), stage.aws.read_principal

    class Impatient(Watcher):
        def progress(self, step: object) -> None:
            threading.Timer(0.05, interrupted.set).start()
            raise KeyboardInterrupt

    def read(owner: Principal) -> PrincipalReading:
        if owner.principal_id == "bob":
            interrupted.wait(timeout=10)
        return real(owner)

    stage.aws.read_principal = read  # type: ignore[method-assign]  # bob is under way when the interrupt comes
    with pytest.raises(KeyboardInterrupt):
        execute(approve(stage.plan()), stage.crew(observer=Impatient()))
    assert all(entry.outcome is DONE for entry in stage.journal.entries())
    assert PrincipalId("carol") not in {entry.intent.action.principal.principal_id for entry in stage.journal.entries()}
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("act-")]


def test_principals_go_side_by_side_within_the_bound() -> None:
    """As many principals as allowed, and no more, are under way at one provider at a time; providers do not wait."""
    stage = Stage(*(f"p{number}" for number in range(6)))
    stage.add(LDAP, "bob")
    stage.parallel = 2
    meeting = threading.Barrier(3, timeout=10)  # two of one provider and one of the other must meet
    lock, running, most = threading.Lock(), [0], [0]

    def watched(provider: FakeProvider) -> None:
        real = provider.read_principal
        met: list[str] = []

        def read(owner: Principal) -> object:
            with lock:
                first = owner.principal_id not in met and len(met) < (2 if provider is stage.aws else 1)
                met.append(owner.principal_id)
                running[0] += provider is stage.aws
                most[0] = max(most[0], running[0])
            if first:
                meeting.wait()
            try:
                return real(owner)
            finally:
                with lock:
                    running[0] -= provider is stage.aws

        provider.read_principal = read  # type: ignore[method-assign,assignment]  # counts who is inside

    for provider in stage.providers.values():
        watched(provider)
    assert ends(stage.run()) == [(DONE, GONE)] * 14
    assert most[0] == 2


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
