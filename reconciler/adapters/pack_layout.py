"""Which files a pack holds, by their names: what belongs to no cycle of it is as much a change as what is missing.

The tables, the policies, the attestations and the checkpoints are held against the signed statements elsewhere; here
are those whose names alone say whether they belong.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from reconciler.adapters.attestations import PUBLIC_KEY
from reconciler.adapters.evidence_files import Entry, files_in
from reconciler.adapters.evidence_store import ATTESTATIONS, PSEUDONYM_KEYS
from reconciler.adapters.log_files import CHECKPOINTS
from reconciler.adapters.pack_log import FRONTIER, HASHES
from reconciler.adapters.pack_order import MANIFEST, SIGNATURE
from reconciler.adapters.pack_tables import DECISIONS, MATRIX, POLICY, POPULATION
from reconciler.adapters.problems import Problem

TABLES: Final = (POPULATION, MATRIX, "held-plans.json", "waivers.json", "coverage.json", "summary.csv")
EXPLAINING: Final = ("README.md", "controls.csv", "schemas/statement.schema.json", "trust/signer.txt")
_CHECKED: Final = (ATTESTATIONS, CHECKPOINTS, POLICY)
"""Folders whose every file is held against the statements."""
_SUFFIXES: Final = {DECISIONS: "jsonl", PSEUDONYM_KEYS: "key"}
"""Folders with a file for a cycle, named after it."""
_MARKS: Final = (POPULATION, MATRIX, "README.md", "controls.csv", HASHES, DECISIONS)
"""Nothing but a pack has these beside its attestations."""


def without_manifest(root: Entry) -> Iterator[Problem]:
    """Yield a problem for what is a pack but for its manifest: nothing beside its attestations could be checked."""
    marks = [name for name in _MARKS if (root / name).is_file() or (root / name).is_dir()]
    if marks:
        text = f"{MANIFEST} is missing, though {', '.join(marks)} are here: nothing but the attestations was checked"
        yield Problem(cycle_id="", code="pack_missing", message=text)


@dataclass(slots=True)
class Belongings:
    """What belongs to the cycles of a pack, as they are followed."""

    stems: set[str] = field(default_factory=set)
    digests: set[str] = field(default_factory=set)
    """Of evidence that their statements name, in hex."""

    def problems(self, folder: Entry) -> Iterator[Problem]:
        """Yield a problem for each file that belongs to no cycle, and for each that every pack has and this has not."""
        there = set(files_in(folder))
        for name in sorted({*EXPLAINING, HASHES, FRONTIER} - there):
            yield Problem(cycle_id="", code="pack_missing", message=f"{name} is missing, which every pack has")
        for name in sorted(one for one in there if not self._belongs(one)):
            yield Problem(cycle_id="", code="unexpected_file", message=f"{name} belongs to no cycle of the pack")

    def _belongs(self, name: str) -> bool:
        if name in {MANIFEST, SIGNATURE, PUBLIC_KEY, *TABLES, *EXPLAINING, HASHES, FRONTIER}:
            return True
        parts = name.split("/")
        first, last = parts[0], parts[-1]
        if first == "sha256":
            return parts == [first, last[:2], last] and last in self.digests
        stem, _, suffix = last.partition(".")
        return first in _CHECKED or (parts == [first, last] and stem in self.stems and _SUFFIXES.get(first) == suffix)
