"""What a worker holds over several principals, and which mail is ours: facts that no principal alone can tell.

Only entitlements that the thresholds name as conflicting are gathered, so that a unit stays as small as it was.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from inventory.model import Grant, Principal, PrincipalId, PrincipalKind, ProviderName, Snapshot
from inventory.roster.model import WorkerId
from reconciler.core.model import Correlation

_Key = tuple[ProviderName, PrincipalId]


@dataclass(frozen=True, slots=True)
class Named:
    """What the thresholds name that has to be looked up outside of a unit."""

    conflicting: frozenset[str]
    """Entitlements that are not to be held beside another one."""
    home_domains: frozenset[str]
    """Mail domains of the house, in lower case."""


@lru_cache(maxsize=4)
def named_in(data: str) -> Named:
    """Return what the data documents of a policy set name; `data` is their canonical JSON."""
    config: dict[str, Any] = json.loads(data).get("access", {}).get("config", {})
    conflicts: dict[str, dict[str, str]] = config.get("separation_of_duties", {}).get("conflicts", {})
    domains: list[str] = config.get("external_collaborator", {}).get("home_domains", [])
    return Named(
        conflicting=frozenset(other for others in conflicts.values() for other in others),
        home_domains=frozenset(domain.lower() for domain in domains),
    )


def home_mail(principal: Principal, domains: frozenset[str]) -> bool | None:
    """Say whether an address of a principal is at a home domain; None where it has none, or there is no such domain."""
    if not domains or not principal.emails:
        return None
    return any(address.rpartition("@")[2].lower() in domains for address in principal.emails)


@dataclass(frozen=True, slots=True)
class Holdings:
    """Who holds which of the conflicting entitlements, by worker."""

    owners: Mapping[_Key, WorkerId]
    held: Mapping[WorkerId, Mapping[_Key, frozenset[str]]]

    def elsewhere(self, key: _Key) -> tuple[str, ...]:
        """Return what the worker of a principal holds by other principals, sorted."""
        owner = self.owners.get(key)
        if owner is None:
            return ()
        return tuple(
            sorted({name for place, names in self.held.get(owner, {}).items() if place != key for name in names})
        )


def holdings(snapshot: Snapshot, correlations: Iterable[Correlation], conflicting: frozenset[str]) -> Holdings:
    """Lay out who holds conflicting entitlements; a principal that somebody only owns is not that person's."""
    if not conflicting:
        return Holdings({}, {})
    owners = {(one.provider, one.principal_id): one.worker_id for one in correlations if one.worker_id and one.identity}
    people = {
        (one.provider, one.principal_id)
        for one in snapshot.principals()
        if one.kind in (PrincipalKind.HUMAN, PrincipalKind.EXTERNAL)
    }
    found: dict[WorkerId, dict[_Key, set[str]]] = defaultdict(lambda: defaultdict(set))
    for item in snapshot.items():
        key = (item.provider, item.principal_id)
        if isinstance(item, Grant) and key in people and key in owners:
            found[owners[key]][key] |= {item.role, f"{item.provider}:{item.role}"} & conflicting
    frozen = {owner: {key: frozenset(names) for key, names in places.items()} for owner, places in found.items()}
    return Holdings(owners, frozen)
