"""How a CSV roster is laid out, and how much of it the gate lets change at once.

>>> settings = CsvRosterSettings(path="roster.csv", status_values={"Ausgeschieden": "terminated"})
>>> settings.statuses()["ausgeschieden"].value, settings.statuses()["on leave"].value
('terminated', 'leave')
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from inventory.roster.model import EmploymentStatus, WorkerKind
from inventory.roster.zones import zone_of


class Column(StrEnum):
    """The canonical columns of a roster; their names are the default headers."""

    WORKER_ID = "worker_id"
    EMPLOYMENT_ID = "employment_id"
    REHIRE_OF = "rehire_of_employment_id"
    WORKER_TYPE = "worker_type"
    STATUS = "status"
    LEGAL_NAME = "legal_name"
    PREFERRED_NAME = "preferred_name"
    WORK_EMAIL = "work_email"
    ALTERNATE_EMAILS = "alternate_emails"
    USERNAMES = "usernames"
    MANAGER = "manager_worker_id"
    DEPARTMENT = "department"
    FORMER_DEPARTMENTS = "former_departments"
    DEPARTMENT_SINCE = "department_since"
    TIMEZONE = "work_timezone"
    START_DATE = "start_date"
    LAST_DAY = "last_day_of_work"
    TERMINATION_DATE = "termination_date"
    CONTRACT_END = "contract_end_date"
    LEAVE_START = "leave_start"
    LEAVE_END = "leave_end"
    TERMINATION_INSTANT = "termination_instant"
    UPDATED_AT = "updated_at"
    AS_OF = "as_of"


ALWAYS_REQUIRED = (Column.WORKER_ID, Column.STATUS)
ENDING = (Column.LAST_DAY, Column.TERMINATION_DATE, Column.TERMINATION_INSTANT)
"""At least one of these is in every feed: without any, a termination column is gone in silence."""

DEFAULT_STATUSES: Mapping[str, EmploymentStatus] = {
    "pre hire": EmploymentStatus.PRE_HIRE,
    "prehire": EmploymentStatus.PRE_HIRE,
    "pending start": EmploymentStatus.PRE_HIRE,
    "active": EmploymentStatus.ACTIVE,
    "employed": EmploymentStatus.ACTIVE,
    "leave": EmploymentStatus.LEAVE,
    "on leave": EmploymentStatus.LEAVE,
    "leave of absence": EmploymentStatus.LEAVE,
    "notice": EmploymentStatus.NOTICE,
    "on notice": EmploymentStatus.NOTICE,
    "notice period": EmploymentStatus.NOTICE,
    "terminated": EmploymentStatus.TERMINATED,
    "former": EmploymentStatus.TERMINATED,
    "left": EmploymentStatus.TERMINATED,
}
"""Words that mean one thing only. `inactive` is not here on purpose: HR says it of leave *and* of termination."""

DEFAULT_KINDS: Mapping[str, WorkerKind] = {
    "employee": WorkerKind.EMPLOYEE,
    "regular": WorkerKind.EMPLOYEE,
    "contractor": WorkerKind.CONTRACTOR,
    "contingent worker": WorkerKind.CONTRACTOR,
    "contingent": WorkerKind.CONTRACTOR,
    "freelancer": WorkerKind.CONTRACTOR,
    "intern": WorkerKind.INTERN,
    "service partner": WorkerKind.SERVICE_PARTNER,
}

DateFormat = Literal["YYYY-MM-DD", "YYYYMMDD", "YYYY/MM/DD", "DD/MM/YYYY", "MM/DD/YYYY", "DD.MM.YYYY", "DD-MM-YYYY"]
Encoding = Literal["auto", "utf-8", "utf-16-le", "utf-16-be", "latin-1", "cp1252"]
Percent = Annotated[int, Field(ge=0, le=100)]


def word(text: str) -> str:
    """Return an HR word in the form in which words are compared: case, spaces, `_` and `-` do not count."""
    return " ".join(re.sub(r"[_\-\s]+", " ", text).split()).casefold()


def _pattern(text: str | None) -> str | None:
    try:
        re.compile(text or "")
    except re.error as error:
        msg = f"it is no regular expression: {error}"
        raise ValueError(msg) from error
    return text


Pattern = Annotated[str | None, AfterValidator(_pattern)]


class CsvRosterSettings(BaseModel):
    """The `roster:` block of a configuration. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    path: Path = Field(description="The CSV file. A symbolic link is followed, so that atomic swaps work.")
    columns: dict[Column, str] = Field(
        default_factory=dict,
        description="Canonical column name to the header that HR uses. A column named here must be in the feed.",
    )
    required_columns: tuple[Column, ...] = Field(
        default=(),
        description="Further canonical columns that must be in the feed, beside worker_id, status and one end of work.",
    )
    other_columns: tuple[str, ...] = Field(
        default=(), description="Headers that look like a canonical column and are something else."
    )
    status_values: dict[str, EmploymentStatus] = Field(
        default_factory=dict, description="HR's words for the status, added to the defaults; case does not count."
    )
    worker_type_values: dict[str, WorkerKind] = Field(
        default_factory=dict, description="HR's words for the worker type, added to the defaults; case does not count."
    )
    worker_id_pattern: Pattern = Field(
        default=None, description="Regular expression that a whole worker id matches; finds ids that lost their zeros."
    )
    default_timezone: str = Field(
        default="UTC", description="IANA zone of workers whose row names none: their days end by it."
    )
    date_format: DateFormat = Field(default="YYYY-MM-DD", description="How dates are written. Never guessed.")
    termination_date_is: Literal["first_day_out", "last_day"] = Field(
        default="first_day_out", description="What termination_date means: the first day out, or the last day in."
    )
    status_lag_hours: int = Field(
        default=24,
        ge=0,
        le=24 * 14,
        description="For how long HR may still say `active` after a last day: until then the date counts, "
        "afterwards date and status contradict each other and the row is set aside.",
    )
    encoding: Encoding = Field(
        default="auto", description="`auto` takes UTF-8, and UTF-16 with a byte order mark. Others only when named."
    )
    delimiter: Literal["auto", ",", ";", "\t", "|"] = Field(
        default="auto", description="`auto` takes the one by which the header has the required columns."
    )
    as_of_from: Literal["auto", "column", "sidecar", "file"] = Field(
        default="auto",
        description="Where the time of the data comes from: an as_of column, the side file <path>.meta.json, or the "
        "file's modification time. `auto` takes the oldest declared one, the modification time when none is declared.",
    )
    max_age_hours: int = Field(default=36, ge=1, description="An older feed is held as stale.")
    max_future_seconds: int = Field(
        default=300, ge=0, description="Clock difference allowed; a feed from further ahead is held as stale."
    )
    max_shrink_percent: Percent = Field(
        default=10, description="Held when more of the last accepted roster's workers are missing. Armed at any size."
    )
    max_shrink: int = Field(default=100, ge=0, description="The same as a count of workers; both hold.")
    max_leavers_percent: Percent = Field(
        default=10,
        description="Held when more of the open workers ended since the last accepted roster.",
    )
    max_leavers_floor: int = Field(
        default=3, ge=0, description="So many ended workers never hold a feed, however small the company."
    )
    max_set_aside_percent: Percent = Field(
        default=50, description="Refused when more rows cannot be used (from 10 rows on), or when none can."
    )
    trailer_rows: Pattern = Field(
        default=None,
        description="Regular expression for the first cell of trailer rows at the end; a group named `count` is "
        "compared with the number of rows. None: a trailer row is a row that does not fit.",
    )
    expected_count: int | None = Field(default=None, ge=1, description="Number of rows that the feed must have.")
    max_bytes: int = Field(default=64 * 1024 * 1024, ge=1, description="A larger file is refused unread.")
    max_rows: int = Field(
        default=250_000, ge=1, description="A feed of more rows is refused; a row takes about 1.3 kB of memory."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if zone_of(self.default_timezone) is None:
            msg = "default_timezone is not an IANA zone name such as Europe/Berlin"
            raise ValueError(msg)
        headers = [self.header_of(column) for column in Column]
        if len(set(headers)) != len(headers):
            msg = "columns gives two canonical columns the same header"
            raise ValueError(msg)
        return self

    def header_of(self, column: Column) -> str:
        """Return the header of a canonical column in the form in which headers are compared."""
        return self.columns.get(column, column.value).strip().casefold()

    def headers_of_no_concern(self) -> frozenset[str]:
        """Return the headers that are no canonical column however much they look like one."""
        return frozenset(header.strip().casefold() for header in self.other_columns)

    def must_have(self) -> tuple[Column, ...]:
        """Return the columns without which a feed is refused, in canonical order."""
        wanted = {*ALWAYS_REQUIRED, *self.required_columns, *self.columns}
        if self.as_of_from == "column":
            wanted.add(Column.AS_OF)
        return tuple(column for column in Column if column in wanted)

    def statuses(self) -> dict[str, EmploymentStatus]:
        """Return every known word for a status, in comparable form."""
        canonical = {word(status.value): status for status in EmploymentStatus}
        return {**DEFAULT_STATUSES, **canonical, **{word(key): value for key, value in self.status_values.items()}}

    def kinds(self) -> dict[str, WorkerKind]:
        """Return every known word for a worker type, in comparable form."""
        canonical = {word(kind.value): kind for kind in WorkerKind}
        return {**DEFAULT_KINDS, **canonical, **{word(key): value for key, value in self.worker_type_values.items()}}

    def default_zone(self) -> ZoneInfo:
        """Return the zone of workers whose row names none."""
        return ZoneInfo(self.default_timezone)
