"""The command that keeps watch: what it refuses before it begins, how it ends, and the unit that starts it."""

import configparser
import os
import re
import socket
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from reconciler.adapters.clock import SystemClock
from reconciler.cli import main, run
from reconciler.core.model import Mode
from reconciler.daemon.health import IDLE_SECONDS, Health, Silence
from reconciler.daemon.service import Ended
from reconciler.daemon.telling import Telling
from reconciler.policies.standing import policies_in_force
from reconciler.settings import DaemonSettings, load_settings
from reconciler.wiring import open_store
from reconciler.writer import hold_lease
from tests import peers

UNIT = peers.ROOT / "deploy" / "systemd" / "access-reconciler.service"


@pytest.fixture
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what writes a configuration and returns its path; the tests' own logging stays as it is."""
    monkeypatch.setattr(run, "configure_logs", lambda _: None)

    def write(**blocks: Any) -> str:
        path = tmp_path / "access-reconciler.yaml"
        path.write_text(yaml.safe_dump({"roster": {"path": "roster.csv"}, **blocks}))
        return str(path)

    return write


def test_a_cycle_deadline_below_the_inventory_s_is_refused(configure: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """A slow inventory that is within its own bound must not count as hung: settings that say so are an error."""
    path = configure(collect_deadline_seconds=100, daemon={"cycle_seconds": 100})
    assert main.run(["run", "--config", path]) == 1
    assert "daemon.cycle_seconds is not above collect_deadline_seconds" in capsys.readouterr().err


def test_a_taken_health_port_is_refused_and_the_lease_given_back(
    configure: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A daemon that could not be watched does not start, says which setting is meant, and leaves nothing locked."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        path = configure(daemon={"health_port": taken.getsockname()[1]})
        assert main.run(["run", "--config", path]) == 1
    assert "daemon.health_port: cannot listen" in capsys.readouterr().err
    assert not (tmp_path / "state" / "writer.json").exists()


def test_what_grows_with_the_history_is_worked_out_once_a_process(configure: Any, tmp_path: Path) -> None:
    """A workshop opened anew goes on with the store and the log of the first: neither is read through again."""
    policies = str(peers.ROOT / "policies")
    settings = load_settings(Path(configure(policies=policies, engine={"kind": "embedded"})))
    clock = SystemClock()
    health = Health(clock, (), Silence(stages={}, stage_seconds=1, cycle_seconds=1), lambda _: None)
    telling, store = Telling(clock, (), ()), open_store(settings)
    with closing(hold_lease(settings, "run", clock)) as lease:
        in_force = policies_in_force(settings, Mode.OBSERVE, clock)
        lasting = run._Lasting(lease=lease, store=store, policies=in_force)
        workshops = run._Workshops(settings, Mode.OBSERVE, telling, health, lasting)
        attesters = []
        for _ in range(2):
            with workshops.open() as workshop:
                attesters.append(workshop.house.attester)
    first, second = attesters
    assert first.log is second.log
    assert first.store is second.store is store
    assert not first.at_once


@pytest.mark.parametrize(("ended", "code"), [(Ended.DRAINED, 0), (Ended.LEASE_LOST, 1), (Ended.BROKEN, 1)])
def test_the_exit_code_says_how_it_ended(
    ended: Ended, code: int, configure: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked to end and drained is success; anything else makes the service manager start it again."""
    monkeypatch.setattr(run, "keep_watch", lambda *_: ended)
    assert main.run(["run", "--config", configure()]) == code


def test_an_overdue_cycle_is_left_behind(configure: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process whose cycle hangs ends at once: an orderly exit would wait for the hung thread."""
    monkeypatch.setattr(run, "keep_watch", lambda *_: Ended.OVERDUE)
    codes: list[int] = []

    def leave(code: int) -> None:
        codes.append(code)
        raise SystemExit(code)

    monkeypatch.setattr(os, "_exit", leave)
    with pytest.raises(SystemExit):
        main.run(["run", "--config", configure()])
    assert codes == [1]


def service() -> configparser.SectionProxy:
    """Return the unit's section on the service; of settings that are given twice, the last one."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # the names of settings keep their case
    parser.read_string(UNIT.read_text(encoding="utf-8"))
    return parser["Service"]


def seconds(text: str) -> int:
    """Return a time span of systemd's in seconds."""
    found = re.fullmatch(r"(\d+)(s|min)", text)
    assert found is not None
    return int(found[1]) * {"s": 1, "min": 60}[found[2]]


def test_the_unit_fits_the_program() -> None:
    """The unit starts this command, reloads by the signal it follows, and gives it the time that it may take."""
    unit = service()
    assert unit["ExecStart"].partition(" ")[2].startswith("run --config ")
    assert unit["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert (unit["Type"], unit["KillMode"]) == ("notify", "mixed")
    defaults = DaemonSettings()
    assert seconds(unit["TimeoutStopSec"]) > defaults.drain_seconds
    assert seconds(unit["WatchdogSec"]) >= max(IDLE_SECONDS, defaults.stage_seconds)


def test_the_unit_is_hardened(tmp_path: Path) -> None:
    """Nothing but the state folder can be written; systemd, where it is, finds no mistake and an exposure up to 1.1."""
    unit = service()
    assert (unit["DynamicUser"], unit["ProtectSystem"], unit["NoNewPrivileges"]) == ("yes", "strict", "yes")
    assert unit["CapabilityBoundingSet"] == ""
    assert "ReadWritePaths" not in unit
    analyze = peers.find("systemd-analyze")
    if analyze is None:
        return
    copy = tmp_path / UNIT.name
    copy.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", UNIT.read_text(), flags=re.MULTILINE))
    secrets = tmp_path / f"{UNIT.name}.d" / "credentials.conf"
    secrets.parent.mkdir()
    secrets.write_bytes(UNIT.with_name("credentials.conf").read_bytes())
    for command in (["verify"], ["security", "--offline=true", "--threshold=11", "--no-pager"]):
        done = subprocess.run([analyze, *command, str(copy)], capture_output=True, text=True, check=False, timeout=30)
        assert done.returncode == 0, f"{done.stdout}{done.stderr}"
