"""A look that was taken for an act serves that act, once and for a moment."""

from inventory.last_look import HOLDS_SECONDS, LastLook
from tests.fakes.clock import FakeClock

LOCK = "act-1"
OTHER = "act-2"


def test_a_look_serves_its_act_once() -> None:
    """What was kept is given to that act alone and only once, also where nothing was there to be seen."""
    clock = FakeClock()
    looks: LastLook[str | None] = LastLook(clock)
    assert looks.keep(LOCK, None, clock.monotonic_seconds()) is None
    assert looks.take(OTHER) is None
    assert looks.take(LOCK) == (None,)
    assert looks.take(LOCK) is None


def test_a_look_of_long_ago_serves_nobody() -> None:
    """Counted from when it was asked for; a moment later the act has to look for itself."""
    clock = FakeClock()
    looks: LastLook[str] = LastLook(clock)
    looks.keep(LOCK, "open", clock.monotonic_seconds())
    clock.sleep(HOLDS_SECONDS + 0.1)
    assert looks.take(LOCK) is None


def test_acts_that_were_stopped_leave_nothing_behind() -> None:
    """Looks that nobody took are forgotten once they no longer stand, however many there were."""
    clock = FakeClock()
    looks: LastLook[int] = LastLook(clock)
    for number in range(2000):
        looks.keep(f"stopped-{number}", number, clock.monotonic_seconds())
        clock.sleep(0.1)
    assert len(looks) < 300
    assert looks.take(LOCK) is None
