"""When a record ends: the one place that turns dates as given into an instant, with the rule that did it.

Precedence, strongest first: `termination_instant`, `last_day_of_work`, `termination_date`, `contract_end_date` (for
those who are no employees, and for whoever is terminated without another date), and for a terminated record without any
date the time of the data itself.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from inventory.roster.csv_settings import CsvRosterSettings
from inventory.roster.model import EmploymentStatus, WorkerKind
from inventory.roster.records import EmploymentRecord
from inventory.roster.zones import end_of_day, start_of_day

UNDATED_RULE = "terminated_undated:as_of"
"""Of a terminated record without any date: its end moves with the age of the data."""
IN_SERVICE = (EmploymentStatus.PRE_HIRE, EmploymentStatus.ACTIVE, EmploymentStatus.LEAVE)
"""Statuses that contradict an end which lies behind. `notice` does not: who is on notice is about to leave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordEnd:
    """When a record gives no right to access any more."""

    at: datetime
    """UTC; the first instant without access."""
    rule: str


def end_of(record: EmploymentRecord, as_of: datetime, settings: CsvRosterSettings) -> RecordEnd | None:
    """Return the end of a record, or None while it is open."""
    terminated = record.status is EmploymentStatus.TERMINATED
    if record.instant is not None:
        return RecordEnd(at=record.instant, rule="termination_instant")
    if record.last_day is not None:
        return RecordEnd(at=end_of_day(record.last_day, record.zone), rule=f"last_day_inclusive:{record.zone.key}")
    if record.termination is not None:
        if settings.termination_date_is == "last_day":
            at = end_of_day(record.termination, record.zone)
            return RecordEnd(at=at, rule=f"termination_date_inclusive:{record.zone.key}")
        at = start_of_day(record.termination, record.zone)
        return RecordEnd(at=at, rule=f"termination_date_first_day_out:{record.zone.key}")
    if record.contract_end is not None and (terminated or record.kind is not WorkerKind.EMPLOYEE):
        return RecordEnd(
            at=end_of_day(record.contract_end, record.zone), rule=f"contract_end_inclusive:{record.zone.key}"
        )
    return RecordEnd(at=as_of, rule=UNDATED_RULE) if terminated else None


def contradicted(record: EmploymentRecord, end: RecordEnd, as_of: datetime, settings: CsvRosterSettings) -> bool:
    """Say whether HR calls a record current although its end lay behind when the data was true.

    A status that lags by `status_lag_hours` is how nightly jobs work; so is a contractor whose status nobody ever
    changes: a contract's end counts by itself.
    """
    if record.status not in IN_SERVICE or end.rule.startswith("contract_end"):
        return False
    return end.at + timedelta(hours=settings.status_lag_hours) <= as_of
