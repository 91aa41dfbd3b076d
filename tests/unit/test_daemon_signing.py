"""Signing beside the cycles: what a cycle stated is signed without anybody waiting for it, and failures end nothing."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from reconciler.core.errors import SigningError
from reconciler.core.spooling import Backlog
from reconciler.daemon import signing
from reconciler.daemon.signing import IDLE_SECONDS, REST_SECONDS, SOON_SECONDS, SigningDesk
from reconciler.spool import Spool
from tests.fakes.spool import DOWN, Office

WITHIN = 20.0
"""Generous: a loaded machine is no failure."""


class Beside:
    """A desk, the statements that wait on it, and what it told."""

    def __init__(self, folder: Path, open_spool: Callable[[], Spool] | None = None) -> None:
        self.office = Office(folder)
        self.told: list[Backlog] = []
        self.empty = threading.Event()
        self.desk = SigningDesk(open_spool or self.office.another, self.office.clock)
        self.desk.tell = self.note

    def note(self, backlog: Backlog) -> None:
        self.told.append(backlog)
        if not backlog.waiting:
            self.empty.set()


@pytest.fixture
def beside(tmp_path: Path) -> Beside:
    """Return a desk with three statements."""
    return Beside(tmp_path)


def test_what_waits_at_the_start_is_signed_at_once(beside: Beside) -> None:
    """A start signs what the process before left, in its own thread, and tells of it before and after."""
    with beside.desk.at_work():
        assert beside.empty.wait(WITHIN)
    assert beside.office.pen.signed == [1, 2, 3]
    assert [len(one.waiting) for one in beside.told][:2] == [3, 0]


def test_nobody_waits_for_a_signature_that_hangs(beside: Beside, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a service hangs, telling of further cycles returns, and so does the end of the daemon."""
    hanging, let_go = threading.Event(), threading.Event()

    def hang(_: bytes) -> None:
        hanging.set()
        let_go.wait(WITHIN)
        raise DOWN

    monkeypatch.setattr(beside.office.pen, "sign", hang)
    monkeypatch.setattr(signing, "LAST_SECONDS", 0.01)
    with beside.desk.at_work():
        assert hanging.wait(WITHIN)
        beside.desk.cycle_broke("JournalError")
    assert not let_go.is_set()
    let_go.set()


def test_the_end_signs_what_the_last_cycle_left(beside: Beside) -> None:
    """A statement that comes just before the end is signed before the process goes, where that is quick."""
    with beside.desk.at_work():
        assert beside.empty.wait(WITHIN)
        (bundle,) = (beside.office.root / "attestations").glob("000003-*.sigstore.json")
        bundle.unlink()
    assert beside.office.pen.signed == [1, 2, 3, 3]


def test_each_turn_says_when_to_look_again(beside: Beside) -> None:
    """Soon after a failure, when the pause is over after that, later and later; seldom once nothing waits."""
    beside.office.pen.error = DOWN
    with capture_logs() as logs:
        assert beside.desk.turn() == SOON_SECONDS
    assert [(one["event"], one["error"], one["advice"]) for one in logs] == [("signing.failed", str(DOWN), DOWN.advice)]
    asked = beside.office.pen.asked
    assert beside.desk.turn() == pytest.approx(10, abs=0.1)
    assert beside.office.pen.asked == asked
    assert beside.told[-1].attempts.error == str(DOWN)
    for _ in range(4):
        beside.office.clock.sleep(100)
        assert beside.desk.turn() == SOON_SECONDS
    assert beside.desk.turn() == REST_SECONDS
    beside.office.pen.error = None
    beside.office.clock.sleep(100)
    assert beside.desk.turn() == IDLE_SECONDS
    assert beside.office.pen.signed == [1, 2, 3]


def test_a_restart_does_not_wait_for_the_pause(beside: Beside) -> None:
    """Who restarts the daemon has mended something: the first attempt is made at once, the next ones rest."""
    beside.office.pen.error = DOWN
    beside.desk.turn()
    beside.office.pen.error = None
    again = SigningDesk(beside.office.another, beside.office.clock)
    assert again.turn() == IDLE_SECONDS
    assert beside.office.pen.signed == [1, 2, 3]


def test_a_long_queue_is_worked_off_without_a_pause(beside: Beside, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one go leaves is taken up by the next one at once."""
    monkeypatch.setattr("reconciler.spool.MOST_AT_ONCE", 2)
    assert beside.desk.turn() == 0
    assert beside.desk.turn() == IDLE_SECONDS


def test_a_key_that_cannot_be_opened_ends_nothing(tmp_path: Path) -> None:
    """Where there is no signer the desk says so and looks again; it signs once there is one."""
    error: list[Exception] = [SigningError("the signing key is gone", advice="restore it")]

    made: list[Beside] = []

    def opened() -> Spool:
        if error:
            raise error[0]
        return made[0].office.another()

    beside = Beside(tmp_path, opened)
    made.append(beside)
    assert beside.desk.turn() == SOON_SECONDS
    error[0] = ZeroDivisionError("of somebody@example.org")
    with capture_logs() as logs:
        assert beside.desk.turn() == SOON_SECONDS
    assert logs[0]["event"] == "signing.broke"
    assert "example.org" not in str(logs)
    error.clear()
    assert beside.desk.turn() == IDLE_SECONDS
