"""What is put under a running daemon in the place of its roster and policies: noticed, refused in words, outlived."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import peers
from tests.e2e.company import command, environment
from tests.unit.test_hostile_files import ENDLESS, YAML_BOMBS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

POLL_SECONDS = 2.0
NOTICED_SECONDS = 60.0
"""A poll, settling, a cycle, and a machine with other work."""
ROSTER = "worker_id,status,last_day_of_work\nW1,active,\nW2,active,\n"


class Mounted:
    """A daemon on a ConfigMap-style mount: `roster.csv` and `policies` lead over `..data` to a folder of a version."""

    def __init__(self, folder: Path) -> None:
        self.mount, self.version = folder / "mount", 0
        self.mount.mkdir()
        self.swap()
        (self.mount / "roster.csv").symlink_to("..data/roster.csv")
        (self.mount / "policies").symlink_to("..data/policies")
        configuration = {
            "roster": {"path": "mount/roster.csv"},
            "policies": "mount/policies",
            # Neither timer nor retry looks again: only what is noticed does.
            "daemon": {
                "interval_seconds": 3600,
                "first_retry_seconds": 3600,
                "poll_seconds": POLL_SECONDS,
                "health_port": 0,
            },
        }
        (folder / "access-reconciler.yaml").write_text(yaml.safe_dump(configuration))
        self.log, self.audit = folder / "log", folder / "state" / "audit.jsonl"
        with self.log.open("wb") as sink:
            self.process = subprocess.Popen(
                command("run", "--config", folder / "access-reconciler.yaml"),
                env=environment(),
                stdout=subprocess.DEVNULL,
                stderr=sink,
            )

    @property
    def here(self) -> Path:
        """Return the folder of the version that counts."""
        return self.mount / f"..v{self.version}"

    def swap(self) -> None:
        """Put the next version in place as Kubernetes does: a link is swapped, and the old folder removed."""
        old = self.here
        self.version += 1
        self.here.mkdir()
        (self.here / "roster.csv").write_text(ROSTER + f"W{self.version + 2},active,\n")
        shutil.copytree(peers.ROOT / "policies", self.here / "policies")
        (self.mount / "..data_tmp").symlink_to(self.here.name)
        (self.mount / "..data_tmp").rename(self.mount / "..data")
        shutil.rmtree(old, ignore_errors=True)

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return what was logged by this name."""
        lines = [json.loads(one) for one in self.log.read_text().splitlines() if one.startswith("{")]
        return [one for one in lines if one["event"] == name]

    def after(self, change: Callable[[], object]) -> str:
        """Change something and return the outcome of the cycle that notices it."""
        known = len(self.events("cycle.ended"))
        change()
        deadline = time.monotonic() + NOTICED_SECONDS
        while len(self.events("cycle.ended")) <= known:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, f"never noticed: {self.log.read_text()}"
            time.sleep(0.05)
        return str(self.events("cycle.ended")[-1]["outcome"])

    def refused(self) -> list[str]:
        """Return the codes of the inputs that were refused so far, once the trail tells of every cycle that ended."""
        deadline = time.monotonic() + NOTICED_SECONDS
        while True:
            records = [json.loads(line) for line in self.audit.read_text().splitlines() if line.endswith("}")]
            told = sum(one["kind"] == "cycle" for one in records)
            if told >= len(self.events("cycle.ended")):
                return [one["facts"]["code"] for one in records if one["kind"] == "refused_input"]
            assert time.monotonic() < deadline, f"the trail tells of {told} cycles"
            time.sleep(0.05)


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Mounted]:
    """Start a daemon and let it end its first cycle."""
    made = Mounted(tmp_path)
    try:
        assert made.after(lambda: None) == "partial"
        yield made
        made.process.terminate()
        assert made.process.wait(timeout=60) == 0
        assert made.events("cycle.failed") == []
    finally:
        if made.process.poll() is None:
            made.process.kill()
        made.process.wait(timeout=10)


def replaced(path: Path, make: Callable[[Path], object]) -> None:
    """Put something else in the place of a file or folder."""
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    make(path)


def test_a_roster_that_is_no_roster_any_more(mounted: Mounted) -> None:
    """A pipe, two gigabytes, nothing: each is noticed and refused, and a good one is taken again."""
    names = ["a pipe", "two gigabytes", "nothing"]
    for name in names:
        assert mounted.after(lambda name=name: replaced(mounted.here / "roster.csv", ENDLESS[name])) == "failed", name  # type: ignore[misc]  # bound at once
        assert mounted.after(mounted.swap) == "partial", name
    assert mounted.refused() == ["RosterRefused"] * len(names)


def test_policies_that_go_and_come_back(mounted: Mounted) -> None:
    """Folders removed and made again, a bomb, a pipe among the rules: the last good ones decide, and it is said.

    A waiver that cannot be read waives nothing, and ends no cycle.
    """
    policies = mounted.here / "policies"
    aside = mounted.mount.parent / "aside"
    assert mounted.after(lambda: policies.rename(aside)) == "partial"
    assert mounted.after(lambda: aside.rename(policies)) == "partial"
    assert mounted.after(lambda: shutil.rmtree(policies)) == "partial"
    assert mounted.after(lambda: shutil.copytree(peers.ROOT / "policies", policies)) == "partial"
    bomb = policies / "waivers" / "bomb.yaml"
    assert mounted.after(lambda: bomb.write_text(YAML_BOMBS["lists in lists"])) == "partial"
    assert mounted.after(bomb.unlink) == "partial"
    assert mounted.after(lambda: os.mkfifo(policies / "access" / "odd.rego")) == "partial"
    assert mounted.after(mounted.swap) == "partial"
    assert mounted.refused() == ["Policies refused", "Policies refused", "Waiver refused", "Policies refused"]
