"""The loop: when it looks again, what it makes of a cycle, and what ends it."""

import signal
import threading
import time
from dataclasses import replace
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from inventory.errors import Unavailable
from reconciler.core.errors import JournalError, LeaseLost, ReconcilerError
from reconciler.core.record import Breadth, CycleOutcome
from reconciler.daemon.health import CycleEnd
from reconciler.daemon.service import (
    BEAT_SECONDS,
    LONGEST_QUIET_SECONDS,
    LONGEST_UNDECIDED_SECONDS,
    QUIET_SECONDS,
    REPLACED_SECONDS,
    Ended,
)
from reconciler.daemon.supervisor import Supervisor
from reconciler.daemon.wakeups import Reason
from tests.builders import NOW
from tests.fakes.loop import LONGEST, POLL, House


def test_a_start_looks_once_and_silence_looks_no_more() -> None:
    """The first cycle runs at once; while the timer may still come there is no second one, and each poll compares."""
    house = House()
    assert house.run(2 * LONGEST - 1) == [0]
    assert house.files.mended == [False]


@pytest.mark.parametrize("reason", [Reason.TIMER, Reason.SIGNAL, Reason.INSTANT])
def test_a_token_looks_again_at_once(reason: Reason) -> None:
    """Timer, signal and known instant each run a cycle at the instant they come, whatever they mean."""
    assert House().run(30, (12.5, reason)) == [0, 12.5]


def test_tokens_during_a_cycle_become_one_cycle() -> None:
    """What comes while a cycle runs is answered by exactly one more, right after it."""
    house = House()
    moves = iter([10.0])
    house.during = lambda: house.clock.sleep(next(moves, 0))
    tokens = [(second, reason) for second in (1.0, 2.0, 9.0) for reason in (Reason.TIMER, Reason.SIGNAL)]
    assert house.run(30, *tokens) == [0, 10]


def test_a_hint_without_a_change_runs_nothing() -> None:
    """An event is not believed: the files are compared, are the same, and no cycle runs."""
    house = House()
    assert house.run(30, (5, Reason.HINT)) == [0]
    assert house.files.compared == 1


def test_a_changed_file_is_looked_at_half_a_second_after_its_last_event() -> None:
    """A burst of events is waited out, and one cycle follows it."""
    house = House()
    house.during = lambda: setattr(house.files, "version", 1)
    burst = [(5 + step * 0.1, Reason.HINT) for step in range(10)]
    cycles = house.run(20, *burst)
    assert len(cycles) == 2
    assert 6.4 <= cycles[1] <= 7.0


def test_a_folder_that_is_never_quiet_is_looked_at_nevertheless() -> None:
    """Events without end put the comparison off by five seconds at most."""
    house = House()
    house.during = lambda: setattr(house.files, "version", 1)
    cycles = house.run(15, *[(1 + step * 0.2, Reason.HINT) for step in range(60)])
    assert 6 <= cycles[1] <= 6.6


def test_a_rename_that_comes_with_a_reading_is_waited_out_no_longer_than_another() -> None:
    """What was read is decided upon at once; the event that came with it keeps its own short pause."""
    house = House()
    house.during = lambda: setattr(house.files, "version", 1)
    house.script.at(5, Reason.READ)
    house.run(10, (5, Reason.REPLACED))
    looked = [at for at in house.asked if at >= 5]
    assert looked
    assert looked[0] <= 5 + 2 * REPLACED_SECONDS


def test_the_poll_finds_what_no_event_told() -> None:
    """A change without a hint runs a cycle at the next poll, and the observer that kept silent is replaced."""
    house = House()
    house.during = lambda: setattr(house.files, "version", 1)
    assert house.run(100) == [0, POLL]
    assert house.files.mended == [True]


def test_what_changes_during_a_cycle_is_news_after_it() -> None:
    """The files are marked before a cycle reads them, so a change in the middle of it is not lost."""
    house = House()
    house.during = lambda: setattr(house.files, "version", min(house.files.version + 1, 2))
    house.script.at(1, Reason.HINT)
    assert len(house.run(10, (5, Reason.HINT))) == 3


def test_a_failure_is_followed_by_pauses_that_grow() -> None:
    """Cycles that fail are repeated after 2, 4, 8, 16 and at most 30 s: half of the doubling pauses, chance being 0."""
    house = House(CycleOutcome.FAILED)
    assert house.run(125) == [0, 2, 6, 14, 30, 60, 90, 120]
    assert house.health.snapshot().failures == 8


def test_a_good_cycle_ends_the_pauses() -> None:
    """After a cycle that ended well, nothing is due, and a later failure begins with the short pause again."""
    house = House(CycleOutcome.FAILED, CycleOutcome.COMPLETE, CycleOutcome.FAILED, CycleOutcome.COMPLETE)
    assert house.run(60, (30, Reason.SIGNAL)) == [0, 2, 30, 32]


@pytest.mark.parametrize(
    "error",
    [
        Unavailable("corp-aws: no answer"),
        JournalError("disk full"),
        ReconcilerError("?"),
        KeyError("x"),
        OSError(5, "io"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_no_failure_of_a_cycle_ends_the_loop(error: Exception) -> None:
    """Errors foreseen and unforeseen are counted, and the next cycle runs."""
    house = House(error, CycleOutcome.COMPLETE)
    assert house.run(20) == [0, 2]
    assert house.health.snapshot().last_outcome == "complete"


def test_an_unforeseen_error_is_told_by_type_and_place_only() -> None:
    """The message of a defect may hold anything, a secret included: it is not logged."""
    with capture_logs() as logged:
        House(KeyError("hunter2"), CycleOutcome.COMPLETE).run(5)
    (failed,) = [entry for entry in logged if entry["event"] == "cycle.failed"]
    assert failed["error"].startswith("KeyError in whole_pass, line ")
    assert "hunter2" not in str(logged)


@pytest.mark.parametrize("outcome", [CycleOutcome.PARTIAL, CycleOutcome.FAILED])
def test_a_cycle_that_is_not_whole_is_repeated(outcome: CycleOutcome) -> None:
    """Something was not read, done or verified: it is looked at again soon."""
    assert House(outcome, CycleOutcome.COMPLETE).run(20) == [0, 2]


def test_unsettled_acts_are_looked_at_again_soon() -> None:
    """A cycle that leaves an act without a known end is followed by another one, however it is called."""
    house = House(CycleOutcome.COMPLETE)
    house.unsettled = 1
    assert house.run(3) == [0, 2]


def test_a_held_plan_is_not_hurried() -> None:
    """A plan that waits for a human is not planned again until there is a reason."""
    assert House(CycleOutcome.HELD).run(50) == [0]


def test_only_news_cuts_a_pause_short() -> None:
    """While a failure pauses, the timer waits for the pause to end; an operator's signal does not."""
    house = House(CycleOutcome.FAILED)
    assert house.run(6, (1, Reason.TIMER), (3, Reason.SIGNAL)) == [0, 2, 3]
    assert House(CycleOutcome.FAILED, CycleOutcome.COMPLETE).run(8, (1, Reason.TIMER)) == [0, 2]


def test_the_next_known_instant_is_armed_after_each_cycle() -> None:
    """What a cycle knows of the future is what the daemon is woken for."""
    house = House()
    house.run(20, (5, Reason.SIGNAL))
    assert house.armed == [NOW + timedelta(hours=1)] * 2


def test_a_lost_lease_ends_the_loop() -> None:
    """Nothing may be done without the lease: the loop ends and says why."""
    house = House(LeaseLost("somebody else"))
    assert house.service.run() is Ended.LEASE_LOST
    assert house.cycles == [0]


def test_the_loop_shows_life_while_it_waits() -> None:
    """Between two cycles the daemon counts as alive, for it goes round every few seconds."""
    house = House()
    looks: list[bool] = []
    take = house.script.take

    def watched(timeout_seconds: float) -> frozenset[Reason]:
        assert timeout_seconds <= BEAT_SECONDS
        reasons = take(timeout_seconds)
        looks.append(house.health.snapshot().live)
        return reasons

    house.script.take = watched  # type: ignore[method-assign]  # to look in on the loop
    house.run(300)
    assert len(looks) >= 30
    assert all(looks)


def supervised(house: House, drain_seconds: float) -> tuple[Supervisor, list[Ended], threading.Thread]:
    """Return a supervisor that runs in a thread, and where its end will stand."""
    supervisor = Supervisor(house.service, house.health, house.clock, drain_seconds)
    ended: list[Ended] = []
    thread = threading.Thread(target=lambda: ended.append(supervisor.run()))
    return supervisor, ended, thread


def hanging(house: House) -> tuple[threading.Event, threading.Event]:
    """Make cycles wait in the middle; return what says that one does, and what lets it go on."""
    running, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        running.set()
        go_on.wait(60)

    house.during = wait
    return running, go_on


def test_a_signal_that_another_thread_got_is_followed() -> None:
    """The system may hand SIGTERM to any thread, as while a tracer holds the main one; the wait there must not last.

    Handlers run in the main thread alone, and one that waits without end is not woken by a signal to another.
    """
    house = House()
    running, go_on = hanging(house)
    go_on.set()
    supervisor = Supervisor(house.service, house.health, house.clock, 30)
    before = signal.signal(signal.SIGUSR1, lambda *_: supervisor.stop())
    rescue = threading.Timer(60, supervisor.stop)

    def order() -> None:
        running.wait(60)
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)

    sender = threading.Thread(target=order)
    try:
        rescue.start()
        sender.start()
        began = time.monotonic()
        assert supervisor.run() is Ended.DRAINED
        assert time.monotonic() - began < 30, "the order came from the rescue, not from the signal"
    finally:
        signal.signal(signal.SIGUSR1, before)
        rescue.cancel()
        sender.join(60)


def test_stopping_lets_the_running_cycle_finish() -> None:
    """An order that comes in the middle of a cycle ends the daemon after that cycle, and after no other."""
    house = House()
    running, go_on = hanging(house)
    supervisor, ended, thread = supervised(house, 30)
    thread.start()
    assert running.wait(60)
    supervisor.stop()
    supervisor.stop()
    assert ended == []
    go_on.set()
    thread.join(60)
    assert (ended, house.cycles) == ([Ended.DRAINED], [0])


def test_a_hung_cycle_does_not_keep_the_daemon() -> None:
    """Draining has a bound: a cycle that never ends is left behind, and that is said."""
    house = House()
    running, go_on = hanging(house)
    supervisor, ended, thread = supervised(house, 0.02)
    thread.start()
    assert running.wait(60)
    supervisor.stop()
    thread.join(60)
    assert ended == [Ended.OVERDUE]
    go_on.set()


def test_a_lost_lease_ends_the_supervisor() -> None:
    """Nobody has to ask: the daemon ends when its loop does."""
    house = House(LeaseLost("somebody else"))
    _, ended, thread = supervised(house, 30)
    thread.start()
    thread.join(60)
    assert ended == [Ended.LEASE_LOST]


def test_an_access_end_is_armed_before_everything_was_read() -> None:
    """A roster that names an instant wakes at it, however long the whole pass takes that it asked for."""
    house = House()
    house.coming = NOW + timedelta(minutes=3)
    house.run(1)
    assert house.armed[0] == house.coming


def leavers_end(house: House) -> CycleEnd:
    """Build the end of a leavers' pass."""
    end = replace(house.whole_pass(), breadth=Breadth.LEAVERS)
    house.cycles.clear()
    return end


def test_the_whole_pass_follows_two_quiet_seconds_after_the_last_leaver() -> None:
    """Leavers come in rows: what would stand in their way begins when no further one has come for two seconds."""
    house = House()
    house.leavers = [leavers_end(house)] * 3
    cycles = house.run(12, (5.0, Reason.SIGNAL), (6.5, Reason.SIGNAL))
    assert house.leavers == []
    assert list(cycles) == [2.0, 8.5]


def test_leavers_that_keep_coming_put_the_whole_pass_off_for_two_minutes() -> None:
    """A hundred leavers, one a second, go first; a row without end does not starve the pass over everything."""
    house = House()
    house.leavers = [leavers_end(house)] * 140
    cycles = house.run(135, *[(float(second), Reason.SIGNAL) for second in range(135)])
    assert cycles[0] == LONGEST_QUIET_SECONDS == 120


def test_whoever_a_pass_gave_way_to_is_dealt_with_before_it_is_decided_again() -> None:
    """A roster replaced while a whole pass decides: the leaver goes first, and the pass is not asked again before."""
    house = House()
    house.give_way = 3
    house.during = lambda: house.script.wake(Reason.REPLACED)
    cycles = house.run(3)
    assert len(cycles) >= 1
    assert house.give_way == 0
    assert len(house.asked) >= 4
    assert cycles[0] < 0.5


def test_a_pass_that_gave_way_waits_for_quiet_but_not_for_ever() -> None:
    """Leavers in a row are not held up by decisions begun in vain; a row without end puts these off only so long."""
    house = House()
    house.leavers = [leavers_end(house)] * 6
    house.give_way = 1
    leavers = [(1.0 * number, Reason.SIGNAL) for number in range(1, 5)]
    assert house.run(20, *leavers)[0] == 4 + 2 * QUIET_SECONDS
    house = House()
    house.leavers = [leavers_end(house)] * 200
    house.give_way = 1
    decided = house.run(200, *[(float(second), Reason.SIGNAL) for second in range(1, 200)])[0]
    assert decided - LONGEST_QUIET_SECONDS == pytest.approx(LONGEST_UNDECIDED_SECONDS, abs=QUIET_SECONDS)


def test_a_leavers_pass_that_failed_is_not_left_to_the_end_of_a_reading() -> None:
    """While everything is being read, which may take an hour, the leavers are tried again after the short pause."""
    house = House()
    failed = replace(leavers_end(house), outcome=CycleOutcome.FAILED, errors=("PolicyError: ended",))
    house.begun = True  # a reading that does not end
    house.leavers = [failed, failed]
    house.run(20)
    # The start, then half of 4 s, then half of the doubled pause, as after any failure.
    assert house.asked == [0, 2, 6]


def test_a_pass_that_did_not_end_well_says_why() -> None:
    """The line that tells of the end holds what was met, at most twenty; a good end holds no such field."""
    house = House(CycleOutcome.COMPLETE)
    house.leavers = [replace(leavers_end(house), outcome=CycleOutcome.FAILED, errors=("x: y",) * 30)]
    with capture_logs() as logs:
        house.run(4)
    (bad,) = [one for one in logs if one["event"] == "leavers.ended"]
    assert (bad["log_level"], bad["errors"], bad["errors_in_all"]) == ("warning", ("x: y",) * 20, 30)
    good = [one for one in logs if one["event"] == "cycle.ended"]
    assert good
    assert [one for one in good if "errors" in one or one["log_level"] != "info"] == []


def test_what_was_read_is_decided_though_a_leavers_pass_fails() -> None:
    """A pass that gave way to a leaver who could not be dealt with comes to its end all the same."""
    house = House()
    house.give_way = 1
    house.leavers_fail = JournalError("the disk is full")
    cycles = house.run(3)
    assert len(cycles) >= 1
    assert not house.begun
