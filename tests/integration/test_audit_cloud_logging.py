"""The audit trail in Cloud Logging, over real gRPC and TLS: nothing lost and nothing doubled under any fault."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.api_core.exceptions import InvalidArgument
from google.auth.credentials import AnonymousCredentials
from google.cloud.logging_v2.services.logging_service_v2 import LoggingServiceV2Client

from reconciler.adapters.audit_log import CloudLog, CloudLoggingStream
from reconciler.adapters.journal import SqlJournal
from reconciler.core.canonical import rfc3339
from tests.audit_history import CANARY, live_cycle, open_journal, trail
from tests.fakes.cloud_logging import Certificate, CloudLogging, Fault, running, self_signed, trust

RECORDS = 19
"""What one lived cycle tells."""


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Make a certificate that gRPC of this process trusts."""
    made = self_signed()
    trust(made, tmp_path_factory.mktemp("tls"))
    return made


@pytest.fixture
def server(certificate: Certificate) -> Iterator[CloudLogging]:
    """Run an empty Cloud Logging."""
    with running(certificate) as logging:
        yield logging


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[SqlJournal]:
    """Open a journal with one lived cycle."""
    with open_journal(tmp_path) as opened:
        live_cycle(opened)
        yield opened


def stream(server: CloudLogging, timeout_seconds: float = 5.0) -> CloudLoggingStream:
    """Build the stream that production builds, with another address and without credentials."""
    log = CloudLog(
        project="corp-audit",
        log_name="access/audit",
        endpoint=server.endpoint,
        timeout_seconds=timeout_seconds,
        backfill_days=100_000,
    )
    return CloudLoggingStream(log, AnonymousCredentials())  # type: ignore[no-untyped-call]  # the library's


def test_every_record_arrives_once(server: CloudLogging, journal: SqlJournal) -> None:
    """Each record becomes one entry of the log, with our id and instant, its labels and the record as payload."""
    audit = trail(journal, stream(server))
    assert audit.hand_over() == ()
    assert audit.hand_over() == ()
    assert server.calls == 1
    entries = server.entries("projects/corp-audit/logs/access%2Faudit")
    assert len(entries) == len(server.received) == RECORDS
    first = entries[0]
    assert first.json_payload["id"] == first.insert_id
    assert first.json_payload["at"] == rfc3339(first.timestamp)
    assert first.labels["kind"] == first.json_payload["kind"]
    assert first.resource.type == "global"
    assert first.resource.labels["project_id"] == "corp-audit"
    audit.close()


@pytest.mark.parametrize("status", ["UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "INTERNAL"])
def test_a_passing_fault_is_waited_out(server: CloudLogging, journal: SqlJournal, status: str) -> None:
    """A refusal that passes costs one more call in the same hand-over, and no record."""
    server.faults.append(Fault(status))
    audit = trail(journal, stream(server))
    assert audit.hand_over() == ()
    assert server.calls == 2
    assert len(server.received) == len(server.entries()) == RECORDS
    audit.close()


@pytest.mark.parametrize("status", ["UNAVAILABLE", "DEADLINE_EXCEEDED"])
def test_an_answer_lost_after_acceptance_doubles_nothing(
    server: CloudLogging, journal: SqlJournal, status: str
) -> None:
    """Entries that were taken and never acknowledged are sent again under the same ids: reading shows each once."""
    server.faults.append(Fault(status, kept=True))
    audit = trail(journal, stream(server))
    assert audit.hand_over() == ()
    assert len(server.received) == 2 * RECORDS
    assert len(server.entries()) == RECORDS
    audit.close()


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize(
    ("status", "kind"),
    [("UNAVAILABLE", "ServiceUnavailable"), ("DEADLINE_EXCEEDED", "DeadlineExceeded"), ("UNKNOWN", "Unknown")],
)
def test_an_outage_is_resumed_by_the_next_process(
    server: CloudLogging, journal: SqlJournal, status: str, kind: str, *, kept: bool
) -> None:
    """An outage outlasts the hand-over: the cursor stays, and a later process sends all, whatever had arrived."""
    server.always = Fault(status, kept=kept)
    audit = trail(journal, stream(server, timeout_seconds=0.3))
    (line,) = audit.hand_over()
    assert line.endswith(f"was not written: {kind}; it is tried again by the next cycle")
    audit.close()
    server.always = None
    assert trail(journal, stream(server)).hand_over() == ()
    assert len(server.entries()) == RECORDS


@pytest.mark.parametrize(
    ("status", "advice"),
    [
        ("PERMISSION_DENIED", "roles/logging.logWriter"),
        ("UNAUTHENTICATED", "roles/logging.logWriter"),
        ("NOT_FOUND", "check audit.google"),
        ("INVALID_ARGUMENT", "check audit.google"),
    ],
)
def test_a_refusal_is_said_with_advice_and_not_repeated(
    server: CloudLogging, journal: SqlJournal, status: str, advice: str
) -> None:
    """A refusal that will not pass is one call, one line without the server's own text, and nothing is lost."""
    server.faults.append(Fault(status))
    audit = trail(journal, stream(server))
    (line,) = audit.hand_over()
    assert server.calls == 1
    assert advice in line
    assert CANARY not in line
    assert audit.hand_over() == ()
    assert len(server.entries()) == RECORDS
    audit.close()


def test_a_server_that_is_not_there_is_said(
    server: CloudLogging, journal: SqlJournal, certificate: Certificate
) -> None:
    """Without a server the hand-over ends within its time; when one comes up at the address all is sent."""
    gone = stream(server, timeout_seconds=0.5)
    with running(certificate) as other:
        address = other.endpoint
    gone = CloudLoggingStream(
        CloudLog(project="corp-audit", log_name="x", endpoint=address, timeout_seconds=0.5, backfill_days=100_000),
        AnonymousCredentials(),  # type: ignore[no-untyped-call]  # the library's
    )
    (line,) = trail(journal, gone).hand_over()
    assert "was not written" in line
    gone.close()
    assert trail(journal, stream(server)).hand_over() == ()
    assert len(server.entries()) == RECORDS


def test_a_certificate_that_nobody_trusts_is_refused(journal: SqlJournal, certificate: Certificate) -> None:
    """The connection is checked: a server with another certificate gets nothing."""
    assert certificate.key
    with running(self_signed()) as impostor:
        (line,) = trail(journal, stream(impostor, timeout_seconds=0.5)).hand_over()
        assert "was not written" in line
        assert impostor.received == []


def test_missing_credentials_are_said(journal: SqlJournal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A process without application default credentials is told what to give it."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "nowhere.json"))
    log = CloudLog(project="corp-audit", log_name="x", backfill_days=100_000)
    (line,) = trail(journal, CloudLoggingStream(log)).hand_over()
    assert line.endswith("DefaultCredentialsError; " + line.split("; ", 1)[1])
    assert "GOOGLE_APPLICATION_CREDENTIALS" in line


def test_no_canary_reaches_the_cloud(server: CloudLogging, journal: SqlJournal) -> None:
    """Nothing of what the journal keeps to itself is in any entry, label or name."""
    trail(journal, stream(server)).hand_over()
    assert len(server.received) == RECORDS
    assert not any(CANARY in str(entry) for entry in server.received)


def test_google_is_loaded_only_by_who_ships_there() -> None:
    """Opening the wiring loads nothing of Google's: it costs seconds and memory."""
    code = "import sys, reconciler.wiring; print(sys.modules.keys() & {'grpc', 'google.api_core', 'google.protobuf'})"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "set()"


def test_the_fake_reads_back_as_the_api_does(server: CloudLogging, journal: SqlJournal) -> None:
    """The vendor's client pages through the fake, filters by id and label, in both orders, and is refused as due."""
    trail(journal, stream(server)).hand_over()
    client = LoggingServiceV2Client(
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]  # the library's
        client_options={"api_endpoint": server.endpoint},
    )
    asked = {"resource_names": ["projects/corp-audit"], "page_size": 5}
    rising = [entry.insert_id for entry in client.list_log_entries(request=asked)]
    assert rising == [entry.insert_id for entry in server.entries()]
    falling = [entry.insert_id for entry in client.list_log_entries(request=asked | {"order_by": "timestamp desc"})]
    assert falling == rising[::-1]
    one = list(client.list_log_entries(request=asked | {"filter": f'insertId="{rising[3]}"'}))
    assert [entry.insert_id for entry in one] == [rising[3]]
    acts = list(client.list_log_entries(request=asked | {"filter": 'labels.kind="act"'}))
    assert len(acts) == 3
    with pytest.raises(InvalidArgument):
        client.list_log_entries(request={"resource_names": []})
