"""The sample company: who works there, what HR exports of them, and what stands in its systems.

Everything is made up. Dates are relative to the instant that is handed in, so that the stories are always fresh.
"""

import base64
import csv
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

DOMAIN = "acme.example"
COLUMNS = {
    "worker_id": "Employee ID",
    "employment_id": "Employment ID",
    "rehire_of_employment_id": "Rehire Of",
    "worker_type": "Worker Type",
    "status": "Status",
    "legal_name": "Legal Name",
    "work_email": "Work Email",
    "usernames": "User Names",
    "manager_worker_id": "Manager ID",
    "department": "Department",
    "work_timezone": "Time Zone",
    "start_date": "Start Date",
    "last_day_of_work": "Last Day of Work",
    "contract_end_date": "Contract End",
}
"""How HR's export calls the roster's columns."""

COLLEAGUES = (
    "Ada Moreau", "Bilal Haddad", "Carmen Ortiz", "David Olsen", "Elif Demir", "Femi Adeyemi", "Greta Lindqvist",
    "Hugo Almeida", "Ines Ferreira", "Jonas Weber", "Katya Morozova", "Liam Byrne", "Mina Park", "Nils Berg",
    "Olga Petrenko", "Pavel Dvorak", "Qing Zhao", "Rosa Bianchi", "Samir Patel", "Tara Singh", "Uma Krishnan",
    "Viktor Nagy", "Wanda Kowalska", "Xavier Dubois", "Yara Mansour", "Zoe Papadakis", "Aaron Blake", "Bea Novotna",
    "Cyrus Amini", "Dora Szabo",
)  # fmt: skip
"""People without a story: they must be left exactly as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """One person of the sample company."""

    worker_id: str
    name: str
    story: str = ""
    """Why this person is in the sample, or empty for an ordinary colleague."""
    department: str = "Engineering"
    admin: bool = False

    @property
    def username(self) -> str:
        """Return the login name: first letter and family name."""
        first, _, last = self.name.lower().partition(" ")
        return f"{first[0]}{last}".replace(" ", "").replace("'", "")

    @property
    def email(self) -> str:
        """Return the work e-mail."""
        return f"{self.name.lower().replace(' ', '.')}@{DOMAIN}"


LONG_GONE = Person(
    worker_id="E1003", name="Lena Hofmann", story="left weeks ago, access still alive everywhere", admin=True
)
TOKYO = Person(worker_id="E1007", name="Kenji Sato", story="last day in Asia/Tokyo has just ended")
CONTRACTOR = Person(worker_id="C2001", name="Dana Whitfield", story="contractor past the end date; HR never closed it")
OWNER = Person(worker_id="E1011", name="Omar Farouk", story="left; owns a shared key and is a group's last member")
REHIRED = Person(worker_id="E1015", name="Priya Nair", story="left, and came back: two records, one open")
TWICE = Person(worker_id="E1018", name="Tomas Novak", story="contractor turned employee: in HR twice, one record open")
NAMESAKE = Person(worker_id="E1020", name="Alex Kim", story="left; two principals carry the name and nothing else")
CONFUSABLE = Person(worker_id="E1023", name="Lena Hoffmann", story="works here; one letter away from somebody who left")

LEAVERS = (LONG_GONE, TOKYO, CONTRACTOR, OWNER, NAMESAKE)
STAYERS = (REHIRED, TWICE, CONFUSABLE)
_ADMINS = 3
"""So many ordinary colleagues administer AWS: enough remain when an administrator leaves."""
ORDINARY = tuple(
    Person(worker_id=f"E{1100 + number}", name=name, admin=number < _ADMINS) for number, name in enumerate(COLLEAGUES)
)
EVERYBODY = (*LEAVERS, *STAYERS, *ORDINARY)


def write_roster(path: Path, now: datetime) -> None:
    """Write the roster as HR exports it: UTF-8, comma separated, one row an employment."""
    with path.open("w", encoding="utf-8", newline="") as sink:
        writer = csv.DictWriter(sink, fieldnames=list(COLUMNS.values()))
        writer.writeheader()
        for row in _rows(now):
            writer.writerow({COLUMNS[column]: value for column, value in row.items()})


def _rows(now: datetime) -> Iterable[dict[str, str]]:
    def day(days_ago: int, zone: str = "UTC") -> str:
        return (now.astimezone(ZoneInfo(zone)) - timedelta(days=days_ago)).date().isoformat()

    yield _row(LONG_GONE, status="Terminated", last_day_of_work=day(21))
    yield _row(TOKYO, status="Notice", last_day_of_work=day(1, "Asia/Tokyo"), work_timezone="Asia/Tokyo")
    yield _row(CONTRACTOR, worker_type="Contractor", status="Active", contract_end_date=day(6))
    yield _row(OWNER, status="Terminated", last_day_of_work=day(4))
    yield _row(NAMESAKE, status="Terminated", last_day_of_work=day(9))
    yield _row(REHIRED, status="Terminated", last_day_of_work=day(200), employment_id="EMP-1015-1")
    yield _row(REHIRED, status="Active", employment_id="EMP-1015-2", rehire_of_employment_id="EMP-1015-1")
    yield _row(
        TWICE,
        worker_type="Contractor",
        status="Terminated",
        contract_end_date=day(30),
        employment_id="EMP-1018-1",
    )
    yield _row(TWICE, status="Active", employment_id="EMP-1018-2")
    yield _row(CONFUSABLE)
    for person in ORDINARY:
        yield _row(person)


def _row(person: Person, **changes: str) -> dict[str, str]:
    return {
        "worker_id": person.worker_id,
        "employment_id": f"EMP-{person.worker_id}",
        "worker_type": "Employee",
        "status": "Active",
        "legal_name": person.name,
        "work_email": person.email,
        "usernames": person.username,
        "manager_worker_id": ORDINARY[0].worker_id if person is not ORDINARY[0] else "",
        "department": person.department,
        "work_timezone": "Europe/Berlin",
        "start_date": "2021-04-01",
        **changes,
    }


def ssh_key(seed: str) -> str:
    """Return a well-formed Ed25519 public key that nobody holds the private half of."""
    kind = b"ssh-ed25519"
    body = hashlib.sha256(seed.encode()).digest()
    blob = len(kind).to_bytes(4, "big") + kind + len(body).to_bytes(4, "big") + body
    return f"ssh-ed25519 {base64.b64encode(blob).decode()} {seed}"
