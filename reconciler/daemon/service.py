"""The loop: wait for a reason to look again, run one cycle, take note of it, and wait again.

No failure of a cycle ends the loop: it looks again after a pause that grows. Two things end it: an order to stop, after
which the cycle under way is let finish, and the loss of the lease, after which nothing may be done at all.
"""

import queue
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

import structlog

from inventory.errors import ProviderError
from inventory.provider import Clock
from reconciler.core.errors import LeaseLost, ReconcilerError
from reconciler.core.record import CycleOutcome
from reconciler.daemon.health import CycleEnd, Health
from reconciler.daemon.wakeups import Reason

log = structlog.get_logger(__name__)

BEAT_SECONDS: Final = 10.0
"""The loop goes round at least this often, as a sign of life."""
DEBOUNCE_SECONDS: Final = 0.5
"""After a file event, so long must pass without another one: files are written in many steps."""
LONGEST_DEBOUNCE_SECONDS: Final = 5.0
"""A folder that never is quiet is looked at nevertheless."""
_WELL = frozenset({CycleOutcome.COMPLETE, CycleOutcome.HELD})
"""Nothing is gained by looking again soon after these: a held plan waits for a human."""
_PATIENT = frozenset({Reason.TIMER})
"""What does not cut a pause short after a failure; everything else says that the world is another one now."""


class Ended(StrEnum):
    """Why the daemon ended."""

    DRAINED = "drained"
    LEASE_LOST = "lease_lost"
    OVERDUE = "overdue"
    """The cycle under way did not finish in the time that draining allows."""
    BROKEN = "broken"
    """The loop itself raised: a defect."""


class Waking(Protocol):
    """The queue of tokens, as `wakeups.Wakeups` is."""

    def wake(self, reason: Reason) -> None:
        """Put a token in."""

    def take(self, timeout_seconds: float) -> frozenset[Reason]:
        """Wait for tokens and return their reasons; empty when none came in time."""


class Watch(Protocol):
    """Knows whether the files that decide have changed, as `triggers.FileWatch` does."""

    def mark(self) -> None:
        """Remember how the files are now."""

    def changed(self) -> bool:
        """Say whether they are not what they were at the last mark."""

    def mend(self, *, blind: bool = False) -> None:
        """Make sure that hints keep coming."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often to look; seconds."""

    poll_seconds: float
    """Between two comparisons of the files, whatever watchdog says."""
    first_retry_seconds: float
    """Pause after a cycle that did not end well; doubled after each further one."""
    longest_retry_seconds: float
    """The timer's interval: looking again is never rarer than looking."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceHouse:
    """Everything outside that the loop works with."""

    perform: Callable[[], CycleEnd]
    """Assembles and runs one cycle. Raises what stops it, and `LeaseLost` when another process is the writer."""
    wakeups: Waking
    watch: Watch
    arm: Callable[[datetime | None], None]
    """Wakes at the next known instant."""
    health: Health
    clock: Clock
    chance: Callable[[], float]
    """Returns a random number from 0 up to 1, so that daemons that failed together do not come back together."""


class Service:
    """The loop itself. `run` is for one thread; `stop` may be called from any, and from a signal handler."""

    def __init__(self, house: ServiceHouse, pace: Pace) -> None:
        self._house = house
        self._pace = pace
        self._stopping = False
        self._poll_at = house.clock.monotonic_seconds() + pace.poll_seconds
        self._retry_at: float | None = None
        self._bad_cycles = 0

    def stop(self) -> None:
        """Begin no further cycle; takes no lock, so that a signal handler may call it."""
        self._stopping = True
        self._house.wakeups.wake(Reason.STOP)

    def run(self) -> Ended:
        """Run cycles until told to stop or the lease is lost."""
        self._house.wakeups.wake(Reason.START)
        while True:
            self._house.health.idle()
            reasons = self._wait()
            if self._stopping:
                return Ended.DRAINED
            if reasons and not self._cycle(reasons):
                return Ended.LEASE_LOST

    def _wait(self) -> frozenset[Reason]:
        """Wait for one beat at most and return why a cycle is due; empty when none is."""
        now = self._house.clock.monotonic_seconds()
        due = [now + BEAT_SECONDS, self._poll_at, *([] if self._retry_at is None else [self._retry_at])]
        reasons = self._house.wakeups.take(min(due) - now)
        if Reason.HINT in reasons:
            reasons = (reasons | self._let_settle()) - {Reason.HINT}
            if self._house.watch.changed():
                reasons |= {Reason.CHANGE}
        return self._add_due(reasons)

    def _let_settle(self) -> frozenset[Reason]:
        """Wait until the files are quiet, or for long enough, and return what else came in meanwhile."""
        clock = self._house.clock
        until = clock.monotonic_seconds() + LONGEST_DEBOUNCE_SECONDS
        others: frozenset[Reason] = frozenset()
        more = frozenset({Reason.HINT})
        while Reason.HINT in more and clock.monotonic_seconds() < until and not self._stopping:
            since = clock.monotonic_seconds()
            more = self._house.wakeups.take(DEBOUNCE_SECONDS)
            others |= more
            rest = DEBOUNCE_SECONDS - (clock.monotonic_seconds() - since)
            if Reason.HINT in more and rest > 0:
                # One event a debounce is enough to know that the files are not quiet: a flood is not followed.
                clock.sleep(rest)
        return others

    def _add_due(self, reasons: frozenset[Reason]) -> frozenset[Reason]:
        now = self._house.clock.monotonic_seconds()
        if now >= self._poll_at:
            self._poll_at = now + self._pace.poll_seconds
            found = Reason.CHANGE not in reasons and self._house.watch.changed()
            self._house.watch.mend(blind=found)
            reasons |= {Reason.CHANGE} if found else frozenset()
        if self._retry_at is not None:
            reasons -= _PATIENT
            reasons |= {Reason.RETRY} if now >= self._retry_at else frozenset()
        return reasons

    def _cycle(self, reasons: frozenset[Reason]) -> bool:
        """Run one cycle; say whether there may be another one."""
        log.info("cycle.began", reasons=sorted(reasons))
        self._house.watch.mark()
        self._house.health.cycle_began()
        try:
            end = self._house.perform()
        except LeaseLost as error:
            log.error("lease.lost", error=str(error), advice=error.advice)  # noqa: TRY400 - no defect: no traceback
            return False
        except (ReconcilerError, ProviderError) as error:
            self._note_failure(f"{type(error).__name__}: {error}", error.advice)
        except Exception as error:  # noqa: BLE001 - a defect that one cycle meets must not end the watch over all leavers
            # Type and place only: the message of an unforeseen error may hold anything.
            place = traceback.extract_tb(error.__traceback__)[-1]
            self._note_failure(f"{type(error).__name__} in {place.name}, line {place.lineno}", "report this defect")
        else:
            self._note_end(end)
        return True

    def _note_end(self, end: CycleEnd) -> None:
        self._house.health.cycle_ended(end)
        self._house.arm(end.next_instant)
        log.info("cycle.ended", sequence=end.sequence, outcome=end.outcome.value, held_plan=end.held_plan)
        if end.outcome in _WELL and not end.unsettled:
            self._bad_cycles, self._retry_at = 0, None
        else:
            self._plan_retry()

    def _note_failure(self, error: str, advice: str) -> None:
        self._house.health.cycle_failed()
        self._plan_retry()
        log.error("cycle.failed", error=error, advice=advice, failures=self._house.health.failures)

    def _plan_retry(self) -> None:
        """Look again after a pause that doubles, of which half is left to chance."""
        pause = min(self._pace.longest_retry_seconds, self._pace.first_retry_seconds * 2 ** min(self._bad_cycles, 16))
        self._bad_cycles += 1
        self._retry_at = self._house.clock.monotonic_seconds() + pause * (1 + self._house.chance()) / 2


class Supervisor:
    """Runs the loop in a thread of its own, so that an order to stop is followed even while a cycle hangs."""

    def __init__(self, service: Service, health: Health, clock: Clock, drain_seconds: float) -> None:
        self._service = service
        self._health = health
        self._clock = clock
        self._drain_seconds = drain_seconds
        # Reentrant and without a lock that a signal handler could find held by the thread it interrupts.
        self._words: queue.SimpleQueue[Ended | None] = queue.SimpleQueue()

    def stop(self) -> None:
        """Ask for the end, once or many times; for signal handlers."""
        self._service.stop()
        self._words.put(None)

    def run(self) -> Ended:
        """Run until the loop ends; after `stop`, for as long as draining allows."""
        self._health.started()
        threading.Thread(target=self._run_loop, name="cycles", daemon=True).start()
        word = self._words.get()
        if word is not None:
            return word
        self._health.drain(self._drain_seconds)
        log.info("service.draining", seconds=self._drain_seconds)
        return self._drained()

    def _drained(self) -> Ended:
        until = self._clock.monotonic_seconds() + self._drain_seconds
        while True:
            try:
                word = self._words.get(timeout=max(until - self._clock.monotonic_seconds(), 0))
            except queue.Empty:
                return Ended.OVERDUE
            if word is not None:
                return word

    def _run_loop(self) -> None:
        ended = Ended.BROKEN
        try:
            ended = self._service.run()
        finally:
            self._words.put(ended)
