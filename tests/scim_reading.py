"""Reading a misbehaving SCIM vendor in tests: a small company, its collector, and what to look at."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from inventory.http import ReadingClient
from inventory.model import ArtefactKind, Principal, ProviderInventory, ProviderName, ReadState
from inventory.providers.scim import ScimCollector, Settings
from reconciler.core.evidence import item_evidence
from tests.fakes.clock import FakeClock
from tests.fakes.scim_vendor import TOKEN, Vendor

Collecting = Callable[..., ScimCollector]
WANTED = (ArtefactKind.PRINCIPAL, ArtefactKind.ACCOUNT, ArtefactKind.GROUP_MEMBERSHIP)


def seed(vendor: Vendor) -> Vendor:
    """Add four users in two groups."""
    for name in ("alice", "bob", "carol", "dave"):
        vendor.user(name)
    vendor.group("eng", "alice", "bob", "carol")
    vendor.group("ops", "alice", "dave")
    return vendor


def collecting_from(vendor: Vendor, directory: Path) -> Collecting:
    """Return a maker of collectors of a vendor, with whatever settings the test is about."""
    token_file = directory / "token"
    token_file.write_text(TOKEN)

    def make(**changes: Any) -> ScimCollector:
        values: dict[str, Any] = {"url": vendor.url, "token_file": token_file, "page_size": 2, "service_token": True}
        settings = Settings(**(values | changes))
        clock = FakeClock()
        return ScimCollector(ProviderName("corp-scim"), settings, clock, ReadingClient(settings, clock))

    return make


def nobody(_: Principal) -> bool:
    """Find nobody of interest."""
    return False


def collected(collector: ScimCollector, interest: Callable[[Principal], bool] = nobody) -> ProviderInventory:
    """Collect the only scope."""
    (inventory,) = collector.collect(interest)
    return inventory


def found(inventory: ProviderInventory, name: str) -> Principal:
    """Return a listed principal."""
    return next(one for one in inventory.principals if one.principal_id == name)


def states(inventory: ProviderInventory) -> tuple[ReadState, ...]:
    """Return the states of the kinds in use, in their order."""
    return tuple(inventory.state_of(kind) for kind in WANTED)


def assert_same_picture(collector: ScimCollector, inventory: ProviderInventory) -> None:
    """Compare every principal's own reading with the listing's."""
    for owner in inventory.principals:
        reading = collector.read_principal(owner)
        assert reading.principal == owner
        listed = [item for item in inventory.items if item.principal_id == owner.principal_id]
        assert [item_evidence(item) for item in reading.items] == [item_evidence(item) for item in listed]
        assert all(reading.state_of(kind) is inventory.state_of(kind) for kind in WANTED)
