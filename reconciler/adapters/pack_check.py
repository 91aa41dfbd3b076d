"""What a pack promises beyond its attestations, held against the signed statements in it.

The tables are made anew and compared; the log is followed over its leaf hashes; disclosed records must be in the trees
that were signed, and a sample must be the one that the seed draws. The manifest is only a list to compare files with:
whoever changes a file can change it too, and is found by the rest.
"""

import heapq
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from reconciler.adapters.attestations import Attestation
from reconciler.adapters.disclosures import ACTION_LOG, DECISION_LOG, LEAVER_LOG, Shown, draw_rank, read_shown
from reconciler.adapters.evidence_files import Entry, file_digest, files_in, read_here
from reconciler.adapters.evidence_pack import ALWAYS
from reconciler.adapters.evidence_store import evidence_path
from reconciler.adapters.log_files import HashFile
from reconciler.adapters.pack_layout import TABLES, Belongings
from reconciler.adapters.pack_log import HASHES, PackLog
from reconciler.adapters.pack_order import MANIFEST, SIGNATURE, Disclosing, Extent, Manifest
from reconciler.adapters.pack_tables import DECISIONS, MATRIX, POLICY, POPULATION, PackCycle, Tables
from reconciler.adapters.problems import Problem
from reconciler.core.errors import EvidenceError

_CODES: Final = {POPULATION: "population", MATRIX: "matrix"}
"""Codes of tables that are not what the signed records say; those of others is `table`."""


@dataclass(slots=True)
class PackFindings:
    """What a pack's own checks found."""

    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What is not shown: erased before the export, or taken out; nobody can tell which from the pack."""


def check_manifest(folder: Entry, manifest: Manifest) -> Iterator[Problem]:
    """Yield a problem for each file that the manifest tells otherwise, or does not tell."""
    there = set(files_in(folder)) - {MANIFEST, SIGNATURE}
    for name in sorted(manifest.files.keys() - there):
        yield Problem(cycle_id="", code="pack_missing", message=f"{name} is in the manifest and not in the pack")
    for name in sorted(there - manifest.files.keys()):
        yield Problem(cycle_id="", code="pack_unlisted", message=f"{name} is in the pack and not in the manifest")
    for name in sorted(there & manifest.files.keys()):
        if file_digest(folder / name) != manifest.files[name]:
            yield Problem(cycle_id="", code="pack_changed", message=f"{name} is not the file that the manifest tells")


def check_ends(manifest: Manifest, attestations: Sequence[Attestation], last_digest: str) -> Iterator[Problem]:
    """Yield a problem when the pack does not begin and end with the cycles that its manifest names."""
    ends = [(one.sequence, one.cycle_id) for one in (manifest.first, manifest.last)]
    found = [(one.sequence, one.cycle_id) for one in (attestations[0], attestations[-1])] if attestations else []
    if found != ends or len(attestations) != manifest.cycles or last_digest != manifest.last.digest:
        text = (
            f"the pack does not hold cycles {manifest.first.sequence} to {manifest.last.sequence}, as its manifest says"
        )
        yield Problem(cycle_id="", code="truncated", message=text)


class PackCheck:
    """Follows the cycles of a pack while they are verified, and says at the end what their records do not bear out."""

    def __init__(self, folder: Entry, manifest: Manifest, made: Path, tables: Tables, source: HashFile) -> None:
        self._folder = folder
        self._made = made
        self._tables = tables
        self._found = PackFindings()
        self._draw = _Draw(manifest)
        self._belongings = Belongings()
        self._refused: Exception | None = None
        self._log: PackLog | None = None
        try:
            self._log = PackLog.begin(folder, source)
        except (EvidenceError, OSError) as error:
            self._refused = error

    @classmethod
    @contextmanager
    def opened(cls, folder: Entry, manifest: Manifest) -> Iterator[Self]:
        """Hold open what is read of a pack, and the folder in which its tables are made anew."""
        with (
            tempfile.TemporaryDirectory(prefix="tables-") as made,
            Tables(folder, Path(made)) as tables,
            HashFile.open(folder / HASHES) as source,
        ):
            yield cls(folder, manifest, Path(made), tables, source)

    def add(self, cycle: PackCycle) -> None:
        """Follow a cycle that holds, as do all before it; what cannot be read of it is told at the end."""
        if self._log is None or self._refused is not None:
            return
        try:
            self._cycle(cycle, self._log)
            self._tables.add(cycle)
        except (EvidenceError, OSError) as error:
            self._refused = error

    def finish(self) -> PackFindings:
        """Return what was found; to be asked once every cycle is there and holds."""
        if self._refused is None:
            try:
                self._tables.finish()
                self._compare(self._made)
                self._found.problems.extend(self._belongings.problems(self._folder))
                self._draw.finish(self._found)
            except (EvidenceError, OSError) as error:
                self._refused = error
        if self._refused is None:
            return self._found
        return PackFindings(problems=[Problem(cycle_id="", code="pack_malformed", message=str(self._refused))])

    def _say(self, cycle: PackCycle, code: str, text: str) -> None:
        named = f"cycle {cycle.claim.sequence} ({cycle.claim.cycle_id}): {text}"
        self._found.problems.append(Problem(cycle_id=cycle.claim.cycle_id, code=code, message=named))

    def _cycle(self, cycle: PackCycle, log: PackLog) -> None:
        self._belongings.stems.add(cycle.stem)
        self._belongings.digests.update(subject.digest.sha256 for subject in cycle.document.subject)
        for code, text in log.follow(cycle.document):
            self._say(cycle, code, text)
        for name in ALWAYS:
            digest = cycle.evidence(name)
            if digest is not None and not evidence_path(self._folder, digest).is_file():
                self._found.notes.append(f"cycle {cycle.claim.sequence}: its {name} is not in the pack")
        shown = self._shown(cycle)
        for text in shown.problems(cycle.document):
            self._found.problems.append(Problem(cycle_id=cycle.claim.cycle_id, code="leaf", message=text))
        self._draw.add(
            cycle, log.hashes(cycle.document), {(leaf.log, leaf.index) for leaf in shown.leaves}, self._found
        )
        leavers = cycle.evidence(LEAVER_LOG)
        if leavers is not None and evidence_path(self._folder, leavers).is_file():
            self._draw.kept.add((cycle.claim.cycle_id, LEAVER_LOG))

    def _shown(self, cycle: PackCycle) -> Shown:
        name = f"{DECISIONS}/{cycle.stem}.jsonl"
        content = read_here(self._folder / name)
        try:
            return Shown(leaves=(), lines=()) if content is None else read_shown(content, name)
        except EvidenceError as error:
            self._say(cycle, "leaf", str(error))
            return Shown(leaves=(), lines=())

    def _compare(self, made: Path) -> None:
        """Hold the tables against those that were made anew."""
        expected = set(files_in(made))
        policies = {f"{POLICY}/{name}" for name in files_in(self._folder / POLICY)}
        for name in sorted(expected | policies | set(TABLES)):
            theirs = read_here(self._folder / name)
            ours = read_here(made / name)
            if theirs != ours:
                code = "policy" if name.startswith(f"{POLICY}/") else _CODES.get(name, "table")
                text = f"{name} is not what follows from the signed records{_first_difference(theirs, ours)}"
                self._found.problems.append(Problem(cycle_id="", code=code, message=text))


def _first_difference(theirs: bytes | None, ours: bytes | None) -> str:
    if theirs is None or ours is None:
        return ": it is missing" if theirs is None else ": nothing leads to it"
    lines = zip(theirs.split(b"\n"), ours.split(b"\n"), strict=False)
    number = next((at for at, (one, other) in enumerate(lines, 1) if one != other), 0)
    return f": line {number}" if number else ""


class _Draw:
    """Draws the sample again from the leaf hashes, and holds what is shown against it."""

    def __init__(self, manifest: Manifest) -> None:
        self._disclosing = Disclosing.parse(manifest.disclose)
        self._seed = manifest.seed
        self._best: dict[str, list[tuple[int, str, int]]] = {LEAVER_LOG: [], DECISION_LOG: []}
        self._shown: set[tuple[str, str, int]] = set()
        self.kept: set[tuple[str, str]] = set()
        """Logs that are in the pack, so that none of their records was erased."""

    def add(self, cycle: PackCycle, hashes: Sequence[bytes], shown: set[tuple[str, int]], found: PackFindings) -> None:
        """Follow a cycle and note what of it a full disclosure leaves out."""
        counts = _counts(cycle)
        cycle_id = cycle.claim.cycle_id
        if self._disclosing.extent is Extent.FULL:
            everything = sum(counts[log] for log in (LEAVER_LOG, DECISION_LOG, ACTION_LOG))
            if len(shown) < everything:
                found.notes.append(f"cycle {cycle.claim.sequence}: {len(shown)} of {everything} records are disclosed")
        if self._disclosing.extent is not Extent.SAMPLE:
            return
        self._shown |= {(cycle_id, log, index) for log, index in shown}
        at = 0
        for log, count in counts.items():
            if log in self._best:
                self._rank(log, cycle_id, hashes[at : at + count])
            at += count

    def _rank(self, log: str, cycle_id: str, hashes: Sequence[bytes]) -> None:
        ranked = self._best[log]
        for index, one in enumerate(hashes):
            heapq.heappush(ranked, (-draw_rank(self._seed, one), cycle_id, index))
            if len(ranked) > self._disclosing.count:
                heapq.heappop(ranked)

    def finish(self, found: PackFindings) -> None:
        """Tell each record that the seed draws and that is not shown.

        Where its log is here, or others of the same log and cycle are shown, it was left out; else it may be erased.
        """
        logs = self.kept | {(cycle_id, log) for cycle_id, log, _ in self._shown}
        for log, ranked in self._best.items():
            for _, cycle_id, index in sorted(ranked):
                if (cycle_id, log, index) in self._shown:
                    continue
                text = f"leaf {index} of the {log} of cycle {cycle_id} belongs to the sample and is not disclosed"
                if (cycle_id, log) in logs:
                    found.problems.append(Problem(cycle_id=cycle_id, code="sample", message=text))
                else:
                    found.notes.append(text)


def _counts(cycle: PackCycle) -> Mapping[str, int]:
    """Return how many leaves of each log a cycle added, in the order in which they stand in the running log."""
    return dict(cycle.document.place(continues=True).counts)
