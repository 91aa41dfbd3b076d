"""The right to be the one writer of a journal on PostgreSQL, held as a lock of one database session.

The server frees the lock when the session ends: at once when its process dies, within half a minute when its host does,
within a minute when the process is stopped and its session says nothing, and also when only the connection between
them is lost. The session is a connection of its own, never one of the journal's pool.
"""

import os
import socket
import threading
from typing import Final, Self

from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from reconciler.adapters.journal_errors import in_words
from reconciler.adapters.journal_postgresql import DatabaseUrl, open_engine
from reconciler.core.errors import LeaseLost

BEAT_SECONDS: Final = 5.0
"""The session is used at least this often."""
SILENT_SECONDS: Final = 60
"""The server ends the session after this long without use: a stopped process must not keep everybody out."""
_CLASS: Final = 0x61726C73
"""First half of the advisory lock; the second is the schema, so that several journals fit into one database."""
_LONGEST_NAME: Final = 63
"""Bytes of an application name that PostgreSQL keeps."""
_TAKE: Final = text("SELECT pg_try_advisory_lock(:class, hashtext(current_schema()))")
_LOCKS: Final = (
    "FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE l.locktype = 'advisory' AND l.granted "
    "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND l.objsubid = 2 "
    "AND l.classid::bigint = :class AND l.objid::bigint = hashtext(current_schema())::bigint & 4294967295 "
)
_HELD: Final = text(f"SELECT 1 {_LOCKS} AND l.pid = pg_backend_pid()")
_HOLDER: Final = text(f"SELECT a.application_name, a.backend_start {_LOCKS}")


class PostgresLease:
    """Implements `reconciler.ports.Lease` on a PostgreSQL database."""

    can_be_lost_alive = True
    """A session may end while its process lives."""

    def __init__(self, url: DatabaseUrl, *, purpose: str) -> None:
        """Take the lease at once; raises `LeaseLost` naming its holder, `JournalError` where none can be had.

        `purpose` is what the next process is told, such as the command that runs.
        """
        name = f"process {os.getpid()} on {socket.gethostname()} ({purpose})"
        self._where = f"{url.host or 'local'}/{url.database}"
        self._lock = threading.Lock()
        self._lost = False
        self._engine = open_engine(
            url.update_query_dict({"application_name": name[:_LONGEST_NAME]}),
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
        )
        try:
            with in_words("take the lease"):
                self._session = self._engine.connect()
                self._session.exec_driver_sql(f"SET idle_session_timeout = '{SILENT_SECONDS}s'")
                self._take()
        except BaseException:
            self._engine.dispose()
            raise
        self._closing = threading.Event()
        threading.Thread(target=self._beat, name="lease-session", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the lease back by ending its session; closing twice is harmless."""
        self._closing.set()
        with self._lock:
            self._lost = True
            self._session.close()
            self._engine.dispose()

    def check(self) -> None:
        """Ask the session itself whether it holds the lock; raises `LeaseLost` when it does not, or does not answer."""
        with self._lock:
            self._lost = self._lost or not self._holds()
            if self._lost:
                raise LeaseLost(
                    f"the database session that held the journal on {self._where} is gone, and the lease with it",
                    advice="another process may be the writer now: let this one end, and restart it",
                )

    def _beat(self) -> None:
        """Keep the session in use; that it is lost is told to whoever asks next."""
        while not self._closing.wait(BEAT_SECONDS):
            try:
                self.check()
            except LeaseLost:
                return

    def _take(self) -> None:
        if not self._session.execute(_TAKE, {"class": _CLASS}).scalar_one():
            holder = _described(self._session)
            self._session.close()
            raise LeaseLost(
                f"{holder} holds the journal on {self._where}",
                advice="wait until it ends, or stop it: only one process may act at a time",
            )

    def _holds(self) -> bool:
        try:
            return self._session.execute(_HELD, {"class": _CLASS}).first() is not None
        except SQLAlchemyError:
            return False  # whatever the reason: who cannot ask does not know, and must not act


def _described(session: Connection) -> str:
    """Return who holds the lock; one that ended meanwhile, or that we may not see, is only `another process`."""
    row = session.execute(_HOLDER, {"class": _CLASS}).first()
    if row is None or not row.application_name or row.backend_start is None:
        return "another process"
    return f"{row.application_name}, since {row.backend_start.isoformat(timespec='seconds')},"
