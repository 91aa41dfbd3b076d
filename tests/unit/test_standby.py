"""Standing by: waiting for the lease, waiting after it, noticing its loss, and ending when told."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from structlog.testing import capture_logs

from reconciler.core.errors import JournalError, LeaseLost
from reconciler.core.model import BeforeImage, CycleId, Mode, OutcomeState, PlanDigest
from reconciler.daemon.health import Health, Silence
from reconciler.daemon.standby import Standby, watched
from reconciler.ports import Intent
from reconciler.settings import Settings
from reconciler.wiring import takeover_wait
from reconciler.writer import wait_out
from tests.builders import NOW, action, credential, principal
from tests.fakes.clock import FakeClock
from tests.fakes.journal import MemoryJournal


@dataclass
class FakeLease:
    """A lease that is lost when a test says so."""

    can_be_lost_alive: bool = True
    asked: int = 0
    lost_at: int = 0
    """Which question finds it lost; 0 for none."""
    closed: bool = False

    def check(self) -> None:
        self.asked += 1
        if self.lost_at and self.asked >= self.lost_at:
            raise LeaseLost("gone")

    def close(self) -> None:
        self.closed = True


@dataclass
class Watched:
    """A health with what the service manager was told."""

    clock: FakeClock = field(default_factory=lambda: FakeClock(NOW))
    told: list[str] = field(default_factory=list)

    def health(self) -> Health:
        silence = Silence(stages={}, stage_seconds=900, cycle_seconds=7200)
        return Health(self.clock, (), silence, lambda facts: self.told.append(str(dict(facts))))


def trying(*answers: Exception | FakeLease) -> Callable[[], FakeLease]:
    """Return what takes the lease: answers one after the other."""
    left = iter(answers)

    def take() -> FakeLease:
        answer = next(left)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return take


def journal_with_an_intent(outcome: OutcomeState | None) -> MemoryJournal:
    """Return a journal with one act, ended or not."""
    journal = MemoryJournal()
    journal.take_over(NOW)
    journal.begin_cycle(CycleId("c"), Mode.ENFORCE, NOW)
    intent = Intent(
        action=action(principal(), credential()),
        before=BeforeImage(restorable=True, document="{}"),
        cycle_id=CycleId("c"),
        epoch=1,
        plan_digest=PlanDigest("sha256:" + "c" * 64),
        policy_digest="sha256:" + "b" * 64,
        recorded_at=NOW,
    )
    journal.record_intent(intent)
    if outcome is not None:
        journal.record_outcome(intent.action.action_id, outcome, "", NOW)
    return journal


def test_whoever_stands_by_says_so_once_and_takes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Held, held, out of reach, free: alive all the while, not ready, told by each change of reason only."""
    monkeypatch.setattr("reconciler.daemon.standby.TRY_SECONDS", 0.0)
    house = Watched()
    health = house.health()
    lease = FakeLease()
    with capture_logs() as logged:
        held = LeaseLost("process 7 holds the journal")
        got = Standby(health).wait_for(trying(held, held, JournalError("down"), held, lease))
    assert got is lease
    assert [one["event"] for one in logged] == ["lease.standing_by"] * 3 + ["lease.taken"]
    assert [one for one in house.told if "READY" in one and "process 7" in one]
    assert not health.snapshot().standby


def test_standing_by_is_alive_and_not_ready() -> None:
    """The probes of a standby tell it from a daemon that works and from one that hangs."""
    house = Watched()
    health = house.health()
    health.standing_by("process 7 holds the journal")
    now = health.snapshot()
    assert (now.live, now.ready, now.standby) == (True, False, True)


def test_an_order_ends_the_wait() -> None:
    """Told to end while standing by, no lease is taken any more."""
    standby = Standby(Watched().health())

    def take() -> FakeLease:
        standby.stop()
        raise LeaseLost("held")

    assert standby.wait_for(take) is None
    assert standby.stopped
    assert standby.pause(60) is False


def test_the_loss_of_a_watched_lease_is_told_once() -> None:
    """An idle daemon learns of it within seconds, not at its next cycle."""
    told = threading.Semaphore(0)
    lease = FakeLease(lost_at=3)
    with watched(lease, told.release, seconds=0.01):
        assert told.acquire(timeout=60)
        assert not told.acquire(timeout=0.1)
    assert lease.asked == 3


def test_a_kept_lease_is_watched_in_silence() -> None:
    """Nothing is told of a lease that is held, and the watch ends with its block."""
    told: list[int] = []
    lease = FakeLease()
    with watched(lease, lambda: told.append(1), seconds=0.01):
        pass
    asked = lease.asked
    assert told == []
    assert threading.Event().wait(0.05) is False
    assert lease.asked == asked


@pytest.mark.parametrize(
    ("alive", "outcome", "waits"),
    [(True, None, True), (True, OutcomeState.DONE, False), (True, OutcomeState.FAILED, False), (False, None, False)],
)
def test_who_takes_over_waits_out_a_call_under_way(
    alive: bool,  # noqa: FBT001 - a column of the table above
    outcome: OutcomeState | None,
    waits: bool,  # noqa: FBT001 - the same
) -> None:
    """Only an act without an outcome, of a holder that may still live, is waited for, and for the whole time."""
    clock, journal, lease = FakeClock(NOW), journal_with_an_intent(outcome), FakeLease(can_be_lost_alive=alive)

    def pause(seconds: float) -> bool:
        clock.sleep(seconds)
        return True

    assert wait_out(journal, lease, clock, 21.5, pause)
    assert clock.now() - NOW == timedelta(seconds=21.5 if waits else 0)
    assert journal.epoch == (2 if alive else 1)
    assert lease.asked == (22 if waits else 0)


def test_the_wait_ends_when_told_and_when_the_lease_is_lost() -> None:
    """Nothing keeps a process that is to end, or has nothing to wait for any more."""
    clock, journal = FakeClock(NOW), journal_with_an_intent(None)
    assert wait_out(journal, FakeLease(), clock, 60, lambda _: False) is False
    with pytest.raises(LeaseLost):
        wait_out(journal, FakeLease(lost_at=2), clock, 60, lambda _: True)


def test_the_wait_is_longer_than_any_act() -> None:
    """It follows from the timeouts of what may act: the slowest one counts, and one that observes does not."""
    acting = {"region": "us-east-1", "connect_timeout_seconds": 2, "read_timeout_seconds": 10}
    providers = {
        "aws": {"type": "aws_iam", "mode": "enforce", "revoker": acting},
        "other": {"type": "aws_iam", "mode": "observe", "revoker": acting | {"read_timeout_seconds": 600}},
    }
    settings = Settings(roster={"path": "roster.csv"}, providers=providers)
    assert takeover_wait(settings) == 4 * 12 + 5
