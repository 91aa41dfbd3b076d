"""How the daemon tells how it is: signs of life, probes, and the service manager's socket."""

import http.client
import json
import socket
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from inventory.model import ProviderName
from reconciler.core.record import CycleOutcome
from reconciler.daemon.health import IDLE_SECONDS, CycleEnd, Health, Silence
from reconciler.daemon.notify_socket import NotifySocket
from reconciler.daemon.probes import HealthServer
from reconciler.ports import Progress
from tests.builders import NOW
from tests.fakes.clock import FakeClock

AWS, LDAP = ProviderName("corp-aws"), ProviderName("corp-ldap")
COLLECT, STAGE, CYCLE = 3600.0, 900.0, 7200.0


class Daemon:
    """Health on a clock that the test moves, with what the service manager was told."""

    def __init__(self) -> None:
        self.clock = FakeClock(NOW)
        self.told: list[Mapping[str, str]] = []
        silence = Silence(stages={"collect": COLLECT}, stage_seconds=STAGE, cycle_seconds=CYCLE)
        self.health = Health(self.clock, (AWS, LDAP), silence, self.told.append)

    def live_after(self, seconds: float) -> bool:
        """Let time pass and say whether the daemon counts as alive."""
        self.clock.sleep(seconds)
        return self.health.snapshot().live

    def step(self, stage: str) -> None:
        """Report a step of the cycle."""
        self.health.progress(Progress(stage=stage, message=""))

    def pings(self) -> list[int]:
        """Return the times that the service manager was asked to allow, in microseconds."""
        return [int(facts["WATCHDOG_USEC"]) for facts in self.told if facts.get("WATCHDOG") == "1"]


def end(outcome: CycleOutcome = CycleOutcome.COMPLETE, *complete: ProviderName, held_plan: str = "") -> CycleEnd:
    """Return the end of a cycle."""
    return CycleEnd(
        sequence=7,
        outcome=outcome,
        started_at=NOW,
        finished_at=NOW + timedelta(seconds=10),
        complete=frozenset(complete),
        held_plan=held_plan,
        unsettled=3,
        next_instant=None,
    )


def test_a_loop_that_waits_is_alive_and_one_that_stopped_is_not() -> None:
    """Each round buys a minute; without another round the daemon counts as hung."""
    daemon = Daemon()
    daemon.health.idle()
    assert daemon.live_after(IDLE_SECONDS - 1)
    daemon.health.idle()
    assert daemon.live_after(IDLE_SECONDS)
    assert not daemon.live_after(1)


def test_a_stage_may_be_silent_for_as_long_as_it_may_take() -> None:
    """An inventory may take up to its deadline without a word; another stage may not."""
    daemon = Daemon()
    daemon.health.cycle_began()
    daemon.step("collect")
    assert daemon.live_after(COLLECT)
    daemon.step("evaluate")
    assert daemon.live_after(STAGE)
    assert not daemon.live_after(1)


def test_a_cycle_past_its_deadline_is_hung_though_it_goes_on_talking() -> None:
    """Progress without end buys no more time than a cycle has in all, and pings no more."""
    daemon = Daemon()
    daemon.health.cycle_began()
    for _ in range(9):
        daemon.step("execute")
        assert daemon.live_after(799)
    daemon.step("execute")
    assert not daemon.live_after(10)
    pings = len(daemon.pings())
    daemon.step("execute")
    assert len(daemon.pings()) == pings
    assert not daemon.health.snapshot().live


def test_the_end_of_a_long_cycle_makes_it_alive_again() -> None:
    """A hung cycle that does end is forgiven: the loop goes round."""
    daemon = Daemon()
    daemon.health.cycle_began()
    assert not daemon.live_after(CYCLE + 1)
    daemon.health.cycle_ended(end())
    daemon.health.idle()
    assert daemon.live_after(1)


def test_the_service_manager_is_told_how_long_the_next_silence_may_be() -> None:
    """Each ping announces the time until the next one: a minute in the loop, the stage's own time in a cycle."""
    daemon = Daemon()
    daemon.health.idle()
    daemon.health.cycle_began()
    daemon.step("collect")
    daemon.step("evaluate")
    assert daemon.pings() == [int(one * 1_000_000) for one in (IDLE_SECONDS, STAGE, COLLECT, STAGE)]


def test_readiness_begins_with_the_first_cycle_and_ends_with_draining() -> None:
    """Ready means: a cycle came to its end since the start, and more may follow."""
    daemon = Daemon()
    assert not daemon.health.snapshot().ready
    daemon.health.cycle_failed("JournalError: full")
    assert not daemon.health.snapshot().ready
    daemon.health.cycle_ended(end())
    assert daemon.health.snapshot().ready
    daemon.health.drain(120)
    assert not daemon.health.snapshot().ready
    assert daemon.told[-1]["STOPPING"] == "1"
    assert daemon.told[-1]["EXTEND_TIMEOUT_USEC"] == "120000000"


def test_each_provider_has_the_age_of_its_own_last_whole_read() -> None:
    """A provider that was never whole has no age, and one that was keeps it through cycles that missed it."""
    daemon = Daemon()
    daemon.health.cycle_ended(end(CycleOutcome.PARTIAL, AWS))
    daemon.health.cycle_ended(end(CycleOutcome.PARTIAL))
    daemon.clock.sleep(70)
    assert daemon.health.snapshot().complete_age_seconds == {AWS: 60.0, LDAP: None}


def test_a_snapshot_tells_what_waits_for_somebody() -> None:
    """The held plan, unsettled acts, failures in a row and the running cycle are there as plain values."""
    daemon = Daemon()
    daemon.health.cycle_failed("JournalError: full")
    daemon.health.cycle_failed("JournalError: full")
    assert (daemon.health.snapshot().failures, daemon.health.snapshot().last_outcome) == (2, "failed")
    assert daemon.health.snapshot().last_error == "JournalError: full"
    daemon.health.cycle_ended(replace(end(CycleOutcome.PARTIAL), errors=("x" * 5000, "y")))
    assert daemon.health.snapshot().last_error == "x" * 1000
    daemon.health.cycle_ended(replace(end(CycleOutcome.PARTIAL), errors=("it gave way",), gave_way=True))
    assert daemon.health.snapshot().last_error == ""
    daemon.health.cycle_ended(end(CycleOutcome.HELD, held_plan="sha256:0f3a"))
    daemon.health.cycle_began()
    daemon.clock.sleep(5)
    now = daemon.health.snapshot()
    assert (now.held_plan, now.unsettled, now.failures, now.cycle_seconds) == ("sha256:0f3a", 3, 0, 5)
    assert (now.last_outcome, now.draining) == ("held", False)


@pytest.fixture
def served() -> Iterator[tuple[Daemon, HealthServer]]:
    """Return health with its probes on a free port."""
    daemon = Daemon()
    with HealthServer(0, daemon.health.snapshot) as server:
        yield daemon, server


def ask(server: HealthServer, path: str, method: str = "GET") -> tuple[int, str]:
    """Ask a probe."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_the_probes_answer_apart(served: tuple[Daemon, HealthServer]) -> None:
    """Alive before it is ready; hung, it is no longer alive; and the body is the snapshot."""
    daemon, server = served
    assert (ask(server, "/livez")[0], ask(server, "/readyz")[0]) == (200, 503)
    daemon.health.cycle_ended(end(CycleOutcome.COMPLETE, AWS))
    status, body = ask(server, "/readyz")
    assert (status, json.loads(body)["complete_age_seconds"]["corp-ldap"]) == (200, None)
    daemon.clock.sleep(STAGE + 1)
    assert (ask(server, "/livez")[0], ask(server, "/readyz")[0]) == (503, 200)


def test_nothing_else_is_answered(served: tuple[Daemon, HealthServer]) -> None:
    """Other paths are not found, and other methods not known."""
    _, server = served
    assert ask(server, "/")[0] == 404
    assert ask(server, "/livez/../secrets")[0] == 404
    assert ask(server, "/livez", "POST")[0] == 501


def test_a_crowd_of_silent_clients_does_not_stay(served: tuple[Daemon, HealthServer]) -> None:
    """Clients that connect and say nothing are bounded in number: one more is hung up on, and they free their place."""
    _, server = served
    crowd = [socket.create_connection(("127.0.0.1", server.port), timeout=5) for _ in range(40)]
    try:
        crowd[-1].settimeout(30)
        assert crowd[-1].recv(1) == b""
    finally:
        for one in crowd:
            one.close()
    deadline = time.monotonic() + 30
    while True:
        try:
            assert ask(server, "/livez")[0] == 200
            break
        except (http.client.RemoteDisconnected, ConnectionResetError):
            assert time.monotonic() < deadline, "the probes never came back"


def test_a_taken_port_is_an_error(served: tuple[Daemon, HealthServer]) -> None:
    """Two daemons on one port: the second one is told, not silently deaf."""
    daemon, server = served
    with pytest.raises(OSError, match="in use"):
        HealthServer(server.port, daemon.health.snapshot)


@pytest.mark.parametrize("abstract", [False, True])
def test_the_service_manager_gets_one_datagram(tmp_path: Path, abstract: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """Facts arrive as lines of one datagram, on a path or an abstract name, and no fact can forge another line."""
    address = f"@access-reconciler-{tmp_path.name}-{id(tmp_path)}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{address[1:]}" if abstract else address)
        manager.settimeout(5)
        NotifySocket(address).tell(READY="1", STATUS="one\nMAINPID=1")
        assert manager.recv(4096) == b"READY=1\nSTATUS=one MAINPID=1"


def test_a_manager_that_is_gone_changes_nothing(tmp_path: Path) -> None:
    """A socket that does not answer is said once; without an address nothing is said at all."""
    gone = NotifySocket(str(tmp_path / "gone"))
    with capture_logs() as logged:
        gone.tell(WATCHDOG="1")
        gone.tell(WATCHDOG="1")
        NotifySocket("").tell(WATCHDOG="1")
    assert [entry["event"] for entry in logged] == ["notify.failed"]


def test_a_manager_that_does_not_read_holds_nothing_up(tmp_path: Path) -> None:
    """Facts that do not fit into a full queue are dropped at once: the next ones say the same."""
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        notify = NotifySocket(address)
        for number in range(2000):
            notify.tell(WATCHDOG="1", STATUS=str(number))
        manager.settimeout(0)
        assert manager.recv(4096) == b"WATCHDOG=1\nSTATUS=0"
