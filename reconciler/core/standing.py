"""What the last whole pass saw, laid out so that a few principals can be looked at again among their neighbours.

A leavers' pass reads only the principals of the leavers. Some questions are about others all the same: who else holds
this key, how many administrators does the scope have, how large is the population that a percentage is of. For these
the last whole pass answers, with facts that are marked as not read now: they can hold an act back, never ground one.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from inventory.model import (
    AccessItem,
    ArtefactKind,
    Coverage,
    Credential,
    Extent,
    Grant,
    Principal,
    PrincipalId,
    PrincipalRead,
    PrincipalReading,
    ProviderInventory,
    ProviderName,
    ReadState,
    ScopeId,
    Snapshot,
)
from inventory.roster.model import Worker, WorkerId
from reconciler.core.guard import Population
from reconciler.core.model import Correlation
from reconciler.core.record import Armed
from reconciler.core.withholding import object_names

PrincipalKey = tuple[ProviderName, PrincipalId]
_NOT_NOW = PrincipalRead(live=False)
_COVERED = frozenset({ReadState.COMPLETE, ReadState.EXCLUDED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The last whole pass, laid out for look-ups; holds no access item but keys that somebody else may hold too."""

    sequence: int
    """Of the cycle that read it."""
    scopes: tuple[ProviderInventory, ...]
    """Every scope without its principals and items."""
    populations: tuple[Population, ...]
    principals: Mapping[PrincipalKey, Principal]
    by_worker: Mapping[WorkerId, tuple[PrincipalKey, ...]]
    """Whatever may be a worker's, sure or not."""
    administrators: tuple[PrincipalKey, ...]
    keys: Mapping[Hashable, tuple[Credential, ...]]
    """Credentials by public fingerprint, and one object that several principals hold by what tells that it is one."""
    items: Mapping[PrincipalKey, int]
    """How many access items a principal held."""

    def of(self, workers: Iterable[Worker]) -> tuple[PrincipalKey, ...]:
        """Return the principals that may be these workers', known by today's or by former ids; sorted."""
        ids = {one for worker in workers for one in (worker.worker_id, *worker.former_ids)}
        return tuple(sorted({key for one in ids for key in self.by_worker.get(one, ())}))


def standing_of(
    snapshot: Snapshot, correlations: Iterable[Correlation], populations: tuple[Population, ...], sequence: int
) -> Standing:
    """Lay a whole pass out for later look-ups."""
    listed = Counter((one.provider, one.principal_id) for one in snapshot.principals())
    by_worker: dict[WorkerId, set[PrincipalKey]] = defaultdict(set)
    for correlation in correlations:
        key = (correlation.provider, correlation.principal_id)
        if listed[key] == 1:  # of one listed twice nobody knows which an act would meet: left to whole passes
            for match in correlation.candidates:
                by_worker[match.worker_id].add(key)
    keys: dict[Hashable, list[Credential]] = defaultdict(list)
    for item in snapshot.items():
        if isinstance(item, Credential):
            for name in _names(item):
                keys[name].append(item)
    return Standing(
        sequence=sequence,
        scopes=tuple(replace(one, principals=(), items=()) for one in snapshot.inventories),
        populations=populations,
        principals={(one.provider, one.principal_id): one for one in snapshot.principals()},
        by_worker={worker_id: tuple(sorted(found)) for worker_id, found in by_worker.items()},
        administrators=tuple((one.provider, one.principal_id) for one in snapshot.principals() if one.privileged),
        keys={name: tuple(held) for name, held in keys.items() if isinstance(name, str) or len(held) > 1},
        items=Counter((item.provider, item.principal_id) for item in snapshot.items()),
    )


def _names(item: Credential) -> tuple[Hashable, ...]:
    return (*object_names(item), item.fingerprint) if item.fingerprint else object_names(item)


def narrow(
    standing: Standing, readings: Mapping[PrincipalKey, PrincipalReading | None], taken_at: datetime
) -> Snapshot:
    """Return the snapshot of a leavers' pass: what was read now, and its neighbours as they last were.

    A reading of None stands for a principal that could not be read: it is kept, and nothing can be done to it. No
    scope is complete: whatever rests on what was not seen is held back.
    """
    fresh = [reading for reading in readings.values() if reading is not None]
    items = [item for reading in fresh for item in reading.items]
    beside = _neighbours(standing, items, readings)
    principals = [reading.principal for reading in fresh if reading.principal is not None]
    principals += [replace(standing.principals[key], read=_NOT_NOW) for key in _not_read(readings, standing)]
    principals += [replace(standing.principals[key], read=_NOT_NOW) for key in beside]
    held = [*items, *(replace(item, live=False) for found in beside.values() for item in found)]
    touched = {(one.provider, one.scope) for one in principals}
    return Snapshot(
        taken_at=taken_at,
        inventories=tuple(
            replace(
                scope,
                started_at=taken_at,
                finished_at=taken_at,
                api_calls=0,
                errors=(),
                principals=tuple(one for one in principals if (one.provider, one.scope) == place),
                items=tuple(item for item in held if (item.provider, item.scope) == place),
                coverage=_coverage(scope, standing.sequence, fresh),
            )
            for scope in standing.scopes
            if (place := (scope.provider, scope.scope)) in touched
        ),
    )


def with_readings(snapshot: Snapshot, readings: Mapping[PrincipalKey, PrincipalReading | None]) -> Snapshot:
    """Return a snapshot with some principals as they were read later.

    Who does not exist any more is left out; a reading of None makes the principal one that was not read. What could not
    be read again is no longer covered: a scope is whole only when its last readings were.
    """
    if not readings:
        return snapshot
    return replace(snapshot, inventories=tuple(_caught_up(one, readings) for one in snapshot.inventories))


def _caught_up(
    inventory: ProviderInventory, readings: Mapping[PrincipalKey, PrincipalReading | None]
) -> ProviderInventory:
    principals: list[Principal] = []
    items = [item for item in inventory.items if readings.get((item.provider, item.principal_id)) is None]
    used = {item.access_id: item.last_used_at for item in inventory.items if not isinstance(item, Grant)}
    for principal in inventory.principals:
        key = (principal.provider, principal.principal_id)
        reading = readings.get(key)
        if key not in readings:
            principals.append(principal)
        elif reading is None:
            principals.append(replace(principal, read=_NOT_NOW))
        elif reading.principal is not None:
            # A read of one principal does not tell when it and its credentials were last used.
            last_used_at = reading.principal.last_used_at or principal.last_used_at
            principals.append(replace(reading.principal, last_used_at=last_used_at))
            items.extend(_dated(item, used.get(item.access_id)) for item in reading.items)
    late = [readings[key] for one in inventory.principals if (key := (one.provider, one.principal_id)) in readings]
    coverage = _uncovered(inventory.coverage, late)
    return replace(inventory, principals=tuple(principals), items=tuple(items), coverage=coverage)


def _uncovered(coverage: Iterable[Coverage], late: Iterable[PrincipalReading | None]) -> tuple[Coverage, ...]:
    """Return the coverage of a scope after some of its principals were read again, each kind at its worst."""
    failed: dict[ArtefactKind, ReadState] = {}
    for reading in late:
        if reading is None:
            failed[ArtefactKind.PRINCIPAL] = ReadState.PARTIAL
        elif reading.principal is not None:
            open_kinds = (one for one in reading.coverage if one.state not in _COVERED)
            failed |= {one.kind: one.state for one in open_kinds if failed.get(one.kind) is not ReadState.PARTIAL}
    known = {entry.kind: entry for entry in coverage}
    late_gaps = {
        kind: Coverage(kind=kind, state=state, reason="could not be read again of everybody")
        for kind, state in failed.items()
        if kind not in known or known[kind].state is ReadState.COMPLETE
    }
    return tuple((known | late_gaps).values())


def _dated(item: AccessItem, last_used_at: datetime | None) -> AccessItem:
    if isinstance(item, Grant) or item.last_used_at is not None:
        return item
    return replace(item, last_used_at=last_used_at)


def _not_read(readings: Mapping[PrincipalKey, PrincipalReading | None], standing: Standing) -> list[PrincipalKey]:
    return [key for key, reading in readings.items() if reading is None and key in standing.principals]


def _neighbours(
    standing: Standing, items: Iterable[AccessItem], readings: Mapping[PrincipalKey, PrincipalReading | None]
) -> Mapping[PrincipalKey, list[Credential]]:
    """Return the other principals that a decision on these items has to know of, each with the keys it shares."""
    beside: dict[PrincipalKey, list[Credential]] = {key: [] for key in standing.administrators if key not in readings}
    names = [name for item in items if isinstance(item, Credential) for name in _names(item)]
    for held in dict.fromkeys(held for name in names for held in standing.keys.get(name, ())):
        key = (held.provider, held.principal_id)
        if key not in readings and key in standing.principals:
            beside.setdefault(key, []).append(held)
    return beside


def _coverage(scope: ProviderInventory, sequence: int, fresh: Iterable[PrincipalReading]) -> tuple[Coverage, ...]:
    """Say of every kind that it was read of the leavers only, and of the scope that it was not read whole."""
    here = [one for one in fresh if one.principal is not None and _at(one.principal) == (scope.provider, scope.scope)]
    return tuple(_covered(entry, sequence, here) for entry in scope.coverage)


def _covered(entry: Coverage, sequence: int, here: list[PrincipalReading]) -> Coverage:
    if entry.kind is ArtefactKind.PRINCIPAL:
        reason = f"only principals of leavers were read, as cycle {sequence} knew them"
        return Coverage(kind=entry.kind, state=ReadState.PARTIAL, count=len(here), reason=reason)
    if entry.state is ReadState.EXCLUDED:
        return entry
    states = {reading.state_of(entry.kind) for reading in here}
    failed = sorted(states - _COVERED)
    return Coverage(
        kind=entry.kind,
        state=failed[0] if failed else ReadState.COMPLETE,
        count=sum(item.kind is entry.kind for reading in here for item in reading.items),
        extent=Extent.OF_INTEREST,
        reason="could not be read of every leaver" if failed else "",
    )


def _at(principal: Principal) -> tuple[ProviderName, ScopeId]:
    return principal.provider, principal.scope


def armed(workers: Iterable[Worker], standing: Standing, now: datetime) -> tuple[Armed, ...]:
    """Return who leaves after an instant, soonest first, with what the last whole pass knew of them."""
    coming = sorted(
        (one.access_end_at, one.worker_id, one)
        for one in workers
        if one.access_end_at is not None and one.access_end_at > now
    )
    return tuple(_armed(worker, at, standing) for at, _, worker in coming)


def _armed(worker: Worker, at: datetime, standing: Standing) -> Armed:
    keys = standing.of((worker,))
    return Armed(
        worker_id=worker.worker_id,
        access_end_at=at,
        principals=len(keys),
        items=sum(standing.items.get(key, 0) for key in keys),
    )
