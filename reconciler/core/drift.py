"""Principals that say something else of themselves than they did: another kind, or another worker.

A tag is written by whoever may write it, perhaps by the person it speaks of. So a person who turns into a service
account, or stops being a worker's, is told: docs/decisions/0007-drifted-principals.md says what follows from it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from inventory.model import PrincipalId, ProviderName, Snapshot
from inventory.roster.model import Worker, WorkerId
from reconciler.core.memory import EXPLICIT, PERSONAL_KINDS, Memory, person_name, seen
from reconciler.core.model import Correlation


def drifted(
    snapshot: Snapshot, correlations: Iterable[Correlation], workers: Iterable[Worker], memory: Memory
) -> Mapping[tuple[ProviderName, PrincipalId], tuple[WorkerId, ...]]:
    """Return the principals that were a worker and are now of a kind that is no person's, or not that worker's.

    With each the workers it was, under their ids of today.
    """
    today = {former: worker.worker_id for worker in workers for former in worker.former_ids}
    here = {person_name(principal) for principal in snapshot.principals()}
    were: dict[str, set[WorkerId]] = defaultdict(set)
    for name, worker_id in memory.persons:
        if name in here:  # a leavers' pass looks at few of those who are remembered
            were[name].add(today.get(worker_id, worker_id))
    known = {(one.provider, one.principal_id): one for one in correlations}
    found: dict[tuple[ProviderName, PrincipalId], tuple[WorkerId, ...]] = {}
    for principal in snapshot.principals():
        key = (principal.provider, principal.principal_id)
        was, now = were.get(person_name(principal), set()), known.get(key)
        if not was or now is None or now.rule == EXPLICIT:
            continue
        if principal.kind not in PERSONAL_KINDS or now.worker_id not in was:
            found[key] = tuple(sorted(was))
    return found


def to_remember(
    snapshot: Snapshot, correlations: Iterable[Correlation], workers: Iterable[Worker], memory: Memory
) -> Memory:
    """Return what a cycle keeps: of principals that are as they were, so that no drift becomes true by waiting."""
    known = tuple(correlations)
    moved = drifted(snapshot, known, workers, memory)
    return seen(snapshot, (one for one in known if (one.provider, one.principal_id) not in moved))
