"""How long a leaver's access lives after HR has said so, and whether the size of the company matters.

    .venv/bin/python bench/leaver_latency.py --principals 500 5000 --leavers 100

The daemon runs against real servers on loopback (moto's AWS, OpenLDAP, scim2-server), each behind a relay that adds 60
ms to every round trip. One leaver after another is written into the roster; measured is from the rename of the file to
the last reading that shows an item gone, as the journal has it. Each leaver has 6 items at AWS, 4 in LDAP and 2 in
SCIM. `--during-inventory` starts a reading of everything right before each leaver. Prints the stages' medians, p50 and
p99, and the exponent of the p50 over the number of principals.
"""

import argparse
import json
import math
import os
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

from reconciler.demo import scim_server, slapd
from reconciler.demo.company import ssh_key
from reconciler.demo.process import RunningServer, ServerCommand, free_port, start_server
from reconciler.demo.seed_ldap import reader_block, revoker_block
from reconciler.demo.seed_scim import GROUP, USER, client

ROOT = Path(__file__).resolve().parent.parent
LATENCY_SECONDS = 0.06
ITEMS = {"corp-aws": 6, "corp-ldap": 4, "wiki": 2}
GROUP_SIZE = 50
STAGES = ("noticed", "planned", "intended", "acted", "verified")


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many principals stand where; the first of each provider are the leavers."""

    total: int
    leavers: int

    @property
    def scim(self) -> int:
        """Return how many SCIM users there are."""
        return self.leavers + 20

    @property
    def ldap(self) -> int:
        """Return how many LDAP accounts there are."""
        return max(self.leavers + 20, (self.total - self.scim) // 3)

    @property
    def aws(self) -> int:
        """Return how many IAM users there are."""
        return max(self.leavers + 20, self.total - self.scim - self.ldap)


class Roster:
    """The roster file, replaced by a rename as its page advises."""

    def __init__(self, path: Path, workers: int) -> None:
        self.path = path
        self.workers = workers
        self.ended: set[int] = set()

    def write(self) -> float:
        """Write the roster and return the instant of the rename."""
        past = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
        lines = ["worker_id,status,worker_type,work_email,manager_worker_id,department,work_timezone,last_day_of_work"]
        for number in range(self.workers):
            status, end = ("terminated", past) if number in self.ended else ("active", "")
            mail = f"user-{number}@acme.example"
            lines.append(f"E{number},{status},employee,{mail},E{number // 10},d{number % 20},Europe/Berlin,{end}")
        fresh = self.path.with_suffix(".new")
        fresh.write_text("\n".join(lines) + "\n")
        fresh.replace(self.path)
        return time.time()


def groups(members: int) -> list[range]:
    """Return who is in which group: leavers are spread, so that nobody is a group's last member."""
    count = members // GROUP_SIZE + 1
    return [range(start, members, count) for start in range(count)]


def ldap_seed(sizes: Sizes) -> str:
    """Return the directory's people and groups as LDIF."""
    entries = [
        f"dn: uid=user-{number},{slapd.PEOPLE_DN}\nobjectClass: inetOrgPerson\nobjectClass: ldapPublicKey\n"
        f"uid: user-{number}\ncn: User {number}\nsn: {number}\nemployeeNumber: E{number}\n"
        f"sshPublicKey: {ssh_key(f'ldap-{number}')}\n"
        for number in range(sizes.ldap)
    ]
    for kind in ("team", "vpn"):
        for start, some in enumerate(groups(sizes.ldap)):
            members = "".join(f"member: uid=user-{number},{slapd.PEOPLE_DN}\n" for number in some)
            entries.append(
                f"dn: cn={kind}-{start},{slapd.GROUPS_DN}\nobjectClass: groupOfNames\ncn: {kind}-{start}\n{members}"
            )
    return "\n".join(entries)


def fill_scim(server: RunningServer, sizes: Sizes) -> None:
    """Fill the SCIM service through its own protocol."""
    with client(server.address) as http:
        ids = []
        for number in range(sizes.scim):
            user = {"schemas": [USER], "userName": f"user-{number}", "externalId": f"E{number}", "active": True}
            answer = http.post("/Users", json={**user, "userType": "Employee"})
            answer.raise_for_status()
            ids.append(answer.json()["id"])
        for start, some in enumerate(groups(sizes.scim)):
            members = [{"value": ids[number]} for number in some]
            http.post("/Groups", json={"schemas": [GROUP], "displayName": f"g{start}", "members": members})


def aws(folder: Path, sizes: Sizes) -> RunningServer:
    """Start the AWS emulator in a process of its own."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    script = str(ROOT / "bench" / "many_aws_users.py")
    command = ServerCommand(
        name="moto", command=(sys.executable, script, str(port), str(sizes.aws), str(sizes.leavers)), url=url
    )
    return start_server(command, log=folder / "moto.log", ready=lambda: answers(url), deadline_seconds=120)


def answers(url: str) -> bool:
    """Say whether the emulator is up."""
    try:
        with urllib.request.urlopen(f"{url}/moto-api/", timeout=2):  # noqa: S310 - our own loopback server
            return True
    except OSError:
        return False


def far_away(stack: ExitStack, *urls: str) -> list[str]:
    """Put a relay before each server and return the addresses of the relays."""
    ports = [(free_port(), int(url.rsplit(":", 1)[1].split("/")[0])) for url in urls]
    script = str(ROOT / "bench" / "latency_relay.py")
    pairs = [f"{listen}:{target}" for listen, target in ports]
    relay = subprocess.Popen([sys.executable, script, str(LATENCY_SECONDS), *pairs])
    stack.callback(end, relay)
    time.sleep(1)
    return [url.replace(f":{target}", f":{listen}") for url, (listen, target) in zip(urls, ports, strict=True)]


def end(process: "subprocess.Popen[bytes]") -> None:
    """End a child."""
    process.send_signal(signal.SIGTERM)
    process.wait(30)


def configuration(folder: Path, servers: Mapping[str, RunningServer], far: list[str]) -> dict[str, Any]:
    """Return the daemon's configuration: everything enforced, the caps out of the way."""
    secret = folder / "secret"
    secret.write_text("bench")
    keys = {"endpoint_url": far[0], "access_key_id": "bench", "secret_access_key_file": str(secret)}
    token = {"url": far[2], "token_file": servers["wiki"].details["token_file"]}
    ldap = servers["corp-ldap"].address
    return {
        "state_dir": str(folder / "state"),
        "roster": {"path": str(folder / "roster.csv"), "max_leavers_percent": 100},
        "policies": str(ROOT / "policies"),
        "adoption": {"examine": False},
        "guard": {"max_principals": 100_000, "max_percent": 100},
        "daemon": {"health_port": 0, "interval_seconds": 3600},
        "providers": {
            "corp-aws": {
                "type": "aws_iam",
                "mode": "enforce",
                "reader": {**keys, "exclude": ["service_credential"]},
                "revoker": keys,
            },
            "corp-ldap": {
                "type": "ldap",
                "mode": "enforce",
                "reader": {**reader_block(ldap), "uri": far[1]},
                "revoker": {**revoker_block(ldap), "uri": far[1]},
            },
            "wiki": {"type": "scim", "mode": "enforce", "reader": {**token, "service_token": True}, "revoker": token},
        },
    }


class Journal:
    """The daemon's journal, read from beside it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def ask(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Run one query; nothing while there is no journal yet."""
        try:
            with closing(sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, timeout=5)) as connection:
                return connection.execute(statement, values).fetchall()
        except sqlite3.OperationalError:
            return []

    def ended(self) -> int:
        """Return how many cycles have ended."""
        found = self.ask("SELECT count(*) FROM cycle_ends")
        return int(found[0][0]) if found else 0

    def at_rest(self) -> bool:
        """Say whether no cycle is open."""
        return self.ask("SELECT count(*) FROM cycles")[0][0] == self.ended()

    def gone(self, worker: str) -> int:
        """Return how many items of a worker were seen to be gone."""
        return int(
            self.ask(
                "SELECT count(DISTINCT i.action_id) FROM intents i JOIN verifications v USING (action_id) "
                "WHERE v.state = 'gone' AND json_extract(i.action, '$.worker_id') = ?",
                worker,
            )[0][0]
        )

    def stages(self, worker: str) -> tuple[float, ...]:
        """Return the instants at which a worker's stages ended, in seconds since 1970."""
        row = self.ask(
            "SELECT min(c.started_at), min(json_extract(p.document, '$.created_at')), max(i.recorded_at), "
            "max(o.recorded_at), max(v.recorded_at) FROM intents i JOIN cycles c USING (cycle_id) "
            "JOIN plans p USING (cycle_id) JOIN outcomes o USING (action_id) JOIN verifications v USING (action_id) "
            "WHERE json_extract(i.action, '$.worker_id') = ?",
            worker,
        )[0]
        return tuple(datetime.fromisoformat(str(one)).timestamp() for one in row)


def until(true: Callable[[], bool], what: str, seconds: float = 300) -> None:
    """Wait for something; raises TimeoutError naming it."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.05)


@contextmanager
def daemon(folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Run the daemon."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment["PATH"] = os.pathsep.join((str(ROOT / ".tools" / "bin"), environment["PATH"], "/usr/sbin"))
    with (folder / "daemon.log").open("wb") as log:
        command = [sys.executable, "-m", "reconciler", "run", "--config", str(folder / "access-reconciler.yaml")]
        process = subprocess.Popen(command, env=environment, stderr=log)
        try:
            yield process
        finally:
            end(process)


def measure(folder: Path, sizes: Sizes, *, during_inventory: bool) -> list[tuple[float, ...]]:
    """Run one company and return the seconds to each stage, a row a leaver."""
    with ExitStack() as stack:
        servers = {
            "corp-aws": stack.enter_context(aws(folder, sizes)),
            "corp-ldap": stack.enter_context(slapd.start(folder / "ldap", slapd.Options(seed=ldap_seed(sizes)))),
            "wiki": stack.enter_context(scim_server.start(folder)),
        }
        fill_scim(servers["wiki"], sizes)
        far = far_away(stack, *(server.url for server in servers.values()))
        (folder / "access-reconciler.yaml").write_text(yaml.safe_dump(configuration(folder, servers, far)))
        roster = Roster(folder / "roster.csv", sizes.total)
        roster.write()
        journal = Journal(folder / "state" / "journal.sqlite3")
        process = stack.enter_context(daemon(folder))
        until(lambda: journal.ended() > 0, "the first cycle")
        return [
            _one(number, roster, journal, process, during_inventory=during_inventory) for number in range(sizes.leavers)
        ]


def _one(
    number: int, roster: Roster, journal: Journal, process: "subprocess.Popen[bytes]", *, during_inventory: bool
) -> tuple[float, ...]:
    if during_inventory:
        process.send_signal(signal.SIGHUP)
        time.sleep(0.3)
    roster.ended.add(number)
    began = roster.write()
    until(lambda: journal.gone(f"E{number}") == sum(ITEMS.values()), f"E{number} gone", 120)
    found = journal.stages(f"E{number}")
    until(journal.at_rest, "the end of the cycle", 120)
    return tuple(instant - began for instant in found)


def main() -> None:
    """Run all sizes and print what they took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--principals", type=int, nargs="+", default=[500, 5000])
    parser.add_argument("--leavers", type=int, default=100)
    parser.add_argument("--during-inventory", action="store_true")
    parser.add_argument("--keep", type=Path, help="Run in this folder and keep it.")
    asked = parser.parse_args()
    medians = {}
    for total in asked.principals:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) if asked.keep is None else asked.keep / str(total)
            folder.mkdir(parents=True, exist_ok=True)
            rows = measure(folder, Sizes(total, asked.leavers), during_inventory=asked.during_inventory)
        ends = sorted(row[-1] for row in rows)
        medians[total] = statistics.median(ends)
        stages = {
            name: round(statistics.median(column), 3)
            for name, column in zip(STAGES, zip(*rows, strict=True), strict=True)
        }
        p99 = ends[min(len(ends) - 1, math.ceil(0.99 * len(ends)) - 1)]
        print(f"{total:>6} principals, {len(ends)} leavers: p50 {medians[total]:.3f} s, p99 {p99:.3f} s")
        print(f"       medians since the rename: {json.dumps(stages)}", flush=True)
    if len(medians) > 1:
        small, large = min(medians), max(medians)
        exponent = math.log(medians[large] / medians[small]) / math.log(large / small)
        print(f"exponent of the p50 over the principals: {exponent:.3f}")


if __name__ == "__main__":
    main()
