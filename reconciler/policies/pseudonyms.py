"""A recording without personal data, on which every policy decides as on the original.

Ids become keyed pseudonyms (HMAC-SHA-256) that sort as the ids did, because a rule may take the first of several.
Names, addresses, labels and free text go. What rules ask for by its value stays: roles, departments, kinds, instants.
"""

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass, replace

from inventory.model import (
    AccessId,
    AccessItem,
    Address,
    Credential,
    Grant,
    Principal,
    PrincipalId,
    ProviderInventory,
    ScopeId,
)
from inventory.roster.model import Roster, Worker, WorkerId
from reconciler.core.memory import Memory, person_name
from reconciler.core.model import Correlation, Waiver
from reconciler.core.withholding import Protection
from reconciler.policies.recording import Recording

_LENGTH = 12
"""Hex digits of a pseudonym that is looked at by people; its rank makes it unique."""


class _Book:
    """The pseudonyms of one kind of id."""

    def __init__(self, kind: str, key: bytes, ids: Iterable[str]) -> None:
        self._names = {
            one: f"{kind}{rank:07d}-{_token(key, kind, one)[:_LENGTH]}" for rank, one in enumerate(sorted(set(ids)), 1)
        }

    def name(self, one: str) -> str:
        return self._names[one]

    def among(self, folded: str) -> list[str]:
        """Return the pseudonyms of ids that are this one but for their letter case."""
        return [name for one, name in self._names.items() if one.casefold() == folded]


def _token(key: bytes, kind: str, text: str) -> str:
    return hmac.new(key, f"{kind}\0{text}".encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pseudonyms:
    """The pseudonyms of everything in one recording."""

    key: bytes
    workers: _Book
    principals: _Book
    items: _Book
    scopes: _Book

    def text(self, value: str) -> str:
        """Return a token for a text that is only compared; nothing stays nothing."""
        return _token(self.key, "text", value)[: 2 * _LENGTH] if value else ""

    def worker(self, one: WorkerId) -> WorkerId:
        """Return the pseudonym of a worker."""
        return WorkerId(self.workers.name(one))

    def principal(self, one: PrincipalId) -> PrincipalId:
        """Return the pseudonym of a principal."""
        return PrincipalId(self.principals.name(one))

    def item(self, one: AccessId) -> AccessId:
        """Return the pseudonym of an access item."""
        return AccessId(self.items.name(one))

    def scope(self, one: ScopeId) -> ScopeId:
        """Return the pseudonym of a scope."""
        return ScopeId(self.scopes.name(one))


def pseudonyms(recording: Recording, key: bytes) -> Pseudonyms:
    """Return the pseudonyms of a recording under a key; the same key gives the same tokens for the same ids."""
    snapshot, waivers = recording.snapshot, recording.waivers
    principals = [one.principal_id for one in snapshot.principals()]
    principals += [own for one in snapshot.inventories for own in one.own_principals]
    principals += [one.principal_id for one in recording.touched]
    principals += [one.principal_id for one in recording.correlations]
    items = [one.access_id for one in snapshot.items()]
    items += [one.access_id for one in waivers if one.access_id]
    return Pseudonyms(
        key=key,
        workers=_Book("w", key, _worker_ids(recording)),
        principals=_Book("p", key, (*principals, *(one.principal_id for one in waivers if one.principal_id))),
        items=_Book("a", key, items),
        scopes=_Book("s", key, (one.scope for one in snapshot.inventories)),
    )


def _worker_ids(recording: Recording) -> set[str]:
    memory = recording.memory
    found: set[str] = {worker_id for _, worker_id in (*memory.keys, *memory.persons)} | recording.protection.workers
    for worker in recording.roster.workers:
        found |= {worker.worker_id, *worker.former_ids, *worker.possible_rehire_of}
        found |= {worker.manager_id} if worker.manager_id else set()
    for one in recording.correlations:
        found |= {match.worker_id for match in one.candidates} | ({one.worker_id} if one.worker_id else set())
    return found | {one.worker_id for one in recording.waivers if one.worker_id}


def pseudonymise(recording: Recording, names: Pseudonyms) -> Recording:
    """Return the recording under pseudonyms."""
    inventories = tuple(_inventory(one, names) for one in recording.snapshot.inventories)
    return replace(
        recording,
        pseudonymised=True,
        snapshot=replace(recording.snapshot, inventories=inventories),
        roster=_roster(recording.roster, names),
        correlations=tuple(_correlation(one, names) for one in recording.correlations),
        memory=_memory(recording, names),
        waivers=tuple(_waiver(one, names) for one in recording.waivers),
        protection=_protection(recording.protection, names),
        touched=tuple(replace(one, principal_id=names.principal(one.principal_id)) for one in recording.touched),
    )


def _inventory(inventory: ProviderInventory, names: Pseudonyms) -> ProviderInventory:
    return replace(
        inventory,
        scope=names.scope(inventory.scope),
        principals=tuple(_principal(one, names) for one in inventory.principals),
        items=tuple(_item(one, names) for one in inventory.items),
        coverage=tuple(replace(one, reason="") for one in inventory.coverage),
        own_principals=tuple(names.principal(one) for one in inventory.own_principals),
        errors=(),
    )


def _principal(principal: Principal, names: Pseudonyms) -> Principal:
    return Principal(
        provider=principal.provider,
        scope=names.scope(principal.scope),
        principal_id=names.principal(principal.principal_id),
        kind=principal.kind,
        address=_address(principal.address, names),
        login_names=tuple(names.text(one.casefold()) for one in principal.login_names),
        enabled=principal.enabled,
        privileged=principal.privileged,
        created_at=principal.created_at,
        last_used_at=principal.last_used_at,
        read=principal.read,
    )


def _address(address: Address, names: Pseudonyms) -> Address:
    return tuple((part, names.text(value)) for part, value in address)


def _item(item: AccessItem, names: Pseudonyms) -> AccessItem:
    moved = replace(
        item,
        scope=names.scope(item.scope),
        principal_id=names.principal(item.principal_id),
        access_id=names.item(item.access_id),
        address=_address(item.address, names),
    )
    if isinstance(moved, Credential):
        return replace(moved, label="", fingerprint=names.text(moved.fingerprint))
    if isinstance(moved, Grant):
        return replace(moved, resource=names.text(moved.resource), via=names.text(moved.via), revision="")
    return moved


def _roster(roster: Roster, names: Pseudonyms) -> Roster:
    workers = tuple(_worker(one, names) for one in roster.workers)
    return replace(roster, source="recorded", workers=workers, problems=())


def _worker(worker: Worker, names: Pseudonyms) -> Worker:
    return replace(
        worker,
        worker_id=names.worker(worker.worker_id),
        former_ids=tuple(names.worker(one) for one in worker.former_ids),
        display_name="",
        emails=(),
        shared_emails=(),
        usernames=(),
        manager_id=names.worker(worker.manager_id) if worker.manager_id else None,
        possible_rehire_of=tuple(names.worker(one) for one in worker.possible_rehire_of),
    )


def _correlation(one: Correlation, names: Pseudonyms) -> Correlation:
    return replace(
        one,
        principal_id=names.principal(one.principal_id),
        worker_id=names.worker(one.worker_id) if one.worker_id else None,
        candidates=tuple(replace(match, worker_id=names.worker(match.worker_id)) for match in one.candidates),
    )


def _memory(recording: Recording, names: Pseudonyms) -> Memory:
    """Return what is remembered of the principals that are here, under their new names."""
    renamed = {person_name(one): person_name(_principal(one, names)) for one in recording.snapshot.principals()}
    persons = recording.memory.persons
    return Memory(
        keys=frozenset((names.text(print_), names.worker(worker)) for print_, worker in recording.memory.keys),
        persons=frozenset((renamed[name], names.worker(worker)) for name, worker in persons if name in renamed),
    )


def _waiver(waiver: Waiver, names: Pseudonyms) -> Waiver:
    return replace(
        waiver,
        principal_id=names.principal(waiver.principal_id) if waiver.principal_id else None,
        access_id=names.item(waiver.access_id) if waiver.access_id else None,
        worker_id=names.worker(waiver.worker_id) if waiver.worker_id else None,
        reason="",
        owner="",
        approved_by="",
    )


def _protection(protection: Protection, names: Pseudonyms) -> Protection:
    """Return whom the operator protects: by id or by login name, whatever the letter case."""
    principals = {
        (provider, moved)
        for provider, name in protection.principals
        for moved in (names.text(name.casefold()), *names.principals.among(name.casefold()))
    }
    workers = frozenset(names.workers.name(one) for one in protection.workers)
    return Protection(principals=frozenset(principals), workers=workers)
