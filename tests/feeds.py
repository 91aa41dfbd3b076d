"""Roster files for tests: written, dated, and loaded with a clock that stands at `builders.NOW`."""

import os
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from inventory.roster.csv_file import CsvRosterSettings, CsvRosterSource
from inventory.roster.model import AcceptedRoster, Roster, RosterProblem, RosterVerdict, Worker
from tests.builders import NOW
from tests.fakes.clock import FakeClock

HEADER = (
    "worker_id",
    "employment_id",
    "rehire_of_employment_id",
    "worker_type",
    "status",
    "legal_name",
    "work_email",
    "alternate_emails",
    "manager_worker_id",
    "work_timezone",
    "start_date",
    "last_day_of_work",
    "termination_date",
    "contract_end_date",
    "termination_instant",
)
WRITTEN_AT = NOW - timedelta(hours=1)


def row(worker_id: str, status: str = "Active", **cells: str) -> Mapping[str, str]:
    """Build a row; every cell that is not given is blank."""
    return {"worker_id": worker_id, "status": status, **cells}


def csv_text(rows: Sequence[Mapping[str, str]], header: Sequence[str] = HEADER, delimiter: str = ",") -> str:
    """Return a feed of rows, every cell quoted, lines ended by a line feed."""
    lines = [header, *([one.get(name, "") for name in header] for one in rows)]
    return "".join(delimiter.join('"' + cell.replace('"', '""') + '"' for cell in line) + "\n" for line in lines)


def write(folder: Path, content: str | bytes, *, at: datetime = WRITTEN_AT, name: str = "roster.csv") -> Path:
    """Write a feed with this modification time and return its path."""
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    os.utime(path, (at.timestamp(), at.timestamp()))
    return path


def load(path: Path, previous: AcceptedRoster | None = None, *, now: datetime = NOW, **settings: Any) -> RosterVerdict:
    """Load a feed at an instant with settings."""
    return CsvRosterSource(CsvRosterSettings(path=path, **settings), FakeClock(now)).load(previous)


def roster_of(verdict: RosterVerdict) -> Roster:
    """Return the roster of an accepted verdict; fails the test otherwise."""
    assert verdict.accepted, (verdict.refused, verdict.held)
    assert verdict.roster is not None
    return verdict.roster


def refusal_of(verdict: RosterVerdict) -> RosterProblem:
    """Return why a feed was refused; fails the test when it was not."""
    assert verdict.roster is None
    assert not verdict.accepted
    (problem,) = verdict.refused
    return problem


def by_id(roster: Roster) -> dict[str, Worker]:
    """Return the workers by their id."""
    return {str(worker.worker_id): worker for worker in roster.workers}


def leavers(roster: Roster, at: datetime = NOW) -> list[str]:
    """Return the ids of those whose access has ended."""
    return [one.worker_id for one in roster.workers if one.access_end_at is not None and one.access_end_at <= at]
