"""What is said *about* a feed: as of when it is true, how many rows it has, what it hashes to.

The side file `<path>.meta.json` holds any of `as_of`, `expected_count` and `sha256`, such as
`{"as_of": "2026-03-02T06:00:00Z", "expected_count": 412}`.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from inventory.roster.csv_settings import Column, CsvRosterSettings
from inventory.roster.feed import FeedRefused, open_feed
from inventory.roster.table import RawRow
from inventory.roster.zones import NotADate, parse_instant

SIDECAR_SUFFIX = ".meta.json"
MAX_SIDECAR_BYTES = 16 * 1024


class _Sidecar(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    as_of: str | None = None
    expected_count: int | None = Field(default=None, ge=1)
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What the side file says; nothing when there is none."""

    as_of: datetime | None = None
    expected_count: int | None = None
    sha256: str | None = None


def read_envelope(path: Path, settings: CsvRosterSettings) -> Envelope:
    """Read the side file of a feed.

    Raises `FeedRefused` when it is there and cannot be understood, or is asked for and not there.
    """
    place = path.with_name(path.name + SIDECAR_SUFFIX)
    if not place.exists() and not place.is_symlink():
        if settings.as_of_from == "sidecar":
            raise FeedRefused("sidecar_missing", f"the side file <path>{SIDECAR_SUFFIX} is not there")
        return Envelope()
    content = b""
    try:
        with open_feed(place, MAX_SIDECAR_BYTES) as feed:
            while chunk := feed.read():
                content += chunk
        said = _Sidecar.model_validate_json(content)
        as_of = parse_instant(said.as_of or "")
    except (ValidationError, NotADate, FeedRefused) as error:
        raise FeedRefused(
            "sidecar_invalid",
            f"the side file <path>{SIDECAR_SUFFIX} cannot be used: it holds as_of (RFC 3339), expected_count, sha256",
        ) from error
    if as_of is None and settings.as_of_from == "sidecar":
        raise FeedRefused("sidecar_invalid", f"the side file <path>{SIDECAR_SUFFIX} gives no as_of")
    return Envelope(as_of=as_of, expected_count=said.expected_count, sha256=said.sha256)


class OldestAsOf:
    """Keeps the oldest as_of of the rows: a feed is as old as its oldest part."""

    def __init__(self, settings: CsvRosterSettings, column: int) -> None:
        self.oldest: datetime | None = None
        self._asked = settings.as_of_from in {"auto", "column"} and column > 0
        self._column = column

    def take(self, row: RawRow) -> None:
        """Look at one row; raises `FeedRefused` when its as_of is blank or no instant."""
        if not self._asked:
            return
        try:
            instant = parse_instant(row.text(Column.AS_OF))
        except NotADate as problem:
            raise FeedRefused(
                problem.code, f"as_of cannot be used: {problem.advice}", line=row.line, column=self._column
            ) from problem
        if instant is None:
            raise FeedRefused("as_of_blank", "as_of is blank: it dates the row", line=row.line, column=self._column)
        self.oldest = instant if self.oldest is None else min(self.oldest, instant)


def declared_as_of(settings: CsvRosterSettings, envelope: Envelope, column: datetime | None) -> datetime | None:
    """Return the oldest as_of that the feed declares where the settings look for it, or None when it declares none."""
    sidecar = envelope.as_of if settings.as_of_from in {"auto", "sidecar"} else None
    return min((instant for instant in (sidecar, column) if instant is not None), default=None)
