"""Asking the daemon how it is from the command line, and what the command line imports for that."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from inventory.model import ProviderName
from reconciler.cli import health, main
from reconciler.cli.main import run
from reconciler.core.record import CycleOutcome
from reconciler.daemon.health import CycleEnd, Health, Silence
from reconciler.daemon.probes import LOOPBACK, HealthServer
from reconciler.environment import ENV_PREFIX
from reconciler.settings import DaemonSettings
from tests import peers
from tests.builders import NOW
from tests.fakes.clock import FakeClock
from tests.output_schemas import problems, published

HEAVY = {"alembic", "apscheduler", "boto3", "cryptography", "google", "httpx", "rich", "sigstore", "sqlalchemy", "yaml"}
"""Libraries of which none takes part in listing the commands or in asking the daemon."""

LOADED = "import sys; from reconciler.cli.main import run; run(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
AWS = ProviderName("corp-aws")
STAGE = 900.0


@pytest.fixture
def daemon() -> Iterator[tuple[Health, FakeClock, str]]:
    """Return the health of a daemon with one provider, its clock, and the port on which it answers."""
    clock = FakeClock(NOW)
    own = Health(clock, (AWS,), Silence(stages={}, stage_seconds=STAGE, cycle_seconds=7200), lambda _: None)
    with HealthServer(0, own.snapshot) as server:
        yield own, clock, str(server.port)


def end(outcome: CycleOutcome = CycleOutcome.HELD) -> CycleEnd:
    """Return the end of a cycle that somebody has to look at."""
    return CycleEnd(
        sequence=3,
        outcome=outcome,
        started_at=NOW,
        finished_at=NOW,
        complete=frozenset({AWS}),
        held_plan="sha256:0f3a",
        unsettled=2,
        next_instant=None,
    )


def codes(port: str) -> dict[str, int]:
    """Return the exit code of each question."""
    return {one.value: run(["health", one.value, "--port", port]) for one in health.Question}


def test_each_question_has_its_own_answer(daemon: tuple[Health, FakeClock, str]) -> None:
    """Alive, then started, then ready; hung, it is no longer alive, and draining, no longer ready."""
    own, clock, port = daemon
    assert codes(port) == {"live": 0, "started": 1, "ready": 1}
    own.assembled()
    assert codes(port) == {"live": 0, "started": 0, "ready": 1}
    own.cycle_ended(end())
    assert codes(port) == {"live": 0, "started": 0, "ready": 0}
    clock.sleep(STAGE + 1)
    own.drain(60)
    assert codes(port) == {"live": 1, "started": 0, "ready": 1}


def test_a_cycle_that_failed_after_it_was_assembled_is_no_failed_start(daemon: tuple[Health, FakeClock, str]) -> None:
    """A provider or engine that is down at the start is no reason to be killed: starting again mends nothing."""
    own, _, port = daemon
    own.assembled()
    own.cycle_failed("JournalError: full")
    assert codes(port)["started"] == 0


def test_people_and_programs_are_told_the_same(
    daemon: tuple[Health, FakeClock, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The document is the body of the probe, as its schema says; the lines for people hold every field of it."""
    own, _, port = daemon
    own.cycle_ended(end())
    capsys.readouterr()
    assert run(["health", "ready", "--port", port, "--output", "json"]) == 0
    facts: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert problems("health", facts) == []
    assert (facts["held_plan"], facts["unsettled"]) == ("sha256:0f3a", 2)
    assert facts["complete_age_seconds"] == {"corp-aws": 0}
    assert run(["health", "ready", "--port", port]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("ready: yes\n")
    assert [name for name in facts if name.replace("_", " ") not in shown] == []
    assert "sha256:0f3a" in shown
    assert "corp-aws 0" in shown


def test_the_schema_knows_every_outcome() -> None:
    """The outcomes of the schema are those of the source, and none before the first cycle ended."""
    told = published("health")["properties"]["last_outcome"]["enum"]
    assert sorted(told) == sorted(["", *(one.value for one in CycleOutcome)])


def test_the_port_is_the_setting_s(daemon: tuple[Health, FakeClock, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --port it is the setting's default, or what overrides that setting in the environment."""
    assert DaemonSettings().health_port == health.DEFAULT_PORT
    assert f"{ENV_PREFIX}DAEMON__HEALTH_PORT" == health.PORT_VARIABLE
    assert health.LOOPBACK == LOOPBACK
    monkeypatch.setenv(health.PORT_VARIABLE, daemon[2])
    assert run(["health", "live"]) == 0


def test_nobody_there_is_an_error_with_advice(capsys: pytest.CaptureFixture[str]) -> None:
    """A daemon that does not answer is neither alive nor ready."""
    with socket.socket() as unheard:
        unheard.bind((LOOPBACK, 0))
        assert run(["health", "live", "--port", str(unheard.getsockname()[1])]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: 127.0.0.1:")
    assert "is `access-reconciler run` up" in told


OTHERS = [b"", b"SSH-2.0-sshd\r\n", b"HTTP/1.0 200 OK\r\n\r\nok", b"HTTP/1.0 200 OK\r\n\r\n[]"]


@pytest.mark.parametrize("answer", OTHERS)
def test_another_program_on_the_port_is_not_the_daemon(answer: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    """Only the daemon's own document counts: whatever else listens there never makes a probe pass."""

    def speak() -> None:
        peer, _ = other.accept()
        with peer:
            peer.recv(4096)
            peer.sendall(answer)

    with socket.create_server((LOOPBACK, 0)) as other:
        speaker = threading.Thread(target=speak)
        speaker.start()
        assert run(["health", "live", "--port", str(other.getsockname()[1])]) == 1
        speaker.join(timeout=10)
    assert "does not answer as the daemon does" in capsys.readouterr().err


@pytest.mark.parametrize("line", [["--help"], ["health", "live", "--port", "1"], ["health", "--help"]])
def test_help_and_probes_load_no_cloud_and_no_database(line: list[str]) -> None:
    """What is run every few seconds starts without the libraries that a cycle works with."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *line], cwd=peers.ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    loaded = {name.split(".")[0] for name in done.stderr.split()}
    assert "reconciler" in loaded
    assert loaded & HEAVY == set()


@pytest.mark.parametrize("name", main.COMMANDS)
def test_the_list_of_commands_says_what_the_command_says(name: str) -> None:
    """A command is listed by the first line of its help, though it is not imported for that."""
    assert (main.load(name).help or "").splitlines()[0] == main.COMMANDS[name]


def test_a_wrong_name_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """A command that is misspelt is told the nearest one."""
    assert run(["helth"]) == 64
    assert "health" in capsys.readouterr().err
