"""A flood of calls against a real daemon: forged, replayed and slow ones, ten thousand a second if the machine can."""

import json
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests import peers
from tests.e2e.company import command, environment
from tests.e2e.test_daemon import free_port
from tests.webhooks import call, request, seal, secret_file, status

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

CALLS_A_SECOND = 10_000
MOST_GROWTH_MB = 48
"""64 callers with the largest heads and bodies that are read, twice, and the ids of ten minutes: about 20 MB."""
ROSTER = "worker_id,status,last_day_of_work\nW1,active,\nW2,active,\n"


@dataclass(slots=True, kw_only=True)
class Daemon:
    """A daemon that runs, and where it listens."""

    process: subprocess.Popen[bytes]
    log: Path
    health: int
    hook: int

    def ended(self) -> int:
        """Return how many cycles have come to their end."""
        return self.log.read_text(encoding="utf-8").count('"cycle.ended"')

    def memory_mb(self) -> float:
        """Return what is resident."""
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text(encoding="utf-8"))
        assert found is not None
        return int(found[1]) / 1024

    def webhook_calls(self) -> dict[str, float]:
        """Return what a metrics server is shown of calls, by what became of them."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.health}/metrics", timeout=10) as answer:
            page = answer.read().decode()
        found = re.findall(r'^access_reconciler_webhook_calls_total\{outcome="(\w+)"\} (\S+)$', page, re.MULTILINE)
        return {fate: float(count) for fate, count in found}

    def probe(self) -> float:
        """Ask whether it is alive; return how long the answer took."""
        began = time.monotonic()
        with urllib.request.urlopen(f"http://127.0.0.1:{self.health}/livez", timeout=10) as answer:
            assert answer.status == 200
        return time.monotonic() - began


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """Start a daemon without providers whose cycles follow one another: none of them is ever whole."""
    (tmp_path / "roster.csv").write_text(ROSTER, encoding="utf-8")
    health, hook = free_port(), free_port()
    configuration = {
        "roster": {"path": "roster.csv"},
        "policies": str(peers.ROOT / "policies"),
        "adoption": {"examine": False},
        "daemon": {
            "interval_seconds": 2,
            "jitter_seconds": 0,
            "first_retry_seconds": 0.2,
            "health_port": health,
            "webhook": {"port": hook, "secret_files": [str(secret_file(tmp_path))], "gap_seconds": 0.2},
        },
    }
    (tmp_path / "access-reconciler.yaml").write_text(yaml.safe_dump(configuration), encoding="utf-8")
    log = tmp_path / "log"
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command("run", "--config", tmp_path / "access-reconciler.yaml"),
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=sink,
        )
    running = Daemon(process=process, log=log, health=health, hook=hook)
    try:
        deadline = time.monotonic() + 60
        while not running.ended():
            assert process.poll() is None, log.read_text(encoding="utf-8")
            assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
            time.sleep(0.05)
        yield running
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(timeout=10)


def looked_at(daemon: Daemon, seconds: float, replayed: bytes) -> dict[str, float]:
    """Flood a daemon and look at it meanwhile; return figures."""
    before, cycles = daemon.memory_mb(), daemon.ended()
    script = str(Path(__file__).with_name("webhook_flood.py"))
    attacker = subprocess.Popen(
        [sys.executable, script, *map(str, (daemon.hook, seconds, CALLS_A_SECOND))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    told: list[bytes] = []
    waiter = threading.Thread(target=lambda: told.extend(attacker.communicate(replayed)[:1]))
    waiter.start()
    probes, memory = [], [before]
    while waiter.is_alive():
        probes.append(daemon.probe())
        memory.append(daemon.memory_mb())
        time.sleep(0.1)
    waiter.join()
    figures: dict[str, float] = json.loads(told[0])
    return figures | {
        "cycles": daemon.ended() - cycles,
        "slowest_probe_s": round(max(probes), 2),
        "growth_mb": round(max(memory) - before, 1),
    }


def flood(daemon: Daemon, seconds: float) -> None:
    """Flood a daemon and hold it to its promises."""
    replayed = request(seal("replayed"))
    assert status(call(daemon.hook, replayed)) == 204
    figures = looked_at(daemon, seconds, replayed)
    began = time.monotonic()
    assert status(call(daemon.hook, request(seal("afterwards")), seconds=15)) == 204
    figures["accepted_again_s"] = round(time.monotonic() - began, 2)
    print(json.dumps(figures))  # noqa: T201 - figures for the reader
    assert figures["a_second"] > 1000, "this was no flood"
    assert figures["cycles"] >= seconds / 5
    assert figures["slowest_probe_s"] < 5
    assert figures["growth_mb"] < MOST_GROWTH_MB
    counted = daemon.webhook_calls()
    assert counted["accepted"] == 2
    assert counted["forged"] > 0
    assert counted["replayed"] > 0
    ended = daemon.ended()
    deadline = time.monotonic() + 30
    while daemon.ended() == ended:
        assert time.monotonic() < deadline, "no cycle after the flood"
        time.sleep(0.05)
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(timeout=60) == 0


def told_of(daemon: Daemon, seconds: float) -> None:
    """Hold a daemon that has ended to what it may have logged of a flood."""
    lines = daemon.log.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not line.startswith("{")] == []
    assert 1 <= sum('"webhook.turned_away"' in line for line in lines) <= 2 + seconds / 30
    assert any('"webhook"' in line for line in lines if '"cycle.began"' in line)


def test_a_flood_of_calls_stops_nothing(daemon: Daemon) -> None:
    """Cycles end, probes answer and memory stays while a flood runs; a signed call counts as soon as it is over."""
    flood(daemon, 4)
    told_of(daemon, 4)


@pytest.mark.proof
def test_ten_seconds_of_flood_stop_nothing(daemon: Daemon) -> None:
    """The same through a hundred thousand calls."""
    flood(daemon, 10)
    told_of(daemon, 10)
