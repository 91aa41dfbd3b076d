"""The loop: wait for a reason to look again, deal with new leavers at once, then read everything and decide upon it.

Reading goes on in the background; passes are run one at a time, here. No failure of a cycle ends the loop: it looks
again after a pause that grows. Two things end it: an order to stop, after which the pass under way is let finish, and
the loss of the lease, after which nothing may be done at all.
"""

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
WRITTEN_SECONDS: Final = 0.1
"""The same after a file was closed by its writer: one that writes in several goes opens it again sooner."""
REPLACED_SECONDS: Final = 0.02
"""The same after a rename, which is one step; only keeps a flood of renames from being followed one by one."""
QUIET_SECONDS: Final = 2.0
"""So long after a leavers' pass the whole pass begins: leavers come in rows, and it would stand in their way."""
LONGEST_QUIET_SECONDS: Final = 120.0
"""Leavers that keep coming do not put the whole pass off for longer; a hundred in a row are dealt with by then."""
LONGEST_UNDECIDED_SECONDS: Final = 30.0
"""Nor the decision upon what has been read already: that grows old."""
LONGEST_DEBOUNCE_SECONDS: Final = 5.0
"""A folder that never is quiet is looked at nevertheless."""
_MOST_ERRORS: Final = 20
"""So many errors of a pass are logged; the record and the audit trail have them all."""
_WELL = frozenset({CycleOutcome.COMPLETE, CycleOutcome.HELD})
"""Nothing is gained by looking again soon after these: a held plan waits for a human."""
_PATIENT = frozenset({Reason.TIMER})
"""What does not cut a pause short after a failure; everything else says that the world is another one now."""
_FILES = {Reason.HINT: DEBOUNCE_SECONDS, Reason.WRITTEN: WRITTEN_SECONDS, Reason.REPLACED: REPLACED_SECONDS}
"""Events of files, and how long to wait after each for another one."""


_CUTS_SHORT = frozenset({Reason.READ, Reason.STOP})


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


class PassRunner(Protocol):
    """Runs the two passes, as `passes.Passes` does; each raises what stops it, and `LeaseLost`."""

    @property
    def reading(self) -> bool:
        """Say whether a reading is under way, or waits to be decided upon."""

    def begin_reading(self) -> None:
        """Begin to read all providers; returns at once, and wakes with `Reason.READ` when it has ended."""

    def whole_pass(self) -> CycleEnd:
        """Decide upon what was read."""

    def leavers_pass(self) -> CycleEnd | None:
        """Deal with new leavers; None where there are none."""

    def next_end(self) -> datetime | None:
        """Return the next access end that the roster names; None where none is known."""


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

    passes: PassRunner
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
        self._retries = 0
        """How often in a row it was looked again after a pause; a pass that ends well begins anew."""
        self._wanted: frozenset[Reason] = frozenset()
        """Why the next whole pass is wanted; empty when none is."""
        self._wanted_since = 0.0
        self._quiet_until = 0.0
        self._decide_again_since: float | None = None
        """Since when a reading waits to be decided upon again, after its pass gave way."""
        self._timer_at = self._next_by_monotonic_clock()

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
            if not self._look(reasons):
                return Ended.LEASE_LOST

    def _wait(self) -> frozenset[Reason]:
        """Wait for one beat at most and return why a cycle is due; empty when none is."""
        now = self._house.clock.monotonic_seconds()
        due = [now + BEAT_SECONDS, self._poll_at]
        again_at = self._decide_again_at()
        due += [one for one in (self._retry_at, again_at) if one is not None]
        due += [self._quiet_until] if self._wanted and not self._house.passes.reading else []
        reasons = self._house.wakeups.take(min(due) - now)
        if reasons & _FILES.keys():
            reasons |= self._let_settle(reasons)
            if Reason.READ in reasons:
                # What was read is decided upon without waiting for files that are never quiet; those come next.
                for reason in reasons & _FILES.keys():
                    self._house.wakeups.wake(reason)
            elif self._house.watch.changed():
                reasons |= {Reason.CHANGE}
        return self._add_due(reasons - _FILES.keys())

    def _let_settle(self, reasons: frozenset[Reason]) -> frozenset[Reason]:
        """Wait until the files are quiet, or for long enough, and return what else came in meanwhile."""
        clock = self._house.clock
        latest = clock.monotonic_seconds() + LONGEST_DEBOUNCE_SECONDS
        others: frozenset[Reason] = frozenset()
        quiet_at = clock.monotonic_seconds() + _quiet_seconds(reasons)
        while not (reasons | others) & _CUTS_SHORT and (left := min(quiet_at, latest) - clock.monotonic_seconds()) > 0:
            more = self._house.wakeups.take(left)
            others |= more
            if more & _FILES.keys():
                # A flood of events is not followed one by one.
                clock.sleep(REPLACED_SECONDS)
                quiet_at = clock.monotonic_seconds() + _quiet_seconds(more)
        return others

    def _add_due(self, reasons: frozenset[Reason]) -> frozenset[Reason]:
        now = self._house.clock.monotonic_seconds()
        if now >= self._poll_at:
            self._poll_at = now + self._pace.poll_seconds
            found = Reason.CHANGE not in reasons and self._house.watch.changed()
            self._house.watch.mend(blind=found)
            reasons |= {Reason.CHANGE} if found else frozenset()
        if now >= self._timer_at:
            # The timer goes by the wall clock: one that is set back would keep it silent for as long.
            self._timer_at = self._next_by_monotonic_clock()
            reasons |= {Reason.TIMER}
        if self._retry_at is not None:
            reasons -= _PATIENT
            if now >= self._retry_at:
                self._retry_at = None
                self._retries += 1
                reasons |= {Reason.RETRY}
        return reasons

    def _look(self, reasons: frozenset[Reason]) -> bool:
        """Run what is due; say whether anything may run after it."""
        asked = reasons - {Reason.READ}
        if asked:
            self._house.watch.mark()
            if not self._run(self._deal_with_leavers):
                return False
            if not self._wanted:
                self._wanted_since = self._house.clock.monotonic_seconds()
            self._wanted |= asked
        now = self._house.clock.monotonic_seconds()
        again_at = self._decide_again_at()
        if (Reason.READ in reasons or (again_at is not None and now >= again_at)) and not self._run(self._decide):
            return False
        now = self._house.clock.monotonic_seconds()
        latest = self._wanted_since + LONGEST_QUIET_SECONDS
        if self._wanted and not self._house.passes.reading and now >= min(self._quiet_until, latest):
            return self._run(self._read)
        return True

    def _deal_with_leavers(self) -> None:
        end = self._house.passes.leavers_pass()
        coming = self._house.passes.next_end()
        if coming is not None:  # it may come long before the next whole pass ends
            self._house.arm(coming)
        if end is None:
            return
        self._house.health.cycle_ended(end)
        self._quiet_until = self._house.clock.monotonic_seconds() + QUIET_SECONDS
        _say("leavers.ended", end)
        if end.outcome is CycleOutcome.FAILED:
            self._plan_retry()  # these leavers are not left to the end of a long reading

    def _read(self) -> None:
        log.info("cycle.began", reasons=sorted(self._wanted))
        self._wanted = frozenset()
        self._timer_at = self._next_by_monotonic_clock()
        self._house.health.cycle_began()
        self._house.passes.begin_reading()

    def _decide(self) -> None:
        log.info("cycle.read")
        self._decide_again_since = None
        end = self._house.passes.whole_pass()
        if end.gave_way:
            log.info("cycle.gave_way", sequence=end.sequence)
            self._house.health.cycle_ended(end)
            try:
                self._deal_with_whom_it_gave_way_to()
            finally:
                # What was read is decided upon, whatever becomes of them; not at once, for leavers come in rows.
                self._decide_again_since = self._house.clock.monotonic_seconds()
            return
        self._note_end(end)

    def _decide_again_at(self) -> float | None:
        """Return when to decide again upon what was read, after giving way; None when nothing waits for that."""
        if self._decide_again_since is None:
            return None
        return min(self._quiet_until, self._decide_again_since + LONGEST_UNDECIDED_SECONDS)

    def _deal_with_whom_it_gave_way_to(self) -> None:
        """Take what came in, let the files settle as ever, and deal with leavers before anything is decided again."""
        came = self._house.wakeups.take(0)
        if came & _FILES.keys():
            came |= self._let_settle(came) | {Reason.CHANGE}
        if not self._wanted:
            self._wanted_since = self._house.clock.monotonic_seconds()
        self._wanted |= came - _FILES.keys() - _CUTS_SHORT
        self._house.watch.mark()
        self._deal_with_leavers()

    def _run(self, what: Callable[[], None]) -> bool:
        """Run a part of a pass; what it raises is noted, and only the loss of the lease ends the loop."""
        try:
            what()
        except LeaseLost as error:
            log.error("lease.lost", error=str(error), advice=error.advice)  # noqa: TRY400 - no defect: no traceback
            return False
        except (ReconcilerError, ProviderError) as error:
            self._note_failure(f"{type(error).__name__}: {error}", error.advice)
        except Exception as error:  # noqa: BLE001 - a defect that one cycle meets must not end the watch over all leavers
            # Type and place only: the message of an unforeseen error may hold anything.
            place = traceback.extract_tb(error.__traceback__)[-1]
            self._note_failure(f"{type(error).__name__} in {place.name}, line {place.lineno}", "report this defect")
        return True

    def _next_by_monotonic_clock(self) -> float:
        return self._house.clock.monotonic_seconds() + 2 * self._pace.longest_retry_seconds

    def _note_end(self, end: CycleEnd) -> None:
        self._house.health.cycle_ended(end)
        self._house.arm(end.next_instant)
        _say("cycle.ended", end)
        if end.outcome in _WELL and not end.unsettled:
            self._retries, self._retry_at = 0, None
        else:
            self._plan_retry()

    def _note_failure(self, error: str, advice: str) -> None:
        self._house.health.cycle_failed(f"{error}; {advice}")
        self._plan_retry()
        log.error("cycle.failed", error=error, advice=advice, failures=self._house.health.failures)

    def _plan_retry(self) -> None:
        """Look again after a pause that doubles, of which half is left to chance."""
        pause = min(self._pace.longest_retry_seconds, self._pace.first_retry_seconds * 2 ** min(self._retries, 16))
        self._retry_at = self._house.clock.monotonic_seconds() + pause * (1 + self._house.chance()) / 2


def _say(event: str, end: CycleEnd) -> None:
    """Log how a pass ended, and why it did not end well: the one line that whoever watches is sure to see."""
    facts = {"sequence": end.sequence, "outcome": end.outcome.value, "held_plan": end.held_plan}
    if end.errors:
        log.warning(event, **facts, errors=end.errors[:_MOST_ERRORS], errors_in_all=len(end.errors))
    else:
        log.info(event, **facts)


def _quiet_seconds(reasons: frozenset[Reason]) -> float:
    """Return how long to wait for another event after these."""
    return min(_FILES[reason] for reason in reasons & _FILES.keys())
