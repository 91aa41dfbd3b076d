"""Every line of the messy-file list that concerns a row and is accepted, with who is a leaver by it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests import feeds
from tests.feeds import row

Rows = Sequence[Mapping[str, str]]
LEFT = {"status": "Terminated", "last_day_of_work": "2026-02-01"}

LEAVERS: dict[str, tuple[Rows, dict[str, Any], Sequence[str]]] = {
    # case: the rows, the settings, who is a leaver at NOW. No row is set aside.
    "duplicate id, same": ([row("E1", **LEFT), row("E1", **LEFT)], {}, ["E1"]),
    "white space around cells": ([row("  E1\u00a0", " Terminated ", last_day_of_work=" 2026-02-01 ")], {}, ["E1"]),
    "leading zeros kept": ([row("00123", **LEFT)], {}, ["00123"]),
    "zone-less date": ([row("E1", **LEFT)], {}, ["E1"]),
    "DD/MM, as set": (
        [row("E1", "Terminated", last_day_of_work="01/02/2026")],
        {"date_format": "DD/MM/YYYY"},
        ["E1"],
    ),
    "MM/DD, as set": (
        [row("E1", "Terminated", last_day_of_work="02/28/2026")],
        {"date_format": "MM/DD/YYYY"},
        ["E1"],
    ),
    "9999-12-31 as no end": ([row("E1", "Active", last_day_of_work="9999-12-31")], {}, []),
    "9999-12-31 of another format": (
        [row("E1", "Active", last_day_of_work="31.12.9999")],
        {"date_format": "DD.MM.YYYY"},
        [],
    ),
    "terminated in the future": ([row("E1", "Terminated", last_day_of_work="2026-04-30")], {}, []),
    "terminated without any date": ([row("E1", "Terminated")], {}, ["E1"]),
    "terminated, 9999-12-31": ([row("E1", "Terminated", termination_date="9999-12-31")], {}, ["E1"]),
    "on notice with a day ahead": ([row("E1", "Notice", last_day_of_work="2026-04-30")], {}, []),
    "on notice with a day behind": ([row("E1", "Notice", last_day_of_work="2026-02-01")], {}, ["E1"]),
    "active, last day just over (HR's job runs at night)": (
        [row("E1", "Active", last_day_of_work="2026-03-01")],
        {},
        ["E1"],
    ),
    "rescinded, dates blank again": ([row("E1", "Active", start_date="2020-01-01")], {}, []),
    "leave of absence": ([row("E1", "On Leave", leave_start="2026-01-01")], {}, []),
    "not started yet": ([row("E1", "Pre-Hire", start_date="2026-06-01")], {}, []),
    "contract end past": ([row("E1", "Active", worker_type="Contractor", contract_end_date="2026-02-28")], {}, ["E1"]),
    "contract end today": ([row("E1", "Active", worker_type="Contractor", contract_end_date="2026-03-02")], {}, []),
    "contract end extended": (
        [row("E1", "Active", worker_type="Contractor", contract_end_date="2026-09-30")],
        {},
        [],
    ),
    "contract end blank": ([row("E1", "Active", worker_type="Contractor")], {}, []),
    "contract end of an employee": ([row("E1", "Active", contract_end_date="2026-02-28")], {}, []),
    "terminated, contract end only": ([row("E1", "Terminated", contract_end_date="2026-02-28")], {}, ["E1"]),
    "rehire with same e-mail and new id, linked by HR": (
        [
            row("E1", employment_id="A1", work_email="ann@example.com", **LEFT),
            row("E2", employment_id="A2", rehire_of_employment_id="A1", work_email="ann@example.com"),
        ],
        {},
        [],
    ),
    "rehire same id": (
        [row("E1", employment_id="A1", **LEFT), row("E1", employment_id="A2", start_date="2026-02-20")],
        {},
        [],
    ),
    "rehire same id, without employment ids": (
        [row("E1", start_date="2020-01-01", **LEFT), row("E1", start_date="2026-02-20")],
        {},
        [],
    ),
    "rehire same day": (
        [row("E1", employment_id="A1", **LEFT), row("E1", employment_id="A2", start_date="2026-02-02")],
        {},
        [],
    ),
    "rehire of an employment that is not in the feed": (
        [row("E1", employment_id="A2", rehire_of_employment_id="A1", **LEFT)],
        {},
        ["E1"],
    ),
    "two rehires of an employment that is not in the feed": (
        [
            row("E1", employment_id="A2", rehire_of_employment_id="A1", **LEFT),
            row("E2", employment_id="A3", rehire_of_employment_id="A1"),
        ],
        {},
        [],
    ),
    "contractor -> employee with two records": (
        [row("E1", worker_type="Contractor", **LEFT), row("E1", worker_type="Employee")],
        {},
        [],
    ),
    "all of several records ended": (
        [row("E1", worker_type="Contractor", **LEFT), row("E1", worker_type="Employee", **LEFT)],
        {},
        ["E1"],
    ),
    "e-mail changed on marriage": (
        [row("E1", work_email="ann.new@example.com", alternate_emails="ann.old@example.com")],
        {},
        [],
    ),
    "names of all kinds": (
        [
            row("E1", legal_name="Núñez"),
            row("E2", legal_name="O'Brien; DROP TABLE"),
            row("E3", legal_name="=cmd|' /C calc'!A0"),
            row("E4", legal_name="\u05d3\u05d5\u05d3"),
            row("E5", legal_name="Ng", **LEFT),
        ],
        {},
        ["E5"],
    ),
    "manager cycle": ([row("E1", manager_worker_id="E2", **LEFT), row("E2", manager_worker_id="E1")], {}, ["E1"]),
    "own words for status and type": (
        [row("E1", "Ausgeschieden", worker_type="Werkvertrag", last_day_of_work="2026-02-01")],
        {"status_values": {"AUSGESCHIEDEN": "terminated"}, "worker_type_values": {"werkvertrag": "contractor"}},
        ["E1"],
    ),
}


@pytest.mark.parametrize("case", LEAVERS)
def test_row_is_accepted(case: str, tmp_path: Path) -> None:
    """A row that is understood counts, and makes a leaver exactly where every record has ended."""
    rows, settings, expected = LEAVERS[case]
    roster = feeds.roster_of(feeds.load(feeds.write(tmp_path, feeds.csv_text(rows)), **settings))
    assert roster.problems == ()
    assert feeds.leavers(roster) == list(expected)


def test_a_move_between_teams_is_read(tmp_path: Path) -> None:
    """Former teams are a list, and the day counts from its beginning where the worker is."""
    header = (*feeds.HEADER, "department", "former_departments", "department_since")
    moved = row(
        "E1",
        department="Support",
        former_departments="Sales; Field Sales",
        department_since="2026-02-01",
        work_timezone="Asia/Tokyo",
    )
    path = feeds.write(tmp_path, feeds.csv_text([moved, row("E2")], header))
    workers = feeds.by_id(feeds.roster_of(feeds.load(path)))
    assert workers["E1"].former_departments == ("Sales", "Field Sales")
    assert workers["E1"].department_since == datetime(2026, 1, 31, 15, tzinfo=UTC)
    assert (workers["E2"].former_departments, workers["E2"].department_since) == ((), None)


def test_a_day_of_a_move_that_cannot_be_read_is_not_known(tmp_path: Path) -> None:
    """It is noted, the row counts, and nobody is taken for having moved long ago."""
    header = (*feeds.HEADER, "department", "department_since")
    path = feeds.write(tmp_path, feeds.csv_text([row("E1", department="A", department_since="last spring")], header))
    roster = feeds.roster_of(feeds.load(path))
    assert feeds.by_id(roster)["E1"].department_since is None
    assert [problem.column for problem in roster.problems] == [len(header)]
    assert "the row counts" in roster.problems[0].message
