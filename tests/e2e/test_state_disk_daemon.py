"""A daemon whose state lies on a disk that fills up, or turns read-only, and comes back."""

import json
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import peers
from tests.e2e.company import command, environment
from tests.e2e.test_daemon import free_port

pytestmark = [pytest.mark.proof, pytest.mark.timeout(180)]


class Housed:
    """A daemon below a shell that may mount what it likes, and only for itself."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        (folder / "state").mkdir()
        (folder / "roster.csv").write_text("worker_id,status,last_day_of_work\nW1,active,\nW2,active,\n")
        configuration = {
            "roster": {"path": "roster.csv"},
            "policies": str(peers.ROOT / "policies"),
            "adoption": {"examine": False},
            "daemon": {
                "interval_seconds": 2,
                "jitter_seconds": 0,
                "first_retry_seconds": 0.2,
                "health_port": self.port,
            },
        }
        (folder / "access-reconciler.yaml").write_text(yaml.safe_dump(configuration))
        self.shell = subprocess.Popen(
            ["unshare", "--user", "--map-root-user", "--mount", "bash", "-e"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=(folder / "shell.log").open("wb"),
            env=environment(),
            cwd=folder,
        )
        daemon = " ".join(command("run", "--config", "access-reconciler.yaml"))
        self.tell("mount -t tmpfs -o size=24m tmpfs state", f"{daemon} 2>log & daemon=$!")

    def tell(self, *lines: str) -> None:
        """Give the shell orders."""
        assert self.shell.stdin is not None
        self.shell.stdin.write("".join(f"{line}\n" for line in lines).encode())
        self.shell.stdin.flush()

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return what the daemon logged by this name."""
        log = self.folder / "log"
        lines = log.read_text().splitlines() if log.exists() else []
        return [one for one in (json.loads(line) for line in lines if line.startswith("{")) if one["event"] == name]

    def more(self, name: str) -> dict[str, Any]:
        """Wait for another event of this name, and return it."""
        known, deadline = len(self.events(name)), time.monotonic() + 45
        while len(self.events(name)) <= known:
            assert self.shell.poll() is None, (self.folder / "shell.log").read_text()
            assert time.monotonic() < deadline, f"no {name}: {(self.folder / 'log').read_text()}"
            time.sleep(0.05)
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/livez", timeout=10) as answer:
            assert answer.status == 200
        return self.events(name)[-1]


@pytest.fixture
def housed(tmp_path: Path) -> Iterator[Housed]:
    """Start a daemon and let it end its first cycle."""
    made = Housed(tmp_path)
    try:
        made.more("cycle.ended")
        yield made
        made.tell("kill -TERM $daemon", "wait $daemon", "exit 0")
        assert made.shell.wait(timeout=60) == 0, (tmp_path / "shell.log").read_text()
    finally:
        if made.shell.poll() is None:
            made.shell.kill()
        made.shell.wait(timeout=10)


@pytest.mark.parametrize(
    ("break_it", "says", "mend_it"),
    [
        ("dd if=/dev/zero of=state/filler bs=64k || true", "full", "rm state/filler"),
        # What is open stays writable, as the journal is: everything opened from then on is refused.
        ("mount --bind state state && mount -o remount,bind,ro state", "read-only", "umount --lazy state"),
    ],
    ids=["full", "read-only"],
)
def test_a_daemon_outlives_its_disk(housed: Housed, break_it: str, says: str, mend_it: str) -> None:
    """It lives, answers its probes, says which disk and what to do, tries again, and goes on once the disk is back."""
    housed.tell(break_it)
    housed.more("cycle.failed")
    failed = housed.more("cycle.failed")
    assert says in failed["error"].lower()
    assert failed["advice"]
    assert "defect" not in failed["advice"]
    housed.tell(mend_it)
    housed.more("cycle.ended")
