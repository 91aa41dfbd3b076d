"""When a local day ends, wherever it is, and which texts are dates."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from inventory.roster import zones

ENDS = {
    "UTC": ("2026-03-31", "UTC", "2026-04-01T00:00:00+00:00"),
    "ahead of UTC": ("2026-03-31", "Asia/Tokyo", "2026-03-31T15:00:00+00:00"),
    "behind UTC": ("2026-03-31", "America/Los_Angeles", "2026-04-01T07:00:00+00:00"),
    "+14": ("2026-03-31", "Pacific/Kiritimati", "2026-03-31T10:00:00+00:00"),
    "-12": ("2026-03-31", "Etc/GMT+12", "2026-04-01T12:00:00+00:00"),
    "half an hour": ("2026-03-31", "Asia/Kolkata", "2026-03-31T18:30:00+00:00"),
    "day of 23 h": ("2026-03-29", "Europe/Berlin", "2026-03-29T22:00:00+00:00"),
    "day before the day of 23 h": ("2026-03-28", "Europe/Berlin", "2026-03-28T23:00:00+00:00"),
    "day of 25 h": ("2026-10-25", "Europe/Berlin", "2026-10-25T23:00:00+00:00"),
    "midnight is skipped": ("2018-11-03", "America/Sao_Paulo", "2018-11-04T03:00:00+00:00"),
    "midnight is skipped, Beirut": ("2022-03-26", "Asia/Beirut", "2022-03-26T22:00:00+00:00"),
    "midnight comes twice: the later one": ("2025-11-01", "America/Havana", "2025-11-02T05:00:00+00:00"),
    "a whole day is skipped": ("2011-12-29", "Pacific/Apia", "2011-12-30T10:00:00+00:00"),
    "leap day": ("2028-02-29", "UTC", "2028-03-01T00:00:00+00:00"),
    "end of a year": ("2026-12-31", "Pacific/Auckland", "2026-12-31T11:00:00+00:00"),
}


@pytest.mark.parametrize("case", ENDS)
def test_day_ends_at_the_local_midnight_after_it(case: str) -> None:
    """The last day counts whole, in the worker's zone, over every kind of clock change."""
    day, zone, expected = ENDS[case]
    assert zones.end_of_day(date.fromisoformat(day), ZoneInfo(zone)) == datetime.fromisoformat(expected)


@pytest.mark.parametrize(
    "zone", ["America/Sao_Paulo", "America/Havana", "Asia/Beirut", "Africa/Cairo", "Pacific/Apia", "Europe/London"]
)
def test_day_never_ends_before_it_is_over(zone: str) -> None:
    """On every day of years with odd midnights, the instant before the end still carries the old or skipped date."""
    place = ZoneInfo(zone)
    for ordinal in range(date(2010, 1, 1).toordinal(), date(2024, 1, 1).toordinal()):
        day = date.fromordinal(ordinal)
        end = zones.end_of_day(day, place)
        assert end.astimezone(place).date() > day
        assert end.tzinfo is UTC


@pytest.mark.parametrize("name", ["", "Tokyo", "asia/tokyo", "+09:00", "UTC+9", "/etc/localtime", "../UTC", "America"])
def test_only_zone_names_are_zones(name: str) -> None:
    """What is not the exact name of an IANA zone is none."""
    assert zones.zone_of(name) is None


@pytest.mark.parametrize("text", ["2026-3-1", "26-03-01", " 2026-03-01", "2026-03-01 ", "2026-13-01", "2026-W10", "x"])
def test_dates_are_not_guessed(text: str) -> None:
    """Nearly ISO is not ISO."""
    with pytest.raises(zones.NotADate) as caught:
        zones.parse_date(text, "YYYY-MM-DD")
    assert caught.value.code == "date_format"


@pytest.mark.parametrize("text", ["1969-12-31", "1899-12-30", "2200-01-01", "9998-12-31"])
def test_implausible_dates_are_refused(text: str) -> None:
    """Dates that stand for an empty cell, or that nobody means, are no dates."""
    with pytest.raises(zones.NotADate) as caught:
        zones.parse_date(text, "YYYY-MM-DD")
    assert caught.value.code == "date_implausible"


@pytest.mark.parametrize("written", ["2026-03-02T17:30:00+01:00", "2026-03-02t16:30:00z", "2026-03-02T16:30:00.000Z"])
def test_instants_are_read_in_utc(written: str) -> None:
    """One instant, however RFC 3339 lets it be written."""
    assert zones.parse_instant(written) == datetime(2026, 3, 2, 16, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("0001-01-01T00:00:00+14:00", "instant_format"),
        ("1970-01-01T00:00:00Z", "date_implausible"),
        ("9999-12-31T23:59:59Z", "date_implausible"),
        ("2026-03-02", "instant_format"),
    ],
)
def test_instants_out_of_range_are_refused(text: str, code: str) -> None:
    """An instant that no calendar holds, or that stands for none, is refused."""
    with pytest.raises(zones.NotADate) as caught:
        zones.parse_instant(text)
    assert caught.value.code == code


def test_blank_is_no_date() -> None:
    """A blank cell says nothing; it is no error."""
    assert zones.parse_date("", "YYYY-MM-DD") is None
    assert zones.parse_instant("") is None
