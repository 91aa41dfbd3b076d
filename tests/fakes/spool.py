"""Statements that wait for their signature, on a clock of their own, and a signer that fails when it is told to."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.adapters.evidence_store import FileEvidenceStore
from reconciler.core.canonical import dumps
from reconciler.core.errors import SigningError
from reconciler.core.spooling import Pace
from reconciler.evidence_ports import SignedStatement
from reconciler.spool import Spool
from tests.builders import NOW
from tests.fakes.clock import FakeClock
from tests.record_builders import attested_chain, cycle_record

PACE = Pace(first_seconds=10, longest_seconds=100)
DOWN = SigningError("not signed: Rekor (https://rekor.example): cannot be reached", advice="see Rekor's log")


@dataclass
class Pen:
    """A signer that notes what it was given, and fails while it is told to."""

    mode: str = "managed-key"
    assurance: str = "local-key"
    identity: str = "sha256:pen"
    error: SigningError | None = None
    signed: list[int] = field(default_factory=list)
    asked: int = 0

    def sign(self, payload: bytes) -> SignedStatement:
        self.asked += 1
        if self.error is not None:
            raise self.error
        self.signed.append(json.loads(payload)["predicate"]["sequence"])
        return SignedStatement(payload=payload, bundle=b"{}")


class Office:
    """Statements that wait, and who signs them."""

    def __init__(self, folder: Path, waiting: int = 3) -> None:
        chain = attested_chain(folder, cycle_record())
        statement, bundle = chain.files(1)
        bundle.unlink()
        document = json.loads(statement.read_bytes())
        for number in range(2, waiting + 1):  # written as they lie there, without the time that making them takes
            document["predicate"]["sequence"] = number
            chain.files(number)[0].write_bytes(dumps(document))
        self.root = chain.store.root
        self.genesis = str(document["predicate"]["chainGenesis"]["sha256"])
        self.clock = FakeClock(NOW)
        self.pen = Pen()
        self.spool = self.another()

    def another(self) -> Spool:
        """Return the spool as another process finds it."""
        store = FileEvidenceStore(self.root)
        return Spool(
            store=store,
            signer=self.pen,
            genesis=self.genesis,
            clock=self.clock,
            random_bytes=lambda n: b"\xff" * n,
            pace=PACE,
        )

    def left(self) -> list[int]:
        """Return what waits."""
        return [one.sequence for one in self.spool.backlog().waiting]
