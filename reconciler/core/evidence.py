"""Digests of what was seen: of one access item (the ground of one act), of an inventory, of a snapshot.

The evidence of an item covers the facts that an act rests on and leaves out those that move by themselves (last used,
ETags, labels): two reads of an unchanged item give the same digest.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from inventory.model import (
    AccessItem,
    Coverage,
    Credential,
    Grant,
    Principal,
    ProviderInventory,
    ProviderName,
    ScopeId,
    Session,
)
from reconciler.core.canonical import Json, digest_of, dumps, plain, sha256_hex

Entry = AccessItem | Principal | Coverage
ENTRIES_REMEMBERED: Final = 65_536
"""Entries of inventories whose canonical bytes are kept between cycles, about 1 KB each; of more, all are made anew."""


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
    """Return the digest of all that one scope reported; independent of the order in which it was read.

    It is that of the canonical bytes of one document, put together here from those of its entries: most are what they
    were a cycle ago, and their bytes are remembered.
    """
    coverage = sorted(inventory.coverage, key=lambda one: one.kind.value)
    items = sorted(inventory.items, key=lambda one: one.access_id)
    principals = sorted(inventory.principals, key=lambda one: one.principal_id)
    parts = (
        (b"coverage", _array(coverage)),
        (b"items", _array(items)),
        (b"principals", _array(principals)),
        (b"provider", dumps(inventory.provider)),
        (b"scope", dumps(inventory.scope)),
        (b"type", dumps(inventory.provider_type)),
    )
    return "sha256:" + sha256_hex(b"{" + b",".join(b'"%s":%s' % part for part in parts) + b"}")


def _array(entries: Iterable[Entry]) -> bytes:
    return b"[" + b",".join(map(_entry_bytes, entries)) + b"]"


@lru_cache(maxsize=ENTRIES_REMEMBERED)
def _entry_bytes(entry: Entry) -> bytes:
    """Return the canonical bytes of an entry. Equal entries have equal bytes, instants in other zones included."""
    return dumps(entry)


def snapshot_digest(inventories: Iterable[tuple[ProviderName, ScopeId, str]]) -> str:
    """Return the digest of a snapshot: over the digests of its inventories, sorted by provider and scope."""
    return digest_of({"inventories": [list(part) for part in sorted(inventories)]})
