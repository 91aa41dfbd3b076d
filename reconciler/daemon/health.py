"""How the daemon is: alive, ready, and what its last cycles came to.

Alive means that the loop or the cycle under way made progress in the time that it had announced for its next step.
Nothing else counts: a provider that is down is no reason to be killed. The service manager is pinged from that same
progress, never from a timer, which would go on ticking beside a hung cycle.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from inventory.model import ProviderName
from inventory.provider import Clock
from reconciler.core.record import Breadth, CycleOutcome
from reconciler.core.spooling import Backlog
from reconciler.ports import Progress

IDLE_SECONDS: Final = 60.0
"""Longest silence of the loop while it waits: six times what it sleeps at most."""

_LONGEST_ERROR: Final = 1000
"""Characters of an error that probes repeat: it may quote the end of another program's log."""

Notify = Callable[[Mapping[str, str]], None]
"""Tells the service manager; must not fail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CycleEnd:
    """What the daemon keeps of a cycle that came to its end."""

    sequence: int
    outcome: CycleOutcome
    breadth: Breadth = Breadth.WHOLE
    gave_way: bool = False
    """It did nothing, because a leaver came in between, and is decided again."""
    started_at: datetime
    finished_at: datetime
    complete: frozenset[ProviderName]
    """Providers of which every scope was read to its end."""
    held_plan: str
    """Digest of the plan that the guard held, or empty."""
    unsettled: int
    """Acts whose end is not known or not verified."""
    next_instant: datetime | None
    """First access end that lies after the start of the cycle."""
    errors: tuple[str, ...] = ()
    """One line each, as the record of the cycle has them: without personal data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """How long a stage may go on without a sign of life, and a cycle in all; seconds."""

    stages: Mapping[str, float]
    """By stage, as `Progress.stage` names them; any other has `stage_seconds`."""
    stage_seconds: float
    cycle_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthSnapshot:
    """How the daemon is at one instant, as plain values for probes and metrics."""

    live: bool
    started: bool
    """Whether everything that a cycle works with could be joined once: journal, engine, clients of the providers."""
    ready: bool
    draining: bool
    standby: bool
    """Whether another process is the writer, and we wait to take over."""
    cycle_seconds: float | None
    """For how long a cycle has been running; None between two cycles."""
    last_outcome: str
    """Of the last cycle that ended, `failed` for one that could not; empty before the first."""
    failures: int
    """Cycles in a row that did not come to their end."""
    last_error: str
    """What the last cycle met first, cut to a length; empty where it met nothing."""
    complete_age_seconds: Mapping[ProviderName, float | None]
    """Since the last cycle that read a provider whole; None when there was none since the start."""
    held_plan: str
    unsettled: int
    policies: str
    """Digest of the policies that decide; empty before they were asked for."""
    policies_refused: bool
    """Whether a newer revision was refused, in whose place these stay."""
    unsigned: int
    """Statements that wait for their signature."""
    unsigned_age_seconds: float
    """Since the cycle of the oldest of them ended; 0 while none waits."""


class Health:
    """Implements `reconciler.ports.Observer`, and takes note of everything else that happens. Safe from any thread."""

    def __init__(self, clock: Clock, providers: tuple[ProviderName, ...], silence: Silence, notify: Notify) -> None:
        self._clock = clock
        self._silence = silence
        self._notify = notify
        self._lock = threading.Lock()
        self._alive_until = clock.monotonic_seconds() + silence.stage_seconds
        self._cycle_since: float | None = None
        self._complete: dict[ProviderName, datetime | None] = dict.fromkeys(providers)
        self._last: CycleEnd | None = None
        self._last_outcome = ""
        self._last_error = ""
        self._failures = 0
        self._started = False
        self._draining = False
        self._standby = False
        self._backlog = Backlog()
        self._policies = ("", False)

    def progress(self, step: Progress) -> None:
        """Take a step of the running cycle for a sign of life."""
        self._beat(self._silence.stages.get(step.stage, self._silence.stage_seconds))

    def idle(self) -> None:
        """Take note that the loop went round and waits."""
        self._beat(IDLE_SECONDS)

    def assembled(self) -> None:
        """Take note that everything a cycle works with is there: the journal open and migrated, clients built."""
        with self._lock:
            self._started = True

    def standing_by(self, reason: str) -> None:
        """Take note that another process is the writer. Started we are: the service manager need not wait for it."""
        with self._lock:
            self._standby = True
        self._notify({"READY": "1", "STATUS": f"standing by: {reason}"})

    def took_over(self) -> None:
        """Take note that we are the writer now."""
        with self._lock:
            self._standby = False

    def cycle_began(self) -> None:
        """Take note that a cycle begins."""
        with self._lock:
            self._cycle_since = self._clock.monotonic_seconds()
        self._beat(self._silence.stage_seconds)

    def cycle_ended(self, end: CycleEnd) -> None:
        """Take note of how a cycle ended, and of the providers that it read whole."""
        with self._lock:
            if end.breadth is Breadth.WHOLE and not end.gave_way:
                self._cycle_since = None
            self._last = end
            self._last_outcome = end.outcome.value
            self._last_error = "" if end.gave_way else _first(end.errors)
            self._failures = self._failures + 1 if end.outcome is CycleOutcome.FAILED else 0
            for provider in end.complete:
                self._complete[provider] = end.finished_at
        self._status(f"cycle {end.sequence} ended {end.outcome.value}")

    def cycle_failed(self, error: str) -> None:
        """Take note of a cycle that could not come to its end, and what it met, without personal data."""
        with self._lock:
            self._cycle_since = None
            self._last_outcome = CycleOutcome.FAILED.value
            self._last_error = _first((error,))
            self._failures += 1
            failures = self._failures
        self._status(f"{failures} cycles in a row failed")

    def signing(self, backlog: Backlog) -> None:
        """Take note of what waits for its signature."""
        with self._lock:
            self._backlog = backlog

    def policies(self, digest: str, refused: bool) -> None:  # noqa: FBT001 - called as a plain callback
        """Take note of which policies decide, and whether a newer revision was refused."""
        with self._lock:
            self._policies = digest, refused

    def started(self) -> None:
        """Tell the service manager that the loop is about to run."""
        self._notify({"READY": "1", "STATUS": "the first cycle is about to begin"})

    def drain(self, seconds: float) -> None:
        """Take note that no further cycle begins, and ask the service manager for the time to end the running one."""
        with self._lock:
            self._draining = True
        self._notify({"STOPPING": "1", "EXTEND_TIMEOUT_USEC": _microseconds(seconds), "STATUS": "draining"})

    @property
    def failures(self) -> int:
        """Return how many cycles in a row did not come to their end."""
        with self._lock:
            return self._failures

    def snapshot(self) -> HealthSnapshot:
        """Return how the daemon is now."""
        now, at = self._clock.monotonic_seconds(), self._clock.now()
        with self._lock:
            last = self._last
            return HealthSnapshot(
                live=now <= self._alive_until,
                started=self._started,
                ready=last is not None and not self._draining,
                draining=self._draining,
                standby=self._standby,
                cycle_seconds=None if self._cycle_since is None else now - self._cycle_since,
                last_outcome=self._last_outcome,
                failures=self._failures,
                last_error=self._last_error,
                complete_age_seconds={
                    provider: None if when is None else max((at - when).total_seconds(), 0.0)
                    for provider, when in self._complete.items()
                },
                held_plan=last.held_plan if last else "",
                unsettled=last.unsettled if last else 0,
                policies=self._policies[0],
                policies_refused=self._policies[1],
                unsigned=len(self._backlog.waiting),
                unsigned_age_seconds=self._backlog.age_seconds(at),
            )

    def _beat(self, allowed: float) -> None:
        """Extend the time until which we count as alive; a cycle past its deadline gets no more of it."""
        with self._lock:
            now = self._clock.monotonic_seconds()
            if self._cycle_since is not None:
                allowed = min(allowed, self._cycle_since + self._silence.cycle_seconds - now)
            if allowed <= 0:
                return
            self._alive_until = now + allowed
        self._notify({"WATCHDOG": "1", "WATCHDOG_USEC": _microseconds(allowed)})

    def _status(self, text: str) -> None:
        self._notify({"STATUS": text})


def _first(errors: Sequence[str]) -> str:
    return errors[0][:_LONGEST_ERROR] if errors else ""


def _microseconds(seconds: float) -> str:
    return str(int(seconds * 1_000_000))
