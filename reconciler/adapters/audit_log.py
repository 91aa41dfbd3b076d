"""The audit trail handed over: to a file, and to Google Cloud Logging. Copies only; the journal is the record.

Each stream has a cursor in the journal that moves after the other side has what was sent, so a lost connection loses
nothing. What was accepted and never acknowledged is sent again under the same id and instant, by which the file and
Cloud Logging each know it. Calls wait for their answer: nothing is queued in a thread that may die with the process.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Protocol
from urllib.parse import quote

from inventory.provider import Clock
from reconciler.adapters.audit_outbox import AuditOutbox, KeptRecord
from reconciler.core.audit import AuditKind
from reconciler.core.canonical import rfc3339
from reconciler.core.errors import AuditError, JournalError
from reconciler.core.record import CycleRecord
from reconciler.ports import StreamLag

if TYPE_CHECKING:
    from google.api_core.retry import Retry
    from google.auth.credentials import Credentials
    from google.cloud.logging_v2.services.logging_service_v2 import LoggingServiceV2Client
    from google.cloud.logging_v2.types import LogEntry

HAND_OVER_SECONDS: Final = 60.0
"""Longest that one cycle works off a backlog of one stream; the next cycle goes on from the cursor."""
_NOTICED: Final = frozenset({AuditKind.ACT, AuditKind.OUTCOME, AuditKind.UNDO, AuditKind.RELEASE, AuditKind.APPROVAL})


class Stream(Protocol):
    """Where the trail goes, in order."""

    @property
    def name(self) -> str:
        """Return what the cursor is kept under: another name is another stream, which begins anew."""

    @property
    def records_at_once(self) -> int:
        """Return the most records of one hand-over."""

    @property
    def backfill_days(self) -> int | None:
        """Return how far back a new stream begins; None for the whole history."""

    def write(self, records: Sequence[KeptRecord]) -> None:
        """Hand records over; durable on the other side when it returns. Raises `AuditError`."""

    def close(self) -> None:
        """Release connections."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditTrail:
    """Implements `reconciler.ports.AuditLog` on the journal and any number of streams."""

    outbox: AuditOutbox
    streams: tuple[Stream, ...]
    clock: Clock

    def record(self, record: CycleRecord) -> tuple[str, ...]:
        """Keep what only the record of a cycle knows; say which stream is behind, and since when."""
        try:
            behind = tuple(line for stream in self.streams for line in self._behind(stream))
            self.outbox.keep(record)
        except JournalError as error:
            return (_line("the audit trail", error),)
        return behind

    def hand_over(self) -> tuple[str, ...]:
        """Bring every stream up to what the journal now says; one stream that fails keeps no other from it."""
        try:
            self.outbox.gather()
        except JournalError as error:
            return (_line("the audit trail", error),)
        return tuple(line for stream in self.streams for line in self._bring_up(stream))

    def lags(self) -> tuple[StreamLag, ...]:
        """Say of each stream what it does not have yet; raises `JournalError`."""
        return tuple(
            StreamLag(stream=stream.name, records=count, since=since)
            for stream in self.streams
            for count, since in [self.outbox.waiting(self._start(stream))]
        )

    def close(self) -> None:
        """Release the streams."""
        for stream in self.streams:
            stream.close()

    def _behind(self, stream: Stream) -> tuple[str, ...]:
        """Say what an earlier cycle could not hand over: nothing of this one is in the trail yet."""
        count, since = self.outbox.waiting(self._start(stream))
        return () if since is None else (f"AuditError: {count} records wait for {stream.name} since {rfc3339(since)}",)

    def _start(self, stream: Stream) -> int:
        """Return the position behind which a stream goes on, or begins."""
        position = self.outbox.cursor(stream.name)
        if position is not None:
            return position
        if stream.backfill_days is None:
            return 0
        return self.outbox.before(self.clock.now() - timedelta(days=stream.backfill_days))

    def _bring_up(self, stream: Stream) -> tuple[str, ...]:
        deadline = self.clock.monotonic_seconds() + HAND_OVER_SECONDS
        try:
            position = self._start(stream)
            while batch := self.outbox.after(position, stream.records_at_once):
                if self.clock.monotonic_seconds() > deadline:
                    return (f"AuditError: {stream.name} is not up to date yet; the next cycle goes on",)
                stream.write(batch)
                position = batch[-1].position
                self.outbox.advance(stream.name, position, self.clock.now())
        except (AuditError, JournalError) as error:
            return (_line(stream.name, error),)
        return ()


def _line(where: str, error: AuditError | JournalError) -> str:
    return f"AuditError: {where}: {error}; {error.advice}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudLog:
    """Which log of Cloud Logging is written, and how."""

    project: str
    log_name: str
    endpoint: str = ""
    """Another address of the API, such as a private one; the public one when empty."""
    timeout_seconds: float = 30.0
    """Longest that one hand-over may take, retries included."""
    backfill_days: int = 14

    @property
    def resource_name(self) -> str:
        """Return the log's full name; a slash in the log's id is escaped, as the API asks."""
        return f"projects/{self.project}/logs/{quote(self.log_name, safe='')}"


class CloudLoggingStream:
    """Writes the trail to Google Cloud Logging, synchronously and with ids of our own.

    Cloud Logging takes entries of one log with the same instant and the same insert id for one entry when it is read.
    """

    records_at_once = 500

    def __init__(self, log: CloudLog, credentials: "Credentials | None" = None) -> None:
        """Take a log, and credentials other than the application default ones. Connects on the first write."""
        self.log = log
        self.backfill_days = log.backfill_days
        self._credentials = credentials
        self._client: LoggingServiceV2Client | None = None

    @property
    def name(self) -> str:
        """Return the full name of the log."""
        return f"google:{self.log.resource_name}"

    def write(self, records: Sequence[KeptRecord]) -> None:
        """Write entries and wait for the answer; all of them are there when it returns. Raises `AuditError`."""
        # On demand: loading takes seconds and tens of megabytes, which only those pay who ship there.
        from google.api_core.exceptions import GoogleAPIError  # noqa: PLC0415 - on demand
        from google.auth.exceptions import GoogleAuthError  # noqa: PLC0415 - on demand

        try:
            client = self._client = self._client or self._connected()
            client.write_log_entries(
                request={
                    "log_name": self.log.resource_name,
                    "resource": {"type": "global", "labels": {"project_id": self.log.project}},
                    "entries": [_entry(record) for record in records],
                    "partial_success": False,
                },
                retry=self._retry(),
                timeout=self.log.timeout_seconds / 2,
            )
        except (GoogleAPIError, GoogleAuthError) as error:
            raise _refused(self.name, error) from error

    def close(self) -> None:
        """Release the connection."""
        if self._client is not None:
            self._client.transport.close()  # type: ignore[no-untyped-call]  # generated without types
            self._client = None

    def _connected(self) -> "LoggingServiceV2Client":
        from google.cloud.logging_v2.services.logging_service_v2 import LoggingServiceV2Client  # noqa: PLC0415 - on demand

        options = {"api_endpoint": self.log.endpoint} if self.log.endpoint else {}
        return LoggingServiceV2Client(credentials=self._credentials, client_options=options)

    def _retry(self) -> "Retry":
        from google.api_core import exceptions  # noqa: PLC0415 - on demand
        from google.api_core.retry import Retry, if_exception_type  # noqa: PLC0415 - on demand

        passing = if_exception_type(
            exceptions.ServiceUnavailable,
            exceptions.DeadlineExceeded,
            exceptions.InternalServerError,
            exceptions.ResourceExhausted,
            exceptions.Aborted,
        )
        return Retry(predicate=passing, initial=0.2, maximum=5.0, multiplier=2.0, timeout=self.log.timeout_seconds)


def _entry(record: KeptRecord) -> "LogEntry":
    from google.cloud.logging_v2.types import LogEntry  # noqa: PLC0415 - on demand

    document = json.loads(record.document)
    noticed = document["kind"] in _NOTICED
    return LogEntry(
        insert_id=record.record_id,
        timestamp=record.at,
        severity="NOTICE" if noticed else "INFO",
        labels={"kind": document["kind"], "cycle_id": document["cycle_id"] or ""},
        json_payload=document,
    )


_ADVICE: Final = (
    (
        {"PermissionDenied", "Forbidden", "Unauthenticated", "Unauthorized"},
        "give the account roles/logging.logWriter on the project",
    ),
    (
        {"DefaultCredentialsError", "RefreshError"},
        "give the process credentials: a service account of the machine, or GOOGLE_APPLICATION_CREDENTIALS",
    ),
    ({"NotFound", "InvalidArgument"}, "check audit.google: project and log name, and the log's retention"),
)


def _refused(name: str, error: Exception) -> AuditError:
    """Say what went wrong by the kind of error alone: its text is the other side's, and may hold anything."""
    cause = getattr(error, "cause", None) or error
    kind = type(cause).__name__
    advice = next((text for kinds, text in _ADVICE if kind in kinds), "it is tried again by the next cycle")
    return AuditError(f"{name} was not written: {kind}", advice=advice)
