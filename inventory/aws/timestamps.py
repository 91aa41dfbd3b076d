"""Instants in the replies of AWS, read by the standard library.

botocore reads each of them with dateutil, which guesses the form: that was a quarter of the daemon's CPU in a cycle in
which nothing has changed. IAM and STS write ISO 8601 with a zone, which `datetime.fromisoformat` reads at a hundredth
of the cost; whatever it does not read as an instant with a zone goes to botocore's own parser, so no form is lost.
"""

from datetime import datetime

import botocore.session
from botocore.utils import parse_timestamp


def new_session() -> botocore.session.Session:
    """Return a botocore session whose clients read instants here."""
    session = botocore.session.get_session()
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=instant)
    return session


def instant(value: str | float) -> datetime:
    """Return the instant that a reply gives, with its zone; without one it is UTC, as botocore takes it.

    Raises ValueError for what is no instant.
    """
    if isinstance(value, str):
        try:
            read = datetime.fromisoformat(value)
        except ValueError:
            return _as_botocore(value)
        if read.tzinfo is not None:
            return read
    return _as_botocore(value)


def _as_botocore(value: str | float) -> datetime:
    parsed: datetime = parse_timestamp(value)
    return parsed
