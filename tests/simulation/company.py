"""The simulated company: people, their accounts at several vendors, waivers, policies, and the truth about it all."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from inventory.model import (
    AccessId,
    AccessItem,
    ArtefactKind,
    Credential,
    Grant,
    PrincipalId,
    PrincipalKind,
    ProviderName,
)
from reconciler.core.canonical import dumps
from reconciler.core.metadata import policy_digest
from reconciler.core.model import Action, Effect, PolicySet, Waiver
from tests.builders import NOW, credential, grant, principal
from tests.fakes.clock import FakeClock
from tests.simulation.people import HumanResources, Person
from tests.simulation.vendor import OWN, Vendor
from tests.worlds import starter

AWS, SCIM, LDAP = ProviderName("corp-aws"), ProviderName("corp-scim"), ProviderName("corp-ldap")
LINKS = {AWS: "employee_ids", LDAP: "external_ids", SCIM: "emails"}
"""By what a vendor's accounts are tied to people: the first two for sure, an address only well enough to suspend."""
BREAK_GLASS, SERVICE, GHOST, PROTECTED = (
    PrincipalId("break-glass"),
    PrincipalId("backup-robot"),
    PrincipalId("ghost"),
    PrincipalId("founder"),
)
SPECIAL = frozenset({OWN, BREAK_GLASS, SERVICE, GHOST, PROTECTED})
ADMINS = 3
STARTER = starter()


def strict_policies() -> PolicySet:
    """Return another policy revision: it suspends the accounts that nobody owns, which rests on a whole scope."""
    data = json.loads(STARTER.data)
    data["access"]["config"]["orphan"]["effect"] = "quarantine"
    text = dumps(data).decode()
    return replace(STARTER, data=text, digest=policy_digest(STARTER.modules, text))


STRICT = strict_policies()


class Company:
    """Everything that outlives a process of the program, except its own state folder."""

    def __init__(self, folder: Path, people: int = 12, *, latency_seconds: float = 0.06, team: int = 4) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.clock = FakeClock(NOW, remember=False)
        self.hr = HumanResources(folder / "roster.csv")
        self.vendors: dict[ProviderName, Vendor] = {}
        self.waivers: list[Waiver] = []
        self.policies = STARTER
        self._latency = latency_seconds
        self._teams = max(1, people // team)
        self._owners: dict[tuple[ProviderName, PrincipalId], int] = {}
        for number in range(people):
            self.hr.hire(number)
        for name in (AWS, SCIM):
            self.open(name)
        self.publish()

    @property
    def state(self) -> Path:
        """Return the program's own folder."""
        return self.folder / "state"

    @property
    def journal_path(self) -> Path:
        return self.state / "journal.sqlite3"

    def open(self, name: ProviderName) -> Vendor:
        """Begin to use a vendor: everybody gets an account there."""
        vendor = Vendor(
            name,
            (),
            (),
            clock=self.clock,
            journal=self.journal_path,
            objections=self.objections,
            fed=lambda: self.hr.may_ground(self.clock.now()),
            latency_seconds=self._latency,
        )
        self.vendors[name] = vendor
        for person in self.hr.people.values():
            self.equip(vendor, person)
        if name == AWS:
            self._special(vendor)
        return vendor

    def equip(self, vendor: Vendor, person: Person) -> None:
        """Give a person an account, a key where there are keys, and a team."""
        name = PrincipalId(f"u{person.number}")
        tie = {
            "employee_ids": (person.records[0].worker_id,),
            "external_ids": (person.records[0].worker_id,),
            "emails": (person.email,),
        }[LINKS[vendor.name]]
        admin = vendor.name == AWS and 1 <= person.number <= ADMINS
        owner = principal(name, provider=vendor.name, privileged=admin, **{LINKS[vendor.name]: tie})
        items: list[AccessItem] = [credential(name, ArtefactKind.ACCOUNT, provider=vendor.name)]
        if vendor.name != LDAP:
            items.append(credential(name, provider=vendor.name))
        items.append(grant(name, f"team-{person.number % self._teams}", provider=vendor.name))
        vendor.add(owner, items)
        self._owners[vendor.name, name] = person.number

    def publish(self) -> None:
        """Let HR write a whole, fresh feed."""
        self.hr.publish(self.clock.now())

    def join(self, *, email: str | None = None, kind: str = "employee") -> Person:
        """Hire somebody new, with accounts everywhere."""
        person = self.hr.hire(len(self.hr.people), email=email, kind=kind)
        for vendor in self.vendors.values():
            self.equip(vendor, person)
        return person

    def move(self, person: Person) -> None:
        """Move somebody to another team: they get a membership more."""
        for vendor in self.vendors.values():
            name = PrincipalId(f"u{person.number}")
            vendor.add(
                vendor.principals[name],
                [grant(name, f"team-{(person.number + 1) % self._teams}", provider=vendor.name)],
            )

    def rename(self, person: Person) -> None:
        """Give somebody another name and address; the old address stays theirs."""
        person.former_emails.append(person.email)
        person.name, person.email = f"Renamed {person.number}", f"n{len(person.former_emails)}.{person.email}"

    def waive(self, person: Person, hours: int) -> None:
        """Let a named human accept that somebody keeps their access for a while."""
        self.waivers.append(
            Waiver(
                waiver_id=f"wv-{len(self.waivers)}",
                rule="leaver",
                worker_id=None,
                provider=AWS,
                principal_id=PrincipalId(f"u{person.number}"),
                reason="hand-over",
                owner="team lead",
                approved_by="security",
                expires_at=self.clock.now() + timedelta(hours=hours),
            )
        )

    def waived(self, provider: ProviderName, principal_id: PrincipalId, rule: str = "leaver") -> bool:
        """Say whether a waiver excuses a principal from a rule now; it says nothing of any other rule."""
        now = self.clock.now()
        return any(
            (one.provider, one.principal_id, one.rule) == (provider, principal_id, rule) and now < one.expires_at
            for one in self.waivers
        )

    def objections(self, action: Action) -> frozenset[str]:
        """Say, from the truth alone, what speaks against doing what is about to be done."""
        name = action.principal.principal_id
        number = self._owners.get((action.provider, name))
        found = set()
        if name in SPECIAL - {GHOST}:
            found.add("special")
        if self.waived(action.provider, name, action.rule):
            found.add("waived")
        if action.effect is Effect.REVOKE and LINKS[action.provider] == "emails":
            found.add("unsure")
        if action.rule == "orphan":
            found |= self._against_orphan(action, name, number)
        elif number is None:
            found.add("nobody's")
        else:
            found |= self._against_leaver(number)
        return frozenset(found)

    def _against_orphan(self, action: Action, name: PrincipalId, number: int | None) -> set[str]:
        unowned = name == GHOST or (number is not None and number not in self.hr.told)
        asked = self.policies is STRICT and action.effect is Effect.QUARANTINE
        return (set() if unowned else {"owned"}) | (set() if asked else {"not asked for"})

    def _against_leaver(self, number: int) -> set[str]:
        now, person = self.clock.now(), self.hr.people[number]
        if number not in self.hr.told:
            return set() if person.left(now) else {"absent"}
        found = set() if self.hr.known_left(number, now) else {"works here"}
        return found | ({"disputed"} if self.hr.disputed(number, now) else set())

    def owed(self) -> dict[tuple[ProviderName, AccessId], PrincipalId]:
        """Return what leavers still hold although nothing excuses it: empty when nobody was lost."""
        now = self.clock.now()
        found = {}
        for number in self.hr.told:
            if not self.hr.known_left(number, now) or self.hr.disputed(number, now):
                continue
            for vendor in self.vendors.values():
                name = PrincipalId(f"u{number}")
                if self.waived(vendor.name, name) or self._needed_admin(vendor, name):
                    continue
                found.update({(vendor.name, one.access_id): name for one in vendor.held_by(name) if self._due(one)})
        return found

    def _due(self, item: AccessItem) -> bool:
        if isinstance(item, Grant):
            return LINKS[item.provider] != "emails" and item.holders != 1
        if isinstance(item, Credential) and (item.kind is ArtefactKind.ACCOUNT or LINKS[item.provider] == "emails"):
            return item.enabled is not False
        return True

    def _needed_admin(self, vendor: Vendor, name: PrincipalId) -> bool:
        """Say whether too few administrators would remain, counted plainly: orphans may be about to go with leavers."""
        working = [one for one in vendor.principals.values() if one.privileged and one.enabled is not False]
        staying = [one for one in working if self._stays(self._owners.get((vendor.name, one.principal_id), -1))]
        return name in {one.principal_id for one in working} and len(staying) < 2

    def _stays(self, number: int) -> bool:
        orphan = number not in self.hr.told and self.policies is STRICT
        return not orphan and not self.hr.known_left(number, self.clock.now())

    def _special(self, vendor: Vendor) -> None:
        """Add whom nobody may touch; all of them are tied to the first person hired."""
        first = self.hr.people[0].records[0].worker_id
        kinds = {OWN: PrincipalKind.HUMAN, BREAK_GLASS: PrincipalKind.BREAK_GLASS, SERVICE: PrincipalKind.SERVICE}
        for name in (OWN, BREAK_GLASS, SERVICE, PROTECTED):
            kind = kinds.get(name, PrincipalKind.HUMAN)
            tied = principal(name, provider=vendor.name, kind=kind, employee_ids=(first,))
            vendor.add(tied, self._equipment(vendor, name))
        vendor.add(principal(GHOST, provider=vendor.name), self._equipment(vendor, GHOST))

    @staticmethod
    def _equipment(vendor: Vendor, name: PrincipalId) -> list[AccessItem]:
        return [
            credential(name, ArtefactKind.ACCOUNT, provider=vendor.name),
            credential(name, provider=vendor.name),
            grant(name, "operators", provider=vendor.name),
        ]

    def state_of_world(self) -> dict[str, bool]:
        """Return every access item that exists, and whether it works."""
        return {
            f"{vendor.name}|{item.access_id}": not isinstance(item, Credential) or item.enabled is not False
            for vendor in self.vendors.values()
            for item in vendor.items.values()
        }
