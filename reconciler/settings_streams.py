"""Settings of what the daemon tells: notifications to people, and traces."""

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from reconciler.core.notices import Event, Include


class NotifyTarget(BaseModel):
    """One receiver of notifications."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url_file: Path = Field(description="File that holds one Apprise URL, which is a secret. Read for every message.")
    events: tuple[Event, ...] = Field(default=tuple(Event), description="What this receiver is told of.")
    include: Include = Field(
        default=Include.COUNTS, description="`counts`: nothing that names an account. `ids`: ids of objects as well."
    )


class NotifySettings(BaseModel):
    """Who is told of what needs a human, and how often."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    targets: tuple[NotifyTarget, ...] = Field(default=(), description="Receivers; none: nobody is told.")
    quiet_seconds: float = Field(
        default=60.0,
        gt=0,
        description="Shortest pause between two messages to a receiver; what comes in between is one.",
    )
    repeat_hours: float = Field(default=24.0, gt=0, description="What lasts is told again after this long.")
    incomplete_minutes: float = Field(
        default=60.0, gt=0, description="A provider that was not read whole for longer is told of."
    )
    overdue_minutes: float = Field(default=60.0, gt=0, description="No whole cycle for longer is told of.")
    unsigned_minutes: float = Field(
        default=15.0, gt=0, description="Cycles that cannot be recorded or signed for longer are told of."
    )
    send_seconds: float = Field(default=30.0, gt=0, description="Longest that one message may take.")

    @model_validator(mode="after")
    def _one_file_each(self) -> Self:
        """Refuse two targets of one file: what each was told is kept by its file."""
        if len({one.url_file for one in self.targets}) != len(self.targets):
            msg = "two targets name one url_file: give each receiver a file of its own"
            raise ValueError(msg)
        return self

    def anchored(self, folder: Path) -> Self:
        """Return the settings with their files relative to a folder."""
        targets = tuple(one.model_copy(update={"url_file": folder / one.url_file}) for one in self.targets)
        return self.model_copy(update={"targets": targets})


class TraceSettings(BaseModel):
    """OpenTelemetry spans of cycles, over OTLP/HTTP. Needs the extra `otel`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    endpoint: str = Field(
        default="",
        pattern=r"^(|https://.+|http://(127\.0\.0\.1|localhost|\[::1\])[:/].*)$",
        description="Address of the receiver, such as `http://127.0.0.1:4318/v1/traces`; off if empty. Else HTTPS.",
    )
    headers_file: Path | None = Field(
        default=None,
        description="File of `name: value` lines that are sent along, such as an API key. Read at the start.",
    )
    ca_file: Path | None = Field(default=None, description="PEM file of a private CA; otherwise the usual ones.")
    timeout_seconds: float = Field(default=10.0, gt=0, description="Longest that sending one batch may take.")

    def anchored(self, folder: Path) -> Self:
        """Return the settings with their files relative to a folder."""
        files = {
            name: folder / path for name in ("headers_file", "ca_file") if (path := getattr(self, name)) is not None
        }
        return self.model_copy(update=files)
