"""Cycles as spans, as a real OTLP/HTTP receiver gets them."""

import builtins
import re
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from structlog.testing import capture_logs

from reconciler.adapters.spans import MOST_ACTS, Spans, TraceTarget, read_headers
from reconciler.core.errors import SettingsError
from reconciler.core.record import CycleOutcome
from reconciler.settings import load_settings
from tests.builders import NOW
from tests.fakes.clock import FakeClock
from tests.fakes.receiver import HttpReceiver
from tests.record_builders import action_result, cycle_record
from tests.unit.test_daemon_metrics import told


def target(receiver: HttpReceiver, **headers: str) -> TraceTarget:
    """Return the address of a receiver."""
    endpoint = f"http://127.0.0.1:{receiver.port}/v1/traces"
    return TraceTarget(endpoint=endpoint, headers=headers, ca_file=None, timeout_seconds=2)


def exported(receiver: HttpReceiver) -> list[Span]:
    """Decode every span that came in, oldest first."""
    spans = []
    for one in receiver.received:
        request = ExportTraceServiceRequest.FromString(one.body)
        spans += [span for resource in request.resource_spans for scope in resource.scope_spans for span in scope.spans]
    return sorted(spans, key=lambda span: span.start_time_unix_nano)


def attributes(span: Span) -> dict[str, Any]:
    """Return the attributes of a span without our prefix."""
    return {
        one.key.removeprefix("access_reconciler."): getattr(one.value, str(one.value.WhichOneof("value")))
        for one in span.attributes
    }


def test_a_cycle_arrives_as_one_trace() -> None:
    """The cycle is the root of its stages, the collection of each provider and each act, at the record's instants."""
    with HttpReceiver() as receiver:
        spans = Spans(target(receiver, **{"x-api-key": "key"}), "1.2.3", "instance", FakeClock(NOW))
        spans.cycle_ended(told())
        spans.close()
    found = {span.name.removeprefix("access_reconciler."): span for span in exported(receiver)}
    assert set(found) == {"cycle", "stage", "collection", "act"}
    root = found["cycle"]
    assert {span.trace_id for span in found.values()} == {root.trace_id}
    assert root.parent_span_id == b""
    assert found["stage"].parent_span_id == root.span_id
    assert found["collection"].parent_span_id == found["stage"].span_id
    assert found["act"].parent_span_id == root.span_id
    assert root.start_time_unix_nano == int(NOW.timestamp()) * 10**9
    assert root.end_time_unix_nano - root.start_time_unix_nano == 8 * 10**9
    assert attributes(root)["cycle.id"] == cycle_record().cycle_id
    assert attributes(root)["cycle.outcome"] == "complete"
    assert attributes(found["act"]) == {
        "provider": "corp-aws",
        "effect": "revoke",
        "outcome": "done",
        "verification": "gone",
    }
    assert receiver.received[0].headers["x-api-key"] == "key"
    assert receiver.received[0].path == "/v1/traces"


def test_spans_name_nobody() -> None:
    """Neither principal nor worker nor access item stands in what is sent."""
    with HttpReceiver() as receiver:
        spans = Spans(target(receiver), "1.2.3", "instance", FakeClock(NOW))
        spans.cycle_ended(told())
        spans.close()
    sent = b"".join(one.body for one in receiver.received)
    assert sent
    assert not re.search(rb"alice|E1001|AKIA|access_key", sent)


def test_a_cycle_that_failed_or_broke_is_an_error() -> None:
    """Status ERROR, with the name of the error's type where there is no record, and no more."""
    with HttpReceiver() as receiver:
        spans = Spans(target(receiver), "1.2.3", "instance", FakeClock(NOW))
        spans.cycle_ended(told(record=cycle_record(outcome=CycleOutcome.FAILED, results=()), stages=()))
        spans.cycle_broke("SigningError")
        spans.close()
    roots = [span for span in exported(receiver) if span.name == "access_reconciler.cycle"]
    assert [(span.status.code, span.status.message) for span in roots] == [
        (Status.STATUS_CODE_ERROR, "failed"),
        (Status.STATUS_CODE_ERROR, "SigningError"),
    ]


def test_a_large_cycle_is_bounded() -> None:
    """Only so many acts have spans; the cycle says how many there were."""
    results = tuple(action_result() for _ in range(MOST_ACTS + 7))
    with HttpReceiver() as receiver:
        spans = Spans(target(receiver), "1.2.3", "instance", FakeClock(NOW))
        spans.cycle_ended(told(record=cycle_record(results=results)))
        spans.close()
    found = exported(receiver)
    assert sum(span.name == "access_reconciler.act" for span in found) == MOST_ACTS
    assert [attributes(span)["cycle.acts"] for span in found if span.name == "access_reconciler.cycle"] == [507]


def test_a_receiver_that_refuses_is_told_of_once() -> None:
    """Nothing is raised; one line says that spans do not arrive."""
    with HttpReceiver(status=400) as receiver, capture_logs() as logs:
        spans = Spans(target(receiver), "1.2.3", "instance", FakeClock(NOW))
        spans.cycle_ended(told())
        spans.close()
    assert [line["event"] for line in logs] == ["traces.not_sent"]


def test_a_missing_extra_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The setting is on and the library is not there: the error says which extra to install."""
    real = builtins.__import__

    def refuse(name: str, *rest: Any, **more: Any) -> Any:
        if name.startswith("opentelemetry"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    where = TraceTarget(endpoint="http://127.0.0.1:9/", headers={}, ca_file=None, timeout_seconds=1)
    with pytest.raises(SettingsError, match="OpenTelemetry is not installed") as caught:
        Spans(where, "1", "instance", FakeClock(NOW))
    assert "access-reconciler[otel]" in caught.value.advice


def test_headers_are_read_and_never_shown(tmp_path: Path) -> None:
    """A file of headers is read line by line; an error names the line, and its content nowhere."""
    path = tmp_path / "headers"
    path.write_text("Authorization: Bearer canary\n\nX-Team: access\n")
    assert read_headers(path) == {"Authorization": "Bearer canary", "X-Team": "access"}
    assert read_headers(None) == {}
    path.write_text("Authorization: Bearer canary\ncanary\n")
    with pytest.raises(SettingsError, match="line 2 is no header") as caught:
        read_headers(path)
    assert "canary" not in str(caught.value) + caught.value.advice
    with pytest.raises(SettingsError, match="cannot be read"):
        read_headers(tmp_path / "none")


@pytest.mark.parametrize(
    ("endpoint", "good"),
    [
        ("https://otel.example.com/v1/traces", True),
        ("http://127.0.0.1:4318/v1/traces", True),
        ("http://otel.example.com/v1/traces", False),
        ("http://127.0.0.1.example.com/", False),
    ],
)
def test_headers_leave_this_host_encrypted_only(endpoint: str, good: bool, tmp_path: Path) -> None:  # noqa: FBT001 - a parameter of the table
    """Plain HTTP is for a receiver on this host; the files of the block are relative to the configuration."""
    path = tmp_path / "access-reconciler.yaml"
    path.write_text(f"roster: {{path: r.csv}}\ntrace: {{endpoint: '{endpoint}', headers_file: secrets/otel}}\n")
    if good:
        assert load_settings(path).trace.headers_file == tmp_path / "secrets" / "otel"
    else:
        with pytest.raises(SettingsError, match=r"trace\.endpoint"):
            load_settings(path)
