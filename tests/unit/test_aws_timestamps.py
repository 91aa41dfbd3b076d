"""Instants in replies of AWS are read as botocore reads them, only faster."""

from datetime import datetime, timedelta, timezone

import pytest
from botocore.utils import parse_timestamp
from hypothesis import given
from hypothesis import strategies as st

from inventory.aws.timestamps import instant, new_session

ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(
    st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2200, 1, 1), timezones=ZONES),  # noqa: DTZ001 - the strategy adds the zone
    st.sampled_from(("auto", "seconds", "milliseconds", "microseconds")),
    st.sampled_from(("T", " ")),
)
def test_any_instant_with_a_zone_is_the_one_that_botocore_reads(when: datetime, digits: str, between: str) -> None:
    """Zone, fraction and separator make no difference."""
    text = when.isoformat(between, digits)
    assert instant(text) == parse_timestamp(text)
    assert instant(text).tzinfo is not None


@pytest.mark.parametrize(
    "value",
    [
        *("2026-11-22T07:00:00Z", "2026-11-22T07:00:00", "20261122T070000Z", "2026-11-22T07:00:00.123456789Z"),
        *("2026-11-22", "Sun, 22 Nov 2026 07:00:00 GMT", "1795417200", 1795417200, 1795417200.5),
    ],
)
def test_every_form_that_aws_writes_is_read(value: str | float) -> None:
    """ISO 8601 with and without a zone, RFC 822 and epoch seconds give the instant that botocore gives."""
    assert instant(value) == parse_timestamp(value)


def test_what_is_no_instant_is_refused() -> None:
    """Neither parser makes one up."""
    with pytest.raises(ValueError, match="Invalid timestamp"):
        instant("yesterday or so")


def test_clients_of_the_session_read_their_replies_with_it() -> None:
    """The parser factory of the session hands our function to the parser of each protocol."""
    factory = new_session().get_component("response_parser_factory")
    assert factory.create_parser("query")._timestamp_parser is instant
