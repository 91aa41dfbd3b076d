"""Who works at the simulated company, as it truly is, and the feed that HR writes of it.

The truth is kept apart from everything that the program computes: when somebody's access ends is worked out here by
plain `zoneinfo`, from what the simulation itself decided, and never read back from a roster.
"""

import os
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from tests.feeds import csv_text

ZONES = ("UTC", "Europe/Berlin", "Asia/Tokyo", "America/Los_Angeles")
LONGEST_AGE = timedelta(hours=36)
FUTURE = timedelta(minutes=5)


@dataclass(slots=True, kw_only=True)
class Employment:
    """One record of a person, with the instant at which it truly ends."""

    worker_id: str
    employment_id: str
    rehire_of: str = ""
    kind: str = "employee"
    status: str = "active"
    zone: str = "UTC"
    last_day: date | None = None
    ends_at: datetime | None = None

    def end_now(self, now: datetime) -> None:
        """End at once, by an instant."""
        self.ends_at, self.status, self.last_day = now, "terminated", None

    def end_after(self, day: date, zone: str) -> None:
        """End with the end of a day in a zone: the first instant of the day after."""
        midnight = datetime.combine(day + timedelta(days=1), time(0), ZoneInfo(zone))
        self.zone, self.last_day, self.ends_at = zone, day, midnight.astimezone(UTC)

    def reopen(self) -> None:
        """Take an end back."""
        self.ends_at, self.last_day, self.status = None, None, "active"

    def row(self, person: "Person", now: datetime) -> dict[str, str]:
        """Return the line that HR writes of it."""
        ended = self.ends_at is not None and self.ends_at <= now
        status = "terminated" if ended else "notice" if self.ends_at is not None else self.status
        dated = {} if self.last_day is None else {"last_day_of_work": self.last_day.isoformat()}
        if self.last_day is None and self.ends_at is not None:
            dated = {"termination_instant": self.ends_at.isoformat()}
        return {
            "worker_id": self.worker_id,
            "employment_id": self.employment_id,
            "rehire_of_employment_id": self.rehire_of,
            "worker_type": self.kind,
            "status": status,
            "legal_name": person.name,
            "work_email": person.email,
            "alternate_emails": ";".join(person.former_emails),
            "work_timezone": self.zone,
            **dated,
        }


@dataclass(slots=True, kw_only=True)
class Person:
    """A human, whatever records HR keeps of them."""

    number: int
    name: str
    email: str
    records: list[Employment]
    former_emails: list[str] = field(default_factory=list)
    listed: bool = True
    """HR's export holds them; false for a row that went missing, which says nothing about anybody."""

    def left(self, now: datetime) -> bool:
        """Say whether every record has truly ended."""
        return all(one.ends_at is not None and one.ends_at <= now for one in self.records)

    @property
    def emails(self) -> frozenset[str]:
        return frozenset((self.email, *self.former_emails))

    @property
    def last(self) -> Employment:
        return self.records[-1]


@dataclass(frozen=True, slots=True)
class Known:
    """What HR has told of a person by a feed: everything that anybody outside may act on."""

    ends: tuple[datetime | None, ...]
    emails: frozenset[str]

    def left(self, now: datetime) -> bool:
        """Say whether every record that was told of has ended."""
        return all(end is not None and end <= now for end in self.ends)


class HumanResources:
    """Keeps the people and writes the feed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.people: dict[int, Person] = {}
        self.told: dict[int, Known] = {}
        self._holders: dict[str, set[int]] = {}
        self.trustworthy = False
        """The feed that lies there now is whole; a damaged or partial one may ground no act at all."""
        self.as_of = datetime.min.replace(tzinfo=UTC)

    def hire(self, number: int, *, email: str | None = None, kind: str = "employee") -> Person:
        """Add a person with one open record."""
        record = Employment(worker_id=f"W{number:05d}", employment_id=f"J{number:05d}-1", kind=kind)
        person = Person(
            number=number, name=f"Person {number}", email=email or f"p{number}@example.com", records=[record]
        )
        self.people[number] = person
        return person

    def rehire(self, person: Person, *, new_id: bool) -> None:
        """Open another record, under the same worker id or under a new one that HR links to the last."""
        count = len(person.records) + 1
        worker_id = f"W{person.number:05d}-{count}" if new_id else person.last.worker_id
        person.records.append(
            Employment(
                worker_id=worker_id,
                employment_id=f"J{person.number:05d}-{count}",
                rehire_of=person.last.employment_id,
            )
        )

    def publish(self, now: datetime) -> None:
        """Write everybody who is listed, whole and fresh."""
        self._write(csv_text(self._rows(now)), now)
        self.trustworthy = True
        listed = [one for one in self.people.values() if one.listed]
        self.told = {one.number: Known(tuple(r.ends_at for r in one.records), one.emails) for one in listed}
        self._holders = defaultdict(set)
        for number, known in self.told.items():
            for address in known.emails:
                self._holders[address].add(number)

    def publish_damaged(self, damage: str, now: datetime) -> None:
        """Write a feed that nobody may act upon."""
        rows = self._rows(now)
        text = csv_text(rows)
        if damage == "stale":
            self._write(text, now - LONGEST_AGE - timedelta(hours=1))
        elif damage == "future":
            self._write(text, now + timedelta(hours=2))
        elif damage == "shrunken":
            self._write(csv_text(rows[: len(rows) // 2]), now)
        elif damage == "empty":
            self._write(csv_text([]), now)
        elif damage == "no header":
            self._write(text.split("\n", 1)[1], now)
        elif damage == "everybody left":
            everybody = [{**row, "status": "terminated", "termination_instant": now.isoformat()} for row in rows]
            self._write(csv_text(everybody), now)
        else:
            self._write(text[: len(text) * 2 // 3].replace(",", ";", 40), now)
        self.trustworthy = False

    def may_ground(self, now: datetime) -> bool:
        """Say whether the feed as it lies there may ground an act without a human's word."""
        return self.trustworthy and now - LONGEST_AGE <= self.as_of <= now + FUTURE

    def known_left(self, number: int, now: datetime) -> bool:
        """Say whether the feed told that somebody has left for good."""
        told = self.told.get(number)
        return told is not None and told.left(now)

    def disputed(self, number: int, now: datetime) -> bool:
        """Say whether an address of a leaver is also somebody's who works here: then a human decides."""
        others = {other for address in self.told[number].emails for other in self._holders[address]} - {number}
        return any(not self.told[other].left(now) for other in others)

    def _rows(self, now: datetime) -> list[dict[str, str]]:
        people = (one for one in self.people.values() if one.listed)
        return [record.row(person, now) for person in people for record in person.records]

    def _write(self, text: str, as_of: datetime) -> None:
        fresh = self.path.with_suffix(".new")
        fresh.write_text(text)
        os.utime(fresh, (as_of.timestamp(), as_of.timestamp()))
        fresh.replace(self.path)
        self.as_of = as_of
