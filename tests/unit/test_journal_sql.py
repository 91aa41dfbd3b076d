"""What the SQL journal promises beyond the port: durability, privacy, schema, and errors that say what to do."""

import os
import sqlite3
import stat
import threading
from collections.abc import Callable
from dataclasses import is_dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NewType, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, text

from inventory.model import AccessItem, ArtefactKind, Credential, Grant, Session
from inventory.roster.model import AcceptedRoster
from reconciler.adapters import journal_database
from reconciler.adapters.journal import SqlJournal
from reconciler.adapters.journal_database import Database, sqlite_url
from reconciler.adapters.journal_schema import METADATA
from reconciler.adapters.journal_values import (
    document,
    load_action,
    load_before,
    load_holds,
    load_instant,
    load_plan,
    load_roster,
)
from reconciler.core.canonical import rfc3339
from reconciler.core.errors import JournalError, LeaseLost
from reconciler.core.model import Action, ActionId, Approval, BeforeImage, CycleId, HoldCode, Mode, Plan
from reconciler.core.record import CycleOutcome
from tests.builders import NOW, PROVIDER, SCOPE, action, credential, grant, principal
from tests.fakes.world import plan_of

INSTANTS = st.datetimes(timezones=st.just(UTC), min_value=datetime(1900, 1, 1))  # noqa: DTZ001 - hypothesis adds the zone
EXACT = st.integers(-(2**53) + 1, 2**53 - 1)


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    """Draw any value of a type, with instants that have a zone and numbers that JSON holds exactly."""
    if hint in (datetime, int):
        return INSTANTS if hint is datetime else EXACT
    if is_dataclass(hint) and isinstance(hint, type):
        return st.builds(hint, **{name: values_of(part) for name, part in get_type_hints(hint).items()})
    if isinstance(hint, NewType):
        return values_of(hint.__supertype__)
    parts = get_args(hint)
    if get_origin(hint) is tuple and parts[-1] is Ellipsis:
        return st.lists(values_of(parts[0]), max_size=2).map(tuple)
    if get_origin(hint) is tuple:
        return st.tuples(*(values_of(part) for part in parts))
    return st.one_of(*(values_of(part) for part in parts)) if parts else st.from_type(hint)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a journal file in a folder that does not exist yet."""
    return tmp_path / "state" / "journal.db"


def test_durability_is_in_force_on_each_connection(path: Path) -> None:
    """Every connection of the pool runs WAL, synchronous FULL, foreign keys and a busy timeout, as SQLite tells."""
    database = Database(sqlite_url(path), busy_timeout_seconds=3)
    with database.reading("look") as first, database.reading("look") as second:
        for connection in (first, second):
            told = [
                connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            ]
            assert told == ["wal", 2, 1, 3000]
    database.close()


def test_a_database_that_refuses_wal_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A journal that cannot be made durable is not opened: believed is only what SQLite says back."""

    class Refusing(sqlite3.Cursor):
        def execute(self, sql: str, *parameters: Any) -> Any:
            return super().execute(sql.replace("synchronous = FULL", "synchronous = NORMAL"), *parameters)

    class Connection(sqlite3.Connection):
        def cursor(self, *_: object) -> sqlite3.Cursor:  # type: ignore[override]  # one of the driver's overloads
            return Refusing(self)

    real = sqlite3.connect
    monkeypatch.setattr(
        sqlite3.dbapi2, "connect", lambda *args, **kwargs: real(*args, **(kwargs | {"factory": Connection}))
    )
    with pytest.raises(JournalError, match="synchronous=FULL") as refused:
        SqlJournal(sqlite_url(path))
    assert "local disk" in refused.value.advice


def test_the_file_is_private(path: Path) -> None:
    """The journal, its log and its folder are its owner's only, whatever the umask, also if it lay open before."""
    before = os.umask(0)
    try:
        with SqlJournal(sqlite_url(path)) as journal:
            journal.take_over(NOW)
            modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert modes == {"journal.db": 0o600, "journal.db-wal": 0o600, "journal.db-shm": 0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.chmod(0o644)
    SqlJournal(sqlite_url(path)).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_rows_are_never_changed(path: Path) -> None:
    """SQLite itself refuses to change or remove a row of any table of the journal."""
    with SqlJournal(sqlite_url(path)) as journal:
        journal.take_over(NOW)
        journal.begin_cycle(CycleId("c"), Mode.OBSERVE, NOW)
    raw = sqlite3.connect(path)
    for statement in ("UPDATE cycles SET mode='enforce'", "DELETE FROM cycles", "DELETE FROM epochs"):
        with pytest.raises(sqlite3.IntegrityError, match="never changed"):
            raw.execute(statement)
    triggers = {row[0] for row in raw.execute("SELECT name FROM sqlite_master WHERE type='trigger'")}
    raw.close()
    assert triggers == {f"{table}_no_{verb}" for table in METADATA.tables for verb in ("update", "delete")}


def test_reopening_keeps_everything(path: Path) -> None:
    """A second opening migrates nothing and finds what was written."""
    with SqlJournal(sqlite_url(path)) as journal:
        journal.take_over(NOW)
        journal.begin_cycle(CycleId("c"), Mode.OBSERVE, NOW)
    with SqlJournal(sqlite_url(path)) as journal:
        assert [entry.cycle_id for entry in journal.cycles()] == ["c"]
        assert journal.take_over(NOW) == 2


def test_who_was_taken_over_decides_nothing_more(path: Path) -> None:
    """After a take-over the former writer begins, ends, plans, releases, remembers and undoes nothing, but its heir."""
    plan, cycle = plan_of(action(principal(), credential())), CycleId("c")
    approval = Approval(
        plan_digest=plan.digest,
        approved_by="sam",
        approved_at=NOW,
        expires_at=NOW + timedelta(hours=1),
        lifts=(HoldCode.CAP_COUNT,),
    )
    roster = AcceptedRoster(digest="sha256:" + "1" * 64, as_of=NOW, workers=1, open_workers=1)

    def writes(journal: SqlJournal) -> list[Callable[[], object]]:
        return [
            lambda: journal.record_plan(plan, (), NOW),
            lambda: journal.use_approval(plan.digest, cycle, NOW),
            lambda: journal.remember_roster(roster, NOW),
            lambda: journal.remember_observed("policy", "sha256:p", cycle, NOW),
            lambda: journal.remember_all_observed("key", ("k",), cycle, NOW),
            lambda: journal.finish_cycle(cycle, CycleOutcome.COMPLETE, "sha256:d", NOW),
            lambda: journal.begin_cycle(CycleId("d"), Mode.ENFORCE, NOW),
        ]

    with SqlJournal(sqlite_url(path)) as old, SqlJournal(sqlite_url(path)) as heir:
        old.take_over(NOW)
        old.begin_cycle(cycle, Mode.ENFORCE, NOW)
        old.record_approval(approval)
        heir.take_over(NOW)
        begin_undo: Callable[[], object] = lambda: old.record_undo_intent(ActionId("a"), NOW)  # noqa: E731 - one of many
        for write in [*writes(old), begin_undo]:
            with pytest.raises(LeaseLost, match="holds epoch 1 of the journal, the writer now holds 2"):
                write()
        assert heir.pending_approvals(NOW) == (approval,)
        assert heir.last_roster() is None
        assert heir.all_observed("policy") | heir.all_observed("key") == set()
        assert [(one.cycle_id, one.outcome) for one in heir.cycles()] == [(cycle, None)]
        for write in writes(heir):
            write()
        assert heir.pending_approvals(NOW) == ()
        assert heir.all_observed("policy") == {"sha256:p"}
        assert [one.outcome for one in heir.cycles()] == [CycleOutcome.COMPLETE, None]


def test_a_locked_journal_says_so(path: Path) -> None:
    """A writer that cannot get the lock within the timeout gets an error that names the cause."""
    with SqlJournal(sqlite_url(path), busy_timeout_seconds=0.01) as journal:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalError, match="take over the journal: the journal is locked") as refused:
            journal.take_over(NOW)
        other.execute("ROLLBACK")
        other.close()
        assert "lease" in refused.value.advice
        assert journal.take_over(NOW) == 1


def test_a_full_disk_says_so_and_leaves_nothing(path: Path) -> None:
    """When the database cannot grow, the write raises, and the journal goes on once there is room."""
    with SqlJournal(sqlite_url(path)) as journal:
        with journal._database.reading("limit") as connection:  # the pool hands the same connection out again
            connection.exec_driver_sql("PRAGMA max_page_count = 1")
        with pytest.raises(JournalError, match="the disk is full") as refused:
            journal.begin_cycle(CycleId("x" * 100_000), Mode.OBSERVE, NOW)
        assert "space" in refused.value.advice
        assert journal.cycles() == ()
        assert journal.begin_cycle(CycleId("small"), Mode.OBSERVE, NOW) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"not a database" * 100, "no journal"), (b"SQLite format 3\0" + b"\xff" * 4096, "no journal")],
)
def test_a_foreign_file_is_refused(path: Path, content: bytes, message: str) -> None:
    """A file that is no journal is named as such and left as it is."""
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(JournalError, match=message):
        SqlJournal(sqlite_url(path))
    assert path.read_bytes() == content


def test_unusable_urls_are_refused(tmp_path: Path) -> None:
    """A journal in memory, a malformed URL and a folder in the way are refused with a sentence each."""
    for url, message in (("sqlite://", "memory"), ("nonsense", "malformed"), (sqlite_url(tmp_path), "Is a directory")):
        with pytest.raises(JournalError, match=message):
            SqlJournal(url)


def test_an_old_sqlite_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A SQLite older than the oldest one tested is refused at opening."""
    monkeypatch.setattr(journal_database, "OLDEST_SQLITE", (99, 0, 0))
    with pytest.raises(JournalError, match="too old"):
        SqlJournal(sqlite_url(path))


def test_errors_hold_no_values(path: Path) -> None:
    """A refused write names the object by id and never shows what was to be written."""
    with SqlJournal(sqlite_url(path)) as journal:
        journal.begin_cycle(CycleId("c"), Mode.OBSERVE, NOW)
        journal.record_plan(_plan(), (), NOW)
        with pytest.raises(JournalError) as refused:
            journal.record_plan(_plan(), (), NOW)
    chain = f"{refused.value} {refused.value.advice} {refused.value.__cause__}"
    assert "recorded already" in chain
    assert "alice" not in chain


def test_a_damaged_document_names_its_fields_only(path: Path) -> None:
    """A stored value that lost its form is an error that names the field, not the content."""
    with pytest.raises(JournalError, match=r"principal\.kind") as refused:
        load_action(document(action(principal(), credential())).replace('"human"', '"secret-kind"'))
    assert "secret-kind" not in str(refused.value)
    assert "backup" in refused.value.advice


@pytest.mark.parametrize("load", [load_action, load_plan, load_before, load_holds, load_roster])
@pytest.mark.parametrize("text", ["", "[1]", '{"item": 5, "actions": [{"item": "x"}]}'])
def test_no_damaged_document_is_read(load: Callable[[str], object], text: str) -> None:
    """Whatever lies where a value was is an error with advice, never a value."""
    with pytest.raises(JournalError, match="does not have its form") as refused:
        load(text)
    assert "backup" in refused.value.advice


def test_a_value_without_canonical_form_is_not_written() -> None:
    """A number that JSON cannot hold exactly is refused before it reaches the database."""
    with pytest.raises(JournalError, match="Action cannot be written down"):
        document(action(principal(), credential(), phase=2**60))


def test_an_answer_without_words_still_names_its_code(path: Path) -> None:
    """A database error that nobody foresaw is told by its code."""
    database = Database(sqlite_url(path))
    words = "could not look: the database answered SQLITE_ERROR"
    with pytest.raises(JournalError, match=words), database.reading("look") as connection:
        connection.exec_driver_sql("SELECT * FROM nowhere")
    database.close()


def test_two_processes_worth_of_writers_leave_no_gap(path: Path) -> None:
    """Sequence numbers stay gapless when two journals on one file are written from many threads."""
    journals = [SqlJournal(sqlite_url(path)) for _ in range(2)]
    threads = [
        threading.Thread(target=journals[number % 2].begin_cycle, args=(CycleId(f"c{number}"), Mode.OBSERVE, NOW))
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [entry.sequence for entry in journals[0].cycles()] == list(range(1, 9))
    for journal in journals:
        journal.close()


def test_a_backup_by_vacuum_is_a_journal(path: Path, tmp_path: Path) -> None:
    """The documented backup, taken while the journal is open, opens as a journal with the same rows."""
    copy = tmp_path / "copy.db"
    with SqlJournal(sqlite_url(path)) as journal:
        journal.begin_cycle(CycleId("c"), Mode.OBSERVE, NOW)
        engine = create_engine(sqlite_url(path), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text("VACUUM INTO :copy"), {"copy": str(copy)})
        engine.dispose()
    with SqlJournal(sqlite_url(copy)) as restored:
        assert [entry.cycle_id for entry in restored.cycles()] == ["c"]


@settings(max_examples=60)
@given(values_of(Action))
def test_any_action_comes_back_equal(one: Action) -> None:
    """An action is read back equal, its item of the same type, and written again as the same bytes."""
    back = load_action(document(one))
    assert back == one
    assert type(back.item) is type(one.item)
    assert document(back) == document(one)


@settings(max_examples=30)
@given(values_of(Plan))
def test_any_plan_comes_back_equal(plan: Plan) -> None:
    """A plan is read back equal, findings and withheld ones included."""
    back = load_plan(document(plan))
    assert back == plan
    assert [type(one.item) for one in back.actions] == [type(one.item) for one in plan.actions]
    assert document(back) == document(plan)


@given(values_of(BeforeImage), INSTANTS)
def test_any_before_image_and_instant_come_back_equal(before: BeforeImage, at: datetime) -> None:
    """A before-image and an instant survive being written down."""
    assert load_before(document(before)) == before
    assert load_instant(rfc3339(at)) == at


@pytest.mark.parametrize(
    "item",
    [
        credential(kind=ArtefactKind.SESSION),
        grant(kind=ArtefactKind.SESSION),
        Session(
            provider=PROVIDER,
            scope=SCOPE,
            principal_id=principal().principal_id,
            access_id=grant().access_id,
            address=(),
        ),
    ],
    ids=["credential", "grant", "session"],
)
def test_item_types_are_told_apart(item: AccessItem) -> None:
    """Three items that share kind and defaults come back as what they were."""
    back = load_action(document(action(principal(), item)))
    assert type(back.item) in {Credential, Grant, Session}
    assert back.item == item


def _plan() -> Plan:

    return plan_of(action(principal(), credential()))


def test_what_another_journal_saw_meanwhile_is_known(path: Path) -> None:
    """What was observed is read again when somebody else has added to it, and nothing is invented when not."""
    with SqlJournal(sqlite_url(path)) as ours, SqlJournal(sqlite_url(path)) as other:
        ours.remember_all_observed("person", ("a",), CycleId("c1"), NOW)
        assert ours.all_observed("person") == {"a"}
        other.remember_all_observed("person", ("b", "c"), CycleId("c2"), NOW)
        assert ours.all_observed("person") == {"a", "b", "c"}
        ours.remember_all_observed("person", ("c", "d"), CycleId("c3"), NOW)
        assert other.all_observed("person") == ours.all_observed("person") == {"a", "b", "c", "d"}
        assert ours.all_observed("key") == frozenset()
