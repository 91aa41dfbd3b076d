"""The timer: APScheduler as it is set up here, on its real threads."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from apscheduler.events import EVENT_JOB_MAX_INSTANCES, EVENT_JOB_MISSED, JobEvent

from reconciler.daemon.triggers import SCHEDULER_SETTINGS, Timer
from reconciler.daemon.wakeups import Reason, Wakeups

Make = Callable[..., Timer]


@pytest.fixture
def wakeups() -> Wakeups:
    """Return the queue that the timer wakes."""
    return Wakeups()


@pytest.fixture
def make(wakeups: Wakeups) -> Iterator[Make]:
    """Return what makes a running timer; all are closed at the end."""
    made: list[Timer] = []

    def timer(tick: Callable[[], object] | None = None, interval_seconds: float = 3600) -> Timer:
        one = Timer(
            tick or (lambda: wakeups.wake(Reason.TIMER)),
            lambda: wakeups.wake(Reason.INSTANT),
            interval_seconds=interval_seconds,
            jitter_seconds=15,
        )
        one.start()
        made.append(one)
        return one

    yield timer
    for one in made:
        one.close()
        one.close()


def soon(seconds: float) -> datetime:
    """Return an instant so many seconds from now."""
    return datetime.now(UTC) + timedelta(seconds=seconds)


def test_it_ticks_again_and_again(make: Make, wakeups: Wakeups) -> None:
    """Each interval puts a token in."""
    make(interval_seconds=0.05)
    assert [wakeups.take(60) for _ in range(3)] == [{Reason.TIMER}] * 3


def test_a_known_instant_wakes_and_not_before(make: Make, wakeups: Wakeups) -> None:
    """The token comes once the instant is reached, and once."""
    instant = soon(0.1)
    make().arm(instant)
    assert wakeups.take(60) == {Reason.INSTANT}
    assert datetime.now(UTC) >= instant
    assert wakeups.take(0.05) == frozenset()


@pytest.mark.parametrize("late", [2, 3600, 86_400 * 30])
def test_an_instant_that_has_passed_wakes_at_once(make: Make, wakeups: Wakeups, late: int) -> None:
    """What fell due while a cycle ran, or the machine slept, is not dropped for being late."""
    make().arm(soon(-late))
    assert wakeups.take(60) == {Reason.INSTANT}


def test_a_new_instant_replaces_the_old_one(make: Make, wakeups: Wakeups) -> None:
    """HR moved the date: only the instant that was armed last counts."""
    timer = make()
    timer._scheduler.pause()  # or the first could come between the two lines
    timer.arm(soon(-1))
    timer.arm(soon(3600))
    timer._scheduler.resume()
    assert wakeups.take(0.1) == frozenset()


def test_an_instant_can_be_taken_back(make: Make, wakeups: Wakeups) -> None:
    """Nobody leaves any more: nothing wakes, and taking back what is not armed is no error."""
    timer = make()
    timer._scheduler.pause()  # or it could come before it is taken back
    timer.arm(soon(-1))
    timer.arm(None)
    timer.arm(None)
    timer._scheduler.resume()
    assert wakeups.take(0.1) == frozenset()


def test_a_job_that_raises_is_counted_and_ticks_on(make: Make) -> None:
    """A tick that raises does not end the ticking, and is told."""
    again = threading.Semaphore(0)

    def tick() -> None:
        again.release()
        raise RuntimeError

    timer = make(tick, 0.05)
    assert all(again.acquire(timeout=60) for _ in range(3))
    assert timer.troubles["raised"] >= 1


def test_a_tick_that_hangs_is_told_and_keeps_no_instant_back(make: Make, wakeups: Wakeups) -> None:
    """While one tick hangs the others are skipped and counted; known instants have a thread of their own."""
    go_on, hangs = threading.Event(), threading.Event()

    def tick() -> None:
        hangs.set()
        go_on.wait(60)

    timer = make(tick, 0.02)
    assert hangs.wait(60)
    timer.arm(soon(0.08))
    assert wakeups.take(60) == {Reason.INSTANT}
    deadline = time.monotonic() + 60
    while not timer.troubles["still_running"]:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    go_on.set()


def test_missed_ticks_are_counted(make: Make) -> None:
    """The listener hears of every kind of trouble."""
    timer = make()
    for code in (EVENT_JOB_MISSED, EVENT_JOB_MAX_INSTANCES):
        timer._note_trouble(JobEvent(code, "tick", "default"))
    assert timer.troubles == {"missed": 1, "still_running": 1, "raised": 0}


def test_the_settings_that_drop_no_tick() -> None:
    """Late jobs run, several that are late run once, and never two of a kind side by side."""
    assert SCHEDULER_SETTINGS == {"coalesce": True, "max_instances": 1, "misfire_grace_time": None}


def test_closing_does_not_wait_for_a_hung_tick(make: Make) -> None:
    """The end of the daemon is not kept by a job that hangs."""
    hangs, go_on = threading.Event(), threading.Event()

    def tick() -> None:
        hangs.set()
        go_on.wait(100)

    timer = make(tick, 0.02)
    assert hangs.wait(60)
    closer = threading.Thread(target=timer.close)
    closer.start()
    closer.join(30)
    assert not closer.is_alive()
    go_on.set()
