"""The daemon on a real company: as a process of its own, woken by a file, stopped by a signal, and alone."""

import csv
import json
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from tests.e2e import raw
from tests.e2e.company import Company, command, environment, run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

LEAVER, NAMES = "E1105", ("fadeyemi", "femi.adeyemi")
"""A colleague without a story, whom HR lets go while the daemon runs."""
AHEAD, NAMES_AHEAD = "E1106", ("glindqvist", "greta.lindqvist")
"""Another one, of whom HR says beforehand at which instant the access ends."""
EVERYWHERE = ("corp-aws", "corp-ldap", "wiki")


@dataclass(slots=True, kw_only=True)
class Running:
    """A daemon that runs, with what it logged so far."""

    company: Company
    process: subprocess.Popen[bytes]
    log: Path
    port: int
    told: list[str]
    """What the daemon has told its service manager so far."""

    def events(self) -> list[dict[str, Any]]:
        """Return the log as documents."""
        lines = self.log.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def count(self, event: str) -> int:
        """Count the events of a name in the log so far."""
        return sum(one["event"] == event for one in self.events())

    def ended_cycles(self) -> list[dict[str, Any]]:
        """Return what was logged at the end of each cycle."""
        return [event for event in self.events() if event["event"] == "cycle.ended"]

    def longest_cycle(self) -> float:
        """Return the seconds from the beginning of a cycle to its end, of the one that took longest."""
        at = {
            name: [datetime.fromisoformat(one["timestamp"]) for one in self.events() if one["event"] == name]
            for name in ("cycle.began", "cycle.ended")
        }
        return max(
            (end - max(began for began in at["cycle.began"] if began <= end)).total_seconds()
            for end in at["cycle.ended"]
        )

    def wait(self, until: Callable[[], bool], what: str, seconds: float = 60) -> None:
        """Wait for something to come true; a daemon that ends meanwhile fails the test."""
        deadline = time.monotonic() + seconds
        while not until():
            assert self.process.poll() is None, f"the daemon ended: {self.log.read_text()}"
            assert time.monotonic() < deadline, f"{what} never came: {self.log.read_text()}"
            time.sleep(0.05)

    def probe(self, path: str) -> tuple[int, dict[str, Any]]:
        """Ask the daemon how it is."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, json.load(answer)
        except HTTPError as error:
            return error.code, json.load(error)


def start(company: Company, log: Path, port: int, **more: str) -> Running:
    """Start a daemon in the background, under a service manager that only listens."""
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(log.with_name("notify")))
    told: list[str] = []

    def listen() -> None:
        while True:
            told.append(manager.recv(4096).decode())

    threading.Thread(target=listen, daemon=True).start()
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command("run", "--config", company.config),
            env=environment() | {"NOTIFY_SOCKET": str(log.with_name("notify"))} | more,
            stdout=subprocess.DEVNULL,
            stderr=sink,
        )
    return Running(company=company, process=process, log=log, port=port, told=told)


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def daemon(company: Company, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Observe once, then start the daemon and let it end its first cycle."""
    port = free_port()
    # The timer stays out of it: what happens within seconds is the file's doing.
    company.configure(daemon={"interval_seconds": 3600, "health_port": port})
    assert company.cycle("observe").code == 2
    running = start(company, tmp_path_factory.mktemp("daemon") / "log", port)
    try:
        running.wait(lambda: bool(running.ended_cycles()), "the end of the first cycle")
        yield running
    finally:
        if running.process.poll() is None:
            running.process.kill()
        running.process.wait(timeout=10)


def tell(company: Company, worker_id: str, **columns: str) -> None:
    """Write the roster anew with other words on one worker, as an export does: a new file over the old one."""
    with company.roster.open(encoding="utf-8", newline="") as source:
        rows = [{"termination_instant": "", **row} for row in csv.DictReader(source)]
    rows = [row | columns if row["Employee ID"] == worker_id else row for row in rows]
    fresh = company.roster.with_name("roster.new")
    with fresh.open("w", encoding="utf-8", newline="") as sink:
        writer = csv.DictWriter(sink, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    fresh.replace(company.roster)


def verified_gone(company: Company, worker_id: str) -> set[str]:
    """Return the providers at which the journal has something of a leaver as done and read again as gone."""
    rows = company.query(
        "SELECT DISTINCT provider, json_extract(action, '$.worker_id') FROM intents JOIN outcomes USING (action_id) "
        "JOIN verifications USING (action_id) WHERE outcome = 'done' AND state = 'gone'"
    )
    return {provider for provider, worker in rows if worker == worker_id}


def changed_of_others(before: raw.Dump, after: raw.Dump, names: tuple[str, ...]) -> set[str]:
    """Return what changed on the servers and is not of these names; groups change with their members."""
    changed = {name for name in raw.changed(before, after) if "roup" not in name}
    assert changed
    return {name for name in changed if not any(one in name for one in names)}


def test_the_first_cycle_runs_at_once(daemon: Running) -> None:
    """A start is a reason to look: the leavers of the sample are dealt with, and the probes say so."""
    assert daemon.ended_cycles()[0]["outcome"] in {"complete", "partial"}
    live, _ = daemon.probe("/livez")
    ready, snapshot = daemon.probe("/readyz")
    assert (live, ready) == (200, 200)
    assert set(snapshot["complete_age_seconds"]) == set(EVERYWHERE)
    assert None not in snapshot["complete_age_seconds"].values()


def test_it_can_be_asked_from_beside(daemon: Running) -> None:
    """A probe's command gets the daemon's own answer, and the journal tells its cycles without the lease."""
    for question in ("live", "started", "ready"):
        answer = run("health", question, "--port", str(daemon.port), "--output", "json", cwd=daemon.log.parent)
        assert (answer.code, answer.document["started"]) == (0, True)
    told = daemon.company.run("status", "--output", "json")
    assert told.code == 0
    assert told.document["cycles"][-1]["sequence"] == 1
    assert daemon.company.run("plans", "list", "--output", "json").code == 0


def test_the_service_manager_hears_of_the_start_and_of_progress(daemon: Running) -> None:
    """Ready comes first; then pings, each with the time until the next one, and how the cycle ended."""
    told = list(daemon.told)
    assert told[0].startswith("READY=1\n")
    assert sum(one.startswith("WATCHDOG=1\nWATCHDOG_USEC=") for one in told) > 5
    assert any(one.startswith("STATUS=cycle 2 ended") for one in told)


def test_every_line_of_the_log_is_a_document(daemon: Running) -> None:
    """What the daemon writes to stderr is JSON throughout, and names neither an address asked nor a person."""
    text = daemon.log.read_text(encoding="utf-8")
    assert [line for line in text.splitlines() if not line.startswith("{")] == []
    assert "acme.example" not in text


def test_a_second_daemon_is_refused(daemon: Running) -> None:
    """Whoever comes second is told which process holds the state folder, exits 1, and disturbs nothing."""
    answer = daemon.company.run("run")
    assert answer.code == 1
    assert f"process {daemon.process.pid} (run, since" in answer.err
    assert daemon.process.poll() is None


def test_a_changed_roster_takes_access_within_seconds(daemon: Running) -> None:
    """HR writes the roster; the leaver's access is verified gone at every provider, and nobody else is touched."""
    before = raw.dump(daemon.company.servers)
    began = time.monotonic()
    tell(daemon.company, LEAVER, Status="Terminated", **{"Last Day of Work": "2026-01-15"})
    daemon.wait(lambda: verified_gone(daemon.company, LEAVER) == set(EVERYWHERE), "the access verified gone")
    print(f"roster to verified gone: {time.monotonic() - began:.2f} s")  # noqa: T201 - a figure for the reader
    assert changed_of_others(before, raw.dump(daemon.company.servers), NAMES) == set()


def ended_since(daemon: Running, instant: datetime) -> bool:
    """Say whether a pass over leavers has ended since an instant, which the roster gives in whole seconds."""
    began = instant.replace(microsecond=0)
    return any(
        event["event"] == "leavers.ended" and datetime.fromisoformat(event["timestamp"]) >= began
        for event in daemon.events()
    )


def test_a_leaver_known_ahead_is_dealt_with_at_the_instant(daemon: Running) -> None:
    """HR says the instant beforehand: nothing happens before it, and at it the access goes without another word."""
    daemon.wait(lambda: daemon.probe("/readyz")[1]["cycle_seconds"] is None, "the end of the running cycle")
    before = raw.dump(daemon.company.servers)
    cycles = len(daemon.ended_cycles())
    ahead = min(10 + 3 * daemon.longest_cycle(), 80)  # so that a slow machine, too, has learned of it before
    instant = datetime.now(UTC) + timedelta(seconds=ahead)
    tell(daemon.company, AHEAD, termination_instant=instant.isoformat(timespec="seconds"))
    daemon.wait(lambda: len(daemon.ended_cycles()) > cycles, "the cycle that learns of it", ahead)
    assert datetime.now(UTC) < instant
    assert verified_gone(daemon.company, AHEAD) == set()
    daemon.wait(lambda: verified_gone(daemon.company, AHEAD) == set(EVERYWHERE), "the access verified gone", ahead + 60)
    daemon.wait(lambda: ended_since(daemon, instant), "the event of the leavers' pass")
    assert changed_of_others(before, raw.dump(daemon.company.servers), NAMES_AHEAD) == set()


def test_sighup_looks_again(daemon: Running) -> None:
    """A hang-up signal runs one more cycle, which finds nothing left to take."""
    daemon.wait(lambda: daemon.probe("/readyz")[1]["cycle_seconds"] is None, "the end of the running cycle")
    cycles = len(daemon.ended_cycles())
    intents = daemon.company.intents()
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait(lambda: len(daemon.ended_cycles()) > cycles, "a cycle after SIGHUP")
    assert daemon.company.intents() == intents


def test_sigterm_lets_the_running_cycle_finish(daemon: Running) -> None:
    """Told to end while it decides or acts, the daemon ends that cycle, begins no other, and exits 0."""
    began = daemon.count("cycle.read")
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait(lambda: daemon.count("cycle.read") > began, "a cycle that decides")
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(timeout=60) == 0
    assert any(one.startswith("STOPPING=1\nEXTEND_TIMEOUT_USEC=") for one in daemon.told)
    assert daemon.count("cycle.ended") == daemon.count("cycle.read") == began + 1
    cycles = daemon.company.query("SELECT count(*) FROM cycles")
    assert cycles == daemon.company.query("SELECT count(*) FROM cycle_ends")
    report = daemon.company.verified()
    assert (report["verified"], report["gaps"], report["problems"]) == (True, [], [])
