"""The journal's database: opened safely, brought to the current tables, written by one transaction at a time.

SQLite is the default (WAL, `synchronous=FULL`: a commit that returned survives a power cut), PostgreSQL is a URL away
(serializable, `synchronous_commit=on`). On both a writing transaction holds the one write lock from its start, so that
the epoch check and the intent are one step, and positions are in the order of commits.
"""

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from sqlalchemy import Connection, Engine, column, create_engine, event, inspect, make_url, select, table
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from reconciler.adapters.journal_commits import SharedCommits
from reconciler.adapters.journal_errors import Contended, in_words
from reconciler.adapters.journal_postgresql import open_engine, postgresql_url
from reconciler.adapters.journal_schema import REVISION
from reconciler.core.errors import JournalError

BUSY_TIMEOUT_SECONDS: Final = 5.0
"""How long a writer waits for another process before it gives up."""
OLDEST_SQLITE: Final = (3, 40, 0)
"""The oldest SQLite that the journal is tested with (Debian 12's)."""
_MIGRATION_LOCK: Final = 0x61726D67
"""First half of the advisory lock under which tables are made."""
_VERSIONS: Final = table("alembic_version", column("version_num"))
"""Where Alembic notes which migration was the last."""
_PAUSES_SECONDS: Final = (0.02, 0.1, 0.3, 1.0)
"""Between attempts of a transaction that another one undid."""

T = TypeVar("T")


def sqlite_url(path: Path) -> str:
    """Return the URL of a journal file."""
    return URL.create("sqlite", database=str(path)).render_as_string()


class Database:
    """An open journal database, at the current tables."""

    def __init__(self, url: str | URL, *, busy_timeout_seconds: float = BUSY_TIMEOUT_SECONDS) -> None:
        with in_words("open the journal"):
            self.engine = _engine(url, busy_timeout_seconds)
            self._reader = self.engine.execution_options(postgresql_readonly=True)
            self._writer = self.engine.execution_options(writer=True)
            self._writing = threading.Lock()
            self._shared = SharedCommits(self.repeated)
            try:
                self._migrate()
            except BaseException:
                self.engine.dispose()
                raise

    @contextmanager
    def reading(self, what: str) -> Iterator[Connection]:
        """Give a connection for reading; errors name `what` could not be done."""
        with in_words(what), self._reader.begin() as connection:
            yield connection

    @contextmanager
    def writing(self, what: str) -> Iterator[Connection]:
        """Give a transaction that holds the write lock from its start; durable when the block is left."""
        with self._writing, in_words(what), self._writer.begin() as connection:
            yield connection

    def repeated(self, what: str, work: Callable[[Connection], T]) -> T:
        """Do work in a transaction, again from its start when another one undid it as a whole; a few times at most.

        For work that touches nothing but the database. A connection that broke is no reason to do it again: nobody
        knows whether it was committed.
        """
        for pause in _PAUSES_SECONDS:
            try:
                return self._once(what, work)
            except Contended:
                time.sleep(pause)
        return self._once(what, work)

    def together(self, what: str, work: Callable[[Connection], None]) -> None:
        """Do work as `repeated` does, in one transaction with what other threads write at the same time."""
        self._shared.write(what, work)

    def _once(self, what: str, work: Callable[[Connection], T]) -> T:
        with self.writing(what) as connection:
            return work(connection)

    def close(self) -> None:
        """Release every connection."""
        self.engine.dispose()

    def _migrate(self) -> None:
        if self._revision() == REVISION:
            return
        # Loading the migrations costs more than all else that a command does: only where there is something to migrate.
        from reconciler.adapters.journal_migrations import knows, upgrade  # noqa: PLC0415 - the reason stands above

        with self._alone_migrating(), in_words("bring the journal to the current schema"):
            current = self._revision()
            if current == REVISION:
                return  # another process was faster
            if current is not None and not knows(current):
                msg = f"the journal has schema {current}, which this version does not know"
                raise JournalError(msg, advice="it was written by a newer version: upgrade, or restore an older backup")
            with self.engine.execution_options(writer=True, migrating=True).begin() as connection:
                upgrade(connection)

    def _revision(self) -> str | None:
        """Return the migration that the tables are at; None before the first."""
        with self.reading("read the journal's schema version") as connection:
            if not inspect(connection).has_table(_VERSIONS.name):
                return None
            return connection.execute(select(_VERSIONS.c.version_num)).scalar()

    @contextmanager
    def _alone_migrating(self) -> Iterator[None]:
        """Keep other processes from migrating meanwhile; SQLite's own write lock does."""
        if self.engine.dialect.name != "postgresql":
            yield
            return
        with in_words("wait for the journal's tables"), self.engine.connect() as connection:
            alone = connection.execution_options(isolation_level="AUTOCOMMIT")
            alone.exec_driver_sql(f"SELECT pg_advisory_lock({_MIGRATION_LOCK}, hashtext(current_schema()))")
            try:
                yield
            finally:
                alone.exec_driver_sql(f"SELECT pg_advisory_unlock({_MIGRATION_LOCK}, hashtext(current_schema()))")


def _engine(url: str | URL, busy_timeout_seconds: float) -> Engine:
    parsed = make_url(url)
    kind = parsed.get_backend_name()
    if kind == "postgresql":
        return _postgresql(parsed if isinstance(url, URL) else postgresql_url(url))
    if kind != "sqlite":
        raise JournalError(f"no journal on {kind}", advice="leave journal.url out, or name a PostgreSQL database")
    return _sqlite(parsed, busy_timeout_seconds)


def _postgresql(url: URL) -> Engine:
    engine = open_engine(url, isolation_level="SERIALIZABLE", pool_size=8, max_overflow=32, pool_pre_ping=True)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        if options.get("writer", False) and not options.get("migrating", False):
            # Before the first query, and therefore before the snapshot: what another writer committed is seen.
            connection.exec_driver_sql("LOCK TABLE epochs IN SHARE ROW EXCLUSIVE MODE")

    return engine


def _sqlite(url: URL, busy_timeout_seconds: float) -> Engine:
    _check_sqlite(url)
    engine = create_engine(url, hide_parameters=True, pool_size=8, max_overflow=32)

    @event.listens_for(engine, "connect")
    def _prepare(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        _prepare_sqlite(connection, busy_timeout_seconds)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        writer = connection.get_execution_options().get("writer", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writer else "BEGIN")

    return engine


def _check_sqlite(url: URL) -> None:
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        msg = f"SQLite {sqlite3.sqlite_version} is too old for the journal"
        raise JournalError(msg, advice=f"use a Python built with SQLite {'.'.join(map(str, OLDEST_SQLITE))} or newer")
    if url.database in {None, "", ":memory:"}:
        raise JournalError("a journal in memory is none", advice="name a file on a local disk")
    _make_private(Path(str(url.database)))


def _make_private(path: Path) -> None:
    """Make the file readable and writable by its owner only, before SQLite first opens it (it copies the mode)."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(path, os.O_CREAT | os.O_RDONLY | os.O_CLOEXEC, 0o600))
    if path.stat().st_mode & 0o077:
        path.chmod(0o600)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _prepare_sqlite(connection: DBAPIConnection, busy_timeout_seconds: float) -> None:
    """Set what durability rests on, on each connection, and believe only what SQLite says back."""
    connection.isolation_level = None  # transactions are begun by the engine's `begin` event, not by the driver
    cursor = connection.cursor()
    try:
        cursor.execute(f"PRAGMA busy_timeout = {int(busy_timeout_seconds * 1000)}")
        wanted = (("journal_mode", "WAL", "wal"), ("synchronous", "FULL", 2), ("foreign_keys", "ON", 1))
        for name, value, effective in wanted:
            cursor.execute(f"PRAGMA {name} = {value}")
            cursor.execute(f"PRAGMA {name}")
            row = cursor.fetchone()
            if row is None or row[0] != effective:
                msg = f"SQLite refuses {name}={value} for the journal"
                raise JournalError(
                    msg, advice="put the state folder on a local disk: network file systems cannot hold it"
                )
    finally:
        cursor.close()
