"""The streams of a daemon on a real company: each tells what it is for, and none holds a secret."""

import base64
import json
import re
import signal
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.e2e.company import Company
from tests.e2e.test_daemon import Running, free_port, start
from tests.fakes.receiver import HttpReceiver

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CANARIES = {
    "token_file": "canary-token-8b1d2f",
    "password_file": "canary-password-41ce77",
    "secret_access_key_file": "canary-secret-key-90aa13",
}
CHAT, HEADER = "canary-chat-5f6e0d", "canary-header-c2b7a9"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Everything that came out of a daemon which lived through good and bad cycles."""

    company: Company
    secrets: frozenset[str]
    metrics: str
    log: str
    messages: tuple[bytes, ...]
    spans: tuple[bytes, ...]
    cycle: str
    """Output of a cycle on the command line, whose every secret was wrong."""


def secret_files(company: Company) -> set[Path]:
    """Return the files that the configuration names secrets by."""
    document = yaml.safe_load(company.config.read_text())
    blocks = [block for one in document["providers"].values() for block in (one["reader"], one.get("revoker", {}))]
    return {
        Path(company.directory / value)
        for block in blocks
        for key, value in block.items()
        if key in CANARIES and isinstance(value, str)
    }


def spoilt(path: Path, company: Company) -> str:
    """Return the canary that takes the place of a secret."""
    text = company.config.read_text()
    name = re.search(rf"(\w+_file): \S*{re.escape(path.name)}", text)
    assert name is not None
    return CANARIES[name[1]]


@pytest.fixture(scope="module")
def told(company: Company, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """Live a good cycle, then one whose every secret is refused, and keep all that came out."""
    folder, port = tmp_path_factory.mktemp("told"), free_port()
    files = secret_files(company)
    before = {path: path.read_text() for path in files}
    with HttpReceiver() as chat, HttpReceiver() as collector:
        (folder / "chat.url").write_text(f"json://user:{CHAT}@127.0.0.1:{chat.port}/hook")
        (folder / "headers").write_text(f"x-api-key: {HEADER}\n")
        company.configure(
            daemon={"interval_seconds": 3600, "health_port": port},
            notify={
                "targets": [{"url_file": str(folder / "chat.url"), "include": "ids"}],
                "quiet_seconds": 0.1,
                "incomplete_minutes": 0.01,
                "overdue_minutes": 0.01,
            },
            trace={
                "endpoint": f"http://127.0.0.1:{collector.port}/v1/traces",
                "headers_file": str(folder / "headers"),
            },
        )
        company.cycle("observe")
        running = start(company, folder / "log", port, ACCESS_RECONCILER_LOG="debug")
        try:
            running.wait(lambda: bool(running.ended_cycles()), "the end of the first cycle")
            for path in files:
                path.write_text(spoilt(path, company))
            look_again(running)
            running.wait(lambda: any(b"provider_incomplete" in one.body for one in chat.received), "the message")
            metrics = scraped(port)
            running.process.send_signal(signal.SIGTERM)
            running.process.wait(timeout=60)
            answer = company.cycle()
        finally:
            if running.process.poll() is None:
                running.process.kill()
                running.process.wait(timeout=10)
            for path, text in before.items():
                path.write_text(text)
        key = (company.directory / "state" / "keys" / "attestation.pem").read_text().splitlines()[1]
        yield Told(
            company=company,
            secrets=frozenset({*CANARIES.values(), CHAT, HEADER, key, *(text.strip() for text in before.values())}),
            metrics=metrics,
            log=running.log.read_text(encoding="utf-8"),
            messages=tuple(one.body for one in chat.received),
            spans=tuple(one.body for one in collector.received),
            cycle=answer.out + answer.err,
        )


def look_again(running: Running) -> None:
    """Have the daemon run one more cycle, and wait for its end."""
    cycles = len(running.ended_cycles())
    running.process.send_signal(signal.SIGHUP)
    running.wait(lambda: len(running.ended_cycles()) > cycles, "a cycle with refused secrets")


def scraped(port: int) -> str:
    """Return what a metrics server would be shown."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        return str(answer.read().decode())


def sample(metrics: str, name: str) -> float:
    """Return the sum of a metric over its labels."""
    found = re.findall(rf"^access_reconciler_{name}(?:\{{[^}}]*\}})? (\S+)$", metrics, re.MULTILINE)
    assert found, name
    return sum(map(float, found))


def written(secret: str) -> set[bytes]:
    """Return a secret as it may stand somewhere: plain, quoted, in JSON, and in base64 at each offset."""
    plain = secret.encode()
    shifted = {base64.b64encode(b"x" * shift + plain)[4 if shift else 0 : -4] for shift in range(3)}
    return {plain, quote(secret, safe="").encode(), json.dumps(secret).strip('"').encode(), *shifted}


def leaks(told: Told, content: bytes) -> set[str]:
    """Return the secrets that stand in some content."""
    return {secret for secret in told.secrets if any(one in content for one in written(secret))}


def test_the_secrets_were_in_play(told: Told) -> None:
    """Good secrets took access away, bad ones were refused, and the search finds one where there is one."""
    assert len(told.secrets) > 8
    assert told.company.intents() > 0
    assert sample(told.metrics, "verifications_total") > 0
    document = told.company.last_statement()
    assert document["outcome"] in {"partial", "failed"}
    hidden = base64.b64encode(b"ab" + CANARIES["token_file"].encode())
    assert leaks(told, b"Authorization: Basic " + hidden) == {CANARIES["token_file"]}


def test_no_secret_is_in_any_stream(told: Told) -> None:
    """Neither the log at its loudest, nor metrics, messages, spans, or the output of a command hold one."""
    streams = {
        "log": told.log.encode(),
        "metrics": told.metrics.encode(),
        "messages": b"".join(told.messages),
        "spans": b"".join(told.spans),
        "cycle": told.cycle.encode(),
    }
    assert all(streams.values())
    assert {name: leaks(told, content) for name, content in streams.items() if leaks(told, content)} == {}


def test_no_secret_is_in_the_state_folder(told: Told) -> None:
    """Journal, evidence, attestations, audit trail and notices hold none; only the key's own file holds the key."""
    state = told.company.directory / "state"
    files = [path for path in state.rglob("*") if path.is_file() and path.name != "attestation.pem"]
    names = {path.name for path in files}
    assert {"journal.sqlite3", "audit.jsonl", "notices.json"} <= names
    found = {path.name: leaks(told, path.read_bytes()) for path in files}
    assert {name: secrets for name, secrets in found.items() if secrets} == {}


def test_the_streams_tell_of_the_same_cycles(told: Told) -> None:
    """Metrics, spans and messages of real cycles: revocations with their time, a trace for each cycle, and words."""
    assert sample(told.metrics, "time_to_revoke_seconds_count") > 0
    assert sample(told.metrics, "api_calls_total") > 10
    assert sample(told.metrics, "telling_failures_total") == 0
    assert sample(told.metrics, "notices_total") > 0
    names = [
        span.name
        for body in told.spans
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert names.count("access_reconciler.cycle") == sample(told.metrics, "cycles_total")
    assert {"access_reconciler.stage", "access_reconciler.collection", "access_reconciler.act"} <= set(names)
    events = {event["event"] for event in map(json.loads, told.log.splitlines())}
    assert "listener.failed" not in events
