"""Connections to the journal on PostgreSQL: what every one of them is set to, and what is believed only when read back.

They go to the server itself. A pooler that hands a server connection to one transaction at a time loses the settings
of a session, and its locks.
"""

from typing import Any, Final

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from reconciler.core.errors import JournalError

DatabaseUrl = URL
"""For those who hand a URL on and need not look into it."""
OLDEST_POSTGRESQL: Final = 150000
"""The oldest PostgreSQL that the journal is tested with, as `server_version_num` says it (Debian 12's)."""
LOCK_SECONDS: Final = 15
"""How long a writer waits for another one. Longer than a stopped one is let sit in the middle of its transaction."""
_LOCAL: Final = frozenset({"", "localhost", "127.0.0.1"})
_SESSION: Final = {
    "TimeZone": "UTC",
    "client_encoding": "UTF8",
    "idle_in_transaction_session_timeout": "10000",
    "idle_session_timeout": "0",
    "lock_timeout": str(LOCK_SECONDS * 1000),
    "statement_timeout": "60000",
    "tcp_keepalives_count": "3",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
}
"""Set on each connection; times in milliseconds, of keepalives in seconds. By the keepalives the server notices within
half a minute that a client's host is gone, and frees its locks."""
_CLIENT: Final = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,
}
"""Parameters of libpq that let this side notice that the server is gone; the URL may set others."""
_DURABLE: Final = {
    "synchronous_commit": frozenset({"on", "remote_apply"}),
    "fsync": frozenset({"on"}),
    "full_page_writes": frozenset({"on"}),
    "server_encoding": frozenset({"UTF8"}),
}
"""What durability rests on, and text: these are the server's, and a server that is set otherwise is refused."""


def postgresql_url(url: str, password: str = "") -> URL:
    """Return the URL to connect by; raises `sqlalchemy.exc.ArgumentError` for one that is malformed.

    To another host, TLS with a verified certificate is asked for unless the URL says otherwise.
    """
    parsed = make_url(url).set(drivername="postgresql+psycopg")
    if password:
        parsed = parsed.set(password=password)
    hosts = (parsed.host or "", *_listed(parsed.query.get("host", ())))
    names = [name.partition(":")[0] for one in hosts for name in one.split(",") if not name.startswith("/")]
    remote = not _LOCAL.issuperset(names)
    if remote and "sslmode" not in parsed.query:
        parsed = parsed.update_query_dict({"sslmode": "verify-full"})
    return parsed


def _listed(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value


def open_engine(url: URL, **options: Any) -> Engine:  # noqa: ANN401 - passed on to SQLAlchemy
    """Return the engine of a server; each connection is set up, and refused where it cannot be relied upon."""
    client = {name: value for name, value in _CLIENT.items() if name not in url.query}
    engine = create_engine(url, hide_parameters=True, connect_args=client, **options)

    @event.listens_for(engine, "connect")
    def _prepare(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        before, connection.autocommit = connection.autocommit, True
        try:
            _set_up(connection)
        finally:
            connection.autocommit = before

    return engine


def _set_up(connection: DBAPIConnection) -> None:
    cursor = connection.cursor()
    try:
        for name, value in _SESSION.items():
            cursor.execute("SELECT set_config(%s, %s, false)", (name, value))
        cursor.execute("SELECT current_setting('synchronous_commit')")
        if cursor.fetchone() not in {(one,) for one in _DURABLE["synchronous_commit"]}:
            cursor.execute("SET synchronous_commit = on")
        for name, allowed in _DURABLE.items():
            cursor.execute("SELECT current_setting(%s)", (name,))
            row = cursor.fetchone()
            if row is None or row[0] not in allowed:
                raise JournalError(
                    f"the database server has {name}={row[0] if row else '?'}",
                    advice=f"the journal needs {name}={' or '.join(sorted(allowed))}: set it there (docs/journal.md)",
                )
        _check_server(cursor)
    finally:
        cursor.close()


def _check_server(cursor: Any) -> None:  # noqa: ANN401 - the cursor of whichever driver
    cursor.execute("SELECT current_setting('server_version_num')::int, pg_is_in_recovery(), current_schema()")
    version, recovering, schema = cursor.fetchone()
    if version < OLDEST_POSTGRESQL:
        raise JournalError(
            f"PostgreSQL {version // 10000} is too old for the journal",
            advice=f"use {OLDEST_POSTGRESQL // 10000} or newer",
        )
    if recovering:
        raise JournalError(
            "this database server is a replica, which takes no writes",
            advice="name the primary, or all hosts with target_session_attrs=read-write (docs/journal.md)",
        )
    if schema is None:
        raise JournalError(
            "the database has none of the schemas in search_path", advice="create the schema (docs/journal.md)"
        )
