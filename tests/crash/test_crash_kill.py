"""A real process on a real journal is killed with SIGKILL in the middle of acting; another one finishes the work."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from inventory.model import AccessId
from reconciler.adapters.journal import SqlJournal
from reconciler.adapters.journal_database import sqlite_url
from reconciler.adapters.journal_postgresql import postgresql_url
from reconciler.adapters.lease_postgresql import PostgresLease
from reconciler.core.errors import LeaseLost
from tests.crash import killed_child
from tests.crash.failpoints import Failpoints, check_end

ROOT = Path(__file__).resolve().parents[2]
EFFECTS = [
    ("quarantine", AccessId("alice/account/1")),
    ("revoke", AccessId("alice/access_key/1")),
    ("revoke", AccessId("alice/group_membership/developers")),
]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Name a journal of each kind."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path / "journal.db")
    return str(request.getfixturevalue("postgresql").journal_url().render_as_string(hide_password=False))


def kill_at(folder: Path, url: str, place: str, occurrence: int) -> list[str]:
    """Run a child until it reaches a place for the n-th time, kill it there, and return the places it passed."""
    passed: list[str] = []
    command = [sys.executable, str(ROOT / "tests" / "crash" / "killed_child.py"), str(folder), url]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, cwd=ROOT, text=True, bufsize=1
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        for line in child.stdout:
            passed.append(line.strip())
            if passed.count(place) == occurrence:
                child.send_signal(signal.SIGKILL)
                break
            child.stdin.write("go\n")
            child.stdin.flush()
        child.wait(timeout=30)
    assert child.returncode == -signal.SIGKILL, passed
    wait_until_freed(url)
    return passed


def wait_until_freed(url: str, seconds: float = 30) -> None:
    """Wait until the server has noticed that the killed process's session is gone; of a file the system does it."""
    until = time.monotonic() + seconds
    while url.startswith("postgresql"):
        try:
            PostgresLease(postgresql_url(url), purpose="test").close()
        except LeaseLost:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
        else:
            return


@pytest.mark.parametrize(
    ("place", "occurrence"),
    [
        ("before call", 1),
        ("after call", 1),
        ("before record_outcome", 2),
        ("after record_outcome", 3),
        ("after record_verification", 1),
    ],
)
def test_a_killed_process_is_finished_by_the_next(tmp_path: Path, url: str, place: str, occurrence: int) -> None:
    """After SIGKILL the next process takes the lease, settles what was open, and each effect was had once."""
    kill_at(tmp_path, url, place, occurrence)
    provider = killed_child.main(tmp_path, url, Failpoints())
    with SqlJournal(url) as journal:
        check_end([provider], journal, [EFFECTS])
        assert [entry.outcome is None for entry in journal.cycles()] == [True, False]
        assert journal.take_over(journal.cycles()[0].started_at) == 3


def test_a_process_killed_twice_is_finished_by_the_third(tmp_path: Path, url: str) -> None:
    """SIGKILL after a call, and again while the next process recovers."""
    kill_at(tmp_path, url, "after call", 2)
    kill_at(tmp_path, url, "after record_verification", 1)
    provider = killed_child.main(tmp_path, url, Failpoints())
    with SqlJournal(url) as journal:
        check_end([provider], journal, [EFFECTS])
