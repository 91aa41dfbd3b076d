"""Every line of the messy-file list that concerns a row: set aside, or accepted and what follows from it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from inventory.roster.model import Roster
from tests import feeds
from tests.feeds import row

Rows = Sequence[Mapping[str, str]]
LEFT = {"status": "Terminated", "last_day_of_work": "2026-02-01"}
GONE = {"status": "Terminated", "termination_instant": "2026-02-01T17:00:00Z"}
"""As `LEFT`, in whatever way dates are written."""

SET_ASIDE: dict[str, tuple[Mapping[str, str], dict[str, Any], str, str]] = {
    # case: the row, the settings, the code, the column that is named
    "blank id": (row("", **LEFT), {}, "worker_id_blank", "worker_id"),
    "id as 1E+05": (row("1E+05", **LEFT), {}, "id_lost_digits", "worker_id"),
    "id as 1,2E+05 of another locale": (row("1,2E+05", **LEFT), {}, "id_lost_digits", "worker_id"),
    "id as 10023.0": (row("10023.0", **LEFT), {}, "id_lost_digits", "worker_id"),
    "employment id as 1E+05": (row("E9", employment_id="1E+05", **LEFT), {}, "id_lost_digits", "employment_id"),
    "white space inside an id": (row("E 9", **LEFT), {}, "id_invalid", "worker_id"),
    "line break inside an id": (row("E\n9", **LEFT), {}, "id_invalid", "worker_id"),
    "zero-width space in an id": (row("E\u200b9", **LEFT), {}, "id_invalid", "worker_id"),
    "right-to-left mark in an id": (row("E9\u200f", **LEFT), {}, "id_invalid", "worker_id"),
    "formula in the id": (row("=cmd|' /C calc'!A0", **LEFT), {}, "id_invalid", "worker_id"),
    "leading zeros lost (pattern)": (
        row("901", **LEFT),
        {"worker_id_pattern": "E[0-9]+|[0-9]{6}"},
        "id_invalid",
        "worker_id",
    ),
    "DD/MM where ISO is set": (
        row("E9", "Terminated", last_day_of_work="01/02/2026"),
        {},
        "date_format",
        "last_day_of_work",
    ),
    "MM/DD where DD/MM is set": (
        row("E9", "Terminated", last_day_of_work="02/28/2026"),
        {"date_format": "DD/MM/YYYY"},
        "date_format",
        "last_day_of_work",
    ),
    "date with a time": (
        row("E9", "Terminated", last_day_of_work="2026-02-01T00:00:00Z"),
        {},
        "date_format",
        "last_day_of_work",
    ),
    "no such day": (
        row("E9", "Terminated", last_day_of_work="2026-02-30"),
        {},
        "date_format",
        "last_day_of_work",
    ),
    "spreadsheet serial date": (
        row("E9", "Terminated", termination_date="46054"),
        {},
        "date_serial",
        "termination_date",
    ),
    "1900-01-01": (
        row("E9", "Terminated", termination_date="1900-01-01"),
        {},
        "date_implausible",
        "termination_date",
    ),
    "1970-01-01": (
        row("E9", "Terminated", last_day_of_work="1970-01-01"),
        {},
        "date_implausible",
        "last_day_of_work",
    ),
    "digits of another script": (
        row("E9", "Terminated", last_day_of_work="\u0662\u0660\u0662\u0666-02-01"),
        {},
        "date_format",
        "last_day_of_work",
    ),
    "zone-less instant": (
        row("E9", "Terminated", termination_instant="2026-02-01T17:00:00"),
        {},
        "instant_without_offset",
        "termination_instant",
    ),
    "instant that is none": (
        row("E9", "Terminated", termination_instant="soon"),
        {},
        "instant_format",
        "termination_instant",
    ),
    "instant with an hour that is none": (
        row("E9", "Terminated", termination_instant="2026-02-01T27:00:00Z"),
        {},
        "instant_format",
        "termination_instant",
    ),
    "termination before start": (
        row("E9", "Terminated", start_date="2026-02-10", last_day_of_work="2026-02-01"),
        {},
        "end_before_start",
        "last_day_of_work",
    ),
    "rehire same id, old end still there": (
        row("E9", "Active", start_date="2026-03-01", last_day_of_work="2025-06-30"),
        {},
        "end_before_start",
        "last_day_of_work",
    ),
    "active although the last day is long past": (
        row("E9", "Active", last_day_of_work="2026-02-01"),
        {},
        "status_contradicts_dates",
        "status",
    ),
    "on leave although the last day is long past": (
        row("E9", "On Leave", termination_date="2026-02-01"),
        {},
        "status_contradicts_dates",
        "status",
    ),
    "active although terminated for cause long ago": (
        row("E9", "Active", termination_instant="2026-02-01T17:00:00Z"),
        {},
        "status_contradicts_dates",
        "status",
    ),
    "rescinded, as a status word": (
        row("E9", "Termination rescinded", last_day_of_work="2026-02-01"),
        {},
        "status_unknown",
        "status",
    ),
    "legal hold": (row("E9", "Legal Hold", last_day_of_work="2026-02-01"), {}, "status_unknown", "status"),
    "inactive (leave or termination?)": (
        row("E9", "Inactive", last_day_of_work="2026-02-01"),
        {},
        "status_unknown",
        "status",
    ),
    "status blank": (row("E9", "", last_day_of_work="2026-02-01"), {}, "status_blank", "status"),
    "service account listed as a worker": (
        row("svc-backup", worker_type="Service Account", **LEFT),
        {},
        "worker_type_unknown",
        "worker_type",
    ),
    "zone that is none": (row("E9", work_timezone="Mars/Olympus", **LEFT), {}, "timezone_unknown", "work_timezone"),
    "zone as an offset": (row("E9", work_timezone="+09:00", **LEFT), {}, "timezone_unknown", "work_timezone"),
    "zone as a path": (row("E9", work_timezone="../../etc/passwd", **LEFT), {}, "timezone_unknown", "work_timezone"),
}


def _load(rows: Rows, folder: Path, **settings: Any) -> Roster:
    return feeds.roster_of(feeds.load(feeds.write(folder, feeds.csv_text(rows)), **settings))


@pytest.mark.parametrize("case", SET_ASIDE)
def test_row_is_set_aside(case: str, tmp_path: Path) -> None:
    """A row that cannot be understood is named by line and column, and makes nobody a leaver; the rest counts."""
    bad, settings, code, column = SET_ASIDE[case]
    roster = _load([row("E1"), bad, row("E2", **GONE)], tmp_path, **settings)
    (problem,) = roster.problems
    assert (problem.line, problem.column, problem.code) == (3, feeds.HEADER.index(column) + 1, code)
    assert feeds.leavers(roster, datetime(2100, 1, 1, tzinfo=UTC)) == ["E2"]


@pytest.mark.parametrize("case", SET_ASIDE)
def test_messages_repeat_no_cell(case: str, tmp_path: Path) -> None:
    """A message never repeats what stood in the cell: swapped columns put names there."""
    bad, settings, _, column = SET_ASIDE[case]
    roster = _load([row("E1"), bad], tmp_path, **settings)
    cell = bad[column]
    assert not cell or cell not in roster.problems[0].message


@pytest.mark.parametrize("case", sorted(set(SET_ASIDE) - {"employment id as 1E+05"}))
def test_row_set_aside_keeps_its_person_open(case: str, tmp_path: Path) -> None:
    """A person with one ended record and one that nobody understands is no leaver: it could be open."""
    bad, settings, _, _ = SET_ASIDE[case]
    ended = row("E8", employment_id="A1", **GONE)
    linked = {**bad, "employment_id": "A2", "rehire_of_employment_id": "A1"}
    roster = _load([ended, linked, row("E2", **GONE)], tmp_path, **settings)
    assert feeds.leavers(roster, datetime(2100, 1, 1, tzinfo=UTC)) == ["E2"]
    person = next(one for one in roster.workers if "E8" in {one.worker_id, *one.former_ids})
    assert person.access_end_rule == "row_set_aside"


def test_end_rules_are_named(tmp_path: Path) -> None:
    """The strongest date counts, and the worker carries the rule that computed the instant."""
    every = {
        "termination_instant": "2026-02-01T17:30:00+01:00",
        "last_day_of_work": "2026-02-02",
        "termination_date": "2026-02-03",
        "contract_end_date": "2026-02-04",
    }
    zone = {"work_timezone": "Asia/Tokyo", "worker_type": "Contractor"}
    names = list(every)
    rows = [
        row(f"E{at}", "Terminated", **zone, **{name: every[name] for name in names[at:]}) for at in range(len(names))
    ]
    workers = feeds.by_id(_load([*rows, row("E4", "Terminated")], tmp_path))
    ends = {key: (worker.access_end_at, worker.access_end_rule) for key, worker in workers.items()}
    assert ends == {
        "E0": (datetime(2026, 2, 1, 16, 30, tzinfo=UTC), "termination_instant"),
        "E1": (datetime(2026, 2, 2, 15, 0, tzinfo=UTC), "last_day_inclusive:Asia/Tokyo"),
        "E2": (datetime(2026, 2, 2, 15, 0, tzinfo=UTC), "termination_date_first_day_out:Asia/Tokyo"),
        "E3": (datetime(2026, 2, 4, 15, 0, tzinfo=UTC), "contract_end_inclusive:Asia/Tokyo"),
        "E4": (feeds.WRITTEN_AT, "terminated_undated:as_of"),
    }


def test_termination_date_may_be_the_last_day(tmp_path: Path) -> None:
    """Where HR means the last day in, the setting says so and the day counts whole."""
    rows = [row("E1", "Terminated", termination_date="2026-02-03")]
    worker = feeds.by_id(_load(rows, tmp_path, termination_date_is="last_day"))["E1"]
    assert worker.access_end_at == datetime(2026, 2, 4, tzinfo=UTC)
    assert worker.access_end_rule == "termination_date_inclusive:UTC"


@pytest.mark.parametrize(
    ("first", "second"),
    [("00123", "123"), ("E1", "e1"), ("E1", "\uff25\uff11"), ("caf\u00e9", "cafe\u0301")],
    ids=["leading zeros lost", "case", "full-width letters", "NFC/NFD"],
)
def test_ids_that_may_be_one_worker_are_set_aside(first: str, second: str, tmp_path: Path) -> None:
    """Two ids that differ only in what programs lose are in doubt, both of them."""
    roster = _load([row(first, **LEFT), row(second), row("X2", **LEFT)], tmp_path)
    assert [problem.code for problem in roster.problems] == ["worker_id_ambiguous"] * 2
    assert feeds.leavers(roster) == ["X2"]


def test_employment_id_of_two_workers_is_set_aside(tmp_path: Path) -> None:
    """Two workers merged in HR's system, or an id used twice: both records are in doubt."""
    rows = [row("E1", employment_id="A1", **LEFT), row("E2", employment_id="A1"), row("E3", **LEFT)]
    roster = _load(rows, tmp_path)
    assert [(problem.line, problem.code) for problem in roster.problems] == [
        (2, "employment_id_shared"),
        (3, "employment_id_shared"),
    ]
    assert feeds.leavers(roster) == ["E3"]


def test_email_reused_by_another_worker_is_no_evidence(tmp_path: Path) -> None:
    """An address that an ended and an open person hold is marked on both, and so is the possible rehire."""
    rows = [
        row("E1", work_email="Ann@Example.com", **LEFT),
        row("E2", alternate_emails="ann@example.com|a2@example.com"),
        row("E3", work_email="ann+tag@example.com", **LEFT),
    ]
    workers = feeds.by_id(_load(rows, tmp_path))
    assert workers["E1"].shared_emails == workers["E2"].shared_emails == ("ann@example.com",)
    assert workers["E1"].possible_rehire_of == ("E2",)
    assert workers["E2"].possible_rehire_of == ("E1",)
    assert workers["E3"].shared_emails == workers["E3"].possible_rehire_of == ()


def test_homoglyphs_and_dotless_i_are_other_addresses(tmp_path: Path) -> None:
    """Addresses that merely look alike are different ones: nobody is matched by a look."""
    rows = [row("E1", work_email="\u0430nn@example.com"), row("E2", work_email="ann@example.com")]
    rows += [row("E3", work_email="\u0131nci@example.com"), row("E4", work_email="inci@example.com")]
    assert all(worker.shared_emails == () for worker in _load(rows, tmp_path).workers)


def test_nfc_and_nfd_are_one_address(tmp_path: Path) -> None:
    """Two spellings of the same letters are the same address."""
    rows = [row("E1", work_email="jos\u00e9@example.com"), row("E2", work_email="jose\u0301@example.com")]
    workers = feeds.by_id(_load(rows, tmp_path))
    assert workers["E1"].shared_emails == workers["E2"].shared_emails == ("jos\u00e9@example.com",)


@pytest.mark.parametrize("text", ["ann", "ann@@example.com", "a n@example.com", "=HYPERLINK(1)@x", "ann@ex\u200b.com"])
def test_address_that_is_none_is_ignored_and_said(text: str, tmp_path: Path) -> None:
    """A bad address costs the address, not the termination."""
    roster = _load([row("E1", work_email=text, **LEFT)], tmp_path)
    assert [problem.code for problem in roster.problems] == ["email_unusable"]
    assert feeds.leavers(roster) == ["E1"]
    assert roster.workers[0].emails == ()


def test_nameless_row_protects_whoever_has_its_address(tmp_path: Path) -> None:
    """A row without an id may be the new record of a leaver with the same address."""
    rows = [row("E1", work_email="ann@example.com", **LEFT), row("", work_email="ann@example.com"), row("E2", **LEFT)]
    assert feeds.leavers(_load(rows, tmp_path)) == ["E2"]


def test_status_lag_is_a_setting(tmp_path: Path) -> None:
    """Beyond the allowed lag, `active` with a past last day is a contradiction that a human settles."""
    rows = [row("E1", "Active", last_day_of_work="2026-03-01"), row("E2")]
    path = feeds.write(tmp_path, feeds.csv_text(rows))
    assert feeds.leavers(feeds.roster_of(feeds.load(path))) == ["E1"]
    strict = feeds.roster_of(feeds.load(path, status_lag_hours=0))
    assert feeds.leavers(strict) == []
    assert [problem.code for problem in strict.problems] == ["status_contradicts_dates"]


def test_every_problem_of_a_row_is_said(tmp_path: Path) -> None:
    """Who corrects a row corrects it once: all its problems come together."""
    bad = row("E9", "?", last_day_of_work="46000", work_timezone="Nowhere")
    roster = _load([row("E1"), bad], tmp_path)
    assert [problem.code for problem in roster.problems] == ["status_unknown", "timezone_unknown", "date_serial"]


def test_set_aside_worker_stays_in_the_roster(tmp_path: Path) -> None:
    """A worker whose only row is set aside is still a worker, open: their access belongs to somebody."""
    worker = feeds.by_id(_load([row("E1"), row("E9", "?", work_email="x@example.com")], tmp_path))["E9"]
    assert (worker.access_end_at, worker.access_end_rule) == (None, "row_set_aside")
    assert worker.emails == ("x@example.com",)
