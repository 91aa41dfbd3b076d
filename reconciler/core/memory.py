"""What earlier cycles saw and a later one may not be shown any more: who holds which key, and which person is who.

What a principal says of itself (a tag, an attribute) can be changed by whoever may change the principal, so it is
compared with what it said before.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from inventory.model import Credential, Principal, PrincipalId, PrincipalKind, ProviderName, Snapshot
from inventory.roster.model import WorkerId
from reconciler.core.canonical import dumps, sha256_hex
from reconciler.core.model import Correlation

SURE_FROM = 90
"""Least confidence, in percent, from which a principal surely is a worker."""
EXPLICIT = "explicit_map"
"""The correlation rule by which an operator says whose a principal is: what it says of itself counts no more."""
PLACES_REMEMBERED: Final = 65_536
"""Principals whose `person_name` is not worked out again: it is asked for several times a cycle, in each."""
PERSONAL_KINDS = (PrincipalKind.HUMAN, PrincipalKind.EXTERNAL)

Tie = tuple[str, WorkerId]
"""Something that was seen (a fingerprint, the name of a principal here) and the worker it belonged to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What earlier cycles saw."""

    keys: frozenset[Tie] = frozenset()
    """The fingerprint of a public key, and a worker who holds its private half."""
    persons: frozenset[Tie] = frozenset()
    """The `person_name` of a principal, and the worker whom it surely was."""


NOTHING = Memory()
"""The memory of a first cycle."""


def seen(snapshot: Snapshot, correlations: Iterable[Correlation]) -> Memory:
    """Return what this snapshot gives to remember: of principals that surely are a worker, and nobody else."""
    sure = sure_workers(correlations)
    return Memory(
        keys=frozenset(
            (item.fingerprint, sure[item.provider, item.principal_id])
            for item in snapshot.items()
            if isinstance(item, Credential) and item.fingerprint and (item.provider, item.principal_id) in sure
        ),
        persons=frozenset(
            (person_name(one), sure[one.provider, one.principal_id])
            for one in snapshot.principals()
            if one.kind in PERSONAL_KINDS and (one.provider, one.principal_id) in sure
        ),
    )


def person_name(principal: Principal) -> str:
    """Return under what a principal is remembered: a digest of where it is and of its id, short whatever the id."""
    return _place_name(principal.provider, principal.scope, principal.principal_id)


@lru_cache(maxsize=PLACES_REMEMBERED)
def _place_name(provider: str, scope: str, principal_id: str) -> str:
    return sha256_hex(dumps([provider, scope, principal_id]))


def sure_workers(correlations: Iterable[Correlation]) -> Mapping[tuple[ProviderName, PrincipalId], WorkerId]:
    """Return the workers that principals surely are; who merely owns one is left out."""
    return {
        (one.provider, one.principal_id): one.worker_id
        for one in correlations
        if one.worker_id is not None and one.identity and one.confidence >= SURE_FROM
    }


def as_text(ties: Iterable[Tie]) -> frozenset[str]:
    """Return ties as the journal keeps them: what was seen, which holds no space, and the worker's id."""
    return frozenset(f"{what} {worker_id}" for what, worker_id in ties)


@lru_cache(maxsize=4)
def from_text(values: frozenset[str]) -> frozenset[Tie]:
    """Return ties that the journal has kept; the same ones are not taken apart again by the next cycle."""
    split = (value.partition(" ") for value in values)
    return frozenset((what, WorkerId(worker_id)) for what, _, worker_id in split)
