"""Whose public keys stand on principals that are not theirs.

Whoever holds the private half of a key signs in wherever the public half stands. A copy is an object of its own: it is
taken away where its holder has no right to it, and the other copies stay what they are, so each has to be named.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from inventory.model import AccessId, Credential, PrincipalId, ProviderName, Snapshot
from inventory.roster.model import WorkerId
from reconciler.core.model import Correlation

KeyHolder = tuple[str, WorkerId]
"""The fingerprint of a public key, and a worker who holds its private half."""
SURE_FROM = 90
"""Least confidence, in percent, from which a principal surely is a worker."""
ItemPlace = tuple[ProviderName, PrincipalId, AccessId]


def holders_seen(snapshot: Snapshot, correlations: Iterable[Correlation]) -> frozenset[KeyHolder]:
    """Return who holds which key: a key that stands on a principal that surely is a worker is that worker's."""
    sure = _sure(correlations)
    return frozenset(
        (item.fingerprint, sure[item.provider, item.principal_id])
        for item in snapshot.items()
        if isinstance(item, Credential) and item.fingerprint and (item.provider, item.principal_id) in sure
    )


def as_text(holders: Iterable[KeyHolder]) -> frozenset[str]:
    """Return holders as the journal keeps them: the fingerprint, which holds no space, and the worker's id."""
    return frozenset(f"{fingerprint} {worker_id}" for fingerprint, worker_id in holders)


def from_text(values: Iterable[str]) -> frozenset[KeyHolder]:
    """Return holders that the journal has kept."""
    split = (value.partition(" ") for value in values)
    return frozenset((fingerprint, WorkerId(worker_id)) for fingerprint, _, worker_id in split)


def keys_elsewhere(
    snapshot: Snapshot, correlations: Iterable[Correlation], remembered: Iterable[KeyHolder] = ()
) -> Mapping[ItemPlace, tuple[WorkerId, ...]]:
    """Return the items that are copies of the keys of other workers than their principal's own, and whose they are.

    A holder of earlier cycles counts like one seen now: taking a key off a principal does not take its private half.
    """
    known = tuple(correlations)
    holders: dict[str, set[WorkerId]] = defaultdict(set)
    for fingerprint, worker_id in (*holders_seen(snapshot, known), *remembered):
        holders[fingerprint].add(worker_id)
    owners = {(one.provider, one.principal_id): one.worker_id for one in known}
    found: dict[ItemPlace, tuple[WorkerId, ...]] = {}
    for item in snapshot.items():
        if isinstance(item, Credential) and item.fingerprint:
            others = holders[item.fingerprint] - {owners.get((item.provider, item.principal_id))}
            if others:
                found[item.provider, item.principal_id, item.access_id] = tuple(sorted(others))
    return found


def _sure(correlations: Iterable[Correlation]) -> Mapping[tuple[ProviderName, PrincipalId], WorkerId]:
    return {
        (one.provider, one.principal_id): one.worker_id
        for one in correlations
        if one.worker_id is not None and one.identity and one.confidence >= SURE_FROM
    }
