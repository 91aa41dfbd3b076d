"""What a cycle looks at: everything, or the principals of a few leavers.

A whole pass reads every provider. A leavers' pass reads live only what is known to belong to the leavers, and asks the
last whole pass about their neighbours; it sees less, so it may do less, and it says so in its record.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Final

from inventory.collection import Source, collect
from inventory.errors import ProviderError
from inventory.model import Principal, PrincipalReading, ProviderName, Snapshot
from inventory.provider import Clock, Interest
from inventory.roster.model import Worker, WorkerId
from reconciler.circumstances import populations
from reconciler.core.guard import Population
from reconciler.core.record import Breadth
from reconciler.core.standing import PrincipalKey, Standing, narrow
from reconciler.core.withholding import claim_own
from reconciler.principal_walk import Seen

READ_SIDE_BY_SIDE: Final = 16
"""Principals that a leavers' pass reads at once, over all providers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What a survey found."""

    breadth: Breadth
    snapshot: Snapshot
    populations: tuple[Population, ...]
    """Of whole providers, however few principals were read."""
    asked: frozenset[PrincipalKey] | None = None
    """Whom the policies are asked about; None for everybody in the snapshot."""
    about: frozenset[WorkerId] | None = None
    """Leavers that a verdict can be given on; None for all."""
    seen: Mapping[PrincipalKey, Seen] = field(default_factory=dict)
    """Principals read just now: whoever acts at once need not read them again first."""
    errors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What a survey is given to read with."""

    sources: Mapping[ProviderName, Source]
    clock: Clock
    interest: Interest
    """Whom to read live."""
    own_names: frozenset[tuple[ProviderName, str]]
    deadline_seconds: float


Survey = Callable[[Ground], Sight]
"""Reads; raises a `ProviderError` only when that hits everything."""


def everything(ground: Ground) -> Sight:
    """Read every provider: the survey of a whole pass."""
    found = collect(ground.sources, ground.interest, ground.clock, deadline_seconds=ground.deadline_seconds)
    return whole_sight(claim_own(found, ground.own_names))


def whole_sight(snapshot: Snapshot) -> Sight:
    """Make the sight of a snapshot of all providers."""
    errors = (
        f"{inventory.provider}/{inventory.scope}: {error}"
        for inventory in snapshot.inventories
        for error in inventory.errors
    )
    return Sight(breadth=Breadth.WHOLE, snapshot=snapshot, populations=populations(snapshot), errors=tuple(errors))


def of_leavers(standing: Standing, workers: Sequence[Worker]) -> Survey:
    """Return the survey that reads live what may be these workers', and nothing else."""
    keys = standing.of(workers)

    def survey(ground: Ground) -> Sight:
        taken_at = ground.clock.now()
        readings, seen, errors = read_again(ground, [standing.principals[key] for key in keys])
        snapshot = narrow(standing, readings, taken_at)
        return Sight(
            breadth=Breadth.LEAVERS,
            snapshot=claim_own(snapshot, ground.own_names),
            # Nothing rests on a scope as it was: no scope counts as whole now.
            populations=tuple(replace(one, complete_scopes=()) for one in standing.populations),
            asked=frozenset(keys),
            about=frozenset(one.worker_id for one in workers),
            seen=seen,
            errors=errors,
        )

    return survey


Readings = Mapping[PrincipalKey, PrincipalReading | None]


def read_again(
    ground: Ground, principals: Sequence[Principal]
) -> tuple[Readings, Mapping[PrincipalKey, Seen], tuple[str, ...]]:
    """Read principals live, side by side; return the readings, when each was begun, and what failed."""
    readings: dict[PrincipalKey, PrincipalReading | None] = {}
    seen: dict[PrincipalKey, Seen] = {}
    errors: list[str] = []

    def read(principal: Principal) -> tuple[Principal, PrincipalReading | ProviderError, float]:
        began = ground.clock.monotonic_seconds()
        try:
            return principal, ground.sources[principal.provider].collector.read_principal(principal), began
        except ProviderError as error:
            return principal, error, began

    with ThreadPoolExecutor(max_workers=READ_SIDE_BY_SIDE, thread_name_prefix="leavers") as pool:
        for principal, found, began in pool.map(read, principals):
            key = (principal.provider, principal.principal_id)
            if isinstance(found, ProviderError):
                readings[key] = None
                errors.append(f"{principal.provider}/{principal.scope}: {type(found).__name__}: {found}")
            else:
                readings[key] = found
                seen[key] = Seen(reading=found, began_seconds=began)
    return readings, seen, tuple(errors)
