"""A loop on a clock of its own: tokens come at instants that the test sets, and cycles end as it says."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from inventory.model import ProviderName
from reconciler.core.record import CycleOutcome
from reconciler.daemon.health import CycleEnd, Health, Silence
from reconciler.daemon.service import Ended, Pace, Service, ServiceHouse
from reconciler.daemon.wakeups import Reason
from tests.builders import NOW
from tests.fakes.clock import FakeClock

AWS = ProviderName("corp-aws")
POLL, FIRST, LONGEST = 60.0, 4.0, 60.0


class Script:
    """A queue on a clock of its own: tokens come at instants that the test sets, and waiting moves the clock."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.began = clock.now()
        self.coming: list[tuple[float, Reason]] = []

    @property
    def elapsed(self) -> float:
        """Return the seconds since the start."""
        return (self.clock.now() - self.began).total_seconds()

    def wake(self, reason: Reason) -> None:
        """Put a token in now."""
        self.at(self.elapsed, reason)

    def at(self, seconds: float, reason: Reason) -> None:
        """Put a token in at so many seconds after the start."""
        self.coming.append((seconds, reason))
        self.coming.sort()

    def take(self, timeout_seconds: float) -> frozenset[Reason]:
        """Move on to the next token, or to the end of the wait."""
        until = self.elapsed + max(timeout_seconds, 0)
        next_at = self.coming[0][0] if self.coming else until
        self.clock.sleep(max(min(until, next_at) - self.elapsed, 0))
        here = {reason for at, reason in self.coming if at <= self.elapsed + 1e-6}
        self.coming = [(at, reason) for at, reason in self.coming if at > self.elapsed + 1e-6]
        return frozenset(here)


class Files:
    """Files that change when the test says so."""

    def __init__(self) -> None:
        self.version = 0
        self.seen = 0
        self.compared = 0
        self.mended: list[bool] = []

    def mark(self) -> None:
        """Remember the version."""
        self.seen = self.version

    def changed(self) -> bool:
        """Compare versions."""
        self.compared += 1
        return self.version != self.seen

    def mend(self, *, blind: bool = False) -> None:
        """Note whether the hints had failed."""
        self.mended.append(blind)


class House:
    """A loop whose cycles end as the test says, one after the other; the last answer is repeated."""

    def __init__(self, *answers: CycleOutcome | Exception) -> None:
        self.clock = FakeClock(NOW)
        self.script = Script(self.clock)
        self.files = Files()
        self.answers: list[CycleOutcome | Exception] = list(answers or [CycleOutcome.COMPLETE])
        self.cycles: list[float] = []
        self.armed: list[datetime | None] = []
        self.during: Callable[[], None] = lambda: None
        self.unsettled = 0
        self.begun = False
        self.coming: datetime | None = None
        self.give_way = 0
        self.asked: list[float] = []
        self.gave_way = False
        self.leavers_fail: Exception | None = None
        """What the leavers' pass meets that a whole pass gave way to."""
        self.leavers: list[CycleEnd] = []
        silence = Silence(stages={}, stage_seconds=900, cycle_seconds=7200)
        self.health = Health(self.clock, (AWS,), silence, lambda _: None)
        house = ServiceHouse(
            passes=self,
            wakeups=self.script,
            watch=self.files,
            arm=self.armed.append,
            health=self.health,
            clock=self.clock,
            chance=lambda: 0.0,
        )
        pace = Pace(poll_seconds=POLL, first_retry_seconds=FIRST, longest_retry_seconds=LONGEST)
        self.service = Service(house, pace)

    @property
    def reading(self) -> bool:
        """Say whether a reading waits to be decided upon."""
        return self.begun

    def begin_reading(self) -> None:
        """Read everything in no time."""
        self.begun = True
        self.script.wake(Reason.READ)

    def leavers_pass(self) -> CycleEnd | None:
        """Deal with the leavers that the test has put there."""
        self.asked.append(round(self.script.elapsed, 3))
        error, self.leavers_fail = (self.leavers_fail, None) if self.gave_way else (None, self.leavers_fail)
        if error is not None:
            raise error
        return self.leavers.pop(0) if self.leavers else None

    def next_end(self) -> datetime | None:
        """Return the access end that the test has put there."""
        return self.coming

    def whole_pass(self) -> CycleEnd:
        """Answer with the next outcome; give way first as often as the test wants."""
        if self.give_way:
            self.give_way -= 1
            self.gave_way = True
            self.during()
            return CycleEnd(
                sequence=0,
                outcome=CycleOutcome.PARTIAL,
                gave_way=True,
                started_at=self.clock.now(),
                finished_at=self.clock.now(),
                complete=frozenset(),
                held_plan="",
                unsettled=0,
                next_instant=None,
            )
        self.begun = False
        self.cycles.append(round(self.script.elapsed, 3))
        self.during()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return CycleEnd(
            sequence=len(self.cycles),
            outcome=answer,
            started_at=self.clock.now(),
            finished_at=self.clock.now(),
            complete=frozenset({AWS}),
            held_plan="",
            unsettled=self.unsettled,
            next_instant=NOW + timedelta(hours=1),
        )

    def run(self, seconds: float, *tokens: tuple[float, Reason]) -> Sequence[float]:
        """Run for so long and return when each cycle began."""
        for at, reason in tokens:
            self.script.at(at, reason)
        self.script.at(seconds, Reason.STOP)
        take = self.script.take

        def stopping(timeout_seconds: float) -> frozenset[Reason]:
            reasons = take(timeout_seconds)
            if Reason.STOP in reasons:
                self.service.stop()
            return reasons

        self.script.take = stopping  # type: ignore[method-assign]  # the order to stop comes at its instant
        assert self.service.run() is Ended.DRAINED
        return self.cycles
