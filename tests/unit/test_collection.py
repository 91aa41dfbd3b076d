"""Collecting all providers side by side: a failure of one is said of that one, and empties nothing."""

import threading
from collections.abc import Callable

import pytest
import structlog

from inventory.collection import WHOLE_INSTANCE, Source, Unbuilt, collect
from inventory.errors import Misconfigured, Unavailable
from inventory.model import Principal, PrincipalReading, ProviderInventory, ProviderName, Snapshot
from inventory.provider import Interest
from reconciler.adapters.clock import SystemClock
from tests import builders
from tests.fakes.clock import FakeClock

Answer = Callable[[], tuple[ProviderInventory, ...]]


class FakeCollector:
    """Answers as the test says."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer

    def collect(self, interest: Interest) -> tuple[ProviderInventory, ...]:
        return self.answer()

    def read_principal(self, principal: Principal) -> PrincipalReading:
        raise NotImplementedError

    def close(self) -> None:
        """Hold nothing."""


def read(**collectors: FakeCollector | Unbuilt) -> Snapshot:
    """Collect from named sources."""
    sources = {
        ProviderName(name): Source(provider=ProviderName(name), provider_type="aws_iam", collector=collector)
        for name, collector in collectors.items()
    }
    return collect(sources, lambda _: False, FakeClock())


def raising(error: Exception) -> FakeCollector:
    """Build a collector that fails."""

    def fail() -> tuple[ProviderInventory, ...]:
        raise error

    return FakeCollector(fail)


def test_all_scopes_of_all_providers_are_in_the_snapshot() -> None:
    """What every collector returned is there, and whole when all of it is."""
    one = FakeCollector(lambda: (builders.inventory(),))
    snapshot = read(a=FakeCollector(lambda: (builders.inventory(), builders.inventory())), b=one)
    assert len(snapshot.inventories) == 3
    assert snapshot.complete


def test_a_failed_provider_is_incomplete_and_the_others_stay() -> None:
    """A provider that raises is an inventory that says so, never an empty one."""
    snapshot = read(good=FakeCollector(lambda: (builders.inventory(),)), bad=raising(Unavailable("no answer")))
    failed = next(one for one in snapshot.inventories if one.provider == "bad")
    assert not failed.complete
    assert not failed.identity_known
    assert failed.scope == WHOLE_INSTANCE
    assert failed.errors == ("Unavailable: no answer",)
    assert not snapshot.complete


@pytest.mark.parametrize("error", [KeyError("anna@example.com"), TimeoutError("anna@example.com")])
def test_a_defect_of_one_collector_is_said_of_its_provider_and_stops_nobody(error: Exception) -> None:
    """What no collector should raise is an unreadable provider with type and place; its message goes nowhere."""
    with structlog.testing.capture_logs() as logs:
        snapshot = read(bad=raising(error), good=FakeCollector(lambda: (builders.inventory(),)))
    failed, good = snapshot.inventories
    assert (good.complete, failed.complete, failed.scope) == (True, False, WHOLE_INSTANCE)
    assert failed.errors[0].startswith(f"a defect in the collector: {type(error).__name__} at test_collection.py:")
    assert [(one["event"], one["provider"], one["log_level"]) for one in logs] == [("collector_defect", "bad", "error")]
    assert "anna" not in f"{failed}{logs}"


def test_a_collector_that_could_not_be_built_is_read_as_unreadable() -> None:
    """A missing secret file stops its own provider only."""
    snapshot = read(good=FakeCollector(lambda: (builders.inventory(),)), bad=Unbuilt(Misconfigured("no secret")))
    assert [one.complete for one in snapshot.inventories] == [False, True]


def test_a_provider_that_does_not_end_is_given_up_at_the_deadline() -> None:
    """A hanging read is incomplete when the deadline passes, and does not keep the snapshot."""
    release = threading.Event()

    def hang() -> tuple[ProviderInventory, ...]:
        release.wait(10)
        return (builders.inventory(),)

    source = Source(provider=ProviderName("slow"), provider_type="aws_iam", collector=FakeCollector(hang))
    snapshot = collect({source.provider: source}, lambda _: False, SystemClock(), deadline_seconds=0.05)
    release.set()
    assert "deadline" in snapshot.inventories[0].errors[0]


def test_a_snapshot_of_nothing_is_not_complete() -> None:
    """Without a provider nothing was read, so nothing is clean."""
    assert not read().complete
