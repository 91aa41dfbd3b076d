"""From lines to rows: delimiter, header, quoting, width, trailer. A table that is not whole is refused whole."""

import csv
import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from inventory.roster.csv_settings import ENDING, Column, CsvRosterSettings
from inventory.roster.feed import FeedRefused

DELIMITERS = (",", ";", "\t", "|")
LOOKALIKE = 0.9
"""From this likeness on, an unknown header beside a missing column is taken for a renamed one.

difflib's ratio over letters and digits alone: finds a plural, a slip and `Last Day Of Work`, not `termination_type`.
"""
DECISIVE = (
    Column.WORKER_ID,
    Column.EMPLOYMENT_ID,
    Column.REHIRE_OF,
    Column.WORKER_TYPE,
    Column.STATUS,
    Column.WORK_EMAIL,
    Column.TIMEZONE,
    Column.START_DATE,
    *ENDING,
    Column.CONTRACT_END,
)
"""Columns that decide who has left: one that was renamed must not pass as one that was never there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawRow:
    """One row as it came: trimmed texts by canonical column."""

    line: int
    """Where it begins; a quoted line break lets it go on below."""
    cells: Mapping[Column, str]

    def text(self, column: Column) -> str:
        """Return the trimmed text, empty when the feed has no such column."""
        return self.cells.get(column, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Where each canonical column stands in this feed."""

    names: tuple[str, ...]
    """As they came, in comparable form."""
    places: Mapping[Column, int]
    """Index from 0."""

    def column(self, column: Column) -> int:
        """Return the column number from 1 for a problem; 0 when the feed has no such column."""
        return self.places.get(column, -1) + 1


class _Lines:
    """Passes lines on, counting them; the next one can be looked at before it is taken."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self._next: str | None = None
        self.number = 0
        """Of the last line that was taken, from 1."""
        self.last = ""
        self.first_of_record = ""
        """The line that the record begins with which is being read, or was read last."""

    @property
    def ended(self) -> bool:
        """Say whether the last line that was taken ended with a line break."""
        return self.last.endswith(("\n", "\r"))

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self.peek()
        if line is None:
            raise StopIteration
        self.take(line)
        self.first_of_record = self.first_of_record or line
        return line

    def peek(self) -> str | None:
        """Return the next line, None after the last one."""
        if self._next is None:
            self._next = next(self._lines, None)
        return self._next

    def take(self, peeked: str) -> None:
        """Go past the line that was looked at."""
        self.last, self._next = peeked, None
        self.number += 1

    def begin_record(self) -> None:
        """Take the next line for the first one of a record."""
        self.first_of_record = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableMemory:
    """The rows of one reading that take one line each, by its number, with the text of the line."""

    header: tuple[str, ...]
    rows: dict[int, tuple[str, RawRow]]


class Table:
    """The rows of a feed, one at a time, under a header that was checked."""

    def __init__(self, lines: Iterator[str], settings: CsvRosterSettings, earlier: TableMemory | None = None) -> None:
        """Read the header; raises `FeedRefused` when it is missing, doubled, renamed or lacks a column.

        `earlier` is the memory of a reading under the same settings: a row whose line is the same is the same object.
        """
        self._settings = settings
        self._lines = _Lines(lines)
        self._delimiter = _delimiter(self._lines.peek() or "", settings)
        self._reader = csv.reader(self._lines, delimiter=self._delimiter, strict=True)
        self.header = _checked_header(self._next() or [], settings)
        self.memory = TableMemory(header=(self._delimiter, *self.header.names), rows={})
        self._earlier = earlier.rows if earlier is not None and earlier.header == self.memory.header else {}
        self.rows_read = 0
        self._trailer_count: int | None = None

    @property
    def ended(self) -> bool:
        """Say whether the last line read ended with a line break."""
        return self._lines.ended

    def rows(self) -> Iterator[RawRow]:
        """Yield the rows; raises `FeedRefused` where the table is broken, or its trailer counts other rows."""
        trailer = None if self._settings.trailer_rows is None else re.compile(self._settings.trailer_rows)
        in_trailer = False
        while (text := self._lines.peek()) is not None:
            line = self._lines.number + 1
            known = self._earlier.get(line)
            if known is not None and known[0] == text:
                self._lines.take(text)
                row = known[1]
            else:
                cells = self._next() or []
                if not any(cell.strip() for cell in cells):
                    continue
                found = None if trailer is None else trailer.fullmatch(cells[0].strip())
                if found is not None:
                    in_trailer = True
                    self._note_count(found, line)
                    continue
                row = self._row(line, cells)
            self._count(line, in_trailer=in_trailer)
            if self._lines.number == line:
                self.memory.rows[line] = text, row
            yield row
        if self._trailer_count is not None and self._trailer_count != self.rows_read:
            raise FeedRefused(
                "count_mismatch", f"the trailer counts {self._trailer_count} rows, {self.rows_read} came: rows are lost"
            )

    def _count(self, line: int, *, in_trailer: bool) -> None:
        if in_trailer:
            raise FeedRefused("row_after_trailer", "a row follows a trailer row: the feed is two files", line=line)
        self.rows_read += 1
        if self.rows_read > self._settings.max_rows:
            raise FeedRefused("too_many_rows", f"there are more than {self._settings.max_rows} rows", line=line)

    def _note_count(self, found: re.Match[str], line: int) -> None:
        count = found.groupdict().get("count")
        if count is None:
            return
        if not count.isdecimal():
            raise FeedRefused("count_mismatch", "the trailer's count is no number", line=line, column=1)
        self._trailer_count = int(count)

    def _next(self) -> list[str] | None:
        start = self._lines.number + 1
        self._lines.begin_record()
        try:
            return next(self._reader, None)
        except csv.Error as error:
            if "unexpected end of data" in str(error):
                raise FeedRefused(
                    "row_cut",
                    "the file ends inside a quoted field: it is cut off, or a quote is missing",
                    line=start,
                    column=len(_split(self._lines.first_of_record, self._delimiter)),
                ) from error
            raise FeedRefused(
                "quoting", f"the quoting is broken ({error}): the row cannot be told from its neighbours", line=start
            ) from error

    def _row(self, line: int, cells: list[str]) -> RawRow:
        width = len(self.header.names)
        if len(cells) != width:
            last = len(cells) < width and not self.ended
            raise FeedRefused(
                "row_cut" if last else "row_width",
                f"the row has {len(cells)} fields where the header has {width}: "
                + ("the file is cut off" if last else "a delimiter is not quoted, or the row is cut"),
                line=line,
                column=min(len(cells), width) + 1,
            )
        if cells[0].strip().casefold() == self.header.names[0] and _names(cells) == self.header.names:
            raise FeedRefused("header_repeated", "the header comes again: several files were joined", line=line)
        return RawRow(line=line, cells={column: cells[at].strip() for column, at in self.header.places.items()})


def _delimiter(first: str, settings: CsvRosterSettings) -> str:
    if settings.delimiter != "auto":
        return settings.delimiter
    wanted = {settings.header_of(column) for column in settings.must_have()}
    fitting = [mark for mark in DELIMITERS if wanted <= set(_names(_split(first, mark)))]
    return fitting[0] if fitting else max(DELIMITERS, key=first.count)


def _split(line: str, delimiter: str) -> list[str]:
    return next(csv.reader([line], delimiter=delimiter), [])


def _names(cells: list[str]) -> tuple[str, ...]:
    return tuple(cell.strip().casefold() for cell in cells)


def _checked_header(cells: list[str], settings: CsvRosterSettings) -> Header:
    names = _names(cells)
    _refuse_doubled(names)
    wanted = {settings.header_of(column): column for column in Column}
    places = {wanted[name]: at for at, name in enumerate(names) if name in wanted}
    for column in settings.must_have():
        if column not in places:
            raise FeedRefused(
                "header_missing",
                f"the header has no column for {column.value}: map it under columns, or correct the export",
                line=1,
            )
    _refuse_renamed(names, places, settings)
    if not any(column in places for column in ENDING):
        raise FeedRefused(
            "header_missing",
            f"the header has none of {', '.join(ENDING)}: without an end of work nobody could ever be a leaver",
            line=1,
        )
    return Header(names=names, places=places)


def _refuse_doubled(names: tuple[str, ...]) -> None:
    for at, name in enumerate(names):
        if name and name in names[:at]:
            raise FeedRefused(
                "header_duplicate",
                f"the header of column {names.index(name) + 1} comes again: which of the two counts is unknown",
                line=1,
                column=at + 1,
            )


def _refuse_renamed(names: tuple[str, ...], places: Mapping[Column, int], settings: CsvRosterSettings) -> None:
    known = {*places.values(), *(at for at, name in enumerate(names) if name in settings.headers_of_no_concern())}
    for column in DECISIVE:
        if column in places:
            continue
        for at, name in enumerate(names):
            if at not in known and _likeness(name, column.value) >= LOOKALIKE:
                raise FeedRefused(
                    "header_renamed",
                    f"the column looks like a renamed {settings.header_of(column)}: map it under columns, "
                    "or list it under other_columns",
                    line=1,
                    column=at + 1,
                )


def _likeness(one: str, other: str) -> float:
    first, second = ("".join(letter for letter in text if letter.isalnum()) for text in (one, other))
    return difflib.SequenceMatcher(None, first, second).ratio()
