"""What can be said of each leaver at the end of a cycle: clean, in violation, or no conclusion.

*Clean* is said only when every configured scope and artefact kind was readable and nothing is left.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from inventory.model import AccessItem, ArtefactKind, Credential, Grant, PrincipalId, ProviderName, ReadState, Snapshot
from inventory.roster.model import Worker, WorkerId
from reconciler.core.drift import drifted
from reconciler.core.keys import keys_elsewhere
from reconciler.core.memory import NOTHING, Memory
from reconciler.core.model import (
    ActionResult,
    Correlation,
    VerificationState,
)
from reconciler.core.record import LeaverState, LeaverVerdict

AMBIGUOUS_PRINCIPAL = "a principal that may be this worker's"
DRIFTED_PRINCIPAL = "a principal that was this worker's and says something else of itself now"
UNLISTED_PRINCIPAL = "access items of a principal that is not listed"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictWorld:
    """All that the verdicts rest on."""

    now: datetime
    workers: tuple[Worker, ...]
    snapshot: Snapshot
    correlations: tuple[Correlation, ...]
    undecided: frozenset[tuple[ProviderName, PrincipalId]] = frozenset()
    memory: Memory = NOTHING
    results: tuple[ActionResult, ...] = ()


def leavers_of(workers: Iterable[Worker], now: datetime) -> tuple[Worker, ...]:
    """Return the workers whose access has ended at an instant, sorted by id."""
    gone = (one for one in workers if one.access_end_at is not None and one.access_end_at <= now)
    return tuple(sorted(gone, key=lambda one: one.worker_id))


def judge_leavers(world: VerdictWorld) -> tuple[LeaverVerdict, ...]:
    """Return one verdict for every leaver."""
    gone = {
        (result.action.provider, result.action.principal.principal_id, result.action.item.access_id)
        for result in world.results
        if result.verification is VerificationState.GONE
    }
    contained = {
        (result.action.provider, result.action.principal.principal_id)
        for result in world.results
        if result.verification is VerificationState.GONE and result.action.item.kind is ArtefactKind.ACCOUNT
    }
    items: dict[tuple[ProviderName, PrincipalId], list[AccessItem]] = defaultdict(list)
    for item in world.snapshot.items():
        if (item.provider, item.principal_id, item.access_id) not in gone and _alive(item):
            items[item.provider, item.principal_id].append(item)
    for key in contained:
        items[key] = [item for item in items[key] if item.kind is not ArtefactKind.ACCOUNT]
    evidence = _by_worker(world)
    copies = keys_elsewhere(world.snapshot, world.correlations, world.memory)
    left = _Left(
        items=items,
        copies=Counter(worker for place, workers in copies.items() if place not in gone for worker in workers),
        gaps=(*_gaps(world.snapshot, excluded=False), *_blind_spots(world)),
        excluded=_gaps(world.snapshot, excluded=True),
    )
    return tuple(
        _judge(worker, world.now, evidence.get(worker.worker_id, _Evidence()), left)
        for worker in leavers_of(world.workers, world.now)
    )


@dataclass(slots=True)
class _Evidence:
    """The principals of one worker, and what is unclear about them."""

    principals: list[tuple[ProviderName, PrincipalId]] = field(default_factory=list)
    unclear: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Left:
    items: Mapping[tuple[ProviderName, PrincipalId], list[AccessItem]]
    copies: Mapping[WorkerId, int]
    """How many copies of a worker's public keys stand on principals of others."""
    gaps: tuple[str, ...]
    excluded: tuple[str, ...]


def _by_worker(world: VerdictWorld) -> Mapping[WorkerId, _Evidence]:
    principals = {(one.provider, one.principal_id): one for one in world.snapshot.principals()}
    evidence: dict[WorkerId, _Evidence] = defaultdict(_Evidence)
    for correlation in world.correlations:
        key = (correlation.provider, correlation.principal_id)
        if correlation.worker_id is None:
            for match in correlation.candidates:
                evidence[match.worker_id].unclear.add(f"{correlation.provider}: {AMBIGUOUS_PRINCIPAL}")
        else:
            known = evidence[correlation.worker_id]
            known.principals.append(key)
            principal = principals.get(key)
            if key in world.undecided:
                known.unclear.add(f"{key[0]}: not decided by the policy engine")
            if principal is None or not principal.read.whole:
                known.unclear.add(f"{key[0]}: a principal was not read whole")
    for (provider, _), was in drifted(world.snapshot, world.correlations, world.workers, world.memory).items():
        for worker_id in was:
            evidence[worker_id].unclear.add(f"{provider}: {DRIFTED_PRINCIPAL}")
    return evidence


def _alive(item: AccessItem) -> bool:
    match item:
        case Credential():
            return item.enabled is not False and item.kind is not ArtefactKind.MFA_DEVICE
        case Grant():
            return item.direct
        case _:
            return True


def _judge(worker: Worker, now: datetime, evidence: _Evidence, left: _Left) -> LeaverVerdict:
    remaining = sum(len(left.items.get(key, ())) for key in evidence.principals) + left.copies.get(worker.worker_id, 0)
    missing = {*left.gaps, *evidence.unclear}
    state = LeaverState.VIOLATION if remaining else LeaverState.CANNOT_CONCLUDE if missing else LeaverState.CLEAN
    return LeaverVerdict(
        worker_id=worker.worker_id,
        state=state,
        access_end_at=worker.access_end_at or now,
        remaining=remaining,
        missing=(*sorted(missing), *left.excluded),
    )


def _gaps(snapshot: Snapshot, *, excluded: bool) -> tuple[str, ...]:
    """Name what could not be read, or what the operator excluded: those stand beside a verdict, not in its way."""
    return tuple(
        sorted(
            f"{inventory.provider}/{inventory.scope}/{entry.kind.value}: {entry.state.value}"
            for inventory in snapshot.inventories
            for entry in inventory.coverage
            if entry.state is not ReadState.COMPLETE and (entry.state is ReadState.EXCLUDED) is excluded
        )
    )


def _blind_spots(world: VerdictWorld) -> tuple[str, ...]:
    """Name what hides behind a picture that shows no gap: no provider, a scope that tells nothing, unlisted owners."""
    inventories = world.snapshot.inventories
    if not inventories:
        return ("no provider was read",)
    silent = {
        f"{inventory.provider}/{inventory.scope}: nothing was read"
        for inventory in inventories
        if all(entry.state is ReadState.EXCLUDED for entry in inventory.coverage)
    }
    correlated = {(one.provider, one.principal_id) for one in world.correlations}
    unlisted = {f"{provider}: {UNLISTED_PRINCIPAL}" for provider, _ in world.undecided - correlated}
    return tuple(sorted(silent | unlisted))
