"""Two made-up workers who are asked about in every cycle, before anybody real is.

The engine must ask to take the key of one who has left, for a while or for good, and must not touch the one who stays.
That proves that the policies in force are policies, which no status page and no digest does.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

from inventory.model import (
    AccessId,
    ArtefactKind,
    Credential,
    Principal,
    PrincipalId,
    PrincipalKind,
    PrincipalRead,
    ProviderInventory,
    ProviderName,
    ScopeId,
    Snapshot,
)
from inventory.roster.model import EmploymentStatus, Roster, Worker, WorkerId, WorkerKind
from reconciler.core.canonical import Json
from reconciler.core.document import EvaluationWorld, Unit, units, worker_document
from reconciler.core.errors import PolicyError
from reconciler.core.model import Correlation, CorrelationState, Effect
from reconciler.core.schemas import FindingDocument

LEFT = WorkerId("canary:left")
STAYS = WorkerId("canary:stays")
_PROVIDER = ProviderName("canary")
_SCOPE = ScopeId("canary")


def _worker(worker_id: WorkerId, end: datetime | None) -> Worker:
    return Worker(
        worker_id=worker_id,
        status=EmploymentStatus.ACTIVE if end is None else EmploymentStatus.TERMINATED,
        kind=WorkerKind.EMPLOYEE,
        access_end_at=end,
        access_end_rule="" if end is None else "canary",
    )


def canary_workers(roster: Roster, now: datetime) -> dict[str, Json]:
    """Return the documents of the two workers, to stand beside the real ones in `data.roster.workers`.

    They are the same all day, so that a roster that has not changed need not be told to the engine again. Raises
    `PolicyError` when the roster itself uses one of their ids.
    """
    known = {worker.worker_id for worker in roster.workers}
    for reserved in (LEFT, STAYS):
        if reserved in known:
            msg = f"the roster uses the reserved worker id {reserved}"
            raise PolicyError(msg, advice="give this worker another id in the HR export")
    ended = (now - timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return {LEFT: worker_document(_worker(LEFT, ended)), STAYS: worker_document(_worker(STAYS, None))}


def canary_units(world: EvaluationWorld) -> tuple[Unit, ...]:
    """Return one unit for each of the two: a person with one enabled access key, used an hour ago."""
    owners = (LEFT, STAYS)
    inventory = ProviderInventory(
        provider=_PROVIDER,
        provider_type="canary",
        scope=_SCOPE,
        started_at=world.now,
        finished_at=world.now,
        principals=tuple(_principal(owner, world.now) for owner in owners),
        items=tuple(_key(owner, world.now) for owner in owners),
        coverage=(),
    )
    roster = Roster(
        source=world.roster.source,
        as_of=world.roster.as_of,
        fetched_at=world.roster.fetched_at,
        digest=world.roster.digest,
        rows=len(owners),
        workers=tuple(_worker(owner, None) for owner in owners),
    )
    made_up = EvaluationWorld(
        cycle_id=world.cycle_id,
        now=world.now,
        snapshot=Snapshot(taken_at=world.now, inventories=(inventory,)),
        correlations=tuple(_correlation(owner) for owner in owners),
        roster=roster,
        policies=world.policies,
        waivers=(),
    )
    return tuple(unit for unit in units(made_up) if isinstance(unit, Unit))


def _principal(owner: WorkerId, now: datetime) -> Principal:
    return Principal(
        provider=_PROVIDER,
        scope=_SCOPE,
        principal_id=PrincipalId(owner),
        kind=PrincipalKind.HUMAN,
        address=(),
        enabled=True,
        created_at=now - timedelta(days=30),
        read=PrincipalRead(live=True),
    )


def _key(owner: WorkerId, now: datetime) -> Credential:
    return Credential(
        provider=_PROVIDER,
        scope=_SCOPE,
        principal_id=PrincipalId(owner),
        access_id=AccessId(f"{owner}/key"),
        kind=ArtefactKind.ACCESS_KEY,
        address=(),
        enabled=True,
        created_at=now - timedelta(days=30),
        last_used_at=now - timedelta(hours=1),
    )


def _correlation(owner: WorkerId) -> Correlation:
    return Correlation(
        provider=_PROVIDER,
        principal_id=PrincipalId(owner),
        state=CorrelationState.MATCHED,
        worker_id=owner,
        rule="canary",
        confidence=100,
        identity=True,
    )


def check_canaries(found: Mapping[str, tuple[FindingDocument, ...]], asked: tuple[Unit, ...]) -> None:
    """Raise `PolicyError` unless the leaver's key is asked to be taken and the other one's is left alone."""
    strongest = {
        unit.worker_id: max((finding.effect.rank for finding in found[unit.key]), default=Effect.KEEP.rank)
        for unit in asked
    }
    if strongest[LEFT] < Effect.QUARANTINE.rank:
        msg = "no rule asks to take the access key of a made-up worker who has left"
        raise PolicyError(msg, advice="check that the `leaver` rule is loaded and that `opa test` passes")
    if strongest[STAYS] > Effect.REVIEW.rank:
        msg = "a rule asks to take access from a made-up worker who has not left"
        raise PolicyError(msg, advice="run `opa test` on the policies; a rule is too wide")
