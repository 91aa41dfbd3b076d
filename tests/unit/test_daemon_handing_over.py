"""The audit trail handed over beside the cycles: nothing waits for it, and nothing is left out."""

import threading

from structlog.testing import capture_logs

from reconciler.core.errors import JournalError
from reconciler.core.record import CycleRecord
from reconciler.daemon.handing_over import TrailDesk
from reconciler.ports import StreamLag
from tests.builders import NOW
from tests.record_builders import cycle_record

LONGEST = 30


class Trail:
    """A trail whose stream answers when the test lets it, and then as the test says."""

    def __init__(self, *answers: tuple[str, ...] | Exception) -> None:
        self.answers = list(answers)
        self.handed_over = 0
        self.began = threading.Semaphore(0)
        self.may_end = threading.Event()
        self.recorded: list[CycleRecord] = []

    def record(self, record: CycleRecord) -> tuple[str, ...]:
        """Keep the record."""
        self.recorded.append(record)
        return ("AuditError: 3 records wait",)

    def hand_over(self) -> tuple[str, ...]:
        """Answer when it may."""
        self.began.release()
        assert self.may_end.wait(LONGEST)
        self.handed_over += 1
        answer = self.answers.pop(0) if self.answers else ()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def lags(self) -> tuple[StreamLag, ...]:
        """Count how often it was handed over."""
        return (StreamLag(stream="jsonl", records=self.handed_over, since=NOW),)


def test_nobody_waits_for_a_stream_that_does_not_answer() -> None:
    """Asking for a hand-over returns at once, and what a cycle refused is noted all the same."""
    trail = Trail()
    desk = TrailDesk(trail)
    with desk.at_work():
        assert desk.hand_over() == ()
        assert trail.began.acquire(timeout=LONGEST)
        assert desk.hand_over() == ()
        assert (trail.handed_over, desk.lags()) == (0, ())
        assert desk.record(cycle_record()) == ("AuditError: 3 records wait",)
        trail.may_end.set()


def test_the_end_waits_for_what_the_last_cycle_left() -> None:
    """What came just before the end is handed over once more, and what still waits then is told."""
    trail = Trail()
    trail.may_end.set()
    desk = TrailDesk(trail)
    with desk.at_work():
        pass
    assert trail.handed_over == 1
    assert [lag.records for lag in desk.lags()] == [1]


def test_what_fails_is_logged_and_tried_again() -> None:
    """A stream that is behind, a journal that cannot be read and a defect are told, and end nothing."""
    trail = Trail(("AuditError: jsonl: disk full",), JournalError("locked", advice="wait"), KeyError("hunter2"))
    trail.may_end.set()
    desk = TrailDesk(trail)
    with capture_logs() as logged, desk.at_work():
        for _ in range(4):
            desk.hand_over()
            assert trail.began.acquire(timeout=LONGEST)
    assert trail.handed_over >= 4
    assert [entry["event"] for entry in logged] == ["audit.behind", "audit.behind", "audit.broke"]
    assert logged[0]["problem"] == "AuditError: jsonl: disk full"
    assert logged[2]["error"] == "KeyError"
    assert "hunter2" not in str(logged)
