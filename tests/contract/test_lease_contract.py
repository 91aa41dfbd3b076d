"""What every lease promises: the one on a state folder and the one in PostgreSQL."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.adapters import lease_postgresql
from reconciler.adapters.journal_postgresql import postgresql_url
from reconciler.adapters.lease import FileLease
from reconciler.adapters.lease_postgresql import PostgresLease
from reconciler.core.errors import LeaseLost
from tests.builders import NOW
from tests.postgresql import PostgreSQL

Take = Callable[[str], FileLease | PostgresLease]

HOLDER = """
import pathlib, sys
from datetime import UTC, datetime
from reconciler.adapters.journal_postgresql import postgresql_url
from reconciler.adapters.lease import FileLease
from reconciler.adapters.lease_postgresql import PostgresLease
kind, place = sys.argv[1:]
if kind == "sqlite":
    lease = FileLease(pathlib.Path(place), purpose="run", now=datetime(2026, 3, 2, tzinfo=UTC))
else:
    lease = PostgresLease(postgresql_url(place), purpose="run")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """Name a place for a lease, as a kind and an address."""
    if request.param == "sqlite":
        return "sqlite", str(tmp_path)
    server: PostgreSQL = request.getfixturevalue("postgresql")
    return "postgresql", server.journal_url().render_as_string(hide_password=False)


@pytest.fixture
def take(place: tuple[str, str]) -> Take:
    """Return what takes the lease there, for a purpose."""
    kind, where = place

    def taken(purpose: str) -> FileLease | PostgresLease:
        if kind == "sqlite":
            return FileLease(Path(where), purpose=purpose, now=NOW)
        return PostgresLease(postgresql_url(where), purpose=purpose)

    return taken


def test_the_second_one_is_told_who_holds_it(take: Take) -> None:
    """A second taker is refused at once, with process and purpose; the holder is not disturbed."""
    with take("run") as lease:
        with pytest.raises(LeaseLost, match=rf"process {os.getpid()} .*\(?run.*since 20.* holds the ") as refused:
            take("cycle")
        assert "wait" in refused.value.advice
        lease.check()


def test_a_lease_given_back_can_be_taken(take: Take) -> None:
    """Closing frees the lease, twice harmlessly."""
    lease = take("run")
    lease.close()
    lease.close()
    with take("cycle") as next_one:
        next_one.check()


def test_a_lease_given_back_is_lost(take: Take) -> None:
    """After closing, asking says that it is gone, also when it is free."""
    lease = take("run")
    lease.close()
    with pytest.raises(LeaseLost):
        lease.check()


def test_many_threads_may_ask(take: Take) -> None:
    """A lease is asked for before each act, from many threads at once."""
    lost: list[LeaseLost] = []
    with take("run") as lease:

        def ask() -> None:
            try:
                lease.check()
            except LeaseLost as error:
                lost.append(error)

        threads = [threading.Thread(target=ask) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert lost == []


def test_a_killed_holder_frees_it(take: Take, place: tuple[str, str]) -> None:
    """After SIGKILL of its holder the lease can be had within a second or two."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, *place],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": "."},
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(LeaseLost, match=rf"process {child.pid} .*\(?run"):
            take("cycle")
        child.kill()
        child.wait(timeout=10)
        began = time.monotonic()
        while True:
            try:
                take("cycle").close()
                break
            except LeaseLost:
                assert time.monotonic() - began < 30
                time.sleep(0.02)
    print(f"{place[0]}: lease free {time.monotonic() - began:.3f} s after SIGKILL")  # noqa: T201 - a figure for the reader


def test_a_lost_session_is_a_lost_lease(postgresql: PostgreSQL) -> None:
    """Whose session the server has ended finds that out by asking, for good, and another one can be the writer."""
    url = postgresql.journal_url()
    lease = PostgresLease(url, purpose="run")
    assert lease.can_be_lost_alive
    assert postgresql.end_sessions(f"process {os.getpid()} on %(run)") == 1
    with pytest.raises(LeaseLost, match="is gone") as lost:
        lease.check()
    assert "restart" in lost.value.advice
    with PostgresLease(url, purpose="run") as heir:
        heir.check()
        with pytest.raises(LeaseLost):
            lease.check()
    lease.close()


def test_two_journals_in_one_database_have_a_lease_each(postgresql: PostgreSQL) -> None:
    """The lock is the schema's: installations that share a database do not keep one another out."""
    first, second = postgresql.journal_url(), postgresql.journal_url()
    with PostgresLease(first, purpose="run") as one, PostgresLease(second, purpose="run") as other:
        one.check()
        other.check()


def test_a_lock_that_somebody_released_is_a_lost_lease(postgresql: PostgreSQL) -> None:
    """The session alone is not enough: what is asked is whether it still has the lock."""
    url = postgresql.journal_url()
    with PostgresLease(url, purpose="run") as lease:
        lease._session.exec_driver_sql("SELECT pg_advisory_unlock_all()")
        with pytest.raises(LeaseLost):
            lease.check()


def until(true: Callable[[], bool], what: str) -> None:
    """Wait for something to come true."""
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, f"{what} never came"
        time.sleep(0.05)


def test_a_session_that_says_nothing_ends(postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch) -> None:
    """A holder that is stopped stops using its session: the server ends it, and another one can be the writer."""
    monkeypatch.setattr(lease_postgresql, "SILENT_SECONDS", 1)
    monkeypatch.setattr(lease_postgresql, "BEAT_SECONDS", 3600.0)
    url = postgresql.journal_url()
    mine = {"name": f"process {os.getpid()} on %"}
    with PostgresLease(url, purpose="run") as silent:
        held = "SELECT 1 FROM pg_stat_activity WHERE application_name LIKE %(name)s"
        until(lambda: not postgresql.run(held, **mine), "the end of the silent session")
        with PostgresLease(url, purpose="run") as heir:
            heir.check()
        with pytest.raises(LeaseLost):
            silent.check()


def test_a_lively_holder_uses_its_session(postgresql: PostgreSQL, monkeypatch: pytest.MonkeyPatch) -> None:
    """While its process runs the session is used by itself, many times before the server would end it."""
    assert lease_postgresql.BEAT_SECONDS * 10 <= lease_postgresql.SILENT_SECONDS
    monkeypatch.setattr(lease_postgresql, "BEAT_SECONDS", 0.05)
    used = "SELECT state_change FROM pg_stat_activity WHERE application_name LIKE %(name)s"
    with PostgresLease(postgresql.journal_url(), purpose="run"):
        instants: set[object] = set()

        def used_again() -> bool:
            instants.update(postgresql.run(used, name=f"process {os.getpid()} on %(run)"))
            return len(instants) >= 4

        until(used_again, "the third use of the session")


def test_the_session_is_never_inside_a_transaction(postgresql: PostgreSQL) -> None:
    """It only waits: nothing of it is left open that the server would have to end."""
    with PostgresLease(postgresql.journal_url(), purpose="run") as lease:
        lease.check()
        states = postgresql.run(
            "SELECT state FROM pg_stat_activity WHERE application_name LIKE %(name)s",
            name=f"process {os.getpid()} on %",
        )
    assert states == [("idle",)]
