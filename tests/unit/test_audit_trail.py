"""The audit trail in the journal: complete by looking, each record once, and handed over from a cursor."""

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.adapters import audit_outbox
from reconciler.adapters.audit_file import JsonLinesStream
from reconciler.adapters.audit_log import HAND_OVER_SECONDS
from reconciler.adapters.audit_outbox import AuditOutbox, KeptRecord
from reconciler.adapters.journal import SqlJournal
from reconciler.core.errors import AuditError
from reconciler.core.model import HoldCode, HoldReason, Mode, OutcomeState, VerificationState
from reconciler.core.record import CycleOutcome
from tests.audit_history import CANARY, acts, intent, live_cycle, made_plan, open_journal, second, trail
from tests.builders import NOW
from tests.fakes.clock import FakeClock
from tests.record_builders import cycle_id, cycle_record, roster_facts

IN_ONE_CYCLE = {
    "plan": 1,
    "decision": 5,
    "approval": 1,
    "release": 1,
    "act": 3,
    "outcome": 3,
    "verification": 3,
    "undo": 1,
    "cycle": 1,
}


class Memory:
    """A stream that remembers, and fails when told; implements `audit_log.Stream`."""

    records_at_once = 4
    backfill_days: int | None = None

    def __init__(self, name: str = "memory") -> None:
        self.name = name
        self.documents: list[dict[str, object]] = []
        self.fails: Callable[[int], bool] = lambda _: False
        self.then: Callable[[], None] = lambda: None
        self.calls = 0
        self.closed = False

    def write(self, records: Sequence[KeptRecord]) -> None:
        self.calls += 1
        if self.fails(self.calls):
            raise AuditError("the line is dead", advice="it is tried again")
        self.documents += [json.loads(record.document) for record in records]
        self.then()

    def close(self) -> None:
        self.closed = True

    @property
    def ids(self) -> list[object]:
        return [document["id"] for document in self.documents]


def told(documents: Sequence[dict[str, object]]) -> dict[str, int]:
    """Count documents by kind."""
    kinds = [str(document["kind"]) for document in documents]
    return {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}


@pytest.fixture(params=["sqlite", "postgresql"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlJournal]:
    """Open an empty journal of each kind."""
    on_server = request.param == "postgresql"
    url = request.getfixturevalue("postgresql").journal_url() if on_server else None
    with SqlJournal(url) if url else open_journal(tmp_path) as opened:
        yield opened


@pytest.fixture
def sqlite_journal(tmp_path: Path) -> Iterator[SqlJournal]:
    """Open an empty journal in a file that a test looks into."""
    with open_journal(tmp_path) as opened:
        yield opened


def test_everything_in_the_journal_is_told(journal: SqlJournal) -> None:
    """One cycle with everything in it gives one record for each row, and one for each decision, in order of time."""
    stream = Memory()
    live_cycle(journal)
    assert trail(journal, stream).hand_over() == ()
    assert told(stream.documents) == IN_ONE_CYCLE
    instants = [str(document["at"]) for document in stream.documents]
    assert instants == sorted(instants)


def test_each_record_is_told_once_whenever_it_is_looked_at(journal: SqlJournal) -> None:
    """Looking again finds only what came since, also a later reading of an act that was told long ago."""
    stream = Memory()
    live_cycle(journal)
    outbox = AuditOutbox(journal.database)
    assert outbox.gather() == sum(IN_ONE_CYCLE.values())
    assert outbox.gather() == 0
    trail(journal, stream).hand_over()
    journal.record_verification(acts()[1].action_id, VerificationState.STILL_THERE, second(90))
    trail(journal, stream).hand_over()
    trail(journal, stream).hand_over()
    assert len(stream.ids) == len(set(stream.ids)) == sum(IN_ONE_CYCLE.values()) + 1
    assert stream.documents[-1]["facts"] == {
        "action_id": acts()[1].action_id,
        "effect": "revoke",
        "verification": "still_there",
    }


def test_what_comes_late_is_told_however_far_the_history_was_looked_at(journal: SqlJournal) -> None:
    """One process that looks after every step tells the same as one that looks at the end, and skips what is whole."""
    step_by_step = AuditOutbox(journal.database)
    live_cycle(journal)
    step_by_step.gather()
    assert step_by_step._whole_up_to["act"] == step_by_step._whole_up_to["outcome"] == 3
    epoch = journal.take_over(NOW)
    journal.begin_cycle(cycle_id(2), Mode.ENFORCE, second(40))
    journal.record_plan(made_plan(2), (), second(3600))
    first, other, _ = acts(2)
    for act in (first, other):
        journal.record_intent(intent(act, cycle_id(2), epoch, second(41)))
        step_by_step.gather()
    journal.record_outcome(other.action_id, OutcomeState.DONE, "", second(42))
    step_by_step.gather()
    assert step_by_step._whole_up_to["outcome"] == 3
    live_cycle(journal, 3)
    step_by_step.gather()
    journal.record_outcome(first.action_id, OutcomeState.UNKNOWN, "", second(50))
    step_by_step.gather()
    journal.finish_cycle(cycle_id(2), CycleOutcome.FAILED, "sha256:" + "2" * 64, second(51))
    journal.record_undo(other.action_id, "", second(52))
    assert step_by_step.gather() == 2
    assert step_by_step._whole_up_to["outcome"] == 8
    assert AuditOutbox(journal.database).gather() == 0


def test_a_long_history_is_gathered_in_pieces(journal: SqlJournal, monkeypatch: pytest.MonkeyPatch) -> None:
    """More rows than one transaction takes are all told."""
    monkeypatch.setattr(audit_outbox, "ROWS_AT_ONCE", 2)
    for sequence in (1, 2, 3):
        live_cycle(journal, sequence)
    stream = Memory()
    trail(journal, stream).hand_over()
    expected = {kind: 3 * count for kind, count in IN_ONE_CYCLE.items()} | {"decision": 5}
    assert told(stream.documents) == expected
    plans = [document for document in stream.documents if document["kind"] == "plan"]
    assert [plan["facts"]["decisions_as_in_cycle"] for plan in plans] == [None, cycle_id(1), cycle_id(2)]  # type: ignore[index]  # parsed JSON


def test_a_lost_connection_loses_nothing_and_doubles_nothing(journal: SqlJournal) -> None:
    """A stream that fails at any hand-over goes on from there, whichever one it is."""
    live_cycle(journal)
    whole = Memory("whole")
    trail(journal, whole).hand_over()
    for failing in range(1, 6):
        stream = Memory(f"fails-at-{failing}")
        stream.fails = lambda call, failing=failing: call == failing  # type: ignore[misc]  # the loop's value now
        (problem,) = trail(journal, stream).hand_over()
        assert problem == f"AuditError: fails-at-{failing}: the line is dead; it is tried again"
        assert stream.ids == whole.ids[: (failing - 1) * 4]
        assert trail(journal, stream).hand_over() == ()
        assert stream.ids == whole.ids


def test_one_dead_stream_stops_no_other(journal: SqlJournal) -> None:
    """Each stream has its own cursor: the file is whole while the cloud is away."""
    live_cycle(journal)
    dead, alive = Memory("dead"), Memory("alive")
    dead.fails = lambda _: True
    assert len(trail(journal, dead, alive).hand_over()) == 1
    assert len(alive.ids) == sum(IN_ONE_CYCLE.values())


def test_what_waits_is_said_before_the_next_attestation(journal: SqlJournal) -> None:
    """The next cycle's record says how many records wait for which stream and since when; then no more."""
    stream = Memory()
    stream.fails = lambda _: True
    live_cycle(journal)
    audit = trail(journal, stream)
    assert audit.record(cycle_record()) == ()
    audit.hand_over()
    (line,) = audit.record(cycle_record(sequence=2))
    count = sum(IN_ONE_CYCLE.values())
    assert line == f"AuditError: {count} records wait for memory since 2026-03-02T09:00:03.000000Z"
    stream.fails = lambda _: False
    audit.hand_over()
    assert audit.record(cycle_record(sequence=2)) == ()


def test_a_killed_process_loses_no_record(tmp_path: Path) -> None:
    """Killed after the hand-over and before the cursor, the next process hands over again; the file holds each once."""
    path = tmp_path / "audit.jsonl"

    class Killed(BaseException):
        """The process ends here."""

    class Dying(JsonLinesStream):
        records_at_once = 7

        def write(self, records: Sequence[KeptRecord]) -> None:
            super().write(records)
            raise Killed

    written = [0]
    for _ in range(3):
        with open_journal(tmp_path) as journal:
            if not written[-1]:
                live_cycle(journal)
            with pytest.raises(Killed):
                trail(journal, Dying(path)).hand_over()
        written.append(len(path.read_text().splitlines()))
    assert written == [0, 7, 7, 7]
    with open_journal(tmp_path) as journal:
        assert trail(journal, JsonLinesStream(path)).hand_over() == ()
    ids = [json.loads(line)["id"] for line in path.read_text().splitlines()]
    assert len(ids) == len(set(ids)) == sum(IN_ONE_CYCLE.values())


def test_refused_inputs_come_from_the_record(journal: SqlJournal) -> None:
    """What only the cycle's record knows is kept before the attestation, and told with the rest."""
    stream = Memory()
    audit = trail(journal, stream)
    refused = cycle_record(roster=roster_facts(problems=("line 3, column 2: bad_date",)))
    assert audit.record(refused) == ()
    audit.hand_over()
    assert audit.record(refused) == ()
    assert audit.record(cycle_record(sequence=2)) == ()
    audit.hand_over()
    assert told(stream.documents) == {"refused_input": 1}
    assert stream.documents[0]["facts"] == {
        "input": "roster",
        "code": "rows",
        "digest": "sha256:" + "a" * 64,
        "places": ["line 3, column 2: bad_date"],
        "count": 1,
    }


def test_a_journal_that_cannot_be_written_is_said_and_raises_nothing(
    sqlite_journal: SqlJournal, tmp_path: Path
) -> None:
    """A locked journal costs the trail a line in the record, and the cycle nothing."""
    live_cycle(sqlite_journal)
    sqlite_journal.database.close()
    other = sqlite3.connect(tmp_path / "journal.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    audit = replace(trail(sqlite_journal, Memory()), outbox=AuditOutbox(_impatient(tmp_path).database))
    refused = cycle_record(errors=("RosterRefused: x",))
    for said in (audit.record(refused), audit.hand_over()):
        (line,) = said
        assert line.startswith("AuditError: the audit trail: could not")
        assert "the journal is locked" in line
    other.execute("ROLLBACK")
    other.close()
    assert audit.record(refused) == ()
    assert audit.hand_over() == ()


def _impatient(folder: Path) -> SqlJournal:
    return SqlJournal(f"sqlite:///{folder / 'journal.sqlite3'}", busy_timeout_seconds=0.01)


def test_a_backlog_does_not_keep_a_cycle(journal: SqlJournal) -> None:
    """After its time a slow stream is left for the next cycle, which goes on from there."""
    live_cycle(journal)
    clock, stream = FakeClock(NOW), Memory()
    stream.then = lambda: clock.sleep(HAND_OVER_SECONDS * 0.6)
    (line,) = trail(journal, stream, clock=clock).hand_over()
    assert "the next cycle goes on" in line
    assert stream.calls == 2
    stream.then = lambda: None
    assert trail(journal, stream, clock=clock).hand_over() == ()
    assert len(stream.ids) == len(set(stream.ids)) == sum(IN_ONE_CYCLE.values())


@pytest.mark.parametrize(("days", "expected"), [(None, 19), (14, 0), (0, 0), (29, 19)])
def test_a_new_stream_begins_as_far_back_as_it_may(journal: SqlJournal, days: int | None, expected: int) -> None:
    """A stream that takes nothing old begins with what is young enough; the file takes the whole history."""
    live_cycle(journal)
    AuditOutbox(journal.database).gather()
    stream = Memory()
    stream.backfill_days = days
    trail(journal, stream, clock=FakeClock(NOW + timedelta(days=20))).hand_over()
    assert len(stream.ids) == expected


def test_a_new_stream_begins_in_the_middle(journal: SqlJournal) -> None:
    """Of an old and a young cycle only the young one's records are sent, and later ones follow."""
    live_cycle(journal)
    outbox = AuditOutbox(journal.database)
    outbox.gather()
    journal.record_verification(acts()[0].action_id, VerificationState.GONE, NOW + timedelta(days=19))
    outbox.gather()
    stream = Memory()
    stream.backfill_days = 14
    audit = trail(journal, stream, clock=FakeClock(NOW + timedelta(days=20)))
    audit.hand_over()
    journal.record_verification(acts()[0].action_id, VerificationState.GONE, NOW + timedelta(days=20))
    audit.hand_over()
    assert told(stream.documents) == {"verification": 2}


def test_no_canary_in_the_trail(sqlite_journal: SqlJournal, tmp_path: Path) -> None:
    """The journal holds names, e-mails, free texts and before-images; none of it reaches a stream or its table."""
    live_cycle(sqlite_journal)
    path = tmp_path / "audit.jsonl"
    trail(sqlite_journal, JsonLinesStream(path)).hand_over()
    with sqlite3.connect(tmp_path / "journal.sqlite3") as raw:
        assert any(CANARY in row[0] for row in raw.execute("SELECT before FROM intents"))
        assert not any(CANARY in row[0] for row in raw.execute("SELECT document FROM audit_records"))
    raw.close()
    assert CANARY not in path.read_text()


def test_a_journal_from_before_the_trail_is_brought_up(tmp_path: Path) -> None:
    """A journal that was written before there was a trail keeps its rows, and all of them are told."""
    with open_journal(tmp_path) as journal:
        live_cycle(journal)
    raw = sqlite3.connect(tmp_path / "journal.sqlite3")
    for statement in (
        "DROP TABLE audit_records",
        "DROP TABLE audit_cursors",
        "ALTER TABLE approvals DROP COLUMN uid",
        "ALTER TABLE approvals DROP COLUMN login",
        "DROP INDEX ix_epochs_boot",
        "DROP INDEX ix_intents_epoch",
        "ALTER TABLE epochs DROP COLUMN boot",
        "ALTER TABLE epochs DROP COLUMN uptime_seconds",
        "ALTER TABLE plans DROP COLUMN breadth",
        "UPDATE alembic_version SET version_num='0001'",
    ):
        raw.execute(statement)
    raw.commit()
    raw.close()
    stream = Memory()
    with open_journal(tmp_path) as journal:
        assert trail(journal, stream).hand_over() == ()
    assert told(stream.documents) == IN_ONE_CYCLE


def test_a_held_plan_is_told_with_its_reasons(journal: SqlJournal) -> None:
    """A plan that a stale roster holds is told as held, and the roster as refused."""
    journal.record_plan(made_plan(), (HoldReason(code=HoldCode.ROSTER_STALE, message=CANARY),), second(60))
    stream = Memory()
    trail(journal, stream).hand_over()
    assert told(stream.documents) == {"refused_input": 1, "plan": 1, "decision": 5}
    facts = stream.documents[1]["facts"]
    assert isinstance(facts, dict)
    assert facts["held"] is True
    assert facts["hold_codes"] == ["roster_stale"]


def test_closing_closes_every_stream(journal: SqlJournal) -> None:
    """No connection is left behind."""
    one, two = Memory("one"), Memory("two")
    trail(journal, one, two).close()
    assert one.closed
    assert two.closed
