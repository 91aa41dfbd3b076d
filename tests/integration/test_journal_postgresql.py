"""What the journal promises on a real PostgreSQL beyond the port: durability, one writer at a time, errors in words."""

import threading
import time
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import URL, Connection
from sqlalchemy.exc import DBAPIError

from reconciler.adapters import journal_database, journal_postgresql
from reconciler.adapters.journal import SqlJournal
from reconciler.adapters.journal_database import Database
from reconciler.adapters.journal_schema import METADATA
from reconciler.adapters.lease_postgresql import PostgresLease
from reconciler.core.errors import JournalError, LeaseLost
from reconciler.core.model import BeforeImage, CycleId, Mode, OutcomeState, PlanDigest
from reconciler.core.record import CycleOutcome
from reconciler.demo.process import free_port
from reconciler.ports import Intent
from tests.audit_history import live_cycle, trail
from tests.builders import NOW, action, credential, principal
from tests.postgresql import PostgreSQL

EFFECTIVE = {
    "synchronous_commit": "on",
    "fsync": "on",
    "TimeZone": "UTC",
    "statement_timeout": "1min",
    "lock_timeout": "15s",
    "idle_in_transaction_session_timeout": "10s",
    "transaction_isolation": "serializable",
}


@pytest.fixture
def url(postgresql: PostgreSQL) -> URL:
    """Make room for a journal."""
    return postgresql.journal_url()


def an_intent(number: int = 1, *, epoch: int = 1) -> Intent:
    """Build an intent of the first cycle."""
    return Intent(
        action=action(principal(), credential(access_id=f"alice/access_key/{number}")),
        before=BeforeImage(restorable=True, document="{}"),
        cycle_id=CycleId("c"),
        epoch=epoch,
        plan_digest=PlanDigest("sha256:" + "c" * 64),
        policy_digest="sha256:" + "b" * 64,
        recorded_at=NOW,
    )


def test_durability_is_in_force_on_each_connection(url: URL) -> None:
    """Every connection, reading and writing, commits synchronously and is bounded in time, as PostgreSQL tells."""
    database = Database(url)
    with database.reading("look") as first, database.reading("look") as second, database.writing("look") as third:
        pids = set()
        for connection in (first, second, third):
            told = {name: connection.exec_driver_sql(f"SHOW {name}").scalar() for name in EFFECTIVE}
            assert told == EFFECTIVE
            pids.add(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar())
        assert len(pids) == 3
        assert [one.exec_driver_sql("SHOW transaction_read_only").scalar() for one in (first, third)] == ["on", "off"]
    database.close()
    with PostgresLease(url, purpose="run") as lease:
        assert lease._session.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"


def test_a_session_that_commits_lazily_is_set_right(postgresql: PostgreSQL, url: URL) -> None:
    """A default of the role that gives durability away is overridden; a stronger one is left."""
    for default, effective in (("off", "on"), ("remote_apply", "remote_apply")):
        postgresql.run(f"ALTER ROLE {url.username} SET synchronous_commit = {default}")
        try:
            database = Database(url)
            with database.reading("look") as connection:
                assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == effective
            database.close()
        finally:
            postgresql.run(f"ALTER ROLE {url.username} RESET synchronous_commit")


@pytest.mark.parametrize("name", ["fsync", "server_encoding"])
def test_a_server_that_cannot_be_relied_upon_is_refused(url: URL, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What only the server can set is read, and a server that is set otherwise holds no journal."""
    monkeypatch.setitem(journal_postgresql._DURABLE, name, frozenset({"otherwise"}))
    with pytest.raises(JournalError, match=f"the database server has {name}=") as refused:
        Database(url)
    assert "set it there" in refused.value.advice


def test_an_old_server_is_refused(url: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PostgreSQL older than the oldest one tested is refused at opening."""
    monkeypatch.setattr(journal_postgresql, "OLDEST_POSTGRESQL", 990000)
    with pytest.raises(JournalError, match="too old"):
        Database(url)


def test_migrations_make_the_declared_tables(url: URL) -> None:
    """What the migrations build is what `journal_schema` declares, index by index."""
    database = Database(url)
    with database.reading("compare") as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    database.close()


def test_many_processes_may_open_a_new_journal(url: URL) -> None:
    """Whoever comes first makes the tables; the others wait and find them made."""
    journals: list[SqlJournal] = []
    threads = [threading.Thread(target=lambda: journals.append(SqlJournal(url))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(journals) == len(threads)
    for journal in journals:
        journal.close()


def test_a_newer_schema_is_refused(postgresql: PostgreSQL, url: URL) -> None:
    """A journal of a later version is not touched."""
    SqlJournal(url).close()
    database = Database(url)
    with database.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    with pytest.raises(JournalError, match="9999"):
        SqlJournal(url)
    assert postgresql.query(url, "SELECT version_num FROM alembic_version") == [("9999",)]


def test_rows_are_never_changed(url: URL) -> None:
    """PostgreSQL itself refuses to change, remove or truncate, for every table of the journal, even to its owner."""
    with SqlJournal(url) as journal:
        journal.take_over(NOW)
        for table in METADATA.tables:
            for verb in ("DELETE FROM", "TRUNCATE"):
                with pytest.raises(JournalError, match="never changed"), journal.database.writing("tamper") as one:
                    one.exec_driver_sql(f"{verb} {table}" + (" CASCADE" if verb == "TRUNCATE" else ""))
        with pytest.raises(JournalError, match="never changed"), journal.database.writing("tamper") as one:
            one.exec_driver_sql("UPDATE epochs SET epoch = 9")
        assert journal.take_over(NOW) == 2


def test_writers_of_several_processes_leave_no_gap(url: URL) -> None:
    """Sequence numbers stay gapless when several journals on one database are written from many threads."""
    journals = [SqlJournal(url) for _ in range(3)]
    threads = [
        threading.Thread(target=journals[number % 3].begin_cycle, args=(CycleId(f"c{number}"), Mode.OBSERVE, NOW))
        for number in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [entry.sequence for entry in journals[0].cycles()] == list(range(1, 13))
    for journal in journals:
        journal.close()


def test_a_take_over_waits_for_an_intent_under_way(url: URL) -> None:
    """An intent that has seen its epoch is committed before the epoch can be raised: never after."""
    old, new = SqlJournal(url), SqlJournal(url)
    old.take_over(NOW)
    old.begin_cycle(CycleId("c"), Mode.ENFORCE, NOW)
    taken: list[int] = []
    heir = threading.Thread(target=lambda: taken.append(new.take_over(NOW)))

    def in_the_middle() -> None:
        heir.start()
        time.sleep(0.3)
        assert taken == []

    old._check_lease = in_the_middle
    old.record_intent(an_intent())
    heir.join(60)
    assert taken == [2]
    old._check_lease = lambda: None
    with pytest.raises(LeaseLost):
        old.record_intent(an_intent(2))
    assert len(new.entries()) == 1
    old.close()
    new.close()


def test_a_writer_that_stops_in_the_middle_writes_nothing(
    url: URL, postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is paused inside its transaction loses it, blocks nobody and adds no intent."""
    monkeypatch.setitem(journal_postgresql._SESSION, "idle_in_transaction_session_timeout", "300")
    old, new = SqlJournal(url), SqlJournal(url)
    old.take_over(NOW)
    old.begin_cycle(CycleId("c"), Mode.ENFORCE, NOW)
    paused = "SELECT pid FROM pg_stat_activity WHERE state = 'idle in transaction'"
    of_others = set(postgresql.run(paused))

    def until_the_server_ends_it() -> None:
        deadline = time.monotonic() + 30
        while set(postgresql.run(paused)) - of_others:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    old._check_lease = until_the_server_ends_it
    with pytest.raises(JournalError):
        old.record_intent(an_intent())
    assert new.take_over(NOW) == 2
    assert new.entries() == ()
    old.close()
    new.close()


def test_nothing_that_leads_to_an_act_is_written_without_the_lease(url: URL) -> None:
    """Once the lease is lost nothing is begun, undone, remembered or ended; the outcome of a made call is kept."""
    with PostgresLease(url, purpose="run") as lease, SqlJournal(url, check_lease=lease.check) as journal:
        journal.take_over(NOW)
        journal.begin_cycle(CycleId("c"), Mode.ENFORCE, NOW)
        intent = an_intent()
        journal.record_intent(intent)
        lease.close()
        for write in (
            lambda: journal.take_over(NOW),
            lambda: journal.begin_cycle(CycleId("d"), Mode.ENFORCE, NOW),
            lambda: journal.record_intent(an_intent(2)),
            lambda: journal.record_undo_intent(intent.action.action_id, NOW),
            lambda: journal.use_approval(intent.plan_digest, CycleId("c"), NOW),
            lambda: journal.remember_observed("policy", "sha256:p", CycleId("c"), NOW),
            lambda: journal.finish_cycle(CycleId("c"), CycleOutcome.COMPLETE, "sha256:d", NOW),
        ):
            with pytest.raises(LeaseLost):
                write()
        journal.record_outcome(intent.action.action_id, OutcomeState.DONE, "made before", NOW)
        assert [(one.outcome, one.undo_begun_at) for one in journal.entries()] == [(OutcomeState.DONE, None)]
        assert len(journal.cycles()) == 1


def test_a_transaction_undone_by_another_is_tried_again(url: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    """A serialization failure is repeated a bounded number of times, as a whole; then it is an error in words."""
    monkeypatch.setattr(journal_database, "_PAUSES_SECONDS", (0.0, 0.0))
    database = Database(url)
    tries: list[int] = []

    def work(connection: Connection, failures: int) -> int:
        tries.append(len(tries))
        if len(tries) <= failures:
            connection.exec_driver_sql("DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '40001'; END $$")
        return len(tries)

    assert database.repeated("write", lambda connection: work(connection, 2)) == 3
    tries.clear()
    with pytest.raises(JournalError, match="another process wrote at the same time") as refused:
        database.repeated("write", lambda connection: work(connection, 99))
    assert len(tries) == 3
    assert isinstance(refused.value.__cause__, DBAPIError)
    database.close()


def test_a_locked_journal_says_so(url: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that cannot get the lock in time gets an error that names the cause, and readers are not disturbed."""
    monkeypatch.setitem(journal_postgresql._SESSION, "lock_timeout", "100")
    with SqlJournal(url) as journal, SqlJournal(url) as other, other.database.writing("hold"):
        with pytest.raises(JournalError, match="take over the journal: the journal is locked"):
            journal.take_over(NOW)
        assert journal.cycles() == ()


def test_a_broken_connection_is_replaced(postgresql: PostgreSQL, url: URL) -> None:
    """After a restart of the server, or a cut connection, the next use connects anew."""
    with SqlJournal(url.update_query_dict({"application_name": "to be cut"})) as journal:
        assert journal.take_over(NOW) == 1
        assert postgresql.end_sessions("to be cut") >= 1
        assert journal.take_over(NOW) == 2


def test_a_connection_cut_in_the_middle_is_an_error_and_is_not_repeated(postgresql: PostgreSQL, url: URL) -> None:
    """Nobody knows whether a cut transaction was committed: it is not tried again, and nothing is acted upon."""
    tries: list[int] = []

    def cut() -> None:
        tries.append(1)
        postgresql.end_sessions("to be cut")

    journal = SqlJournal(url.update_query_dict({"application_name": "to be cut"}), check_lease=cut)
    with journal, pytest.raises(JournalError, match=r"shut down|broke"):
        journal.take_over(NOW)
    assert tries == [1]


def test_errors_of_connecting_are_told_in_words_and_without_secrets(url: URL, tmp_path: Path) -> None:
    """Wrong password, role, database, port and schema: each is said as what it is, and no message holds a secret."""
    secret = "hunter2-hunter2"
    cases = {
        "refuses this role or its password": url.set(password=secret),
        "refuses this role": url.set(username="nobody"),
        "no such database": url.set(database="nowhere"),
        "does not answer": url.set(port=free_port(), password=secret),
        "no trusted TLS": url.update_query_dict({"sslmode": "require"}),
        "none of the schemas": url.update_query_dict({"options": "-csearch_path=nowhere"}),
    }
    for words, wrong in cases.items():
        with pytest.raises(JournalError, match=words) as refused:
            SqlJournal(wrong)
        told = f"{refused.value} {refused.value.advice} {refused.value.__cause__}"
        assert secret not in told
        assert str(url.password) not in told


def test_errors_hold_no_values(url: URL) -> None:
    """A refused write shows neither what was to be written nor what is there."""
    with SqlJournal(url) as journal:
        journal.take_over(NOW)
        journal.begin_cycle(CycleId("c"), Mode.ENFORCE, NOW)
        journal.record_intent(an_intent())
        with pytest.raises(JournalError, match="recorded already") as refused:
            journal.record_intent(an_intent())
    assert "employeeNumber" not in f"{refused.value} {refused.value.advice}"


def test_text_that_postgresql_cannot_hold_does_not_stop_a_cycle(url: URL) -> None:
    """A provider's word with a NUL in it is kept, the NUL replaced."""
    with SqlJournal(url) as journal:
        journal.take_over(NOW)
        journal.begin_cycle(CycleId("c"), Mode.ENFORCE, NOW)
        intent = an_intent()
        journal.record_intent(intent)
        journal.record_outcome(intent.action.action_id, OutcomeState.FAILED, "no\0pe", NOW)
        assert [one.outcome_detail for one in journal.entries()] == ["no\N{REPLACEMENT CHARACTER}pe"]


def test_the_audit_trail_is_the_same(url: URL, tmp_path: Path) -> None:
    """What an enforced cycle leaves in the trail is record for record the same as on SQLite."""
    told = []
    for journal in (SqlJournal(url), SqlJournal(f"sqlite:///{tmp_path / 'journal.db'}")):
        with journal:
            live_cycle(journal)
            assert trail(journal).hand_over() == ()
            outbox = trail(journal).outbox
            told.append([(one.position, one.document) for one in outbox.after(0, 1000)])
            assert outbox.gather() == 0
    assert told[0] == told[1]
    assert len(told[0]) > 10
