"""Google Cloud Logging as far as we write to it: gRPC over TLS on loopback, on the vendor's generated types.

Entries get what the API gives them, and reading takes entries of one log, instant and insert id for one. Faults are
queued: refusals before anything is kept, and answers that are lost after the entries were.

gRPC reads the trusted certificate from the environment when it makes its first channel: `trust` comes before that.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from google.cloud.logging_v2 import types
from google.cloud.logging_v2.types import ListLogEntriesResponse, LogEntry, WriteLogEntriesResponse

SERVICE = "google.logging.v2.LoggingServiceV2"
TRUSTED = "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate for localhost and its key, as PEM."""

    certificate: bytes
    key: bytes


def self_signed() -> Certificate:
    """Make a certificate for localhost that is its own root, good for an hour."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(IPv4Address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Certificate(certificate.public_bytes(pem), private)


def trust(certificate: Certificate, folder: Path) -> None:
    """Have gRPC of this process trust the certificate, and no other; before the first channel is made."""
    path = folder / "cloud-logging.pem"
    path.write_bytes(certificate.certificate)
    os.environ[TRUSTED] = str(path)


@dataclass(frozen=True, slots=True)
class Fault:
    """How one call is answered."""

    status: str
    """Name of a gRPC status, such as `UNAVAILABLE`."""
    kept: bool = False
    """The entries are kept all the same: the answer is what gets lost."""


class CloudLogging:
    """A running server with what was written to it."""

    def __init__(self) -> None:
        self.received: list[LogEntry] = []
        """Each entry of each accepted call, repetitions included."""
        self.faults: deque[Fault] = deque()
        self.always: Fault | None = None
        """Answers every call that no queued fault answers."""
        self.calls = 0
        self.port = 0

    @property
    def endpoint(self) -> str:
        return f"localhost:{self.port}"

    def entries(self, log_name: str = "") -> list[LogEntry]:
        """Return what reading shows: entries of one log, instant and insert id once, the first one received."""
        seen: dict[Any, LogEntry] = {}
        for entry in self.received:
            if not log_name or entry.log_name == log_name:
                seen.setdefault((entry.log_name, entry.timestamp, entry.insert_id), entry)
        return sorted(seen.values(), key=lambda entry: (entry.timestamp, entry.insert_id))

    def write(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Answer WriteLogEntries."""
        self.calls += 1
        fault = self.faults.popleft() if self.faults else self.always
        if fault is None or fault.kept:
            self._check(request, context)
            self.received += [_filled(request, entry) for entry in request.entries]
        if fault is not None:
            _abort(context, fault.status)
        return WriteLogEntriesResponse()

    def list(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Answer ListLogEntries: filters of the form `field = "value"` joined by AND, pages, and either order."""
        if not request.resource_names:
            _abort(context, "INVALID_ARGUMENT")
        found = [entry for entry in self.entries() if _matches(entry, request.filter)]
        if request.order_by == "timestamp desc":
            found.reverse()
        start = int(request.page_token or 0)
        end = start + (request.page_size or 50)
        token = str(end) if end < len(found) else ""
        return ListLogEntriesResponse(entries=found[start:end], next_page_token=token)

    def _check(self, request: Any, context: grpc.ServicerContext) -> None:
        """Refuse what the API refuses: no log, no project in its name, and instants out of its window."""
        now = datetime.now(UTC)
        for entry in request.entries:
            name = entry.log_name or request.log_name
            if not name.startswith("projects/") or "/logs/" not in name:
                _abort(context, "INVALID_ARGUMENT")
            if entry.timestamp and entry.timestamp > now + timedelta(hours=24):
                _abort(context, "INVALID_ARGUMENT")


def _abort(context: grpc.ServicerContext, status: str) -> None:
    context.abort(grpc.StatusCode[status], "refused by the fake, with a detail that nobody repeats: s3cr3t-canary")


def _filled(request: Any, entry: Any) -> Any:
    """Return an entry with what the request says for all of them, and when it arrived."""
    filled = LogEntry(entry)
    filled.log_name = entry.log_name or request.log_name
    if not entry.resource.type:
        filled.resource = request.resource
    for key, value in request.labels.items():
        filled.labels.setdefault(key, value)
    filled.receive_timestamp = datetime.now(UTC)
    if not entry.timestamp:
        filled.timestamp = filled.receive_timestamp
    return filled


def _matches(entry: Any, text: str) -> bool:
    wanted = [term.split("=", 1) for term in text.split(" AND ") if term]
    return all(_field(entry, name.strip()) == value.strip().strip('"') for name, value in wanted)


def _field(entry: Any, name: str) -> str:
    fields: dict[str, Callable[[], str]] = {"logName": lambda: entry.log_name, "insertId": lambda: entry.insert_id}
    if name.startswith("labels."):
        return str(entry.labels.get(name.removeprefix("labels."), ""))
    return fields[name]()


@contextmanager
def running(certificate: Certificate, logging: CloudLogging | None = None) -> Iterator[CloudLogging]:
    """Serve on a free port of loopback until the block is left."""
    logging = logging or CloudLogging()
    answers: Sequence[tuple[str, Any, Callable[..., Any]]] = (
        ("WriteLogEntries", types.WriteLogEntriesRequest, logging.write),
        ("ListLogEntries", types.ListLogEntriesRequest, logging.list),
    )
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            answer,
            request_deserializer=request.deserialize,
            response_serializer=lambda reply: reply._pb.SerializeToString(),
        )
        for name, request, answer in answers
    }
    server = grpc.server(ThreadPoolExecutor(max_workers=4))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    credentials = grpc.ssl_server_credentials([(certificate.key, certificate.certificate)])
    logging.port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        yield logging
    finally:
        server.stop(grace=None).wait()
