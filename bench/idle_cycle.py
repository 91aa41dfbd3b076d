"""What a cycle in which nothing has changed costs, beside the first one of a fresh process.

    .venv/bin/python bench/idle_cycle.py --principals 500 2000 5000

The real daemon runs against moto's AWS on loopback. Cold is everything from the start of the process to the end of its
first cycle: imports, opening the state, starting the policy engine. Idle are later whole passes, asked for by SIGHUP,
over the same account, roster and policies. CPU is user and system time as the kernel counts it, of the daemon and of
its policy engine; calls are counted at the provider, and so are writes. A company of nobody, measured first, shows how
much of a cold cycle is start-up.
"""

import argparse
import base64
import json
import os
import signal
import sys
import tempfile
import time
import urllib.parse
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from leaver_latency import ROOT, Journal, answers, daemon, until

from reconciler.demo.process import RunningServer, ServerCommand, free_port, start_server

if TYPE_CHECKING:
    import subprocess

REQUESTS = "requests"
UNOWNED = 5
"""Users whom nobody in the roster owns: a rule finds them every time, and nothing is done to them."""
SETTLED_SECONDS = 1.5
"""After a cycle has ended, what it leaves to do (metrics, what stands for leavers) is counted too."""
_TICKS = os.sysconf("SC_CLK_TCK")
_READS = ("Get", "List", "Generate")
"""What the names of calls that change nothing begin with; `GenerateCredentialReport` makes a report."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one cycle took."""

    daemon: float
    """CPU seconds of our process."""
    engine: float
    """CPU seconds of the policy engine."""
    wall: float
    calls: Counter[str]
    """Calls by name, as the provider saw them."""

    @property
    def both(self) -> float:
        """Return the CPU seconds of both processes."""
        return self.daemon + self.engine

    @property
    def writes(self) -> int:
        """Return how many calls were no reads."""
        return sum(count for name, count in self.calls.items() if not name.startswith(_READS))


@contextmanager
def account(folder: Path, users: int) -> Iterator[RunningServer]:
    """Run an AWS emulator that writes down every request, in a folder of its own."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = ServerCommand(
        name="moto",
        command=(sys.executable, str(ROOT / "bench" / "many_aws_users.py"), str(port), str(users), "0"),
        url=url,
        environment={"MOTO_ENABLE_RECORDING": "true", "MOTO_RECORDER_FILEPATH": str(folder / REQUESTS)},
    )
    with start_server(command, log=folder / "moto.log", ready=lambda: answers(url), deadline_seconds=120) as server:
        yield server


def calls(folder: Path, since: int) -> tuple[Counter[str], int]:
    """Return the calls that were made since a place in the emulator's record, and the place where it ends now."""
    with (folder / REQUESTS).open("rb") as record:
        record.seek(since)
        lines = record.read()
    bodies = (base64.b64decode(json.loads(line)["body"]).decode() for line in lines.splitlines())
    names = (urllib.parse.parse_qs(body).get("Action") for body in bodies)
    return Counter(found[0] for found in names if found), since + len(lines)


def configuration(folder: Path, url: str, users: int) -> dict[str, Any]:
    """Write the roster, and return a configuration that enforces."""
    secret = folder / "secret"
    secret.write_text("bench")
    owned = max(users - UNOWNED, 1)
    lines = ["worker_id,status,worker_type,work_email,manager_worker_id,department,work_timezone,last_day_of_work"]
    for number in range(owned):
        mail = f"user-{number}@acme.example"
        lines.append(f"E{number},active,employee,{mail},E{number // 10},d{number % 20},Europe/Berlin,")
    (folder / "roster.csv").write_text("\n".join(lines) + "\n")
    keys = {"endpoint_url": url, "access_key_id": "bench", "secret_access_key_file": str(secret)}
    return {
        "state_dir": str(folder / "state"),
        "roster": {"path": str(folder / "roster.csv")},
        "policies": str(ROOT / "policies"),
        "adoption": {"examine": False},
        "daemon": {"health_port": 0, "interval_seconds": 3600},
        "providers": {
            "corp-aws": {
                "type": "aws_iam",
                "mode": "enforce",
                "reader": {**keys, "exclude": ["service_credential"]},
                "revoker": keys,
            },
        },
    }


def cpu_seconds(pid: int) -> float:
    """Return the user and system time that a process has used, all its threads included."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / _TICKS


def below(pid: int) -> Iterator[int]:
    """Yield every process that descends from one and runs now."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield int(child)
            yield from below(int(child))


class Watched:
    """One daemon and what it has cost so far."""

    def __init__(self, folder: Path, process: "subprocess.Popen[bytes]", place: int) -> None:
        self._folder = folder
        self._process = process
        self._journal = Journal(folder / "state" / "journal.sqlite3")
        self._place = place
        self._daemon = 0.0
        self._engine = 0.0

    def cycle(self, number: int) -> Cost:
        """Wait for the end of the cycle of this number and return what has been used since the last one."""
        began = time.monotonic()
        until(lambda: self._journal.ended() >= number or self._process.poll() is not None, f"cycle {number}", 600)
        wall = time.monotonic() - began
        time.sleep(SETTLED_SECONDS)
        daemon = cpu_seconds(self._process.pid)
        engine = sum(cpu_seconds(one) for one in below(self._process.pid))
        made, self._place = calls(self._folder, self._place)
        cost = Cost(daemon=daemon - self._daemon, engine=engine - self._engine, wall=wall, calls=made)
        self._daemon, self._engine = daemon, engine
        return cost

    def again(self) -> None:
        """Ask for a whole pass."""
        self._process.send_signal(signal.SIGHUP)


def measure(folder: Path, users: int, idle: int) -> list[Cost]:
    """Run one company; return the cost of its first cycle and of the idle ones after it."""
    with ExitStack() as stack:
        server = stack.enter_context(account(folder, users))
        settings = configuration(folder, server.url, users)
        (folder / "access-reconciler.yaml").write_text(yaml.safe_dump(settings))
        place = (folder / REQUESTS).stat().st_size if (folder / REQUESTS).exists() else 0
        watched = Watched(folder, stack.enter_context(daemon(folder)), place)
        costs = [watched.cycle(1)]
        for number in range(2, idle + 2):
            watched.again()
            costs.append(watched.cycle(number))
        written = Journal(folder / "state" / "journal.sqlite3").ask("SELECT count(*) FROM intents")
        ended = Journal(folder / "state" / "journal.sqlite3").ask("SELECT outcome FROM cycle_ends")
        if ended != [("complete",)] * (idle + 1):
            raise RuntimeError(f"the cycles ended as {ended}")
        if written != [(0,)] or any(cost.writes for cost in costs):
            raise RuntimeError("a cycle wrote something: this account was not idle")
        return costs


def row(name: str, cost: Cost) -> str:
    """Return the line of one cycle."""
    return (
        f"  {name:<12} cpu {cost.both:7.2f} s (daemon {cost.daemon:6.2f}, engine {cost.engine:6.2f})  "
        f"wall {cost.wall:6.2f} s  calls {cost.calls.total():>4}  writes {cost.writes}"
    )


def main() -> None:
    """Run all sizes and print what they took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--principals", type=int, nargs="+", default=[500, 2000, 5000])
    parser.add_argument("--idle", type=int, default=5, help="Idle cycles a size; the median counts.")
    asked = parser.parse_args()
    start_up = 0.0
    for users in (0, *asked.principals):
        with tempfile.TemporaryDirectory() as folder:
            cold, *idle = measure(Path(folder), users, asked.idle)
        middle = sorted(idle, key=lambda cost: cost.both)[len(idle) // 2]
        start_up = cold.both if users == 0 else start_up
        print(f"{users} principals")
        print(row("cold", cold))
        print(row("idle, median", middle), flush=True)
        if users:
            spread = ", ".join(f"{cost.both:.2f}" for cost in idle)
            print(f"  idle/cold {middle.both / cold.both:.2f}; all idle: {spread}")
            ratio = middle.both / (cold.both - start_up)
            print(f"  without the {start_up:.2f} s that a cycle over nobody takes from a cold start: {ratio:.2f}")


if __name__ == "__main__":
    main()
