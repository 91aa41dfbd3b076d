"""What the log of all records adds to a cycle, and what recomputing it costs when a process starts.

    .venv/bin/python bench/evidence_log.py --cycles 1000

Attests cycles of fake companies into a folder on the disk that --folder names, with real files and real syncing. Given
are the medians and 95th percentiles of laying out a cycle's leaves and of adding them (one sync and one signature), and
of the cycle's own evidence file; then the time to recompute everything as a new process does, and to look again.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reconciler.adapters.evidence_log import FileEvidenceLog
from reconciler.adapters.evidence_store import FileEvidenceStore
from reconciler.adapters.key_signer import KeySigner
from reconciler.adapters.log_key import LogKey
from reconciler.attestation import Attester
from tests.record_builders import cycle_record


def timed(into: list[float], call: Callable[..., Any]) -> Callable[..., Any]:
    """Return the call, with the time that each takes noted."""

    def noted(*args: Any, **named: Any) -> Any:  # noqa: ANN401 - whatever the call takes and gives
        began = time.perf_counter()
        value = call(*args, **named)
        into.append(time.perf_counter() - began)
        return value

    return noted


class TimedStore(FileEvidenceStore):
    """A store that notes what the cycle's own evidence file takes."""

    def __init__(self, root: Path, noted: list[float]) -> None:
        super().__init__(root)
        self._put = timed(noted, super().put)

    def put(self, content: bytes, *, kind: str) -> str:
        """Store, and note the time when it is the cycle's own file."""
        stored: str = self._put(content, kind=kind) if kind == "cycle-log" else super().put(content, kind=kind)
        return stored


def line(name: str, seconds: list[float]) -> str:
    """Return median and 95th percentile in milliseconds."""
    ordered = sorted(seconds)
    return (
        f"{name:<28} {statistics.median(ordered) * 1e3:8.2f} ms   p95 {ordered[len(ordered) * 95 // 100] * 1e3:8.2f} ms"
    )


def measure(root: Path, cycles: int) -> None:
    """Attest cycles and print what the log cost."""
    laid, added, own, whole = [list[float]() for _ in range(4)]
    key = LogKey.open(root / "keys" / "log.pem", "bench")
    log: Any = FileEvidenceLog(root, key)
    log.extended, log.commit = timed(laid, log.extended), timed(added, log.commit)
    attester = Attester(
        store=TimedStore(root, own),
        log=log,
        signer=KeySigner.open(root / "keys" / "attestation.pem"),
        instance_id="bench",
        random_bytes=os.urandom,
    )
    attest = timed(whole, attester.attest)
    for sequence in range(1, cycles + 1):
        attest(cycle_record(sequence=sequence), ())
    for name, seconds in (
        ("laid out", laid),
        ("added", added),
        ("cycle-log stored", own),
        ("attest, all of it", whole),
    ):
        print(line(name, seconds))
    fresh, head = FileEvidenceLog(root, key), attester.store.head()
    for name in ("recomputed at start", "looked at again"):
        began = time.perf_counter()
        fresh.resume(head)
        print(f"{name:<28} {(time.perf_counter() - began) * 1e3:8.2f} ms for {cycles} cycles")


def main() -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cycles", type=int, default=300)
    parser.add_argument("--folder", type=Path, default=None, help="where the evidence is written; a temporary folder")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        measure(Path(folder) / "evidence", given.cycles)


if __name__ == "__main__":
    main()
