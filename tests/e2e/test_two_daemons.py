"""Two daemons on one installation: one works, the other stands by; one is stopped, one is killed, and nothing doubles.

On SQLite and on PostgreSQL, with real processes and real signals.
"""

import json
import signal
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
import yaml
from sqlalchemy import URL

from reconciler.demo.process import free_port
from tests.e2e.company import Company, command, environment
from tests.postgresql import PostgreSQL

pytestmark = [pytest.mark.proof, pytest.mark.timeout(400)]

QUICK = {
    "aws_iam": {"connect_timeout_seconds": 1, "read_timeout_seconds": 3},
    "ldap": {"timeout_seconds": 3},
    "scim": {"connect_timeout_seconds": 1, "read_timeout_seconds": 2, "deadline_seconds": 5},
}
"""Timeouts of the revokers, from which follows how long the heir of a holder that may still live waits: 21 s."""
INTENTS = "SELECT i.provider, i.action, i.epoch, o.outcome FROM intents i LEFT JOIN outcomes o USING (action_id)"


@dataclass(slots=True, kw_only=True)
class Daemon:
    """A daemon that runs, with its log and its health port."""

    process: subprocess.Popen[bytes]
    log: Path
    port: int

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return what was logged under a name."""
        lines = self.log.read_text(encoding="utf-8").splitlines()
        return [event for event in map(json.loads, lines) if event["event"] == name]

    def wait(self, until: Callable[[], object], what: str, seconds: float = 90) -> float:
        """Wait for something to come true while the daemon lives, and return how long it took."""
        began = time.monotonic()
        while not until():
            assert self.process.poll() is None, f"the daemon ended: {self.log.read_text()}"
            assert time.monotonic() - began < seconds, f"{what} never came: {self.log.read_text()}"
            time.sleep(0.02)
        return time.monotonic() - began

    def wait_for(self, event: str, count: int = 1, seconds: float = 90) -> float:
        """Wait for the n-th event of a name."""
        return self.wait(lambda: len(self.events(event)) >= count, event, seconds)

    def probe(self, path: str) -> tuple[int, dict[str, Any]]:
        """Ask the daemon how it is."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, json.load(answer)
        except HTTPError as error:
            return error.code, json.load(error)


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """One installation with its journal, and the daemons that were started on it."""

    kind: str
    company: Company
    folder: Path
    server: PostgreSQL | None
    url: URL | None
    stack: ExitStack

    def start(self, name: str, *, standby: bool) -> Daemon:
        """Start a daemon; it does not outlive the test module."""
        port, log = free_port(), self.folder / f"{name}.log"
        settings = {
            "ACCESS_RECONCILER_DAEMON__HEALTH_PORT": str(port),
            "ACCESS_RECONCILER_DAEMON__STANDBY": str(standby).lower(),
        }
        with log.open("wb") as sink:
            process = subprocess.Popen(
                command("run", "--config", self.company.config),
                env=environment() | settings,
                stdout=subprocess.DEVNULL,
                stderr=sink,
            )
        self.stack.callback(process.wait, 10)
        self.stack.callback(process.kill)
        return Daemon(process=process, log=log, port=port)

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Read the journal from beside it."""
        if self.server is None or self.url is None:
            return self.company.query(statement)
        return [tuple(row) for row in self.server.query(self.url, statement)]

    def count(self, table: str) -> int:
        """Count the rows of a table of the journal."""
        return int(self.query(f"SELECT count(*) FROM {table}")[0][0])  # noqa: S608 - our own words


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def house(
    request: pytest.FixtureRequest, folder_for_fresh: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    """Prepare a fresh company on each kind of journal, and observe once."""
    company = Company.prepare(folder_for_fresh)
    server: PostgreSQL | None = None
    url: URL | None = None
    # The timer stays out of it: a cycle runs at the start of whoever is the writer, and when it is asked for.
    company.configure(daemon={"interval_seconds": 3600}, verification={"window_seconds": 3})
    document = yaml.safe_load(company.config.read_text())
    for instance in document["providers"].values():
        instance["revoker"] |= QUICK[instance["type"]]
    company.config.write_text(yaml.safe_dump(document))
    if request.param == "postgresql":
        server = request.getfixturevalue("postgresql")
        url = server.journal_url()
        secret = company.directory / "journal-password"
        secret.write_text(server.password + "\n")
        company.configure(journal={"url": url._replace(password=None).render_as_string(), "password_file": str(secret)})
    assert company.cycle("observe").code == 2
    with ExitStack() as stack:
        yield House(
            kind=request.param,
            company=company,
            folder=tmp_path_factory.mktemp(f"two-{request.param}"),
            server=server,
            url=url,
            stack=stack,
        )


@pytest.fixture(scope="module")
def first(house: House) -> Daemon:
    """Start the first daemon and stop it, by SIGSTOP, in the middle of its acts."""
    daemon = house.start("first", standby=False)
    daemon.wait(lambda: house.count("intents") >= 8, "8 intents")
    daemon.process.send_signal(signal.SIGSTOP)
    return daemon


@pytest.fixture(scope="module")
def second(house: House, first: Daemon) -> Daemon:
    """Start a second one that stands by."""
    daemon = house.start("second", standby=True)
    daemon.wait_for("lease.standing_by")
    return daemon


def test_a_second_daemon_without_standby_is_refused(house: House, first: Daemon) -> None:
    """Started by mistake, it is told who holds the lease, exits 1, and has written nothing."""
    epochs = house.count("epochs")
    answer = house.company.run("run")
    assert answer.code == 1
    assert f"process {first.process.pid}" in answer.err
    assert "holds the" in answer.err
    assert house.count("epochs") == epochs


def test_a_standby_shows_what_it_is(first: Daemon, second: Daemon) -> None:
    """It is alive and not ready, says that it stands by and for whom, and runs no cycle."""
    assert second.probe("/livez")[0] == 200
    ready, snapshot = second.probe("/readyz")
    assert (ready, snapshot["standby"]) == (503, True)
    assert f"process {first.process.pid}" in second.events("lease.standing_by")[0]["reason"]
    assert second.events("cycle.began") == []


def test_a_standby_ends_at_once_when_told(house: House, second: Daemon) -> None:
    """SIGTERM while standing by is an order to end, not a failure; SIGHUP is none."""
    third = house.start("third", standby=True)
    third.wait_for("lease.standing_by")
    third.process.send_signal(signal.SIGHUP)
    time.sleep(0.2)
    assert third.process.poll() is None
    began = time.monotonic()
    third.process.send_signal(signal.SIGTERM)
    assert third.process.wait(timeout=10) == 0
    assert time.monotonic() - began < 5
    assert second.process.poll() is None


def test_a_stopped_daemon_does_nothing_twice(house: House, first: Daemon, second: Daemon) -> None:
    """A daemon that slept through its own replacement can write no intent; one that was not replaced goes on alone.

    In a file the lock is its holder's until it is dead, so the second one waits. On a server the session ends with its
    connection: the second one takes over, waits out what the first may have under way, and finishes the work.
    """
    epochs = house.count("epochs")
    if house.server is None:
        time.sleep(3)
        assert second.events("lease.taken") == []
        assert house.count("epochs") == epochs
        first.process.send_signal(signal.SIGCONT)
        first.wait_for("cycle.ended")
    else:
        # A connection that breaks is noticed at once, one that only says nothing within a minute.
        assert house.server.end_sessions(f"process {first.process.pid} on %") == 1
        taken = second.wait_for("lease.taken", seconds=20)
        ended = second.wait_for("cycle.ended", seconds=150)
        waited = [(event["unanswered"], event["seconds"]) for event in second.events("lease.waiting")]
        print(f"postgresql: taken over {taken:.2f} s after the session ended, work done {ended:.1f} s later, {waited}")  # noqa: T201 - a figure for the reader
        assert all(seconds == 21 for _, seconds in waited)
        assert not waited or ended > 21
        intents = house.count("intents")
        first.process.send_signal(signal.SIGCONT)
        assert first.process.wait(timeout=60) == 1
        assert first.events("lease.lost")
        assert house.count("intents") == intents
    done = [(provider, json.loads(action)["item"]["access_id"]) for provider, action, _, how in house.query(INTENTS)
            if how == "done"]  # fmt: skip
    assert [item for item, times in Counter(done).items() if times > 1] == []
    assert len(done) > 40
    assert [how for *_, how in house.query(INTENTS) if how is None] == []


def test_a_killed_daemon_is_followed_by_the_next(house: House, first: Daemon, second: Daemon) -> None:
    """After SIGKILL of the writer whoever stands by is the writer within seconds, and runs a cycle of its own."""
    writer, heir = (first, second) if house.server is None else (second, house.start("heir", standby=True))
    heir.wait_for("lease.standing_by")
    cycles = house.count("cycle_ends")
    writer.process.kill()
    taken = heir.wait_for("lease.taken", seconds=20)
    print(f"{house.kind}: taken over {taken:.2f} s after SIGKILL")  # noqa: T201 - a figure for the reader
    assert taken < 10
    heir.wait_for("cycle.ended")
    assert heir.probe("/readyz")[0] == 200
    assert heir.probe("/readyz")[1]["standby"] is False
    assert house.count("cycle_ends") == cycles + 1
    heir.process.send_signal(signal.SIGTERM)
    assert heir.process.wait(timeout=60) == 0
    report = house.company.verified()
    assert (report["verified"], report["gaps"], report["problems"]) == (True, [], [])
