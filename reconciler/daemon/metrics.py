"""What a Prometheus server is shown: counted at the end of each cycle, and looked up in memory when it asks.

A scrape asks no provider and no database. Labels are bounded: provider instances, stages, effects, outcomes, reasons;
never a principal, a worker or a message.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from inventory.provider import Clock
from reconciler.core.errors import EvidenceError, JournalError, LeaseLost, SigningError
from reconciler.core.model import ActionResult, VerificationState
from reconciler.core.record import Breadth, CycleOutcome, LeaverState, WaiverFacts
from reconciler.daemon.health import HealthSnapshot
from reconciler.daemon.metric_table import PREFIX, TABLE
from reconciler.told import CycleTold

Labelled = Mapping[str, float]
"""Numbers by the value of the one label that they have."""
_UNSTATED: Final = frozenset(one.__name__ for one in (SigningError, EvidenceError, JournalError))
"""Errors that leave a cycle without its statement."""
_CYCLE_SECONDS: Final = (0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
_REVOKE_SECONDS: Final = (0.25, 0.5, 0.8, 1, 2, 5, 10, 30, 60, 120, 300, 900, 3600, 14_400, 86_400)


def _nothing() -> Labelled:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What is looked up when a server asks; each must be cheap, safe from any thread, and not fail."""

    health: Callable[[], HealthSnapshot]
    wakeups: Callable[[], Labelled] = field(default=_nothing)
    """Tokens taken out of the queue, by reason."""
    watch_restarts: Callable[[], int] = field(default=lambda: 0)
    timer_troubles: Callable[[], Labelled] = field(default=_nothing)
    telling_failures: Callable[[], int] = field(default=lambda: 0)
    webhook_calls: Callable[[], Labelled] = field(default=_nothing)
    """Calls of the webhook, by what became of them; nothing where there is no webhook."""
    webhook_pauses: Callable[[], int] = field(default=lambda: 0)
    notices: Callable[[], Labelled] = field(default=_nothing)
    """Messages to receivers, by outcome: sent, failed, dropped."""


class Metrics:
    """Implements `reconciler.told.Listener`; `page` answers a server. Keeps a registry of its own."""

    def __init__(self, version: str, clock: Clock, sources: Sources) -> None:
        self._clock = clock
        self._known: dict[str, datetime] = {}
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(_Now(version, clock, sources, self))
        self._cycles = self._counter("cycles")
        self._broken = self._counter("cycles_broken")
        self._actions = self._counter("actions")
        self._verifications = self._counter("verifications")
        self._calls = self._counter("api_calls")
        self._throttles = self._counter("throttles")
        self._seconds = self._histogram("cycle_duration_seconds", _CYCLE_SECONDS)
        self._stages = self._histogram("stage_duration_seconds", _CYCLE_SECONDS)
        self._collections = self._histogram("collection_duration_seconds", _CYCLE_SECONDS)
        self._revoke = self._histogram("time_to_revoke_seconds", _REVOKE_SECONDS)
        self._ended = self._gauge("last_cycle_timestamp_seconds")
        self._complete = self._gauge("provider_complete_timestamp_seconds")
        self._caps = self._gauge("cap_used_ratio")
        self._leavers = self._gauge("leavers")
        self._undecided = self._gauge("undecided_principals")
        self._waivers = self._gauge("waivers")
        self.lock = threading.Lock()
        """Held for reading and writing what follows."""
        self.held: tuple[str, datetime] | None = None
        """Digest of the plan that is held, and since when as far as this process knows."""
        self.unstated_since: datetime | None = None
        """Since when no cycle could be recorded or stated."""
        self.lease_held = True
        self.waiting: Mapping[str, tuple[int, datetime | None]] = {}
        """Records that each stream of the audit trail lacks, and since when the oldest waits."""

    def page(self, accept: str) -> tuple[str, bytes]:
        """Return content type and body for what a server says that it accepts."""
        encode, content_type = choose_encoder(accept)
        return content_type, encode(self.registry)

    def cycle_ended(self, told: CycleTold) -> None:
        """Count a cycle that ended with a record."""
        record, whole = told.record, told.record.breadth is Breadth.WHOLE
        breadth = record.breadth.value
        self._cycles.labels(breadth, "gave_way" if told.gave_way else record.outcome.value).inc()
        for stage in told.stages:
            self._stages.labels(stage.stage).observe(stage.seconds)
        with self.lock:
            self.unstated_since = None
        if told.gave_way:
            return
        self._seconds.labels(breadth).observe(_seconds(record.started_at, record.finished_at))
        self._ended.labels(breadth).set(record.finished_at.timestamp())
        self._note_providers(told)
        self._note_acts(told)
        self._note_standing(told)
        self._note_waivers(record.waivers)
        if whole:
            self._undecided.set(record.undecided)
        if whole and record.outcome is not CycleOutcome.FAILED:
            for state in LeaverState:
                self._leavers.labels(state.value).set(sum(one.state is state for one in record.leavers))

    def cycle_broke(self, error: str) -> None:
        """Count a cycle without a record, and note from when on none could be stated."""
        self._broken.inc()
        with self.lock:
            self.lease_held = error != LeaseLost.__name__
            if error in _UNSTATED:
                self.unstated_since = self.unstated_since or self._clock.now()

    def _note_waivers(self, facts: WaiverFacts) -> None:
        """Note the waivers of a cycle that came to look at them."""
        if facts.digest:
            counts = {
                "in_force": facts.in_force,
                "ending": facts.ending,
                "malformed": facts.refused,
                "held": facts.held,
            }
            for state, count in counts.items():
                self._waivers.labels(state).set(count)

    def _note_providers(self, told: CycleTold) -> None:
        for provider, share in told.caps.items():
            self._caps.labels(provider).set(share)
        for one in told.snapshot.inventories if told.snapshot else ():
            self._calls.labels(one.provider).inc(one.api_calls)
            self._throttles.labels(one.provider).inc(one.throttles)
        scopes = told.record.inventories
        for facts in scopes:
            self._collections.labels(facts.provider).observe(_seconds(facts.started_at, facts.finished_at))
        for provider in {facts.provider for facts in scopes if told.record.breadth is Breadth.WHOLE}:
            if all(facts.complete for facts in scopes if facts.provider == provider):
                self._complete.labels(provider).set(told.record.finished_at.timestamp())

    def _note_acts(self, told: CycleTold) -> None:
        for result in told.record.results:
            action = result.action
            self._actions.labels(action.provider, action.effect.value, result.outcome.value).inc()
            if result.verification is not None:
                self._verifications.labels(action.provider, result.verification.value).inc()
        self._note_known(told)
        recorded = {entry.intent.action.action_id: entry for entry in told.acts}
        for result in told.record.results:
            entry = recorded.get(result.action.action_id)
            self._note_revoked(result, entry.intent.recorded_at if entry else None, entry.outcome_at if entry else None)

    def _note_known(self, told: CycleTold) -> None:
        """Keep since when each leaver's end could have been acted upon: reached, and read from the roster."""
        roster = told.record.roster
        if roster is None:
            return
        ends = {one.worker_id: one.access_end_at for one in told.record.leavers}
        kept = {} if told.record.breadth is Breadth.WHOLE else self._known
        self._known = kept | {
            worker: self._known.get(worker, max(end, min(roster.as_of or roster.fetched_at, roster.fetched_at)))
            for worker, end in ends.items()
        }

    def _note_revoked(self, result: ActionResult, intent_at: datetime | None, outcome_at: datetime | None) -> None:
        worker = result.action.worker_id
        known = self._known.get(worker) if worker is not None else None
        if known is None or result.verification is not VerificationState.GONE:
            return
        instants = {
            "decided": result.decided_at,
            "intent": intent_at,
            "outcome": outcome_at or result.acted_at,
            "verified": result.verified_at,
        }
        for stage, at in instants.items():
            if at is not None:
                seconds = _seconds(known, at)
                self._revoke.labels(result.action.provider, stage).observe(seconds)

    def _note_standing(self, told: CycleTold) -> None:
        digest = told.held_digest
        with self.lock:
            if digest or told.record.breadth is Breadth.WHOLE:
                since = self.held[1] if self.held and self.held[0] == digest else told.record.finished_at
                self.held = (digest, since) if digest else None
            self.waiting = {lag.stream: (lag.records, lag.since) for lag in told.lags}

    def _counter(self, name: str) -> Counter:
        row = TABLE[f"{name}_total"]
        return Counter(PREFIX + name, row.help, row.labels, registry=self.registry)

    def _gauge(self, name: str) -> Gauge:
        return Gauge(PREFIX + name, TABLE[name].help, TABLE[name].labels, registry=self.registry)

    def _histogram(self, name: str, buckets: tuple[float, ...]) -> Histogram:
        row = TABLE[name]
        return Histogram(PREFIX + name, row.help, row.labels, registry=self.registry, buckets=buckets)


class _Now(Collector):
    """Shows what is so at the instant of the scrape: ages, and numbers that others count."""

    def __init__(self, version: str, clock: Clock, sources: Sources, metrics: Metrics) -> None:
        self._version = version
        self._clock = clock
        self._sources = sources
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        """Yield every family; what is not known has no sample."""
        info = InfoMetricFamily(f"{PREFIX}build", TABLE["build_info"].help)
        info.add_metric((), {"version": self._version})
        yield info
        yield from self._health()
        yield from self._counted()
        yield from self._standing()

    def _health(self) -> Iterator[Metric]:
        now = self._sources.health()
        yield _gauge("live", now.live)
        yield _gauge("ready", now.ready)
        yield _gauge("lease_held", self._metrics.lease_held)
        yield _gauge("cycle_running_seconds", now.cycle_seconds or 0.0)
        yield _gauge("cycle_failures_in_a_row", now.failures)
        yield _gauge("unsettled_acts", now.unsettled)
        yield _gauge("policies_refused", now.policies_refused)
        ages = {name: age for name, age in now.complete_age_seconds.items() if age is not None}
        yield _gauge_by("provider_complete_age_seconds", ages.items())

    def _counted(self) -> Iterator[Metric]:
        yield _counter_by("wakeups", self._sources.wakeups())
        yield _counter_by("timer_troubles", self._sources.timer_troubles())
        yield _counter_by("notices", self._sources.notices())
        yield _counter_by("webhook_calls", self._sources.webhook_calls())
        yield _counter("webhook_pauses", self._sources.webhook_pauses())
        yield _counter("watch_restarts", self._sources.watch_restarts())
        yield _counter("telling_failures", self._sources.telling_failures())

    def _standing(self) -> Iterator[Metric]:
        now = self._clock.now()
        with self._metrics.lock:
            held, unstated, waiting = self._metrics.held, self._metrics.unstated_since, self._metrics.waiting
        health = self._sources.health()
        yield _gauge("held_plans", 1 if held else 0)
        yield _gauge("held_plan_age_seconds", _age(held[1] if held else None, now))
        yield _gauge("unsigned_age_seconds", max(_age(unstated, now), health.unsigned_age_seconds))
        yield _gauge("unsigned_statements", health.unsigned)
        yield _gauge_by("audit_lag_records", ((name, records) for name, (records, _) in waiting.items()))
        yield _gauge_by("audit_lag_seconds", ((name, _age(since, now)) for name, (_, since) in waiting.items()))


def _seconds(since: datetime, until: datetime) -> float:
    return max((until - since).total_seconds(), 0.0)


def _age(since: datetime | None, now: datetime) -> float:
    return _seconds(since, now) if since else 0.0


def _gauge(name: str, value: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, TABLE[name].help, value=float(value))


def _gauge_by(name: str, values: Iterable[tuple[str, float]]) -> Metric:
    family = GaugeMetricFamily(PREFIX + name, TABLE[name].help, labels=TABLE[name].labels)
    for label, value in values:
        family.add_metric((label,), float(value))
    return family


def _counter(name: str, value: float) -> Metric:
    return CounterMetricFamily(PREFIX + name, TABLE[f"{name}_total"].help, value=value)


def _counter_by(name: str, values: Labelled) -> Metric:
    row = TABLE[f"{name}_total"]
    family = CounterMetricFamily(PREFIX + name, row.help, labels=row.labels)
    for label, value in values.items():
        family.add_metric((label,), value)
    return family
