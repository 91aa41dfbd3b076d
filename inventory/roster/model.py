"""The roster: HR's list of workers at a time, and the authority on who has left.

Absent from the roster is not departed: a worker is a leaver only by `Worker.access_end_at`, which exists only when
every record of that person has ended.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NewType

WorkerId = NewType("WorkerId", str)
"""The stable id that HR gives a worker; survives renames and rehires."""


class EmploymentStatus(StrEnum):
    """What HR says of a worker now."""

    PRE_HIRE = "pre_hire"
    ACTIVE = "active"
    LEAVE = "leave"
    NOTICE = "notice"
    TERMINATED = "terminated"


class WorkerKind(StrEnum):
    """How somebody works here."""

    EMPLOYEE = "employee"
    CONTRACTOR = "contractor"
    INTERN = "intern"
    SERVICE_PARTNER = "service_partner"


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One person, folded from all employment records that HR holds of them."""

    worker_id: WorkerId
    """Id of the record that counts (the open one, else the one that ended last)."""
    former_ids: tuple[WorkerId, ...] = ()
    """Ids of the person's other records, linked by HR (`rehire_of_employment_id` or a shared worker id)."""
    status: EmploymentStatus
    kind: WorkerKind
    display_name: str = ""
    emails: tuple[str, ...] = ()
    """Work e-mail first, then former and alternate ones; lower case."""
    shared_emails: tuple[str, ...] = ()
    """Those of `emails` that another person of the roster holds or held too: never evidence of identity."""
    usernames: tuple[str, ...] = ()
    manager_id: WorkerId | None = None
    department: str = ""
    former_departments: tuple[str, ...] = ()
    """Where the worker was before, as HR says; empty when HR says nothing."""
    department_since: datetime | None = None
    """UTC instant of the move to `department`; None when HR does not say."""
    access_end_at: datetime | None = None
    """UTC instant from which the worker may hold no access; None while any record is open without an end."""
    access_end_rule: str = ""
    """Which rule computed the instant, such as `last_day_inclusive:Asia/Tokyo`."""
    records: int = 1
    possible_rehire_of: tuple[WorkerId, ...] = ()
    """Other roster persons that may be the same human (same e-mail, not linked by HR): a case for a human."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RosterProblem:
    """Something wrong in the feed, by line and column (1-based; column 0 when the whole line is meant)."""

    line: int
    column: int
    code: str
    message: str
    """Says what is wrong and what to do; without names or e-mails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Roster:
    """An accepted or held feed, whole."""

    source: str
    as_of: datetime
    """When the source says the data was true (UTC)."""
    fetched_at: datetime
    digest: str
    """`sha256:` and the hex digest of the bytes as they came."""
    rows: int
    workers: tuple[Worker, ...]
    """Sorted by worker id; ids, former ids included, are unique over the roster."""
    problems: tuple[RosterProblem, ...] = ()
    """Rows set aside: they make nobody a leaver."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedRoster:
    """What is remembered of the last roster that passed the gate."""

    digest: str
    as_of: datetime
    workers: int
    open_workers: int
    """Workers without an access end at that time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RosterVerdict:
    """What the gate says of a feed.

    `roster` is None exactly when the feed was refused. Held means: readable, yet nothing may be taken away on its word.
    """

    roster: Roster | None
    refused: tuple[RosterProblem, ...] = ()
    held: tuple[RosterProblem, ...] = ()

    @property
    def accepted(self) -> bool:
        """Say whether the roster may ground actions."""
        return self.roster is not None and not self.refused and not self.held
