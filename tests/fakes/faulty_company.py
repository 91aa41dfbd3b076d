"""A small company at one real server behind a fault proxy, and whole cycles run against it in this process.

One worker leaves in each case, and all others stay: whoever else is changed was changed wrongly. What is held is asked
of the server itself, past the proxy.
"""

import csv
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import requests
import yaml

from reconciler.attestation import Attested
from reconciler.core.model import Mode
from reconciler.cycle import run_cycle
from reconciler.demo.dump import Dump
from reconciler.demo.process import RunningServer, ServerCommand, free_port, start_server
from reconciler.ports import Progress
from reconciler.settings import load_settings
from reconciler.wiring import assemble
from tests import peers
from tests.fakes.fault_proxy import Fault, FaultProxy
from tests.fakes.fault_wires import Call
from tests.fakes.provider_sites import Site

STAYERS = ("carl", "dora", "emil")


class Silent:
    """An observer that watches nothing."""

    def progress(self, step: Progress) -> None:
        """Take no note."""


@contextmanager
def opa_server(directory: Path) -> Iterator[RunningServer]:
    """Run an OPA server that is not ours, without authorisation."""
    url = f"http://127.0.0.1:{free_port()}"
    command = (peers.require("opa"), "run", "--server", "--addr", url.removeprefix("http://"), "--skip-version-check")

    def ready() -> bool:
        try:
            return requests.get(f"{url}/health", timeout=1).ok
        except requests.ConnectionError:
            return False

    started = ServerCommand(name="opa", command=command, url=url)
    with start_server(started, log=directory / "opa.log", ready=ready) as running:
        yield running


@dataclass(slots=True)
class Case:
    """One leaver of a company, with a journal of their own."""

    directory: Path
    leaver: str
    before: Dump
    house: "House"

    def cycle(self, mode: Mode = Mode.ENFORCE) -> Attested:
        """Run one cycle."""
        settings = load_settings(self.directory / "access-reconciler.yaml")
        with assemble(settings, mode, Silent(), purpose="a test") as assembly:
            return run_cycle(assembly.house, assembly.rules)

    def faulty(self, phase: str, fault: Fault, times: int = 1_000) -> Attested:
        """Run one cycle in which a fault meets the requests of a phase, and only those."""
        chooser = Chooser(self.house.site, self.leaver, phase, fault, times)
        self.house.proxy.choose = chooser
        try:
            attested = self.cycle()
        finally:
            self.house.proxy.choose = None
        assert chooser.met, f"no request of the phase {phase!r} came: {attested.record.errors}"
        return attested

    def held(self) -> set[str]:
        """Return which kinds of access the leaver can still use, asked of the server itself."""
        return self.house.site.held(self.leaver)

    def others_changed(self) -> set[str]:
        """Return who else is not as before."""
        after = self.house.site.dump()
        return {who for who in self.before if who != self.leaver and self.before[who] != after.get(who)}

    def writes_delivered(self) -> Counter[tuple[str, str, bytes]]:
        """Return how often the server got each write; an LDAP message without its number."""
        site, proxy = self.house.site, self.house.proxy
        with proxy.lock:
            writes = [call for call in proxy.delivered if site.writes(call)]
        return Counter((one.verb, one.target, one.substance) for one in writes)


@dataclass(slots=True)
class Chooser:
    """Picks a phase's requests: `list`, `principal` (reads of the leaver), `act`, `verify` (reads after an act)."""

    site: Site
    leaver: str
    phase: str
    fault: Fault
    times: int
    met: int = 0
    _acting: bool = False

    def __call__(self, call: Call) -> Fault | None:
        """Return the fault for a request of the phase."""
        if call.verb in {"bind", "unbind"} or self._now(call) != self.phase or self.met >= self.times:
            return None
        self.met += 1
        return self.fault

    def _now(self, call: Call) -> str:
        if self.site.writes(call):
            self._acting = True
            return "act"
        named = any(mark in call.body or mark in call.target.encode() for mark in self.site.marks(self.leaver))
        if self._acting:
            return "verify"
        return "principal" if named else "list"


@dataclass(slots=True)
class House:
    """A server, its proxy, and a company of which one after the other leaves."""

    site: Site
    proxy: FaultProxy
    directory: Path
    people: tuple[str, ...]
    engine: Mapping[str, Any]
    _used: int = 0

    def case(self) -> Case:
        """Give the next leaver, whom a first cycle has observed."""
        leaver = self.people[len(STAYERS) + self._used]
        self._used += 1
        folder = self.directory / leaver
        folder.mkdir()
        self._write_roster(folder / "roster.csv", leaver)
        self._write_configuration(folder)
        case = Case(directory=folder, leaver=leaver, before=self.site.dump(), house=self)
        self.proxy.choose = None
        observed = case.cycle(Mode.OBSERVE)
        assert observed.record.plan is not None, observed.record.errors
        assert observed.record.plan.actions, observed.record.errors
        self.proxy.forget()
        return case

    def _write_roster(self, path: Path, leaver: str) -> None:
        """Let one leave. Who left in an earlier case is back, without access, and costs no reading."""
        ended = (datetime.now(UTC) - timedelta(days=3)).date().isoformat()
        with path.open("w", encoding="utf-8", newline="") as sink:
            writer = csv.writer(sink)
            writer.writerow(("worker_id", "status", "usernames", "last_day_of_work"))
            for number, person in enumerate(self.people):
                row = ("Terminated", person, ended) if person == leaver else ("Active", person, "")
                writer.writerow((f"E{number}", *row))

    def _write_configuration(self, folder: Path) -> None:
        reader, revoker = self.site.blocks(self.proxy.at(self.site.server.url))
        document = {
            "state_dir": "state",
            "policies": str(peers.ROOT / "policies"),
            "adoption": {"examine": False},
            "roster": {"path": "roster.csv", "default_timezone": "UTC"},
            "engine": dict(self.engine),
            "providers": {
                "site": {
                    "type": self.site.name,
                    "mode": "enforce",
                    "reader": dict(reader),
                    "revoker": dict(revoker),
                }
            },
            "verification": {"window_seconds": 1.0},
        }
        (folder / "access-reconciler.yaml").write_text(yaml.safe_dump(document))


@contextmanager
def opened(site: Site, directory: Path, leavers: int, engine: Mapping[str, Any]) -> Iterator[House]:
    """Start a site with so many people who may leave, and a proxy before it."""
    people = (*STAYERS, *(f"leaver-{number:02}" for number in range(leavers)))
    (directory / "server").mkdir(parents=True)
    server = site.start(directory / "server", people)
    try:
        with site.proxy() as proxy:
            yield House(site=site, proxy=proxy, directory=directory, people=people, engine=engine)
    finally:
        server.stop()
