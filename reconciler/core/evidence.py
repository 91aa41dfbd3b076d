"""Digests of what was seen: of one access item (the ground of one act), of an inventory, of a snapshot.

The evidence of an item covers the facts that an act rests on and leaves out those that move by themselves (last used,
ETags, labels): two reads of an unchanged item give the same digest.
"""

from collections.abc import Callable, Iterable

from inventory.model import AccessItem, Credential, Grant, ProviderInventory, ProviderName, ScopeId, Session
from reconciler.core.canonical import Json, digest_of, digest_of_plain, plain


def item_evidence(item: AccessItem) -> str:
    """Return the digest of the stable facts of an access item."""
    return digest_of({**_identity(item), **_facts(item)})


def _identity(item: AccessItem) -> dict[str, Json]:
    return {
        "provider": item.provider,
        "scope": item.scope,
        "principal_id": item.principal_id,
        "access_id": item.access_id,
        "kind": item.kind.value,
        "address": plain(item.address),
    }


def _facts(item: AccessItem) -> dict[str, Json]:
    match item:
        case Credential():
            return {"enabled": item.enabled, "fingerprint": item.fingerprint, "shared": item.shared}
        case Grant():
            return {
                "role": item.role,
                "resource": item.resource,
                "direct": item.direct,
                "via": item.via,
                "privileged": item.privileged,
                "last_member": item.holders == 1,
            }
        case Session():
            return {"expires_at": plain(item.expires_at)}


def inventory_digest(inventory: ProviderInventory) -> str:
    """Return the digest of all that one scope reported; independent of the order in which it was read."""
    principals = sorted((plain(entry) for entry in inventory.principals), key=_by_id("principal_id"))
    items = sorted((plain(entry) for entry in inventory.items), key=_by_id("access_id"))
    coverage = sorted((plain(entry) for entry in inventory.coverage), key=_by_id("kind"))
    return digest_of_plain(
        {
            "provider": inventory.provider,
            "type": inventory.provider_type,
            "scope": inventory.scope,
            "principals": list(principals),
            "items": list(items),
            "coverage": list(coverage),
        }
    )


def _by_id(field: str) -> Callable[[Json], str]:
    def key(entry: Json) -> str:
        return str(entry[field]) if isinstance(entry, dict) else ""

    return key


def snapshot_digest(inventories: Iterable[tuple[ProviderName, ScopeId, str]]) -> str:
    """Return the digest of a snapshot: over the digests of its inventories, sorted by provider and scope."""
    return digest_of({"inventories": [list(part) for part in sorted(inventories)]})
