"""A process may die at any place of a whole cycle, attestation, audit and undo included: the end is the same."""

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.core.model import OutcomeState
from reconciler.undo import undo
from tests.crash.failpoints import Crash, FailingJournal, FailingProvider, Failpoints
from tests.simulation.company import AWS, Company
from tests.simulation.counts import COUNTS
from tests.simulation.invariants import History, check_every_step, check_i17_chain
from tests.simulation.office import FAST, LIMITS, Office

EFFECTS = Counter(
    {
        ("corp-aws", "quarantine", "u5/account/1"): 1,
        ("corp-aws", "revoke", "u5/access_key/1"): 1,
        ("corp-aws", "revoke", "u5/group_membership/team-1"): 1,
        ("corp-scim", "quarantine", "u5/account/1"): 1,
        ("corp-scim", "quarantine", "u5/access_key/1"): 1,
    }
)


@pytest.fixture(scope="module")
def prepared() -> Iterator[Path]:
    """Give a state that has observed everything once: what every history here begins with."""
    folder = Path(tempfile.mkdtemp(prefix="crash-", dir=FAST))
    office = Office(Company(folder / "model", people=8))
    office.cycle()
    office.end()
    yield folder
    shutil.rmtree(folder)


class Town:
    """A company whose one leaver is known, and the processes that come and go."""

    def __init__(self, folder: Path, number: str) -> None:
        self.folder = folder / number
        shutil.copytree(folder / "model", self.folder)
        self.company = Company(self.folder, people=8)
        self.company.clock.sleep(60)
        self.company.hr.people[5].last.end_now(self.company.clock.now())
        self.company.publish()
        self.starts = 0

    def live(self, at: int = 0) -> Failpoints:
        """Live a process of one cycle that dies at its n-th place; 0 and one beyond the last do not die."""
        self.starts += 1
        office = Office(self.company, seed=self.starts)
        points = office.failpoints = Failpoints(at)
        try:
            office.cycle()
        except Crash:
            COUNTS["crashes at failpoints"] += 1
        finally:
            office.end()
        self.company.clock.sleep(60)
        return points

    def check_end(self) -> None:
        """Assert the end that every history must reach."""
        history = History(company=self.company, limits=LIMITS)
        check_every_step(history)
        check_i17_chain(history)
        assert Counter((one.provider, one.verb, one.access_id) for one in history.effects()) == EFFECTS
        assert self.company.owed() == {}
        assert history.rows("select cycle_id from cycles except select cycle_id from cycle_ends") == []
        kept = {str(one) for (one,) in history.rows("select cycle_id from cycles")}
        told = (self.company.state / "audit.jsonl").read_text()
        assert all(one in told for one in kept)
        shutil.rmtree(self.folder)


def places(prepared: Path) -> int:
    """Return how many places a cycle that takes everything from a leaver passes."""
    town = Town(prepared, "count")
    passed = len(town.live().passed)
    town.check_end()
    COUNTS["failpoints of a whole cycle"] = passed
    return passed


def die_at_each(prepared: Path, step: int) -> None:
    """Die at every n-th place, restart, and reach the end."""
    for at in range(1, places(prepared) + 1, step):
        town = Town(prepared, str(at))
        town.live(at)
        town.live()
        town.check_end()


def test_dying_at_places_of_a_whole_cycle_ends_the_same(prepared: Path) -> None:
    """Death at every fifth place from collecting to attesting, then a restart."""
    die_at_each(prepared, 5)


@pytest.mark.proof
@pytest.mark.timeout(1800)
def test_dying_at_every_place_of_a_whole_cycle_ends_the_same(prepared: Path) -> None:
    """Death at every place from collecting to attesting, then a restart."""
    die_at_each(prepared, 1)


@pytest.mark.proof
@pytest.mark.timeout(3600)
def test_dying_again_in_the_recovery_of_a_whole_cycle_ends_the_same(prepared: Path) -> None:
    """Death at each seventh place, then at each seventh of the process that recovers, then a restart."""
    for first in range(1, places(prepared) + 1, 7):
        again = 1 + first % 7
        while True:
            town = Town(prepared, f"{first}-{again}")
            town.live(first)
            died = town.live(again)
            town.live()
            town.check_end()
            if len(died.passed) < again:
                break
            COUNTS["crash pairs of a whole cycle"] += 1
            again += 7


def die_in_undo(prepared: Path, at: int) -> Failpoints:
    """Die at the n-th place of an undo, undo again, and assert that it was given back once and is recorded."""
    town = Town(prepared, f"undo-{at}")
    town.live()
    vendor, points = town.company.vendors[AWS], Failpoints(at)
    office = Office(town.company, seed=9)
    try:
        entry = next(
            one
            for one in office.journal.entries()
            if one.intent.action.provider == AWS and one.intent.before.restorable and one.outcome is OutcomeState.DONE
        )
        hands: Any = FailingProvider(vendor, points)
        journal: Any = FailingJournal(office.journal, points)
        try:
            undo(entry, hands, hands, journal, town.company.clock)
        except Crash:
            COUNTS["crashes at failpoints"] += 1
            known = office.journal.entry(entry.intent.action.action_id)
            assert known is not None
            if known.undone_at is None:
                undo(known, vendor, vendor, office.journal, town.company.clock)
        after = office.journal.entry(entry.intent.action.action_id)
        assert after is not None
        assert after.undone_at is not None
        assert vendor.items[entry.intent.action.item.access_id] == entry.intent.action.item
        assert all(known for _, known in vendor.undone)
    finally:
        office.end()
        shutil.rmtree(town.folder)
    return points


def test_dying_at_every_place_of_an_undo_gives_back_all_the_same(prepared: Path) -> None:
    """Death at every place of an undo: it may be undone again, is back, and each attempt stood in the journal first."""
    total = len(die_in_undo(prepared, 0).passed)
    COUNTS["failpoints of an undo"] = total
    assert total >= 7
    for at in range(1, total + 1):
        die_in_undo(prepared, at)
