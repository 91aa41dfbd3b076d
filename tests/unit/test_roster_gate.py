"""How fresh a feed must be, and how much may change at once."""

import hashlib
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from inventory.roster.csv_file import CsvRosterSettings
from inventory.roster.gate import accepted_of
from inventory.roster.model import AcceptedRoster
from tests import feeds
from tests.builders import NOW
from tests.feeds import row


def _people(count: int, *, ended: int = 0, day: str = "2026-02-28") -> str:
    """Return a feed of so many workers, the first `ended` of them terminated."""
    rows = [row(f"E{at:04}", "Terminated", last_day_of_work=day) for at in range(ended)]
    return feeds.csv_text([*rows, *(row(f"E{at:04}") for at in range(ended, count))])


def _before(workers: int, open_workers: int | None = None, **changes: Any) -> AcceptedRoster:
    values: dict[str, Any] = {
        "digest": "sha256:" + "b" * 64,
        "as_of": NOW - timedelta(days=1),
        "workers": workers,
        "open_workers": workers if open_workers is None else open_workers,
    }
    return AcceptedRoster(**(values | changes))


def _codes(path: Path, previous: AcceptedRoster | None = None, **settings: Any) -> list[str]:
    verdict = feeds.load(path, previous, **settings)
    assert verdict.roster is not None
    assert verdict.accepted is (not verdict.held)
    return [problem.code for problem in verdict.held]


@pytest.mark.parametrize(
    ("age", "held"),
    [
        (timedelta(hours=36), []),
        (timedelta(hours=36, seconds=1), ["roster_stale"]),
        (timedelta(minutes=-5), []),
        (timedelta(minutes=-5, seconds=-1), ["roster_stale"]),
    ],
    ids=["36 h", "just older", "5 min ahead", "dated in the future"],
)
def test_age_is_bounded_on_both_sides(age: timedelta, held: list[str], tmp_path: Path) -> None:
    """A feed is held one second beyond the allowed age, and when it claims to come from the future."""
    assert _codes(feeds.write(tmp_path, _people(3), at=NOW - age)) == held


def test_age_is_a_setting(tmp_path: Path) -> None:
    """The operator says how old a feed may be."""
    path = feeds.write(tmp_path, _people(3), at=NOW - timedelta(hours=60))
    assert _codes(path) == ["roster_stale"]
    assert _codes(path, max_age_hours=72) == []


def test_declared_as_of_beats_the_modification_time(tmp_path: Path) -> None:
    """Yesterday's data copied today is as old as it says: the oldest row counts."""
    text = "worker_id,status,last_day_of_work,as_of\nE1,Active,,2026-03-02T08:00:00Z\nE2,Active,,2026-02-27T08:00:00Z\n"
    path = feeds.write(tmp_path, text, at=NOW)
    verdict = feeds.load(path)
    assert verdict.roster is not None
    assert verdict.roster.as_of == datetime.fromisoformat("2026-02-27T08:00:00+00:00")
    assert _codes(path) == ["roster_stale"]
    assert _codes(path, as_of_from="file") == []


def test_side_file_dates_counts_and_hashes(tmp_path: Path) -> None:
    """What the side file says must be so: its time counts, and another count or digest refuses the feed."""
    path = feeds.write(tmp_path, _people(3))
    meta = tmp_path / "roster.csv.meta.json"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    meta.write_text(json.dumps({"as_of": "2026-03-01T09:00:00Z", "expected_count": 3, "sha256": digest}))
    assert feeds.roster_of(feeds.load(path)).as_of == NOW - timedelta(days=1)
    meta.write_text(json.dumps({"expected_count": 4}))
    assert feeds.refusal_of(feeds.load(path)).code == "count_mismatch"
    meta.write_text(json.dumps({"sha256": "0" * 64}))
    assert feeds.refusal_of(feeds.load(path)).code == "digest_mismatch"


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"as_of": "yesterday"}', '{"rows": 3}', '{"expected_count": "3"}', " " * 20_000]
)
def test_side_file_that_cannot_be_understood_refuses(text: str, tmp_path: Path) -> None:
    """A side file that is there and says nothing clear stops the feed instead of being passed over."""
    path = feeds.write(tmp_path, _people(3))
    (tmp_path / "roster.csv.meta.json").write_text(text)
    assert feeds.refusal_of(feeds.load(path)).code == "sidecar_invalid"


def test_side_file_without_time_is_not_enough_where_it_is_asked_for(tmp_path: Path) -> None:
    """Asked for as the source of the time, the side file must give one."""
    path = feeds.write(tmp_path, _people(3))
    (tmp_path / "roster.csv.meta.json").write_text('{"expected_count": 3}')
    assert feeds.load(path).accepted
    assert feeds.refusal_of(feeds.load(path, as_of_from="sidecar")).code == "sidecar_invalid"


@pytest.mark.parametrize(
    ("before", "now", "held"),
    [
        (100, 90, []),
        (100, 89, ["roster_shrunken"]),
        (9, 8, ["roster_shrunken"]),
        (100, 130, []),
        (2000, 1900, []),
        (2000, 1899, ["roster_shrunken"]),
    ],
)
def test_shrinkage_is_held(before: int, now: int, held: list[str], tmp_path: Path) -> None:
    """More than 10 % of the workers missing, or more than 100 of them, holds the feed at any size."""
    assert _codes(feeds.write(tmp_path, _people(now)), _before(before, open_workers=now)) == held


def test_shrinkage_limits_are_settings(tmp_path: Path) -> None:
    """Both limits can be moved, and both hold."""
    path = feeds.write(tmp_path, _people(80))
    before = _before(100, open_workers=80)
    assert _codes(path, before, max_shrink_percent=20) == []
    assert _codes(path, before, max_shrink_percent=20, max_shrink=19) == ["roster_shrunken"]


@pytest.mark.parametrize(
    ("ended", "held"), [(10, []), (11, ["mass_termination"]), (100, ["mass_termination"])], ids=str
)
def test_mass_termination_is_held(ended: int, held: list[str], tmp_path: Path) -> None:
    """More than 10 % of the open workers ended since the last accepted roster holds the feed."""
    assert _codes(feeds.write(tmp_path, _people(100, ended=ended)), _before(100)) == held


def test_mass_termination_is_not_hidden_by_joiners(tmp_path: Path) -> None:
    """As many joiners as leavers leave the number of open workers as it was: the ends themselves are counted."""
    path = feeds.write(tmp_path, _people(150, ended=50, day="2026-03-01"))
    assert _codes(path, _before(100)) == ["mass_termination"]


def test_mass_termination_ahead_is_held_when_it_appears(tmp_path: Path) -> None:
    """Ends that lie ahead count when they come into the feed, before anybody is a leaver."""
    path = feeds.write(tmp_path, _people(100, ended=50, day="2026-06-30"))
    assert _codes(path, _before(100)) == ["mass_termination"]


def test_few_leavers_of_a_small_company_pass(tmp_path: Path) -> None:
    """Three leavers hold no feed, however small the company; the fourth of ten does."""
    assert _codes(feeds.write(tmp_path, _people(10, ended=3)), _before(10)) == []
    assert _codes(feeds.write(tmp_path, _people(10, ended=4)), _before(10)) == ["mass_termination"]


def test_contracts_that_all_end_between_two_feeds_are_held(tmp_path: Path) -> None:
    """Ends that were known long ahead count when they are reached: an extension may have come late."""
    yesterday = feeds.write(tmp_path, _people(100, ended=40, day="2026-03-01"), at=NOW - timedelta(hours=20))
    before = accepted_of(feeds.roster_of(feeds.load(yesterday)))
    today = feeds.write(tmp_path, _people(101, ended=40, day="2026-03-01"))
    assert _codes(today, before) == ["mass_termination"]


def test_confirmed_mass_termination_is_not_held_again(tmp_path: Path) -> None:
    """Once a human has confirmed a feed it is the accepted one, and is not held for the same again."""
    path = feeds.write(tmp_path, _people(100, ended=40, day="2026-03-01"), at=NOW - timedelta(hours=20))
    verdict = feeds.load(path, _before(100))
    assert [problem.code for problem in verdict.held] == ["mass_termination"]
    assert verdict.roster is not None
    assert _codes(path, accepted_of(verdict.roster)) == []


def test_older_feed_than_the_accepted_one_is_held(tmp_path: Path) -> None:
    """A file from a backup, still fresh enough, does not undo what was known since."""
    before = _before(3, as_of=NOW - timedelta(minutes=30))
    assert _codes(feeds.write(tmp_path, _people(3), at=NOW - timedelta(minutes=34)), before) == []
    assert _codes(feeds.write(tmp_path, _people(3), at=NOW - timedelta(minutes=36)), before) == ["roster_stale"]


def test_what_is_remembered_of_a_roster(tmp_path: Path) -> None:
    """Digest, time, workers, and workers without an end are what the next feed is measured against."""
    roster = feeds.roster_of(feeds.load(feeds.write(tmp_path, _people(10, ended=3))))
    assert accepted_of(roster) == AcceptedRoster(
        digest=roster.digest, as_of=feeds.WRITTEN_AT, workers=10, open_workers=7
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"colums": {}},
        {"columns": {"worker": "id"}},
        {"columns": {"work_email": "STATUS"}},
        {"default_timezone": "Berlin"},
        {"date_format": "auto"},
        {"trailer_rows": "("},
        {"worker_id_pattern": "["},
        {"max_shrink_percent": 101},
        {"status_values": {"Gone": "left"}},
    ],
    ids=str,
)
def test_settings_that_cannot_work_are_refused(settings: dict[str, Any]) -> None:
    """A key that nobody knows, or a value that cannot work, is refused before any feed is read."""
    with pytest.raises(ValidationError):
        CsvRosterSettings(path=Path("roster.csv"), **settings)


def test_every_setting_is_described() -> None:
    """Whoever configures a roster reads in the schema what each key means."""
    assert all(field.description for field in CsvRosterSettings.model_fields.values())
