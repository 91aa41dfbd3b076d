"""What stops one provider, and what stops everything."""

import threading
import time
from datetime import timedelta
from typing import Any

import pytest

from inventory.errors import (
    Denied,
    Misconfigured,
)
from inventory.model import Principal, PrincipalId, PrincipalReading
from reconciler.core.errors import JournalError, LeaseLost
from reconciler.core.model import Action, ActionId, Receipt
from reconciler.execution import execute
from tests.builders import NOW
from tests.fakes.journal import MemoryJournal
from tests.fakes.stage import (
    DONE,
    FAILED,
    GONE,
    LDAP,
    SKIPPED,
    THERE,
    Breaking,
    Stage,
    ends,
)
from tests.fakes.world import FakeProvider, Fault, Watcher, approve


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


def test_the_first_error_is_raised_and_later_ones_noted() -> None:
    """When two principals under way both fail to write, the caller gets one error that tells of the other."""
    stage = Stage("alice", "bob")
    stage.parallel = 2
    both, real = threading.Barrier(2, timeout=10), stage.aws.revoke

    def revoke(action: Action) -> Receipt:
        both.wait()
        return real(action)

    class Full(MemoryJournal):
        def record_outcome(self, action_id: ActionId, *rest: Any) -> None:
            raise JournalError(f"disk full at {len(action_id)}")

    stage.aws.revoke = revoke  # type: ignore[method-assign]  # both are called before either is recorded
    stage.journal = Full()
    stage.epoch = stage.journal.take_over(NOW)
    with pytest.raises(JournalError) as raised:
        stage.run(stage.key("alice"), stage.key("bob"))
    assert raised.value.__notes__ == ["afterwards: JournalError: disk full at 64"]


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

    def read(principal: Principal) -> PrincipalReading:
        if principal.principal_id == "bob":
            waiting.wait(timeout=10)
        return real(principal)

    def sleep(seconds: float) -> None:
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

    def read(principal: Principal) -> PrincipalReading:
        if principal.principal_id == "bob":
            interrupted.wait(timeout=10)
        return real(principal)

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
