"""`roster check`: its document, exit codes, and what it says to people."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from typer.testing import CliRunner, Result

import reconciler.cli
from reconciler.cli import roster
from reconciler.cli.roster import app
from tests import feeds
from tests.builders import NOW
from tests.fakes.clock import FakeClock

SCHEMA = Path(reconciler.cli.__file__).parent.parent / "schemas" / "roster-check.schema.json"
ROWS = (
    "worker_id,status,last_day_of_work,work_timezone,work_email\n"
    "E1,Active,,,ann@example.com\n"
    "E2,Terminated,2026-02-28,Asia/Tokyo,bo@example.com\n"
    "E3,Terminated,2026-03-31,Asia/Tokyo,cy@example.com\n"
)


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roster, "SystemClock", FakeClock)


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["check", *(str(argument) for argument in arguments)])


def _document(*arguments: object, code: int = 0) -> dict[str, Any]:
    result = _run(*arguments, "--output", "json")
    assert result.exit_code == code, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(document, schema)
    return document


def test_accepted_roster_exits_0(tmp_path: Path) -> None:
    """The document names leavers and armed workers with their instants, and the digest of the bytes."""
    document = _document(feeds.write(tmp_path, ROWS))
    assert document["accepted"] is True
    assert document["held"] is False
    assert document["workers"] == 3
    assert document["leavers"] == ["E2"]
    assert document["armed"] == [{"worker_id": "E3", "access_end_at": "2026-03-31T15:00:00.000000Z"}]
    assert document["problems"] == []
    assert document["digest"].startswith("sha256:")


@pytest.mark.parametrize(
    ("at", "leavers"),
    [("2026-02-28T14:59:59Z", []), ("2026-02-28T15:00:00Z", ["E2"]), ("2026-03-01T00:00:00+09:00", ["E2"])],
)
def test_leavers_are_told_for_the_instant_that_is_asked(at: str, leavers: list[str], tmp_path: Path) -> None:
    """A worker leaves at the very instant of the end, not before, by `--at`; a younger file is no obstacle."""
    document = _document(feeds.write(tmp_path, ROWS), "--at", at)
    assert document["leavers"] == leavers
    assert {one["worker_id"] for one in document["armed"]} == {"E2", "E3"} - set(leavers)


def test_stale_roster_exits_2(tmp_path: Path) -> None:
    """A feed too old for the instant is held, and its leavers are shown all the same."""
    document = _document(feeds.write(tmp_path, ROWS), "--at", "2026-04-01T00:00:00Z", code=2)
    assert (document["accepted"], document["held"]) == (False, True)
    assert document["leavers"] == ["E2", "E3"]
    assert [problem["code"] for problem in document["problems"]] == ["roster_stale"]


def test_file_from_the_future_is_held(tmp_path: Path) -> None:
    """A modification time ahead of the clock hides the age: held, also in a rehearsal."""
    path = feeds.write(tmp_path, ROWS, at=NOW.replace(year=2027))
    assert _document(path, code=2)["problems"][0]["code"] == "roster_stale"
    assert _document(path, "--at", "2026-02-28T15:00:00Z", code=2)["problems"][0]["code"] == "roster_stale"


def test_shrunken_roster_exits_2(tmp_path: Path) -> None:
    """Against a previous feed, missing workers hold the new one."""
    previous = feeds.write(tmp_path, ROWS, name="previous.csv")
    cut = feeds.write(tmp_path, "".join(ROWS.splitlines(keepends=True)[:-1]))
    document = _document(cut, "--previous", previous, code=2)
    assert [problem["code"] for problem in document["problems"]] == ["roster_shrunken"]
    assert _document(previous, "--previous", previous)["accepted"] is True


def test_refused_roster_exits_1(tmp_path: Path) -> None:
    """A broken feed is refused with line and column, has no workers, and says so on one line of stderr."""
    path = feeds.write(tmp_path, ROWS + "E4,Act")
    document = _document(path, code=1)
    assert document["accepted"] is document["held"] is False
    assert document["workers"] == 0
    assert document["digest"].startswith("sha256:")
    (problem,) = document["problems"]
    assert (problem["line"], problem["column"], problem["code"]) == (5, 3, "row_cut")
    assert problem["consequence"] == "refused"
    (line,) = _run(path, "--output", "json").stderr.splitlines()
    assert line.startswith("roster refused at line 5, column 3: row_cut: ")


def test_unreadable_roster_has_no_digest(tmp_path: Path) -> None:
    """What could not be read has no digest."""
    assert _document(tmp_path / "absent.csv", code=1)["digest"] is None


def test_refused_previous_feed_is_said(tmp_path: Path) -> None:
    """A previous feed that is broken itself refuses the comparison instead of being passed over."""
    path = feeds.write(tmp_path, ROWS)
    previous = feeds.write(tmp_path, "", name="previous.csv")
    assert [one["code"] for one in _document(path, "--previous", previous, code=1)["problems"]] == ["previous_refused"]


def test_set_aside_rows_do_not_refuse(tmp_path: Path) -> None:
    """A bad row is named and the rest counts; an ignored address is only noted."""
    text = ROWS + "E4,Gone,2026-02-01,,\nE5,Active,,,nobody\n"
    document = _document(feeds.write(tmp_path, text))
    assert [(one["line"], one["column"], one["code"], one["consequence"]) for one in document["problems"]] == [
        (5, 2, "status_unknown", "set_aside"),
        (6, 5, "email_unusable", "noted"),
    ]
    assert document["leavers"] == ["E2"]


def test_config_gives_columns_and_limits(tmp_path: Path) -> None:
    """The roster block of a configuration is used; the file comes from the command line."""
    config = tmp_path / "config.yaml"
    config.write_text(
        "roster:\n  type: csv\n  path: elsewhere.csv\n  max_age_hours: 48\n  columns: {worker_id: Personalnummer}\n"
    )
    path = feeds.write(tmp_path, ROWS.replace("worker_id", "Personalnummer"))
    assert _document(path, "--config", config, "--at", "2026-03-04T07:00:00Z")["leavers"] == ["E2"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("roster: {colums: {}}\n", "roster.colums"),
        ("providers: {}\n", "no roster: block"),
        ("- 1\n", "must hold a mapping"),
        ("roster: [\n", "not YAML"),
        (None, "cannot be read"),
    ],
)
def test_bad_config_exits_1_and_names_the_key(text: str | None, said: str, tmp_path: Path) -> None:
    """A configuration that cannot be used is said on stderr, with nothing on stdout."""
    config = tmp_path / "config.yaml"
    if text is not None:
        config.write_text(text)
    result = _run(feeds.write(tmp_path, ROWS), "--config", config)
    assert result.exit_code == 1
    assert said in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("at", ["2026-03-01", "2026-03-01T00:00:00", "now", ""])
def test_instant_without_offset_is_a_usage_error(at: str, tmp_path: Path) -> None:
    """An instant that names no instant is refused before the feed is read."""
    assert _run(feeds.write(tmp_path, ROWS), "--at", at).exit_code == 2


def test_table_is_for_people(tmp_path: Path) -> None:
    """Without `--output json` the same is printed as tables, by ids only."""
    result = _run(feeds.write(tmp_path, ROWS + "E4,Gone,,,\n"))
    assert result.exit_code == 0
    for text in ("accepted: 4 workers", "E2", "leaver", "E3", "armed", "status_unknown", "set_aside"):
        assert text in result.stdout
    assert "example.com" not in result.stdout


def test_help_has_an_example() -> None:
    """Whoever asks for help sees one line that works."""
    assert "roster check roster.csv" in _run("--help").stdout
