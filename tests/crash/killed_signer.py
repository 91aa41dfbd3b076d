"""The process that signs what waits, one statement for each line on its input, and is killed in the midst of it."""

import sys
from pathlib import Path

from reconciler.adapters.clock import SystemClock
from reconciler.adapters.evidence_store import FileEvidenceStore
from reconciler.evidence_ports import SignedStatement
from reconciler.spool import Spool
from tests.fakes.spool import PACE, Pen


class Paced(Pen):
    """Signs when it is told to."""

    def sign(self, payload: bytes) -> SignedStatement:
        """Wait for a line, then sign."""
        if not sys.stdin.readline():
            sys.exit("nobody paces this process any more")
        return super().sign(payload)


def main(root: Path, genesis: str) -> None:
    """Sign until nothing waits."""
    spool = Spool(
        store=FileEvidenceStore(root),
        signer=Paced(),
        genesis=genesis,
        clock=SystemClock(),
        random_bytes=bytes,
        pace=PACE,
    )
    while spool.work(patient=False).waiting:
        pass


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
