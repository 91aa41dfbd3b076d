"""Every oracle finds the defect that it is there for: with one guard taken out, the invariant of that guard breaks."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from reconciler.core.errors import JournalError
from reconciler.core.model import VerificationState
from tests.simulation.company import AWS, STRICT, Company
from tests.simulation.invariants import (
    History,
    check_every_step,
    check_i02_roster,
    check_i03_protected,
    check_i04_caps,
    check_i05_journal_first,
    check_i06_truth,
    check_i10_fresh,
    check_i12_all_records,
    check_i14_modes,
)
from tests.simulation.office import FAST, LIMITS, Office
from tests.simulation.vendor import no_effect

Story = Callable[["Town"], None]


class Town:
    """A company with one daemon that has observed everything once."""

    def __init__(self, folder: Path) -> None:
        self.company = Company(folder)
        self.history = History(company=self.company, limits=LIMITS)
        self.office = Office(self.company)
        self.cycle()

    def cycle(self) -> None:
        """Live a cycle; a failure of the sabotaged program is no failure of the test."""
        self.history.records.append(self.office.cycle())
        self.company.clock.sleep(600)

    def leave(self, *numbers: int) -> None:
        """Let people leave at once, and HR say so."""
        for number in numbers:
            self.company.hr.people[number].last.end_now(self.company.clock.now())
        self.company.publish()


@pytest.fixture
def town() -> Iterator[Town]:
    """Give a town, and take it away again."""
    folder = Path(tempfile.mkdtemp(prefix="sabotage-", dir=FAST))
    made = Town(folder / "company")
    yield made
    made.office.end()
    shutil.rmtree(folder)


def one_leaves(town: Town) -> None:
    """Somebody leaves."""
    town.leave(5)
    town.cycle()


def our_own_person_leaves(town: Town) -> None:
    """The person leaves whom our own principal is tied to."""
    town.leave(0)
    town.cycle()


def nine_leave(town: Town) -> None:
    """More people leave within a day than may be touched, a few at a time."""
    for first in (3, 6, 9):
        town.leave(first, first + 1, first + 2)
        town.cycle()


def back_at_once(town: Town) -> None:
    """Somebody leaves, and is back while the cycle is under way."""
    town.leave(5)

    def back() -> None:
        town.company.hr.people[5].last.reopen()
        town.company.publish()

    town.company.vendors[AWS].on_list = back
    town.cycle()


def waived(town: Town) -> None:
    """Somebody leaves and may keep everything for a day."""
    town.company.waive(town.company.hr.people[5], 24)
    one_leaves(town)


def stale_feed(town: Town) -> None:
    """Somebody leaves, says a feed that is too old."""
    town.company.hr.people[5].last.end_now(town.company.clock.now() - timedelta(days=3))
    town.company.publish()
    town.company.hr.publish_damaged("stale", town.company.clock.now())
    town.cycle()


def new_policy(town: Town) -> None:
    """A new policy revision comes together with a leaver."""
    town.company.policies = STRICT
    one_leaves(town)


def said_and_not_done(town: Town) -> None:
    """A provider confirms what it does not do."""
    town.company.vendors[AWS].fail("quarantine", no_effect())
    one_leaves(town)


def gone(*_: object) -> VerificationState:
    """Judge everything gone."""
    return VerificationState.GONE


CASES: dict[str, tuple[Story, Callable[[History], None], dict[str, Any]]] = {
    "I-3": (
        our_own_person_leaves,
        check_i03_protected,
        {
            "reconciler.core.withholding._protected": lambda *_: None,
            "reconciler.core.guard._forbidden": lambda *_: False,
        },
    ),
    "I-4": (nine_leave, check_i04_caps, {"reconciler.core.guard._cap_holds": lambda *_: []}),
    "I-6": (said_and_not_done, check_i06_truth, {"reconciler.rereading.judge": gone}),
    "I-10": (back_at_once, check_i12_all_records, {"reconciler.circumstances._left_still": lambda *_: ""}),
    "I-10, waiver": (
        waived,
        check_i10_fresh,
        {
            "reconciler.core.withholding._excused": lambda *_: None,
            "reconciler.circumstances._Rules.stopped": lambda *_: "",
        },
    ),
    "I-2": (stale_feed, check_i02_roster, {"reconciler.cycle.roster_holds": lambda *_: ()}),
    "I-5": (one_leaves, check_i05_journal_first, {"reconciler.principal_walk.PrincipalWalk._intend": lambda *_: None}),
    "I-14": (new_policy, check_i14_modes, {"reconciler.cycle.novelties": lambda *_, **__: ()}),
}
"""By invariant: what happens, which check must notice, and what is taken out of the program."""


@pytest.mark.parametrize("name", sorted(CASES))
def test_with_every_guard_in_place_the_story_is_fine(name: str, town: Town) -> None:
    """The same story, told to the program as it is, breaks nothing."""
    story, _, _ = CASES[name]
    story(town)
    check_every_step(town.history)
    check_i06_truth(town.history)


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_guard_taken_out_is_noticed(name: str, town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the guard, the check of its invariant fails."""
    story, check, sabotage = CASES[name]
    for target, instead in sabotage.items():
        monkeypatch.setattr(target, instead)
    with suppress(JournalError):  # the journal itself refuses an outcome without an intent
        story(town)
    with pytest.raises(AssertionError):
        check(town.history)
