"""Days, zones and instants: when a local day ends, and which texts are dates at all.

A date has no instant without a zone. The last day of work is inclusive: it ends at local midnight after it.

>>> end_of_day(date(2026, 3, 31), ZoneInfo("Asia/Tokyo")).isoformat()
'2026-03-31T15:00:00+00:00'
"""

import re
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from zoneinfo import ZoneInfo, available_timezones

OLDEST = date(1970, 1, 2)
"""Earlier dates are what spreadsheets and programs write for an empty cell: 1899-12-30, 1900-01-01, 1970-01-01."""
LATEST_YEAR = 2199
NO_DATE_YEAR = 9999
"""9999-12-31 is how many HR systems write *no end*."""

_SHAPES = {
    "YYYY-MM-DD": r"(?P<year>[0-9]{4})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})",
    "YYYYMMDD": r"(?P<year>[0-9]{4})(?P<month>[0-9]{2})(?P<day>[0-9]{2})",
    "YYYY/MM/DD": r"(?P<year>[0-9]{4})/(?P<month>[0-9]{2})/(?P<day>[0-9]{2})",
    "DD/MM/YYYY": r"(?P<day>[0-9]{2})/(?P<month>[0-9]{2})/(?P<year>[0-9]{4})",
    "MM/DD/YYYY": r"(?P<month>[0-9]{2})/(?P<day>[0-9]{2})/(?P<year>[0-9]{4})",
    "DD.MM.YYYY": r"(?P<day>[0-9]{2})\.(?P<month>[0-9]{2})\.(?P<year>[0-9]{4})",
    "DD-MM-YYYY": r"(?P<day>[0-9]{2})-(?P<month>[0-9]{2})-(?P<year>[0-9]{4})",
}
_SERIAL = re.compile(r"[0-9]{1,6}(\.[0-9]+)?")
_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})?"
)


class NotADate(Exception):
    """A text that is no date or instant; `code` and `advice` go into the roster problem."""

    def __init__(self, code: str, advice: str) -> None:
        super().__init__(advice)
        self.code = code
        self.advice = advice


@cache
def _zone_names() -> frozenset[str]:
    return frozenset(available_timezones())


def zone_of(name: str) -> ZoneInfo | None:
    """Return the IANA zone of this name, or None; a path, an offset or a local nickname is no zone."""
    return ZoneInfo(name) if name in _zone_names() else None


def start_of_day(day: date, zone: ZoneInfo) -> datetime:
    """Return the instant (UTC) at which a local day begins.

    Where midnight happens twice, or is skipped, the later reading counts: nobody loses access too early.
    """
    midnight = datetime.combine(day, time.min, tzinfo=zone)
    return max(midnight.replace(fold=fold).astimezone(UTC) for fold in (0, 1))


def end_of_day(day: date, zone: ZoneInfo) -> datetime:
    """Return the instant (UTC) at which an inclusive day is over: the beginning of the next one."""
    return start_of_day(day + timedelta(days=1), zone)


def parse_date(text: str, date_format: str) -> date | None:
    """Return the date, or None for a blank cell and for the year 9999.

    Raises `NotADate` for anything that is not exactly in the format: formats are never guessed.
    """
    if not text:
        return None
    shape = re.fullmatch(_SHAPES[date_format], text)
    if shape is None:
        if _SERIAL.fullmatch(text):
            raise NotADate("date_serial", f"it is a spreadsheet's day number: export dates as {date_format}")
        raise NotADate("date_format", f"it is not a date written as {date_format}: export it so, or set date_format")
    try:
        day = date(int(shape["year"]), int(shape["month"]), int(shape["day"]))
    except ValueError as error:
        raise NotADate("date_format", f"there is no such day when read as {date_format}") from error
    if day.year == NO_DATE_YEAR:
        return None
    if day < OLDEST or day.year > LATEST_YEAR:
        raise NotADate("date_implausible", "it is what programs write for an empty cell: correct it or leave it blank")
    return day


def parse_instant(text: str) -> datetime | None:
    """Return the instant in UTC, or None for a blank cell.

    Raises `NotADate` when it is not RFC 3339, or has no offset from UTC and so names no instant.
    """
    if not text:
        return None
    shape = _RFC3339.fullmatch(text)
    if shape is None:
        raise NotADate("instant_format", "it is not an instant as in RFC 3339, such as 2026-03-02T17:30:00+01:00")
    if shape[2] is None:
        raise NotADate("instant_without_offset", "it has no offset from UTC: write it with Z or as +01:00")
    try:
        instant = datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise NotADate("instant_format", "there is no such instant") from error
    if instant.date() < OLDEST or instant.year > LATEST_YEAR:
        raise NotADate("date_implausible", "it is what programs write for an empty cell: correct it or leave it blank")
    return instant
