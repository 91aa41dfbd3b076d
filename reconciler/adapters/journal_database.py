"""The journal's database: opened safely, brought to the current tables, and its errors put in words.

SQLite is the default (WAL, `synchronous=FULL`: a commit that returned survives a power cut). Another database is a
URL away; transactions are serializable there, so that the epoch check and the intent are one step.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from reconciler.core.errors import JournalError

BUSY_TIMEOUT_SECONDS: Final = 5.0
"""How long a writer waits for another process before it gives up."""
OLDEST_SQLITE: Final = (3, 40, 0)
"""The oldest SQLite that the journal is tested with (Debian 12's)."""
_MIGRATIONS: Final = Path(__file__).parent / "migrations"

_ADVICE: Final[tuple[tuple[str, str, str], ...]] = (
    ("SQLITE_FULL", "the disk is full", "free space where the journal lies; nothing is done without it"),
    ("SQLITE_READONLY", "the journal is read-only", "make the state folder and the journal writable for this account"),
    ("SQLITE_BUSY", "the journal is locked", "another process is writing: wait, or find it by the lease"),
    (
        "SQLITE_CANTOPEN",
        "the journal cannot be opened",
        "check that the state folder exists and belongs to this account",
    ),
    ("SQLITE_NOTADB", "the file is no journal", "check the configured path, or restore a backup (docs/journal.md)"),
    ("SQLITE_CORRUPT", "the journal is damaged", "stop, and restore a backup (docs/journal.md)"),
    ("SQLITE_IOERR", "the disk failed", "check the disk of the state folder; nothing is done without the journal"),
    ("SQLITE_CONSTRAINT_FOREIGNKEY", "it refers to something the journal does not hold", "this is a defect: report it"),
    ("SQLITE_CONSTRAINT_TRIGGER", "rows of the journal are never changed", "this is a defect: report it"),
    ("SQLITE_CONSTRAINT", "it is recorded already", "each step is recorded once: look at the journal's entry"),
    ("23503", "it refers to something the journal does not hold", "this is a defect: report it"),
    ("23505", "it is recorded already", "each step is recorded once: look at the journal's entry"),
)
"""Beginning of the database's error code (SQLite's name, or SQLSTATE), what it means, what to do."""


def sqlite_url(path: Path) -> str:
    """Return the URL of a journal file."""
    return URL.create("sqlite", database=str(path)).render_as_string()


class Database:
    """An open journal database, at the current tables."""

    def __init__(self, url: str, *, busy_timeout_seconds: float = BUSY_TIMEOUT_SECONDS) -> None:
        with _in_words("open the journal"):
            self.engine = _engine(url, busy_timeout_seconds)
            self._writer = self.engine.execution_options(writer=True)
            self._writing = threading.Lock()
            try:
                self._migrate()
            except BaseException:
                self.engine.dispose()
                raise

    @contextmanager
    def reading(self, what: str) -> Iterator[Connection]:
        """Give a connection for reading; errors name `what` could not be done."""
        with _in_words(what), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self, what: str) -> Iterator[Connection]:
        """Give a transaction that holds the write lock from its start; durable when the block is left."""
        with self._writing, _in_words(what), self._writer.begin() as connection:
            yield connection

    def close(self) -> None:
        """Release every connection."""
        self.engine.dispose()

    def _migrate(self) -> None:
        config = Config()
        config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
        scripts = ScriptDirectory.from_config(config)
        with self.reading("read the journal's schema version") as connection:
            current = MigrationContext.configure(connection).get_current_revision()
        if current == scripts.get_current_head():
            return
        if current is not None and current not in {script.revision for script in scripts.walk_revisions()}:
            msg = f"the journal has schema {current}, which this version does not know"
            raise JournalError(msg, advice="it was written by a newer version: upgrade, or restore an older backup")
        with self.writing("bring the journal to the current schema") as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def _engine(url: str, busy_timeout_seconds: float) -> Engine:
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(parsed, hide_parameters=True, isolation_level="SERIALIZABLE")
    _check_sqlite(parsed)
    engine = create_engine(parsed, hide_parameters=True, pool_size=8, max_overflow=32)

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


@contextmanager
def _in_words(what: str) -> Iterator[None]:
    """Turn what the database or the disk raises into a `JournalError` that says what to do, without any values."""
    try:
        yield
    except DBAPIError as error:
        reason, advice = _reason(error.orig)
        raise JournalError(f"could not {what}: {reason}", advice=advice) from error
    except sqlite3.Error as error:
        reason, advice = _reason(error)
        raise JournalError(f"could not {what}: {reason}", advice=advice) from error
    except ArgumentError as error:
        raise JournalError(f"could not {what}: the URL is malformed", advice="see docs/journal.md for URLs") from error
    except SQLAlchemyError as error:
        raise JournalError(f"could not {what}: {type(error).__name__}", advice="see the log for details") from error
    except OSError as error:
        advice = "check that the state folder exists, is writable and belongs to this account"
        raise JournalError(f"could not {what}: {error.strerror}", advice=advice) from error


def _reason(error: BaseException | None) -> tuple[str, str]:
    code = str(getattr(error, "sqlite_errorname", None) or getattr(error, "sqlstate", None) or type(error).__name__)
    for beginning, reason, advice in _ADVICE:
        if code.startswith(beginning):
            return reason, advice
    return f"the database answered {code}", "see the log for details; nothing is done without the journal"
