"""A process to be killed: lives one cycle on a real journal and asks its parent before each step.

Usage: killed_child.py FOLDER URL. Writes the name of each place to stdout and waits for a line on stdin.
"""

import os
import sys
from contextlib import ExitStack
from pathlib import Path

from inventory.model import AccessId, AccessItem, ArtefactKind
from reconciler.adapters.journal import SqlJournal
from reconciler.adapters.journal_postgresql import postgresql_url
from reconciler.adapters.lease import FileLease
from reconciler.adapters.lease_postgresql import PostgresLease
from tests.builders import NOW, PROVIDER, credential, grant, principal
from tests.crash.failpoints import Failpoints, live
from tests.fakes.clock import FakeClock
from tests.fakes.world import FakeProvider


class Asking(Failpoints):
    """Tells the parent where it is, and waits to be let go, or killed."""

    def hit(self, name: str) -> None:
        super().hit(name)
        sys.stdout.write(f"{name}\n")
        sys.stdout.flush()
        sys.stdin.readline()


def world(folder: Path) -> FakeProvider:
    """Build the provider as its effects so far have left it; each effect is on disk before its call returns."""
    log = folder / "effects.log"
    items: list[AccessItem] = [credential(kind=ArtefactKind.ACCOUNT), credential(), grant()]
    provider = FakeProvider(PROVIDER, items, [principal()])
    for line in log.read_text().splitlines() if log.exists() else ():
        verb, access_id = line.split(" ", 1)
        provider.apply(verb, AccessId(access_id))

    def keep(verb: str, access_id: AccessId) -> None:
        with log.open("a") as file:
            file.write(f"{verb} {access_id}\n")
            file.flush()
            os.fsync(file.fileno())

    provider.on_effect = keep
    return provider


def main(folder: Path, url: str, failpoints: Failpoints) -> FakeProvider:
    """Live one process in a folder, with the journal and the lease of a URL."""
    provider = world(folder)
    with ExitStack() as stack:
        lease: FileLease | PostgresLease
        if url.startswith("postgresql"):
            lease = PostgresLease(postgresql_url(url), purpose="cycle")
        else:
            lease = FileLease(folder, purpose="cycle", now=NOW)
        stack.callback(lease.close)
        journal = stack.enter_context(SqlJournal(url, check_lease=lease.check))
        provider.intent_exists = lambda action_id: journal.entry(action_id) is not None
        live([provider], journal, failpoints, FakeClock(NOW))
    return provider


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Asking())
