"""The running log in a pack: the leaf hashes of its cycles, and the tree that they continue.

Hashes name nobody. With them a verifier recomputes every root that the statements tell, sees that the log only grew,
and draws the sample again, without a single record.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from pydantic import BaseModel, ConfigDict, Field

from reconciler.adapters.attestation_document import StatementDocument
from reconciler.adapters.evidence_files import Entry
from reconciler.adapters.log_files import LEAF_HASHES, HashFile
from reconciler.core.canonical import dumps
from reconciler.core.errors import EvidenceError
from reconciler.core.merkle import HASH_BYTES, Frontier
from reconciler.core.running_log import LogHead, head_of

HASHES: Final = "proofs/leaf-hashes"
FRONTIER: Final = "proofs/frontier.json"
_STRETCH: Final = 4096
"""Hashes read at once."""


class _Peaks(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")
    size: int = Field(ge=0)
    peaks: list[str]


def write_log(root: Entry, folder: Path, before: LogHead, after: LogHead) -> None:
    """Write the hashes between two states of the log, and the tree before them.

    Raises `EvidenceError` when the log does not have the root that the first statement tells.
    """
    with HashFile.open(root / LEAF_HASHES) as source:
        if source.size < after.size * HASH_BYTES:
            msg = "the log has fewer leaf hashes than the statements tell"
            raise EvidenceError(msg, advice="restore the evidence folder from a backup")
        frontier = Frontier()
        for start in range(0, before.size, _STRETCH):
            frontier = frontier.extended(source.hashes(start, min(start + _STRETCH, before.size)))
        if head_of(frontier) != before:
            msg = "the log before these cycles does not have the root that their first statement tells"
            raise EvidenceError(msg, advice="restore the evidence folder from a backup")
        (folder / HASHES).parent.mkdir(exist_ok=True)
        with (folder / HASHES).open("wb") as target:
            for start in range(before.size, after.size, _STRETCH):
                target.write(b"".join(source.hashes(start, min(start + _STRETCH, after.size))))
    peaks = {"size": frontier.size, "peaks": [peak.hex() for peak in frontier.peaks]}
    (folder / FRONTIER).write_bytes(dumps(peaks) + b"\n")


@dataclass(slots=True)
class PackLog:
    """Follows the log through the cycles of a pack."""

    folder: Entry
    source: HashFile
    base: int
    frontier: Frontier
    last: LogHead | None = None

    @classmethod
    def begin(cls, folder: Entry, source: HashFile) -> Self:
        """Read the tree that the pack's log continues. Raises `EvidenceError` when it is not usable."""
        try:
            read = _Peaks.model_validate(json.loads((folder / FRONTIER).read_bytes()))
            peaks = tuple(bytes.fromhex(peak) for peak in read.peaks)
        except (OSError, ValueError, RecursionError) as error:
            raise EvidenceError(f"{FRONTIER} of the pack is not usable", advice="ask for the pack anew") from error
        if len(peaks) != read.size.bit_count():
            msg = f"{FRONTIER} of the pack is not usable: no tree of {read.size} has {len(peaks)} peaks"
            raise EvidenceError(msg, advice="ask for the pack anew")
        return cls(folder=folder, source=source, base=read.size, frontier=Frontier(read.size, peaks))

    def hashes(self, document: StatementDocument) -> tuple[bytes, ...]:
        """Return the leaf hashes of a cycle; fewer when the file ends before."""
        section = document.predicate.log.section
        return self.source.hashes(max(0, section.before.size - self.base), max(0, section.after.size - self.base))

    def follow(self, document: StatementDocument) -> Iterator[tuple[str, str]]:
        """Yield a code and a text for each thing that is wrong with a cycle's part of the log."""
        section = document.predicate.log.section
        expected = head_of(self.frontier) if self.last is None else self.last
        self.last = section.after
        if section.before != expected:
            yield "log_forked", "its part of the log does not begin where that of the cycle before ended"
        elif self.frontier.size == section.before.size:
            self.frontier = self.frontier.extended(self.hashes(document))
            if head_of(self.frontier) != section.after:
                yield "log_root", "the leaf hashes do not have the root over the log that the statement tells"
