"""Random kills over a busy day: the end is that of the same day without kills, and each effect was had once."""

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from inventory.model import AccessId, ProviderName
from tests.simulation.busy_day import OPEN_LIMITS, Day, Pace
from tests.simulation.company import Company
from tests.simulation.counts import COUNTS
from tests.simulation.invariants import History, check_every_step, check_i17_chain
from tests.simulation.office import FAST

CALM_CYCLES = 3


@pytest.fixture
def folder() -> Iterator[Path]:
    """Give a folder where syncing costs nothing."""
    made = Path(tempfile.mkdtemp(prefix="kills-", dir=FAST))
    yield made
    shutil.rmtree(made)


@dataclass(frozen=True, slots=True)
class End:
    """Where a day ended."""

    world: dict[str, bool]
    effects: Counter[tuple[ProviderName, str, AccessId]]
    cycles: int


def lived(folder: Path, pace: Pace, people: int, kills: int) -> End:
    """Live the same day, with or without kills, assert what holds of any, and return where it ended."""
    company = Company(folder, people)
    day = Day(company, pace, seed=7)
    day.live(kills)
    day.calm_down(CALM_CYCLES)
    assert company.owed() == {}
    history = History(company=company, limits=OPEN_LIMITS)
    check_every_step(history)
    check_i17_chain(history)
    assert day.starts == 1 + kills
    cycles = len(day.office.journal.cycles())
    day.office.end()
    effects = Counter((one.provider, one.verb, one.access_id) for one in history.effects())
    return End(company.state_of_world(), effects, cycles)


def compare(folder: Path, pace: Pace, people: int, kills: int) -> None:
    """Compare a day with kills to the same one without."""
    quiet = lived(folder / "quiet", pace, people, 0)
    killed = lived(folder / "killed", pace, people, kills)
    assert killed.world == quiet.world
    assert killed.effects == quiet.effects
    assert set(killed.effects.values()) == {1}
    assert len(killed.effects) >= 3 * pace.leavers
    assert killed.cycles > quiet.cycles
    COUNTS["effects of the killed days"] += len(killed.effects)


def test_twenty_kills_change_nothing(folder: Path) -> None:
    """A busy hour with 20 random kills ends as it does without, each effect had once, the chain whole."""
    pace = Pace(hours=1, cycle_seconds=600, leavers=4, joiners=2, faults_per_cycle=0.5)
    compare(folder, pace, people=24, kills=20)


@pytest.mark.proof
@pytest.mark.timeout(3600)
def test_a_thousand_kills_change_nothing(folder: Path) -> None:
    """A busy day with 1,000 random kills ends as it does without, each effect had once, the chain whole."""
    pace = Pace(hours=24, cycle_seconds=600, leavers=24, joiners=8, faults_per_cycle=0.5)
    compare(folder, pace, people=48, kills=1000)
