"""How the end of a cycle is told: whole, once to each listener, and never so that the cycle suffers."""

from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from reconciler.attestation import Attested
from reconciler.core.errors import JournalError, SigningError
from reconciler.core.guard import Limits
from reconciler.core.model import Mode
from reconciler.core.record import CycleOutcome, CycleRecord
from reconciler.cycle import run_cycle
from reconciler.daemon.telling import Telling
from reconciler.ports import Progress
from reconciler.told import CycleTold, Listener
from tests.builders import PROVIDER
from tests.fakes.house import House
from tests.fakes.world import Watcher


class Deaf:
    """A listener with a defect."""

    def cycle_ended(self, told: CycleTold) -> None:
        raise ZeroDivisionError

    def cycle_broke(self, error: str) -> None:
        raise KeyError(error)


class Kept:
    """A listener that keeps what it is told."""

    def __init__(self) -> None:
        self.ended: list[CycleTold] = []
        self.broke: list[str] = []

    def cycle_ended(self, told: CycleTold) -> None:
        self.ended.append(told)

    def cycle_broke(self, error: str) -> None:
        self.broke.append(error)


class Told:
    """Cycles on fakes, told to listeners."""

    def __init__(self, folder: Path, *listeners: Listener) -> None:
        self.house = House(folder)
        self.watcher, self.kept = Watcher(), Kept()
        self.telling = Telling(self.house.clock, (self.watcher,), (*listeners, self.kept))

    def run(self, mode: Mode = Mode.ENFORCE, limits: Limits | None = None) -> Attested:
        """Run one cycle and tell of it."""
        house = replace(self.house.house(mode), observer=self.telling)
        rules = self.house.rules(mode, limits=limits or Limits())
        with self.telling.one_cycle():
            attested = run_cycle(house, rules)
            self.telling.cycle_ended(attested, house, rules)
        return attested


def test_a_cycle_is_told_whole(tmp_path: Path) -> None:
    """Record, acts, caps and stages reach the listener, and every step whoever watches."""
    told = Told(tmp_path)
    told.run(Mode.OBSERVE)
    attested = told.run()
    first, second = told.kept.ended
    assert first.acts == ()
    assert first.caps == {PROVIDER: 0}
    assert second.record == attested.record
    assert [entry.intent.action.item.access_id for entry in second.acts] == ["lea/access_key/1"]
    assert second.caps == {PROVIDER: 1 / 25}
    stages = [stage.stage for stage in second.stages]
    assert stages == ["collect", "correlate", "evaluate", "guard", "execute", "verify", "attest"]
    assert {step.stage for step in told.watcher.steps} >= set(stages)
    assert told.kept.broke == []


def test_a_plan_that_is_held_for_its_size_shows_beyond_the_limit(tmp_path: Path) -> None:
    """What a held plan names counts as the guard counted it, though nothing was done."""
    told = Told(tmp_path)
    told.run(Mode.OBSERVE)
    attested = told.run(limits=Limits(max_principals=0))
    assert attested.record.outcome is CycleOutcome.HELD
    assert told.kept.ended[-1].caps == {PROVIDER: 1}
    assert told.kept.ended[-1].held_digest == attested.record.plan.digest  # type: ignore[union-attr]  # a held cycle has one


def test_what_breaks_a_cycle_is_told_and_goes_on(tmp_path: Path) -> None:
    """The name of the error reaches the listeners, and the error itself whoever runs the cycle."""
    told = Told(tmp_path)
    with pytest.raises(SigningError), told.telling.one_cycle():
        raise SigningError("the key is gone")
    assert told.kept.broke == ["SigningError"]


def test_a_listener_with_a_defect_stops_nobody(tmp_path: Path) -> None:
    """The cycle ends as without it, the next listener is told, and the log names type and place only."""
    told = Told(tmp_path, Deaf())
    with capture_logs() as logs:
        attested = told.run(Mode.OBSERVE)
        with pytest.raises(RuntimeError), told.telling.one_cycle():
            raise RuntimeError("canary")
    assert told.kept.ended[0].record == attested.record
    assert told.kept.broke == ["RuntimeError"]
    assert told.telling.failures == 2
    assert [line["error"] for line in logs if line["event"] == "listener.failed"] == ["ZeroDivisionError", "KeyError"]
    assert "canary" not in str(logs)


def test_a_journal_that_cannot_be_asked_breaks_no_cycle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is told of such a cycle, which is counted and logged; the cycle itself stands."""
    told = Told(tmp_path)

    def refuse(_: object) -> None:
        raise JournalError("the disk is full", advice="make room")

    monkeypatch.setattr(told.house.journal, "touched_since", refuse)
    house, rules = told.house.house(Mode.OBSERVE), told.house.rules(Mode.OBSERVE)
    attested = Attested(record=told_record(tmp_path / "other"), statement_digest="", path="")
    with capture_logs() as logs:
        told.telling.cycle_ended(replace(attested, snapshot=None), house, rules)
        assert len(told.kept.ended) == 1
        monkeypatch.setattr(told.house.journal, "entries", refuse)
        told.telling.cycle_ended(attested, house, rules)
    assert len(told.kept.ended) == 1
    assert told.telling.failures == 1
    assert logs[-1]["advice"] == "make room"


def told_record(folder: Path) -> CycleRecord:
    """Return the record of a cycle elsewhere."""
    return Told(folder).run(Mode.OBSERVE).record


def test_stages_are_bounded_and_named(tmp_path: Path) -> None:
    """A stage that no list knows is told as another one, and many steps of one stage are one stage."""
    told = Told(tmp_path)
    for name in ("collect", "collect", "a stage of tomorrow", "collect"):
        told.telling.progress(Progress(stage=name, message=""))
        told.house.clock.sleep(2)
    house, rules = told.house.house(Mode.OBSERVE), told.house.rules(Mode.OBSERVE)
    told.telling.cycle_ended(
        Attested(record=told_record(tmp_path / "other"), statement_digest="", path=""), house, rules
    )
    assert [(one.stage, one.seconds) for one in told.kept.ended[0].stages] == [
        ("collect", 4),
        ("other", 2),
        ("collect", 2),
    ]
