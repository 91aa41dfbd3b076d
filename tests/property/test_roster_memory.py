"""A source that remembers its last reading says what one without a memory says, whatever was changed in between."""

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from inventory.roster.csv_file import CsvRosterSource
from inventory.roster.csv_settings import CsvRosterSettings
from tests.builders import NOW
from tests.fakes.clock import FakeClock

HEADERS = (
    "worker_id,employment_id,status,worker_type,work_email,last_day_of_work,contract_end_date",
    "worker_id,status,employment_id,worker_type,work_email,last_day_of_work,contract_end_date",
)
_DAYS = ("", "2026-03-01", "2026-03-02", "2026-03-03", "2026-04-01", "nonsense")
_ROWS = st.tuples(
    st.sampled_from(("E1", "E2", "E3", "E4", " E5")),
    st.sampled_from(("", "1", "2", "active")),
    st.sampled_from(("active", "terminated", "notice", "unheard of")),
    st.sampled_from(("employee", "contractor")),
    st.sampled_from(("", "a@x.example", "b@x.example")),
    st.sampled_from(_DAYS),
    st.sampled_from(_DAYS),
).map(",".join)
_FEEDS = st.tuples(st.sampled_from(HEADERS), st.lists(_ROWS, max_size=6), st.sampled_from(("\n", "")))
_LATER = st.sampled_from((0, 1, 3_600, 86_400, 30 * 86_400))


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(st.tuples(_FEEDS, _LATER), min_size=2, max_size=5))
def test_what_is_remembered_never_changes_what_is_understood(
    steps: list[tuple[tuple[str, list[str], str], int]],
) -> None:
    """Rows edited, moved, repeated, cut, under another header and at another time: both sources give one verdict."""
    clock = FakeClock(NOW)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "roster.csv"
        chosen = CsvRosterSettings(path=path, max_age_hours=24 * 365, max_future_seconds=10**8)
        remembering = CsvRosterSource(chosen, clock)
        for (header, rows, end), later in steps:
            path.write_text("\n".join((header, *rows)) + end, encoding="utf-8")
            for _ in range(2):
                assert remembering.load(None) == CsvRosterSource(chosen, clock).load(None)
                clock.sleep(later)
