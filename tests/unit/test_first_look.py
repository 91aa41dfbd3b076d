"""The first cycle of a new policy revision shows what it changes: once, and at nobody's cost."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from reconciler.adapters import policy_changes
from reconciler.adapters.policy_changes import PolicyChanges
from reconciler.adapters.policy_files import load_policies
from reconciler.adapters.policy_store import Adopted, Attempt, PolicyStore, in_force, tree_files
from reconciler.core.errors import SettingsError
from reconciler.core.model import HoldCode, Mode, PolicySet
from reconciler.core.record import ChangeState, CycleOutcome, CycleRecord
from reconciler.cycle import run_cycle
from reconciler.policies import first_look
from reconciler.policies.first_look import FirstLook
from reconciler.ports import PolicyEngine
from tests.fakes.engine import FakeEngine, found
from tests.fakes.house import House
from tests.fakes.world import Watcher
from tests.output_schemas import problems
from tests.recordings import change
from tests.small_policies import small_policies

DEADLINE_SECONDS = 60.0


class Installation(House):
    """A house whose policies change, with the copies of those that decided; whoever is asked beside finds nobody."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.folder = small_policies(folder)
        self.store = PolicyStore(folder / "state" / "policies")
        self.changes = PolicyChanges(folder / "state" / "policy-changes")
        self.opened = 0
        self.wrong: Callable[[], None] = lambda: None
        self.waits = False
        self.previewed = False
        self.beside = FakeEngine(lambda *_: [])
        self.adopt()

    def adopt(self) -> PolicySet:
        """Put what lies in the folder in force."""
        policies = load_policies(self.folder)
        self.store.keep(policies.digest, tree_files(self.folder))
        adopted = Adopted(digest=policies.digest, source="policies", at="")
        attempt = Attempt(at="", source="policies", digest=policies.digest, accepted=True, by="t")
        self.store.change(lambda standing: in_force(standing, adopted, attempt))
        return policies

    def new_revision(self, days: int = 3) -> PolicySet:
        """Change a threshold, and put the revision that makes in force."""
        path = self.folder / "access" / "config" / "data.json"
        data = json.loads(path.read_text())
        data["leaver"]["grace_days"] = days
        path.write_text(json.dumps(data))
        return self.adopt()

    @contextmanager
    def engine_beside(self) -> Iterator[PolicyEngine]:
        """Give another engine than the one that decides."""
        self.opened += 1
        self.wrong()
        self.beside.revision = ""
        yield self.beside

    def cycle(self, mode: Mode = Mode.ENFORCE, **changes: Any) -> CycleRecord:
        """Run one cycle by what is in force."""
        policies = replace(load_policies(self.folder), previewed=self.previewed)
        self.engine = FakeEngine()
        look = FirstLook(
            store=self.store,
            changes=self.changes,
            journal=self.journal,
            clock=self.clock,
            observer=Watcher(),
            open_engine=self.engine_beside,
            deadline_seconds=DEADLINE_SECONDS,
        )
        house = replace(self.house(mode, changes.pop("decide_at", None)), load_policies=lambda: policies)
        return run_cycle(replace(house, first_look=look, urgent=lambda: self.waits), self.rules(mode)).record


@pytest.fixture
def place(tmp_path: Path) -> Installation:
    """An installation that has observed a cycle by its first policies."""
    made = Installation(tmp_path)
    first = made.cycle(Mode.OBSERVE)
    assert (first.policy_change, made.opened) == (None, 0)  # nothing decided before it
    return made


def codes(record: CycleRecord) -> set[HoldCode]:
    """Return why a plan was held."""
    return {one.code for one in record.guard.hold_reasons}


def told(record: CycleRecord) -> list[str]:
    """Return what a cycle says of a comparison that was not made or kept."""
    return [line for line in record.errors if line.startswith("Policies not compared: ")]


def test_the_first_cycle_shows_the_difference_once(place: Installation) -> None:
    """The revision is held, and shown beside the one before on what was read; the next cycle acts and compares no more.

    The log tells it in numbers alone.
    """
    before, after = load_policies(place.folder), place.new_revision()
    with capture_logs() as logs:
        held = place.cycle()
    assert (held.outcome, codes(held), told(held)) == (CycleOutcome.HELD, {HoldCode.NEW_POLICY}, [])
    seen = held.policy_change
    assert seen is not None
    assert (seen.state, seen.before, seen.after) == (ChangeState.COMPARED, before.digest, after.digest)
    assert (seen.counts["gained"], seen.counts["newly_lost"], seen.counts["newly_kept"]) == (1, 1, 0)
    document = json.loads(json.dumps(seen.difference))
    assert problems("policies-diff", document) == []
    assert [(one["access_id"], one["before"], one["after"]) for one in document["planned"]] == [
        (held.plan.actions[0].item.access_id if held.plan else "", "keep", "revoke")
    ]
    assert place.changes.of(after.digest) == replace(seen, difference=document)
    (line,) = (one for one in logs if one["event"] == "policies.compared")
    assert line["newly_lost"] == 1
    assert not {"lea", "L1", "lea/access_key/1"} & set(map(str, line.values()))
    acted = place.cycle()
    assert (acted.outcome, acted.policy_change, place.opened) == (CycleOutcome.COMPLETE, None, 1)
    assert acted.plan is not None
    assert held.plan is not None
    assert acted.plan.digest == held.plan.digest


def test_what_decides_is_not_asked_otherwise(place: Installation) -> None:
    """The engine that decides answers for its own policies alone; the one beside holds those before, at one instant."""
    before, after = load_policies(place.folder), place.new_revision()
    record = place.cycle(Mode.OBSERVE)
    assert isinstance(place.engine, FakeEngine)
    assert (place.engine.revision, place.beside.revision) == (after.digest, before.digest)
    assert record.policy_change is not None
    assert record.policy_change.difference is not None
    assert record.policy_change.difference["as_of"] == "2026-03-02T09:00:00.000000Z"


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (SettingsError("no opa", advice="install it"), "no opa; install it"),
        (KeyError("lea@example.com"), "KeyError while the revisions were compared"),
    ],
)
def test_a_comparison_that_fails_fails_nothing(place: Installation, error: Exception, why: str) -> None:
    """The cycle is held as it would be, says so in its errors and log; the next one acts without another try."""
    place.new_revision()

    def fail() -> None:
        raise error

    place.wrong = fail
    with capture_logs() as logs:
        held = place.cycle()
    assert (held.outcome, codes(held)) == (CycleOutcome.HELD, {HoldCode.NEW_POLICY})
    assert told(held) == [f"Policies not compared: {why}"]
    assert held.policy_change is not None
    assert held.policy_change.state is ChangeState.FAILED
    assert [one["log_level"] for one in logs if one["event"] == "policies.not_compared"] == ["error"]
    acted = place.cycle()
    assert (acted.outcome, told(acted), place.opened) == (CycleOutcome.COMPLETE, [], 1)


def test_a_copy_that_was_changed_or_is_gone_is_not_compared_with(place: Installation) -> None:
    """What is not what decided before is no measure: it is said, and nothing is compared."""
    before = load_policies(place.folder)
    place.new_revision()
    kept = place.store.folder(before.digest) / "access" / "config" / "data.json"
    kept.write_text(kept.read_text().replace("90", "91"))
    assert "was changed: it is sha256:" in told(place.cycle())[0]
    place.new_revision(4)
    shutil.rmtree(place.store.folder(load_policies(place.folder).digest).parent)
    assert "no copy is kept of the policies that decided before" in told(place.cycle())[0]
    assert place.opened == 0


def test_a_revision_that_no_cycle_went_by_is_no_measure(place: Installation) -> None:
    """Two changes between two cycles are shown as one, beside what really decided before."""
    before = load_policies(place.folder)
    place.new_revision(3)
    place.new_revision(4)
    change_of_both = place.cycle().policy_change
    assert change_of_both is not None
    assert change_of_both.before == before.digest


def test_a_leaver_does_not_wait_for_it(place: Installation) -> None:
    """The comparison stops for what is urgent, says so, and is made by the next whole cycle, which acts as it would."""
    after = place.new_revision()

    def come() -> None:
        place.waits = True

    place.wrong = come
    held = place.cycle()
    assert held.policy_change is not None
    assert held.policy_change.state is ChangeState.POSTPONED
    assert "a leaver could not wait" in told(held)[0]
    place.waits, place.wrong = False, lambda: None
    acted = place.cycle()
    assert acted.outcome is CycleOutcome.COMPLETE
    assert acted.policy_change is not None
    assert acted.policy_change.state is ChangeState.COMPARED
    assert not place.changes.waits(after.digest)


def test_it_ends_after_its_time(place: Installation) -> None:
    """One that takes longer than it may is ended, and told."""
    place.new_revision()

    def slow() -> None:
        place.clock.at += timedelta(seconds=DEADLINE_SECONDS + 1)

    place.wrong = slow
    assert "it took longer than 60 seconds" in told(place.cycle())[0]


def test_what_somebody_looked_at_or_only_rehearsed_is_not_compared(place: Installation) -> None:
    """A revision adopted by the digest of its difference acts at once; a rehearsal of another day shows nothing."""
    place.new_revision()
    assert place.cycle(Mode.OBSERVE, decide_at=place.clock.now() + timedelta(days=1)).policy_change is None
    place.previewed = True
    acted = place.cycle()
    assert (acted.outcome, acted.policy_change, place.opened) == (CycleOutcome.COMPLETE, None, 0)


def test_without_room_it_is_shown_all_the_same(place: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change that cannot be kept is shown by its cycle, which says that it could not."""
    place.new_revision()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(PolicyChanges, "put", full)
    held = place.cycle()
    assert told(held) == ["Policies not compared: it could not be kept: No space left on device"]
    assert held.policy_change is not None
    assert held.policy_change.state is ChangeState.COMPARED


def test_long_lists_are_cut_with_their_number(place: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the change touches, what is kept has a bound, and says how much is beyond it; the counts are of all."""
    monkeypatch.setattr(first_look, "MOST_LINES", 1)
    place.new_revision()
    place.beside.decide = lambda _, unit: [found(one, rule="orphan", code="orphan") for one in unit["access"]]
    seen = place.cycle().policy_change
    assert seen is not None
    assert seen.difference is not None
    lines = seen.difference["lines"]
    assert isinstance(lines, list)
    assert (len(lines), seen.lines_left_out) == (1, seen.counts["gained"] + seen.counts["lost"] - 1)
    assert seen.lines_left_out > 0


def test_the_newest_changes_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go when there are too many; what waits goes with them."""
    monkeypatch.setattr(policy_changes, "MOST_KEPT", 2)
    changes = PolicyChanges(tmp_path / "kept")
    made = [f"sha256:{number:064d}" for number in range(3)]
    for digest in made:
        changes.put(change(after=digest, state=ChangeState.POSTPONED, difference=None))
    assert [changes.of(digest) is not None for digest in made] == [False, True, True]
    assert [changes.waits(digest) for digest in made] == [False, True, True]
