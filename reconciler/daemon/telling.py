"""Tells whoever listens of the daemon's cycles, once each has ended, and never so that a cycle fails by it."""

import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import structlog

from inventory.model import ProviderName
from inventory.provider import Clock
from reconciler.attestation import Attested
from reconciler.circumstances import populations
from reconciler.core.errors import JournalError
from reconciler.core.guard import Limits
from reconciler.core.record import Breadth
from reconciler.daemon.health import CycleEnd
from reconciler.daemon.service import PassRunner
from reconciler.observation import CycleHouse, CycleRules
from reconciler.ports import Observer, Progress
from reconciler.told import OTHER, STAGES, CycleTold, Listener, StageTime

log = structlog.get_logger(__name__)

_MOST_STAGES: Final = 1000
"""Stage changes kept of one cycle; the execution of a large plan tells of many steps, all of one stage."""


class Telling:
    """Implements `reconciler.ports.Observer` for cycles, and calls listeners at their ends. Safe from any thread."""

    def __init__(self, clock: Clock, observers: tuple[Observer, ...], listeners: tuple[Listener, ...]) -> None:
        """Take who is told of every step, and who of every cycle."""
        self._clock = clock
        self._observers = observers
        self._listeners = listeners
        self._lock = threading.Lock()
        self._stages: list[StageTime] = []
        self._running: StageTime | None = None
        self.failures = 0
        """How often a listener failed, or the journal could not be asked what to tell."""

    def progress(self, step: Progress) -> None:
        """Pass a step on, and note when the stage changes."""
        for observer in self._observers:
            observer.progress(step)
        stage = step.stage if step.stage in STAGES else OTHER
        with self._lock:
            if self._running is None or self._running.stage != stage:
                now = self._clock.now()
                self._end_stage()
                self._running = StageTime(stage=stage, began_at=now, ended_at=now)

    @contextmanager
    def one_cycle(self) -> Iterator[None]:
        """Begin to note the stages anew, and tell of what is raised inside before it goes on its way."""
        self._take_stages()
        try:
            yield
        except BaseException as error:
            name = type(error).__name__
            self._each(lambda listener: listener.cycle_broke(name))
            raise

    def cycle_ended(self, attested: Attested, house: CycleHouse, rules: CycleRules) -> None:
        """Gather what is told of a cycle that ended with a record, and tell it."""
        stages = self._take_stages()
        try:
            told = _told(attested, house, rules, stages)
        except JournalError as error:
            self.failures += 1
            log.warning("telling.failed", error=str(error), advice=error.advice)
            return
        self._each(lambda listener: listener.cycle_ended(told))

    def _each(self, tell: Callable[[Listener], None]) -> None:
        for listener in self._listeners:
            try:
                tell(listener)
            except Exception as error:  # noqa: BLE001 - a defect of who listens must not end the cycle that it hears of
                # Type and place only: the message of an unforeseen error may hold anything.
                place = traceback.extract_tb(error.__traceback__)[-1]
                self.failures += 1
                log.error("listener.failed", error=type(error).__name__, place=f"{place.name}, line {place.lineno}")  # noqa: TRY400 - see above

    def _take_stages(self) -> tuple[StageTime, ...]:
        with self._lock:
            self._end_stage()
            stages, self._stages, self._running = tuple(self._stages), [], None
        return stages

    def _end_stage(self) -> None:
        if self._running is not None and len(self._stages) < _MOST_STAGES:
            self._stages.append(replace(self._running, ended_at=self._clock.now()))


class ToldPasses:
    """Implements `service.PassRunner`: runs passes, and tells of what breaks one."""

    def __init__(self, passes: PassRunner, telling: Telling) -> None:
        self._passes = passes
        self._telling = telling

    @property
    def reading(self) -> bool:
        """Say whether a reading is under way, or waits to be decided upon."""
        return self._passes.reading

    def next_end(self) -> datetime | None:
        """Return the next access end that the roster names."""
        return self._passes.next_end()

    def begin_reading(self) -> None:
        """Begin to read all providers."""
        with self._telling.one_cycle():
            self._passes.begin_reading()

    def whole_pass(self) -> CycleEnd:
        """Decide upon what was read."""
        with self._telling.one_cycle():
            return self._passes.whole_pass()

    def leavers_pass(self) -> CycleEnd | None:
        """Deal with new leavers; None where there are none."""
        with self._telling.one_cycle():
            return self._passes.leavers_pass()


def _told(attested: Attested, house: CycleHouse, rules: CycleRules, stages: tuple[StageTime, ...]) -> CycleTold:
    """Ask the journal what belongs to a cycle; raises `JournalError`."""
    journal, record = house.journal, attested.record
    return CycleTold(
        record=record,
        snapshot=attested.snapshot,
        gave_way=attested.gave_way,
        acts=tuple(journal.entries(record.cycle_id)),
        unsettled=len(journal.unsettled()),
        caps=_caps(attested, house, rules.limits),
        lags=house.audit.lags(),
        stages=stages,
    )


def _caps(attested: Attested, house: CycleHouse, limits: Limits) -> Mapping[ProviderName, float]:
    """Return the share of its limit that each provider has used, a plan that was held for it included."""
    if attested.snapshot is None or attested.record.breadth is not Breadth.WHOLE:
        return {}  # how many principals a provider has is known to a whole pass alone
    since = attested.record.finished_at - timedelta(seconds=limits.window_seconds)
    named = {(touch.provider, touch.principal_id) for touch in house.journal.touched_since(since)}
    if attested.record.guard.hold_reasons and attested.record.plan is not None:
        named |= {(action.provider, action.principal.principal_id) for action in attested.record.plan.actions}
    return {
        one.provider: _used(sum(provider == one.provider for provider, _ in named), one.principals, limits)
        for one in populations(attested.snapshot)
    }


def _used(touched: int, principals: int, limits: Limits) -> float:
    """Return touched principals as a share of the lower limit; the guard counts in the same way."""
    most = float(limits.max_principals)
    if principals >= limits.percent_population:
        most = min(most, principals * limits.max_percent / 100)
    return touched / most if most else float(touched)
