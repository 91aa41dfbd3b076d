"""A day of virtual time under constant faults: no leaver lost, nobody wronged, memory bounded."""

import gc
import resource
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.core.record import CycleRecord
from tests.simulation.busy_day import OPEN_LIMITS, Day, Pace
from tests.simulation.company import Company
from tests.simulation.counts import COUNTS
from tests.simulation.invariants import History, check_every_step, check_i17_chain
from tests.simulation.office import FAST

CALM_CYCLES = 3
"""So many cycles without faults find every leaver."""
GROWTH = 1.2
"""Resident memory at the end, over that after the first tenth of the day; what is kept for ever lies on disk."""
SLACK_BYTES = 32 * 1024 * 1024


@pytest.fixture
def folder() -> Iterator[Path]:
    """Give a folder where syncing costs nothing."""
    made = Path(tempfile.mkdtemp(prefix="day-", dir=FAST))
    yield made
    shutil.rmtree(made)


def resident_bytes() -> int:
    """Return the resident memory of this process now."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def live_a_day(folder: Path, pace: Pace, people: int) -> None:
    """Live a day and assert its promises."""
    company = Company(folder / "company", people, latency_seconds=0.06, team=10)
    day = Day(company, pace, seed=11)
    memory: list[int] = []

    def measure(_: CycleRecord) -> None:
        memory.append(resident_bytes())

    day.live(after=measure)
    cycles = day.calm_down(CALM_CYCLES)
    assert company.owed() == {}
    history = History(company=company, limits=OPEN_LIMITS)
    check_every_step(history)
    check_i17_chain(history)
    day.office.end()
    settled = memory[len(memory) // 10]
    assert max(memory[-5:]) <= settled * GROWTH + SLACK_BYTES, (settled, memory[-5:])
    assert sum(1 for _ in history.effects()) >= 3 * pace.leavers
    COUNTS[f"MiB resident at the end of the day of {people} workers"] = memory[-1] // 2**20
    COUNTS[f"MiB resident after a tenth of the day of {people} workers"] = settled // 2**20
    COUNTS[f"calm cycles until nobody was left, {people} workers"] = cycles


def test_two_hours_lose_nobody(folder: Path) -> None:
    """Two hours, 500 workers, constant faults: every leaver is dealt with, nobody else, and memory stays bounded."""
    live_a_day(folder, Pace(hours=2, cycle_seconds=900, leavers=20, joiners=5, faults_per_cycle=1.5), people=500)


@pytest.mark.proof
@pytest.mark.timeout(3600)
def test_a_day_of_ten_thousand_workers_loses_nobody(folder: Path) -> None:
    """A day, 10,000 workers, constant faults: every leaver is dealt with, nobody else, and memory stays bounded."""
    live_a_day(folder, Pace(hours=24, cycle_seconds=3600, leavers=200, joiners=50, faults_per_cycle=3), people=10_000)
