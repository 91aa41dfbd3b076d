"""What a policy engine is told: the roster and waiver documents, and requests of whole principals.

Every key is always there, with null for unknown: to Rego a missing key is "undefined", and a rule that meets it stays
silent. Ids, kinds, times and counts go in; names and e-mails never do. Instants are RFC 3339 text in UTC with
microseconds; the current instant alone is an integer of nanoseconds.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import ValidationError

from inventory.model import (
    AccessItem,
    ArtefactKind,
    Credential,
    Extent,
    Grant,
    Principal,
    PrincipalId,
    ProviderInventory,
    ProviderName,
    ReadState,
    ScopeId,
    Session,
    Snapshot,
)
from inventory.roster.model import Roster, Worker, WorkerId
from reconciler.core.canonical import Json, digest_of, rfc3339
from reconciler.core.drift import drifted
from reconciler.core.entitlements import Named, holdings, home_mail, named_in
from reconciler.core.errors import PolicyError
from reconciler.core.keys import ItemPlace, keys_elsewhere
from reconciler.core.memory import NOTHING, Memory
from reconciler.core.model import Correlation, CorrelationState, CycleId, PolicySet, Waiver
from reconciler.core.schemas import REQUEST_SCHEMA, UnitDocument

CHUNK_ITEMS = 500
"""Access items that a request holds at most, unless one principal alone has more. Requests of 200 to 1,000 are as fast
as larger ones with a tenth of the memory (docs/policies.md, "Requests")."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationWorld:
    """All that one evaluation looks at."""

    cycle_id: CycleId
    now: datetime
    snapshot: Snapshot
    correlations: tuple[Correlation, ...]
    roster: Roster
    policies: PolicySet
    waivers: tuple[Waiver, ...]
    memory: Memory = NOTHING
    asked: frozenset[tuple[ProviderName, PrincipalId]] | None = None
    """Whom to ask about; None for every principal of the snapshot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A principal ready to be asked about."""

    key: str
    """Names the unit in requests and decisions; maps back to this object and is never taken apart."""
    principal: Principal
    worker_id: WorkerId | None
    items: Mapping[str, AccessItem]
    document: Mapping[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A principal that no honest document can be made of: unknown, neither clean nor to be touched."""

    provider: ProviderName
    principal_id: PrincipalId
    problem: str


def nanoseconds(instant: datetime) -> int:
    """Return an instant as whole nanoseconds since 1970, exactly. Raises ValueError without a zone."""
    if instant.tzinfo is None:
        msg = "an instant without a zone has no nanoseconds"
        raise ValueError(msg)
    since = instant - _EPOCH
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1_000


def roster_document(roster: Roster, only: frozenset[WorkerId] | None = None) -> dict[str, Json]:
    """Return `data.roster`: what rules may know of each worker, by worker id, under the digest of the roster.

    `only` leaves out the workers that no unit of the evaluation leads to; `meta` speaks of the whole roster.
    """
    return {
        "meta": {
            "digest": roster.digest,
            "as_of": rfc3339(roster.as_of),
            "count": len(roster.workers),
            "source": roster.source,
        },
        "workers": {
            worker.worker_id: worker_document(worker)
            for worker in roster.workers
            if only is None or worker.worker_id in only
        },
    }


def workers_named(world: EvaluationWorld) -> frozenset[WorkerId] | None:
    """Return whom rules can reach from the units of a world: workers, candidates, holders of keys, and managers.

    None when everybody is asked about. A rule may follow a worker id that its unit or a worker names, once; it may not
    go through all workers, because a leavers' pass does not hand them out (docs/policies.md).
    """
    if world.asked is None:
        return None
    near = {
        match.worker_id
        for correlation in world.correlations
        if (correlation.provider, correlation.principal_id) in world.asked
        for match in correlation.candidates
    }
    near |= {worker_id for key, was in _moved(world).items() if key in world.asked for worker_id in was}
    near |= {one for (name, who, _), held in _elsewhere(world).items() if (name, who) in world.asked for one in held}
    managers = {one.manager_id for one in world.roster.workers if one.worker_id in near and one.manager_id}
    return frozenset(near | managers)


def worker_document(worker: Worker) -> dict[str, Json]:
    """Return one worker without names and e-mails."""
    return {
        "status": worker.status.value,
        "kind": worker.kind.value,
        "access_end_at": _instant(worker.access_end_at),
        "access_end_rule": worker.access_end_rule or None,
        "manager": worker.manager_id,
        "department": worker.department or None,
        "department_since": _instant(worker.department_since),
        "former_departments": list[Json](worker.former_departments),
        "possible_rehire": bool(worker.possible_rehire_of),
    }


def waivers_document(waivers: Iterable[Waiver], now: datetime) -> dict[str, Json]:
    """Return `data.waivers`: every waiver by id, how many are in force, and the digest of them all.

    Rules do not look at it: waived findings are still found, counted and attested, and held back by the planner.
    """
    known = sorted(waivers, key=lambda waiver: waiver.waiver_id)
    items: dict[str, Json] = {
        waiver.waiver_id: {
            "rule": waiver.rule,
            "provider": waiver.provider,
            "access_id": waiver.access_id,
            "principal_id": waiver.principal_id,
            "worker_id": waiver.worker_id,
            "expires_at": rfc3339(waiver.expires_at),
        }
        for waiver in known
    }
    in_force = sum(now < waiver.expires_at for waiver in known)
    meta: dict[str, Json] = {"digest": digest_of(items), "count": len(known), "in_force": in_force}
    return {"meta": meta, "items": items}


def unit_key(provider: str, scope: str, principal_id: str) -> str:
    """Return the name of a unit in requests; different principals have different names whatever their ids hold."""
    return "|".join(part.replace("%", "%25").replace("|", "%7C") for part in (provider, scope, principal_id))


def _elsewhere(world: EvaluationWorld) -> Mapping[ItemPlace, tuple[WorkerId, ...]]:
    return keys_elsewhere(world.snapshot, world.correlations, world.memory)


def _moved(world: EvaluationWorld) -> Mapping[tuple[ProviderName, PrincipalId], tuple[WorkerId, ...]]:
    return drifted(world.snapshot, world.correlations, world.roster.workers, world.memory)


_Place = tuple[ProviderName, ScopeId, PrincipalId]


def units(world: EvaluationWorld) -> Iterator[Unit | Unreadable]:
    """Yield every principal of the snapshot as a unit, in a stable order, one document at a time.

    Raises `PolicyError` when two correlations speak of one principal.
    """
    correlations = _by_principal(world.correlations)
    workers = {worker.worker_id for worker in world.roster.workers}
    elsewhere, moved = _elsewhere(world), _moved(world)
    named = named_in(world.policies.data)
    held = holdings(world.snapshot, world.correlations, named.conflicting)
    owned: dict[_Place, list[AccessItem]] = {}
    for item in world.snapshot.items():
        owned.setdefault((item.provider, item.scope, item.principal_id), []).append(item)
    seen = Counter((principal.provider, principal.principal_id) for principal in world.snapshot.principals())
    for inventory in sorted(world.snapshot.inventories, key=lambda one: (one.provider, one.scope)):
        for principal in sorted(inventory.principals, key=lambda one: one.principal_id):
            items = owned.pop(_place(principal), [])
            if world.asked is not None and (principal.provider, principal.principal_id) not in world.asked:
                continue
            if seen[principal.provider, principal.principal_id] > 1:
                yield _unreadable(principal, "is listed more than once")
                continue
            key = (principal.provider, principal.principal_id)
            known = _Known(elsewhere, moved.get(key, ()), held.elsewhere(key), named)
            yield _unit(_Subject(inventory, principal, correlations.get(key), known), items, workers)
    for provider, scope, principal_id in sorted(owned):
        problem = f"{provider}: principal {principal_id!r} holds access items in {scope} and is not listed there"
        yield Unreadable(provider=provider, principal_id=principal_id, problem=problem)


@dataclass(frozen=True, slots=True)
class _Subject:
    inventory: ProviderInventory
    principal: Principal
    correlation: Correlation | None
    known: "_Known"


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of a principal from outside of it."""

    keys_elsewhere: Mapping[ItemPlace, tuple[WorkerId, ...]]
    was: tuple[WorkerId, ...]
    held_elsewhere: tuple[str, ...]
    named: Named


def _by_principal(correlations: Iterable[Correlation]) -> dict[tuple[ProviderName, PrincipalId], Correlation]:
    found: dict[tuple[ProviderName, PrincipalId], Correlation] = {}
    for correlation in correlations:
        key = (correlation.provider, correlation.principal_id)
        if key in found:
            msg = f"{correlation.provider}: two correlations speak of principal {correlation.principal_id}"
            raise PolicyError(msg, advice="report this as a defect: correlation gives one answer for each principal")
        found[key] = correlation
    return found


def _place(principal: Principal) -> _Place:
    return (principal.provider, principal.scope, principal.principal_id)


def _unreadable(principal: Principal, problem: str) -> Unreadable:
    return Unreadable(
        provider=principal.provider,
        principal_id=principal.principal_id,
        problem=f"{principal.provider}: principal {principal.principal_id!r} {problem}",
    )


def _unit(subject: _Subject, items: Sequence[AccessItem], workers: set[WorkerId]) -> Unit | Unreadable:
    principal, correlation = subject.principal, subject.correlation
    by_id: dict[str, AccessItem] = {item.access_id: item for item in items}
    problem = _doubt(correlation, workers)
    if len(by_id) != len(items):
        problem = "holds two access items with one id"
    if correlation is None or problem:
        return _unreadable(principal, problem)
    worker_id = correlation.worker_id if correlation.state is CorrelationState.MATCHED else None
    document: dict[str, Json] = {
        "principal": _principal(subject, items),
        "worker_id": worker_id,
        "correlation": {
            "state": correlation.state,
            "rule": correlation.rule or None,
            "confidence": correlation.confidence,
            "identity": correlation.identity,
        },
        "candidates": list[Json](sorted({match.worker_id for match in correlation.candidates})),
        "held_elsewhere": list[Json](subject.known.held_elsewhere),
        "access": {access_id: _access(subject, by_id[access_id]) for access_id in sorted(by_id)},
    }
    key = unit_key(principal.provider, principal.scope, principal.principal_id)
    try:
        UnitDocument.model_validate(document)
        "".join((key, *by_id)).encode()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        return _unreadable(principal, f"has no valid document: {first['loc'][-1]}: {first['msg']}")
    except UnicodeEncodeError:
        return _unreadable(principal, "has an id that is no Unicode text, or holds such an item")
    return Unit(key=key, principal=principal, worker_id=worker_id, items=by_id, document=document)


def _doubt(correlation: Correlation | None, workers: set[WorkerId]) -> str:
    if correlation is None:
        return "was not correlated"
    if correlation.state is CorrelationState.MATCHED and correlation.worker_id not in workers:
        return "is matched to a worker who is not in the roster"
    return ""


def _instant(instant: datetime | None) -> str | None:
    return None if instant is None else rfc3339(instant)


def _second_factor(subject: _Subject, items: Iterable[AccessItem]) -> bool | None:
    """Say whether a second factor is registered. None seen is none only where devices were read of everybody here."""
    devices = [one for one in items if isinstance(one, Credential) and one.kind is ArtefactKind.MFA_DEVICE]
    if any(device.enabled is not False for device in devices):
        return True
    covered = next((one for one in subject.inventory.coverage if one.kind is ArtefactKind.MFA_DEVICE), None)
    read = subject.principal.read
    if (
        covered is None
        or covered.state is not ReadState.COMPLETE
        or ArtefactKind.MFA_DEVICE in (*read.partial, *read.gaps)
    ):
        return None
    return False if covered.extent is Extent.ALL or read.live else None


def _principal(subject: _Subject, items: Iterable[AccessItem]) -> dict[str, Json]:
    principal = subject.principal
    return {
        "provider": principal.provider,
        "provider_type": subject.inventory.provider_type,
        "scope": principal.scope,
        "kind": principal.kind,
        "enabled": principal.enabled,
        "privileged": principal.privileged,
        "created_at": _instant(principal.created_at),
        "last_used_at": _instant(principal.last_used_at),
        "whole": principal.read.whole,
        "mfa": _second_factor(subject, items),
        "home_mail": home_mail(principal, subject.known.named.home_domains),
        "was": list[Json](subject.known.was),
    }


def _access(subject: _Subject, item: AccessItem) -> dict[str, Json]:
    return access_document(
        item, subject.known.keys_elsewhere.get((item.provider, item.principal_id, item.access_id), ())
    )


def access_document(item: AccessItem, key_of: Iterable[WorkerId] = ()) -> dict[str, Json]:
    """Return one access item with the keys of all three types, and which other workers' public key it is."""
    document: dict[str, Json] = {
        "type": "session",
        "kind": item.kind,
        "enabled": None,
        "privileged": None,
        "direct": None,
        "role": None,
        "resource": None,
        "created_at": _instant(item.created_at),
        "last_used_at": None,
        "expires_at": None,
        "shared": None,
        "key_of": list[Json](key_of),
        "holders": None,
        "live": item.live,
    }
    match item:
        case Credential():
            document |= {"type": "credential", "enabled": item.enabled, "shared": item.shared, **_use(item)}
        case Grant():
            document |= {"type": "grant", "privileged": item.privileged, "direct": item.direct}
            document |= {"role": item.role, "resource": item.resource, "holders": item.holders}
        case Session():
            document |= _use(item)
    return document


def _use(item: Credential | Session) -> dict[str, Json]:
    return {"last_used_at": _instant(item.last_used_at), "expires_at": _instant(item.expires_at)}


def batches(ready: Iterable[Unit], limit: int = CHUNK_ITEMS) -> Iterator[tuple[Unit, ...]]:
    """Yield units in groups of at most `limit` access items; a principal is never split, a larger one goes alone."""
    batch: list[Unit] = []
    held = 0
    for unit in ready:
        weight = max(1, len(unit.items))
        if batch and held + weight > limit:
            yield tuple(batch)
            batch, held = [], 0
        batch.append(unit)
        held += weight
    if batch:
        yield tuple(batch)


def request(cycle_id: CycleId, number: str, now: datetime, asked: Iterable[Unit]) -> dict[str, Json]:
    """Return the input of one request; `number` tells it apart from the others of the cycle."""
    return {
        "schema": REQUEST_SCHEMA,
        "cycle_id": cycle_id,
        "request_id": f"{cycle_id}/{number}",
        "now_ns": nanoseconds(now),
        "units": {unit.key: dict(unit.document) for unit in asked},
    }
