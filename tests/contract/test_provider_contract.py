"""What every provider promises, on its real server: the same suite for all, see `worlds.py`."""

import ast
import importlib
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from inventory.errors import ProviderError
from inventory.model import (
    AccessItem,
    ArtefactKind,
    Credential,
    Grant,
    Principal,
    PrincipalReading,
    ProviderInventory,
    ProviderName,
    ReadState,
)
from inventory.provider import Collector, Provider
from inventory.registry import AnyProvider, load_provider
from reconciler.adapters.clock import SystemClock
from reconciler.core.evidence import item_evidence
from reconciler.core.model import Action, Effect, OutcomeState
from reconciler.ports import Revoker
from reconciler.revokers.declaration import RevokerType
from tests.builders import action
from tests.contract.worlds import WORLDS, World
from tests.peers import ROOT

WRITING = (
    *("add_s", "add_ext_s", "modify_s", "modify_ext_s", "delete_s", "delete_ext_s", "rename_s", "passwd_s"),
    *("post", "put", "patch", "delete"),
)
WRITING_PREFIXES = ("attach_", "create_", "deactivate_", "delete_", "detach_", "put_", "remove_", "tag_", "update_")


@dataclass
class Running:
    """A world that is up, with both clients and the first picture taken."""

    world: World
    provider: AnyProvider
    collector: Collector
    revoker_type: RevokerType[Any]
    revoker: Revoker
    inventory: ProviderInventory

    def principal(self, login_name: str) -> Principal:
        """Return the listed principal with a login name."""
        return next(one for one in self.inventory.principals if login_name in one.login_names)

    def items(self, owner: Principal) -> list[AccessItem]:
        """Return what the first picture says a principal holds."""
        return [item for item in self.inventory.items if item.principal_id == owner.principal_id]

    def actions(self, effect: Effect) -> list[Action]:
        """Return actions with an effect on all that the revoker can act upon of the leaver, the account last."""
        leaver = self.principal(self.world.leaver)
        able = [
            item
            for item in self.items(leaver)
            if (item.kind, effect) in self.revoker_type.capabilities.effects
            and not (isinstance(item, Grant) and not item.direct)
        ]
        able.sort(key=lambda item: item.kind is ArtefactKind.ACCOUNT)
        name = self.world.provider_type
        return [action(leaver, item, effect, provider_type=name) for item in able]

    def read(self, login_name: str) -> PrincipalReading:
        """Read one principal again, live."""
        return self.collector.read_principal(self.principal(login_name))


@pytest.fixture(params=WORLDS, ids=lambda maker: maker.provider_type)
def running(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Running]:
    """Give each world in turn, freshly seeded and read once."""
    world: World = request.param()
    try:
        world.start(tmp_path)
        clock, name = SystemClock(), ProviderName("contract")
        provider = load_provider(world.provider_type)
        collector = provider.build(name, provider.settings.model_validate(world.reader_settings()), clock)
        revoker_type = importlib.import_module(f"reconciler.revokers.{world.provider_type}").REVOKER
        settings = revoker_type.settings.model_validate(world.revoker_settings())
        revoker = revoker_type.build(name, settings, clock)
        (inventory,) = collector.collect(lambda one: world.leaver in one.login_names)
        yield Running(world, provider, collector, revoker_type, revoker, inventory)
        collector.close()
        revoker.close()
    finally:
        world.stop()


def stands(reading: PrincipalReading) -> tuple[bool | None, list[tuple[str, bool | None]]]:
    """Return what a principal can do, without the counts and versions that others' changes move."""
    items = ((item.access_id, item.enabled if isinstance(item, Credential) else None) for item in reading.items)
    return reading.principal is not None and reading.principal.enabled, sorted(items)


def evidence(reading: PrincipalReading) -> dict[str, str]:
    """Return the evidence of every item by its id."""
    return {item.access_id: item_evidence(item) for item in reading.items}


def test_the_picture_is_whole_and_consistent(running: Running) -> None:
    """Ids are unique, every item has its principal, and every kind in use is covered."""
    inventory = running.inventory
    principals = [one.principal_id for one in inventory.principals]
    items = [item.access_id for item in inventory.items]
    assert len(set(principals)) == len(principals)
    assert len(set(items)) == len(items)
    assert {item.principal_id for item in inventory.items} <= set(principals)
    covered = {entry.kind for entry in inventory.coverage}
    assert len(covered) == len(inventory.coverage)
    assert covered >= {item.kind for item in inventory.items} | {ArtefactKind.PRINCIPAL, ArtefactKind.ACCOUNT}
    assert all(entry.reason or entry.state is ReadState.COMPLETE for entry in inventory.coverage)
    assert {one.provider for one in inventory.principals} == {item.provider for item in inventory.items} == {"contract"}
    assert inventory.identity_known
    assert inventory.api_calls > 0
    assert running.principal(running.world.leaver).read.whole


def test_the_leaver_holds_something_of_every_capability(running: Running) -> None:
    """The suite below proves what it says: the world seeds each kind that the revoker can act upon."""
    held = {item.kind for item in running.items(running.principal(running.world.leaver))}
    assert held >= {kind for kind, _ in running.revoker_type.capabilities.effects}


def test_one_principal_reads_the_same_as_all(running: Running) -> None:
    """The live reading of the leaver gives the evidence of the listing, so a plan's precondition can hold."""
    leaver = running.principal(running.world.leaver)
    reading = running.read(running.world.leaver)
    assert reading.principal is not None
    assert reading.principal.read.whole
    assert reading.principal.principal_id == leaver.principal_id
    assert evidence(reading) == {item.access_id: item_evidence(item) for item in running.items(leaver)}


def test_quarantine_is_seen_undone_and_leaves_no_trace(running: Running) -> None:
    """Each suspension shows in a new reading, is idempotent, and undo gives back the very same picture."""
    before, colleague = evidence(running.read(running.world.leaver)), running.read(running.world.colleague)
    steps = running.actions(Effect.QUARANTINE)
    assert steps
    for step in steps:
        image = running.revoker.before_image(step)
        assert image.restorable
        assert running.revoker.quarantine(step).outcome is OutcomeState.DONE
        item = running.read(running.world.leaver).item(step.item.access_id)
        assert item is None or (isinstance(item, Credential) and item.enabled is False)
        assert running.revoker.quarantine(step).outcome is OutcomeState.ALREADY_ABSENT
        assert running.revoker.undo(step, image).outcome is OutcomeState.DONE
        assert evidence(running.read(running.world.leaver)) == before
    assert stands(running.read(running.world.colleague)) == stands(colleague)


def test_revocation_is_seen_and_idempotent_and_hits_nobody_else(running: Running) -> None:
    """Everything that can be revoked is gone in a new reading, a repeat finds it absent, the colleague is as before."""
    colleague = running.read(running.world.colleague)
    steps = running.actions(Effect.REVOKE)
    assert steps
    for step in steps:
        running.revoker.before_image(step)
        assert running.revoker.revoke(step).outcome is OutcomeState.DONE
        reading = running.read(running.world.leaver)
        assert reading.principal is None or reading.item(step.item.access_id) is None
        assert reading.state_of(step.item.kind) is ReadState.COMPLETE
        assert running.revoker.revoke(step).outcome is OutcomeState.ALREADY_ABSENT
    assert stands(running.read(running.world.colleague)) == stands(colleague)


def test_a_revoker_says_as_whom_it_writes_and_changes_nothing(running: Running) -> None:
    """The server's own word, the same each time, by an id or address that a plan can spare; empty for nobody listed."""
    people = (running.world.leaver, running.world.colleague)
    before = [stands(running.read(name)) for name in people]
    names = running.revoker.identity()
    expected = {running.world.signed_in_as} - {""}
    assert expected <= set(names)
    assert bool(names) is bool(expected)
    assert running.revoker.identity() == names
    assert [stands(running.read(name)) for name in people] == before


def test_a_revoker_that_cannot_ask_as_whom_it_writes_says_so(running: Running) -> None:
    """Without an answer it raises, and never says that it is nobody."""
    running.world.stop()
    with pytest.raises(ProviderError):
        running.revoker.identity()


def test_the_provider_has_no_way_to_write(running: Running) -> None:
    """No writing call of the provider's protocol or SDK stands in the source of its collector and parsers."""
    name = running.world.provider_type
    modules = [inspect.getmodule(type(running.collector))]
    parsers = (ROOT / "inventory" / "documents").glob(f"{name}*.py")
    sources = [inspect.getsource(module) for module in modules if module] + [path.read_text() for path in parsers]
    assert sources
    called = {
        node.func.attr
        for source in sources
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    assert not {one for one in called if one in WRITING or one.startswith(WRITING_PREFIXES)}


def test_permissions_and_page_are_there(running: Running) -> None:
    """What the reader and the revoker need is declared, with its purpose, and stands on the provider's page."""
    provider: AnyProvider = running.provider
    needed = (*provider.read_permissions, *running.revoker_type.capabilities.revoke_permissions)
    assert isinstance(provider, Provider)
    assert provider.read_permissions
    assert running.revoker_type.capabilities.revoke_permissions
    assert all(permission.purpose for permission in needed)
    page = (ROOT / "docs" / "providers" / f"{running.world.provider_type}.md").read_text()
    assert [one.name for one in needed if one.name not in page] == []
