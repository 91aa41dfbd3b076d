"""A cycle over a world that has not changed does nothing, says the same, and notices the first thing that moves."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.adapters.embedded_rego import EmbeddedRego
from reconciler.core.record import CycleOutcome
from tests import builders
from tests.builders import PROVIDER
from tests.fakes.house import House, person


@pytest.fixture(scope="module")
def rego() -> Iterator[EmbeddedRego]:
    """Run the rules themselves, in one process for all tests that need them."""
    engine = EmbeddedRego(deadline_seconds=20)
    yield engine
    engine.close()


@pytest.fixture
def settled(tmp_path: Path, rego: EmbeddedRego) -> House:
    """Return a house whose leaver has been dealt with."""
    house = House(tmp_path)
    house.engine = rego
    house.observe_first()
    assert house.run().outcome is CycleOutcome.COMPLETE
    return house


def test_an_idle_cycle_makes_no_mutation_and_says_the_same(settled: House) -> None:
    """Three more cycles over the same world: no write, no intent, no action, the same digest and findings."""
    provider = settled.providers[PROVIDER]
    written, intended = len(provider.calls), len(settled.journal.entries())
    first, *others = (settled.run() for _ in range(3))
    assert (len(provider.calls), len(settled.journal.entries())) == (written, intended)
    for record in (first, *others):
        assert record.outcome is CycleOutcome.COMPLETE
        assert record.plan is not None
        assert not record.plan.actions
        assert not record.results
        assert (record.snapshot_digest, record.findings) == (first.snapshot_digest, first.findings)


def _a_new_key(house: House) -> None:
    item = builders.credential("lea", access_id="lea/access_key/new")
    house.providers[PROVIDER].items[item.access_id] = item


def _another_owner(house: House) -> None:
    one = person("eve", "L1")
    house.providers[PROVIDER].principals[one.principal_id] = one


def _a_new_leaver(house: House) -> None:
    house.feed.roster = builders.roster(builders.leaver("L1"), builders.leaver("E2"))


def _an_end_that_comes(house: House) -> None:
    soon = builders.worker("E2", access_end_at=house.clock.now() + timedelta(seconds=30))
    house.feed.roster = builders.roster(builders.leaver("L1"), soon)
    quiet = house.run()
    assert quiet.plan is not None
    assert not quiet.plan.actions
    house.clock.sleep(60)


@pytest.mark.parametrize("change", [_a_new_key, _another_owner, _a_new_leaver, _an_end_that_comes])
def test_what_changes_after_idle_cycles_is_noticed_by_the_next(settled: House, change: Callable[[House], None]) -> None:
    """An item, a principal, a roster row, or nothing but the time: the cycle that follows finds what it has to."""
    before = settled.run()
    change(settled)
    after = settled.run()
    assert after.findings != before.findings
