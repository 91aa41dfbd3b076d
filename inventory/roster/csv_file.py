"""The roster from a CSV file: read as a stream, understood row by row, folded into persons, passed through the gate.

Every reading reads all bytes; rows that stand as they stood the last time are not understood anew.
Every step refuses, holds or sets aside; none of them guesses. `docs/roster.md` lists each case.
"""

from dataclasses import dataclass, replace
from datetime import datetime

from inventory.provider import Clock
from inventory.roster.csv_settings import Column, CsvRosterSettings
from inventory.roster.envelope import Envelope, OldestAsOf, declared_as_of, read_envelope
from inventory.roster.feed import FeedRefused, OpenFeed, digest_of, lines_of, open_feed, stamp_of
from inventory.roster.gate import GateLimits, accepted_of, held_reasons
from inventory.roster.model import AcceptedRoster, Roster, RosterVerdict
from inventory.roster.persons import WorkerMemory, fold
from inventory.roster.records import EmploymentRecord, RowMemory, RowReader
from inventory.roster.table import Table, TableMemory
from inventory.roster.vetting import vetted

__all__ = ["CsvRosterSettings", "CsvRosterSource", "accepted_of"]

FEW_ROWS = 10
"""Below this a share of bad rows says nothing about the file."""
_UNENDED = (Column.WORKER_ID, Column.EMPLOYMENT_ID, Column.REHIRE_OF)
"""Columns where a cut text is another valid one: as the last column, they need the line's end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """What the last reading came to, and of what."""

    stamp: tuple[str, datetime]
    """Digest of the bytes, and when the file says it was written."""
    envelope: Envelope
    at: datetime
    roster: Roster


class CsvRosterSource:
    """Implements `inventory.roster.source.RosterSource` for one CSV file."""

    def __init__(self, settings: CsvRosterSettings, clock: Clock, *, at: datetime | None = None) -> None:
        """Take the settings and the clock; `at` judges the feed as of another instant, for a rehearsal."""
        self._settings = settings
        self._clock = clock
        self._at = at
        self._table = TableMemory(header=(), rows={})
        self._rows = RowMemory(header=(), rows={})
        self._workers = WorkerMemory()
        self._last: _Reading | None = None

    def load(self, previous: AcceptedRoster | None) -> RosterVerdict:
        """Return the verdict on the file as it lies there now; nothing about its content is ever raised."""
        try:
            roster = self._again() or self._read()
        except FeedRefused as refusal:
            return RosterVerdict(roster=None, refused=(refusal.problem,))
        at = self._judged_at()
        return RosterVerdict(roster=roster, held=held_reasons(roster, previous, at=at, limits=self._limits()))

    def fingerprint(self) -> str:
        """Return the digest of the file's bytes now, equal to `Roster.digest` while they are the same."""
        return digest_of(self._settings.path, self._settings.max_bytes)

    def _judged_at(self) -> datetime:
        return self._clock.now() if self._at is None else self._at

    def _limits(self) -> GateLimits:
        names = GateLimits.__dataclass_fields__
        return GateLimits(**{name: getattr(self._settings, name) for name in names})

    def _again(self) -> Roster | None:
        """Return the roster of the last reading where the same bytes would be understood in the same way now."""
        last = self._last
        if last is None or last.envelope != read_envelope(self._settings.path, self._settings):
            return None
        if last.stamp != stamp_of(self._settings.path, self._settings.max_bytes):
            return None
        at = self._judged_at()
        ends = (worker.access_end_at for worker in last.roster.workers)
        if at < last.at or any(end is not None and last.at < end <= at for end in ends):
            return None  # somebody's access has ended since: who may be hired anew is told by that
        return replace(last.roster, fetched_at=self._clock.now())

    def _read(self) -> Roster:
        at = self._judged_at()
        envelope = read_envelope(self._settings.path, self._settings)
        with open_feed(self._settings.path, self._settings.max_bytes) as feed:
            table = Table(lines_of(feed, self._settings.encoding), self._settings, self._table)
            reader = RowReader(self._settings, table.header, self._rows)
            dating = OldestAsOf(self._settings, table.header.column(Column.AS_OF))
            records: list[EmploymentRecord] = []
            for row in table.rows():
                dating.take(row)
                records.append(reader.read(row))
            _set_aside_cut_row(table, records, reader)
        self._check_whole(table, envelope, feed)
        as_of = self._as_of(feed, declared_as_of(self._settings, envelope, dating.oldest))
        understood = vetted(records, reader, as_of, self._settings)
        self._check_usable(understood)
        roster = Roster(
            source=f"csv:{self._settings.path.name}",
            as_of=as_of,
            fetched_at=self._clock.now(),
            digest=feed.digest,
            rows=table.rows_read,
            workers=fold(understood, as_of=as_of, at=at, settings=self._settings, memory=self._workers),
            problems=tuple(sorted(reader.problems, key=lambda problem: (problem.line, problem.column, problem.code))),
        )
        self._table, self._rows = table.memory, reader.memory
        self._last = _Reading(stamp=(feed.digest, feed.modified_at), envelope=envelope, at=at, roster=roster)
        return roster

    def _as_of(self, feed: OpenFeed, declared: datetime | None) -> datetime:
        """Return when the data was true. A modification time after a rehearsed instant is that instant."""
        if declared is not None:
            return declared
        if self._at is not None and feed.modified_at <= self._clock.now():
            return min(feed.modified_at, self._at)
        return feed.modified_at

    def _check_whole(self, table: Table, envelope: Envelope, feed: OpenFeed) -> None:
        if not table.rows_read:
            raise FeedRefused("no_rows", "the file has a header and no rows: the export failed", line=1)
        for expected in (self._settings.expected_count, envelope.expected_count):
            if expected is not None and expected != table.rows_read:
                raise FeedRefused("count_mismatch", f"{expected} rows were announced, {table.rows_read} came")
        if envelope.sha256 is not None and feed.digest != f"sha256:{envelope.sha256}":
            raise FeedRefused("digest_mismatch", "the side file names other bytes: one of the two files is old or cut")

    def _check_usable(self, records: tuple[EmploymentRecord, ...]) -> None:
        bad = sum(record.set_aside for record in records)
        too_many = len(records) >= FEW_ROWS and bad * 100 > len(records) * self._settings.max_set_aside_percent
        if bad == len(records) or too_many:
            line = min(record.line for record in records if record.set_aside)
            raise FeedRefused(
                "rows_unusable",
                f"{bad} of {len(records)} rows cannot be used, the first one here: check columns, status_values, "
                "date_format",
                line=line,
            )


def _set_aside_cut_row(table: Table, records: list[EmploymentRecord], reader: RowReader) -> None:
    last_column = len(table.header.names)
    cut = next((column for column in _UNENDED if table.header.column(column) == last_column), None)
    if cut is not None and not table.ended and records:
        reader.note(
            records[-1].line,
            cut,
            "row_unended",
            f"row set aside: the file does not end its last line, so {cut.value} may be cut",
        )
        records[-1] = replace(records[-1], set_aside=True)
