"""Cycles as OpenTelemetry spans over OTLP/HTTP, made after the fact from the record: nothing is measured twice.

A span names cycle, provider instance, stage, effect and outcome; never a principal, a worker or a message. The SDK is
an optional extra, loaded when tracing is on. It sends in a thread of its own, from a queue that drops when it is full.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from inventory.provider import Clock
from reconciler.core.errors import SettingsError
from reconciler.core.record import CycleOutcome
from reconciler.told import CycleTold

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
    from opentelemetry.trace import Span

log = structlog.get_logger(__name__)

MOST_ACTS: Final = 500
"""So many acts of one cycle have a span; the root span says how many there were."""
_QUEUE: Final = 4096
_CLOSE_SECONDS: Final = 5.0
_PREFIX: Final = "access_reconciler."

Attributes = Mapping[str, str | int | bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceTarget:
    """Where spans go, and how."""

    endpoint: str
    headers: Mapping[str, str]
    ca_file: Path | None
    timeout_seconds: float


def read_headers(path: Path | None) -> Mapping[str, str]:
    """Read `name: value` lines; raises `SettingsError`, which names the line and never its content."""
    if path is None:
        return {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"trace.headers_file: {path} cannot be read: {type(error).__name__}", advice="check path and mode"
        ) from error
    headers = {}
    for number, line in enumerate(lines, start=1):
        name, colon, value = (part.strip() for part in line.partition(":"))
        if line.strip() and not (name and colon and value):
            raise SettingsError(f"trace.headers_file: {path}, line {number} is no header", advice="write `name: value`")
        if line.strip():
            headers[name] = value
    return headers


class Spans:
    """Implements `reconciler.told.Listener`."""

    def __init__(self, target: TraceTarget, version: str, instance_id: str, clock: Clock) -> None:
        """Build the exporter; nothing is sent yet. Raises `SettingsError` where OpenTelemetry is not installed."""
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - an extra
            from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - an extra
            from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - an extra
            from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - an extra
            from opentelemetry.sdk.trace.sampling import ALWAYS_ON  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise SettingsError(
                "trace.endpoint is set, yet OpenTelemetry is not installed",
                advice="install access-reconciler[otel], or leave trace.endpoint empty",
            ) from error
        exporter = OTLPSpanExporter(
            endpoint=target.endpoint,
            headers=dict(target.headers),
            certificate_file=str(target.ca_file) if target.ca_file else None,
            timeout=target.timeout_seconds,
        )
        resource = {
            "service.name": "access-reconciler",
            "service.version": version,
            "service.instance.id": instance_id,
        }
        self._clock = clock
        self._provider: TracerProvider = TracerProvider(
            resource=Resource(resource), sampler=ALWAYS_ON, shutdown_on_exit=False
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(
                _Telling(exporter),  # type: ignore[arg-type]  # the extra's base class exists only with the extra
                max_queue_size=_QUEUE,
                max_export_batch_size=512,
                schedule_delay_millis=1000,
                export_timeout_millis=target.timeout_seconds * 1000,
            )
        )
        self._tracer = self._provider.get_tracer("access-reconciler", version)

    def cycle_ended(self, told: CycleTold) -> None:
        """Make the spans of a cycle: the cycle, its stages, each provider's collection, and each act."""
        record = told.record
        root = self._begin(
            "cycle",
            record.started_at,
            None,
            {
                "cycle.id": record.cycle_id,
                "cycle.sequence": record.sequence,
                "cycle.mode": record.mode.value,
                "cycle.breadth": record.breadth.value,
                "cycle.outcome": "gave_way" if told.gave_way else record.outcome.value,
                "cycle.acts": len(record.results),
            },
        )
        stages: dict[str, Span] = {}
        for stage in told.stages:
            span = self._begin("stage", stage.began_at, root, {"stage": stage.stage})
            stages.setdefault(stage.stage, span)
            span.end(_nanoseconds(stage.ended_at))
        self._collections(told, stages.get("collect", root))
        self._acts(told, stages.get("execute", root))
        if record.outcome is CycleOutcome.FAILED:
            _fail(root, "failed")
        root.end(_nanoseconds(record.finished_at))

    def cycle_broke(self, error: str) -> None:
        """Make a span of a cycle that has no record: it says which error, and no more."""
        now = self._clock.now()
        span = self._begin("cycle", now, None, {"cycle.outcome": "broken"})
        _fail(span, error)
        span.end(_nanoseconds(now))

    def close(self) -> None:
        """Send what waits, for a few seconds at most: a receiver that hangs holds nobody up."""
        closing = threading.Thread(target=self._provider.shutdown, name="spans", daemon=True)
        closing.start()
        closing.join(_CLOSE_SECONDS)

    def _collections(self, told: CycleTold, parent: "Span") -> None:
        for one in told.record.inventories:
            attributes: Attributes = {
                "provider": one.provider,
                "provider.type": one.provider_type,
                "complete": one.complete,
                "api_calls": one.api_calls,
            }
            span = self._begin("collection", one.started_at, parent, attributes)
            span.end(_nanoseconds(one.finished_at))

    def _acts(self, told: CycleTold, parent: "Span") -> None:
        for result in told.record.results[:MOST_ACTS]:
            began = result.acted_at or result.decided_at
            attributes: Attributes = {
                "provider": result.action.provider,
                "effect": result.action.effect.value,
                "outcome": result.outcome.value,
                "verification": result.verification.value if result.verification else "none",
            }
            span = self._begin("act", began, parent, attributes)
            span.end(_nanoseconds(result.verified_at or began))

    def _begin(self, name: str, at: datetime, parent: "Span | None", attributes: Attributes) -> "Span":
        from opentelemetry.context import Context  # noqa: PLC0415 - an extra
        from opentelemetry.trace import set_span_in_context  # noqa: PLC0415 - an extra

        # An empty context, so that no span of somebody else in this process becomes a parent.
        context: Context = set_span_in_context(parent, Context()) if parent is not None else Context()
        named = {_PREFIX + key: value for key, value in attributes.items()}
        return self._tracer.start_span(_PREFIX + name, context, attributes=named, start_time=_nanoseconds(at))


class _Telling:
    """Passes batches on to the exporter, and says once when none of them arrives and once when they do again."""

    def __init__(self, exporter: "SpanExporter") -> None:
        self._exporter = exporter
        self._failing = False

    def export(self, spans: "Sequence[ReadableSpan]") -> "SpanExportResult":
        result = self._exporter.export(spans)
        failed = result.name != "SUCCESS"
        if failed != self._failing:
            self._failing = failed
            log.warning("traces.not_sent" if failed else "traces.sent_again", spans=len(spans))
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)


def _fail(span: "Span", reason: str) -> None:
    from opentelemetry.trace import Status, StatusCode  # noqa: PLC0415 - an extra

    span.set_status(Status(StatusCode.ERROR, reason))


def _nanoseconds(at: datetime) -> int:
    return round(at.timestamp() * 1_000_000) * 1000
