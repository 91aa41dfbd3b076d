"""A throw-away PostgreSQL: data in one folder, on loopback, with a fresh journal for whoever asks for one."""

import itertools
import os
import pwd
import secrets
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, create_engine, make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from reconciler.demo.process import RunningServer, free_port
from tests import peers

ROLE = "access_reconciler"
_SETTINGS = ("listen_addresses=127.0.0.1", "log_min_messages=warning", "max_connections=200", "autovacuum=off")


class PostgreSQL:
    """A running server with one database, in which each journal has a schema of its own."""

    def __init__(self, server: RunningServer, password: str) -> None:
        self.server = server
        self.password = password
        self._numbers = itertools.count(1)
        self._admin = create_engine(self._url("postgres"), isolation_level="AUTOCOMMIT", poolclass=NullPool)
        self.run(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{password}'")

    def run(self, statement: str, **values: Any) -> list[Any]:
        """Run a statement as the administrator and return its rows, if it has any."""
        with self._admin.connect() as connection:
            result = connection.exec_driver_sql(statement, values or None)
            return list(result) if result.returns_rows else []

    def journal_url(self) -> URL:
        """Make room for a journal and return its URL, password included."""
        schema = f"journal_{next(self._numbers)}"
        self.run(f"CREATE SCHEMA {schema} AUTHORIZATION {ROLE}")
        return self._url(ROLE).update_query_dict({"options": f"-csearch_path={schema}"})

    def query(self, url: URL, statement: str) -> list[Any]:
        """Read a journal from beside it."""
        schema = str(url.query["options"]).partition("=")[2]
        with self._admin.connect() as connection:
            connection.exec_driver_sql(f"SET search_path = {schema}")
            return list(connection.exec_driver_sql(statement))

    def end_sessions(self, application: str) -> int:
        """End the sessions whose application name is like a pattern, as losing the connection would; say how many."""
        rows = self.run(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE application_name LIKE %(like)s AND pid <> pg_backend_pid()",
            like=application,
        )
        return len(rows)

    def _url(self, role: str) -> URL:
        return make_url(self.server.url).set(database="postgres", username=role, password=self.password)


@contextmanager
def running() -> Iterator[PostgreSQL]:
    """Start a server with durable commits; it ends, and its folder goes, with the block."""
    initdb, postgres = peers.require_postgresql("initdb"), peers.require_postgresql("postgres")
    account = pwd.getpwnam(peers.require_account("postgres")) if os.geteuid() == 0 else None
    # Sockets have short paths, and an unprivileged account must be able to enter every folder above.
    with tempfile.TemporaryDirectory(prefix="ar-pg-") as name:
        folder, data, secret = Path(name), Path(name) / "data", Path(name) / "password"
        password = secrets.token_urlsafe(12)
        secret.write_text(password)
        if account is not None:
            for path in (folder, secret):
                os.chown(path, account.pw_uid, account.pw_gid)
        as_whom: dict[str, Any] = {"user": account.pw_uid, "group": account.pw_gid} if account is not None else {}
        subprocess.run(
            [initdb, "-D", data, "-U", "postgres", "-A", "scram-sha-256", f"--pwfile={secret}", "-N", "-E", "UTF8",
             "--locale=C"],
            check=True, capture_output=True, timeout=120, cwd=folder, **as_whom,
        )  # fmt: skip
        port = free_port()
        settings = [part for one in (*_SETTINGS, f"unix_socket_directories={folder}") for part in ("-c", one)]
        url = URL.create("postgresql+psycopg", host="127.0.0.1", port=port).render_as_string()
        command = [postgres, "-D", str(data), "-p", str(port), *settings]
        with (folder / "log").open("ab") as sink:
            process = subprocess.Popen(command, stdout=sink, stderr=sink, cwd=folder, **as_whom)
        server = RunningServer(name="postgres", url=url, process=process, log=folder / "log")
        try:
            _wait(server, password)
            yield PostgreSQL(server, password)
        finally:
            # At once, without writing everything out first: nothing in it is needed again.
            process.send_signal(signal.SIGQUIT)
            process.wait(timeout=20)


def _wait(server: RunningServer, password: str) -> None:
    until = time.monotonic() + 30
    while not _answers(server.url, password):
        assert server.process.poll() is None, server.log.read_text(errors="replace")
        assert time.monotonic() < until, server.log.read_text(errors="replace")
        time.sleep(0.05)


def _answers(url: str, password: str) -> bool:
    engine = create_engine(make_url(url).set(database="postgres", username="postgres", password=password))
    try:
        engine.connect().close()
    except OperationalError:
        return False
    finally:
        engine.dispose()
    return True
