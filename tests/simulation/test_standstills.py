"""A process that stands still anywhere in a cycle, and goes on after its heir: the chain and the log stay whole."""

import pytest

from tests.crash.failpoints import Failpoints
from tests.simulation.machine import CompanyLife


def places() -> list[str]:
    """Return where a cycle that takes nothing from anybody can stand still, in their order."""
    life = CompanyLife()
    life.found()
    points = life.office.failpoints = Failpoints(0)
    life.office.cycle()
    life.teardown()
    return points.passed


def stand_still(at: int) -> None:
    """Let a process stop at a place, another one take over and work, and the first one go on."""
    life = CompanyLife()
    life.found()
    life.standstill(at=at, minutes=0)
    life.everything_holds()
    life.teardown()


def test_what_is_kept_is_kept_once() -> None:
    """Stopped amid its disclosures, or before its leaves reach the log, a former writer adds and replaces nothing."""
    passed = places()
    statement = 1 + passed.index("before file .statement.json")
    for at in (statement - 2, 1 + passed.index("before leaf hashes")):
        stand_still(at)


@pytest.mark.proof
@pytest.mark.timeout(1800)
def test_a_cycle_may_stand_still_anywhere() -> None:
    """The same at every place of a cycle."""
    for at in range(1, len(places()) + 1):
        stand_still(at)
