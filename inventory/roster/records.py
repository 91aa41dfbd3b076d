"""From rows to employment records: every cell that decides something is understood, or the row is set aside.

A row that is set aside keeps whatever ids and addresses could be read, so that its person is known to have a record
that nobody understands, and is never a leaver.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TypeVar
from zoneinfo import ZoneInfo

from inventory.roster.csv_settings import Column, CsvRosterSettings, word
from inventory.roster.model import EmploymentStatus, RosterProblem, WorkerKind
from inventory.roster.table import Header, RawRow
from inventory.roster.zones import NotADate, parse_date, parse_instant, zone_of

_FLOAT_ID = re.compile(r"[0-9]+([.,][0-9]+)?[eE]\+?[0-9]+|[0-9]+\.0+")
_ADDRESS = re.compile(r"[^@\s<>\"(),:;\\=]+@[^@\s<>\"(),:;\\=]+")
_FORMULA_STARTS = ("=", "+", "-", "@")

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class EmploymentRecord:
    """One row, understood; or set aside with what could be read of it."""

    line: int = field(compare=False)
    worker_id: str
    """Empty when the row was set aside for its id."""
    employment_id: str
    rehire_of: str
    set_aside: bool
    status: EmploymentStatus
    kind: WorkerKind
    display_name: str
    emails: tuple[str, ...]
    """The work e-mail first, lower case, NFC."""
    usernames: tuple[str, ...]
    manager_id: str
    department: str
    former_departments: tuple[str, ...]
    department_since: date | None
    zone: ZoneInfo
    start: date | None
    last_day: date | None
    termination: date | None
    contract_end: date | None
    instant: datetime | None

    @property
    def employment(self) -> tuple[str, ...]:
        """Return what tells this record from the person's others."""
        if self.employment_id:
            return (self.worker_id, "id", self.employment_id)
        return (self.worker_id, "kind and start", self.kind, str(self.start))


@dataclass(frozen=True, slots=True, kw_only=True)
class RowMemory:
    """The rows of one reading that had no problem, by line, with the records they were understood as."""

    header: tuple[str, ...]
    rows: dict[int, tuple[RawRow, EmploymentRecord]]


class RowReader:
    """Understands rows one at a time and keeps the problems it found."""

    def __init__(self, settings: CsvRosterSettings, header: Header, earlier: RowMemory | None = None) -> None:
        """Take the settings, the header, and what an earlier reading with the same settings understood."""
        self._earlier = earlier.rows if earlier is not None and earlier.header == header.names else {}
        self.memory = RowMemory(header=header.names, rows={})
        self.problems: list[RosterProblem] = []
        self._settings = settings
        self._header = header
        self._statuses = settings.statuses()
        self._kinds = settings.kinds()
        self._id_pattern = None if settings.worker_id_pattern is None else re.compile(settings.worker_id_pattern)
        self._row = RawRow(line=0, cells={})
        self._bad = False

    def read(self, row: RawRow) -> EmploymentRecord:
        """Return the record of a row; every problem of the row is noted, not only the first."""
        known = self._earlier.get(row.line)
        if known is not None and (known[0] is row or known[0].cells == row.cells):
            self.memory.rows[row.line] = known
            return known[1]
        problems = len(self.problems)
        record = self._understood(row)
        if len(self.problems) == problems:
            self.memory.rows[row.line] = row, record
        return record

    def _understood(self, row: RawRow) -> EmploymentRecord:
        self._row, self._bad = row, False
        worker_id = self._id(Column.WORKER_ID, required=True)
        employment_id = self._id(Column.EMPLOYMENT_ID)
        rehire_of = self._id(Column.REHIRE_OF)
        dates = {
            column: self._dated(column, lambda text: parse_date(text, self._settings.date_format))
            for column in (Column.START_DATE, Column.LAST_DAY, Column.TERMINATION_DATE, Column.CONTRACT_END)
        }
        status = self._one_of(Column.STATUS, self._statuses, EmploymentStatus.ACTIVE, required=True)
        kind = self._one_of(Column.WORKER_TYPE, self._kinds, WorkerKind.EMPLOYEE)
        instant = self._dated(Column.TERMINATION_INSTANT, parse_instant)
        zone = self._zone()
        self._check_order(dates, has_instant=instant is not None)
        return EmploymentRecord(
            line=row.line,
            worker_id=worker_id,
            employment_id=employment_id,
            rehire_of=rehire_of,
            status=status,
            kind=kind,
            display_name=_nfc(row.text(Column.PREFERRED_NAME) or row.text(Column.LEGAL_NAME)),
            emails=self._emails(),
            usernames=_listed(row.text(Column.USERNAMES)),
            manager_id=row.text(Column.MANAGER),
            department=_nfc(row.text(Column.DEPARTMENT)),
            former_departments=_listed(row.text(Column.FORMER_DEPARTMENTS)),
            department_since=self._moved(),
            zone=zone,
            start=dates[Column.START_DATE],
            last_day=dates[Column.LAST_DAY],
            termination=dates[Column.TERMINATION_DATE],
            contract_end=dates[Column.CONTRACT_END],
            instant=instant,
            set_aside=self._bad,
        )

    def column(self, column: Column) -> int:
        """Return the number (from 1) of a column in this feed; 0 when it has none."""
        return self._header.column(column)

    def note(self, line: int, column: Column, code: str, message: str) -> None:
        """Keep a problem of a row."""
        where = self._header.column(column)
        self.problems.append(RosterProblem(line=line, column=where, code=code, message=message))

    def _reject(self, column: Column, code: str, message: str) -> None:
        self._bad = True
        self.note(self._row.line, column, code, f"row set aside: {message}")

    def _id(self, column: Column, *, required: bool = False) -> str:
        text = self._row.text(column)
        if not text:
            if required:
                self._reject(column, "worker_id_blank", "there is no worker id; whose record this is stays unknown")
            return ""
        wrong = self._wrong_id(text, column)
        if wrong:
            self._reject(column, *wrong)
            return ""
        return text

    def _wrong_id(self, text: str, column: Column) -> tuple[str, str] | None:
        if _FLOAT_ID.fullmatch(text):
            return "id_lost_digits", f"a spreadsheet turned {column.value} into a number: export it as text"
        if text.startswith(_FORMULA_STARTS):
            return "id_invalid", f"{column.value} looks like a formula: export it as plain text"
        if " " in text or not text.isprintable():
            return "id_invalid", f"{column.value} has white space or invisible characters inside: correct it"
        pattern = self._id_pattern if column is Column.WORKER_ID else None
        if pattern is not None and pattern.fullmatch(text) is None:
            return "id_invalid", "worker_id does not match worker_id_pattern: leading zeros may be lost"
        return None

    def _one_of(self, column: Column, words: Mapping[str, Value], otherwise: Value, *, required: bool = False) -> Value:
        text = word(self._row.text(column))
        if text in words:
            return words[text]
        if text or required:
            problem = f"{column.value}_{'unknown' if text else 'blank'}"
            setting = "status_values" if column is Column.STATUS else "worker_type_values"
            advice = f"map HR's word under {setting} once you know what it means" if text else "HR must fill it in"
            self._reject(column, problem, f"{column.value} is {'not a known word' if text else 'blank'}: {advice}")
        return otherwise

    def _dated(self, column: Column, parse: Callable[[str], Value | None]) -> Value | None:
        try:
            return parse(self._row.text(column))
        except NotADate as problem:
            self._reject(column, problem.code, f"{column.value} cannot be used: {problem.advice}")
            return None

    def _moved(self) -> date | None:
        """Return since when the department is that; what cannot be read is not known, and the row counts."""
        try:
            return parse_date(self._row.text(Column.DEPARTMENT_SINCE), self._settings.date_format)
        except NotADate as problem:
            message = f"department_since cannot be used: {problem.advice}; the row counts"
            self.note(self._row.line, Column.DEPARTMENT_SINCE, problem.code, message)
            return None

    def _zone(self) -> ZoneInfo:
        name = self._row.text(Column.TIMEZONE)
        zone = zone_of(name) if name else self._settings.default_zone()
        if zone is None:
            self._reject(Column.TIMEZONE, "timezone_unknown", "work_timezone is not an IANA name such as Asia/Tokyo")
            return self._settings.default_zone()
        return zone

    def _check_order(self, dates: Mapping[Column, date | None], *, has_instant: bool) -> None:
        start = dates[Column.START_DATE]
        if start is None or has_instant:
            return
        for column in (Column.LAST_DAY, Column.TERMINATION_DATE, Column.CONTRACT_END):
            end = dates[column]
            if end is not None and end < start:
                self._reject(
                    column,
                    "end_before_start",
                    f"{column.value} lies before start_date: the date of an earlier employment, or a slip",
                )

    def _emails(self) -> tuple[str, ...]:
        found: list[str] = []
        for column in (Column.WORK_EMAIL, Column.ALTERNATE_EMAILS):
            for text in _listed(self._row.text(column)):
                address = _nfc(text.lower())
                if not address.isprintable() or _ADDRESS.fullmatch(address) is None:
                    self.note(
                        self._row.line,
                        column,
                        "email_unusable",
                        f"an address in {column.value} is none: it is ignored, the row counts",
                    )
                elif address not in found:
                    found.append(address)
        return tuple(found)


def _listed(text: str) -> tuple[str, ...]:
    if not text:
        return ()
    parts = (_nfc(part.strip()) for part in re.split(r"[;|]", text))
    return tuple(dict.fromkeys(part for part in parts if part))


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)
