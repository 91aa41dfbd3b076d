"""Whose public keys stand on principals that are not theirs.

Whoever holds the private half of a key signs in wherever the public half stands. A copy is an object of its own: it is
taken away where its holder has no right to it, and the other copies stay what they are, so each has to be named.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from inventory.model import AccessId, Credential, PrincipalId, ProviderName, Snapshot
from inventory.roster.model import WorkerId
from reconciler.core.memory import Memory, seen
from reconciler.core.model import Correlation

ItemPlace = tuple[ProviderName, PrincipalId, AccessId]


def keys_elsewhere(
    snapshot: Snapshot, correlations: Iterable[Correlation], memory: Memory
) -> Mapping[ItemPlace, tuple[WorkerId, ...]]:
    """Return the items that are copies of keys of others than the worker who is their principal, and whose they are.

    A holder of earlier cycles counts like one seen now: taking a key off a principal does not take its private half.
    """
    known = tuple(correlations)
    holders: dict[str, set[WorkerId]] = defaultdict(set)
    for fingerprint, worker_id in (*seen(snapshot, known).keys, *memory.keys):
        holders[fingerprint].add(worker_id)
    owners = {(one.provider, one.principal_id): one.worker_id for one in known if one.identity}
    found: dict[ItemPlace, tuple[WorkerId, ...]] = {}
    for item in snapshot.items():
        if isinstance(item, Credential) and item.fingerprint:
            others = holders[item.fingerprint] - {owners.get((item.provider, item.principal_id))}
            if others:
                found[item.provider, item.principal_id, item.access_id] = tuple(sorted(others))
    return found
