"""The tables of a pack, made from nothing but what lies in it: whoever has the pack can make them again and compare.

Export and verification run the same code over the same folder, so a dropped row shows. Cycles are followed one at a
time. A cell that a spreadsheet would take for a formula is written with an apostrophe before it.
"""

import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Self, TextIO

from reconciler.adapters.attestation_document import StatementDocument
from reconciler.adapters.attestations import Attestation, Checked
from reconciler.adapters.disclosures import DECISION_LOG, LEAVER_LOG, read_shown
from reconciler.adapters.evidence_files import Entry, read_here
from reconciler.adapters.evidence_store import attestation_stem, evidence_path
from reconciler.adapters.pack_claims import Claim, read_claim
from reconciler.adapters.pack_period import Period
from reconciler.core.canonical import Json, dumps, sha256_hex
from reconciler.core.leaves import leaves_of

POPULATION: Final = "population.csv"
MATRIX: Final = "matrix.csv"
DECISIONS: Final = "decisions"
POLICY: Final = "policy"
POLICY_BUNDLE: Final = "policy-bundle"
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_POPULATION_COLUMNS: Final = (
    "sequence",
    "cycle_id",
    "cycle_finished_at",
    "leaf",
    "worker",
    "worker_id",
    "access_ended_at",
    "state",
    "decided_at",
    "acted_at",
    "verified_at",
    "effective_by",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PackCycle:
    """A verified cycle of a pack."""

    attestation: Attestation
    document: StatementDocument
    claim: Claim
    digest: str
    stamped_at: datetime | None

    @classmethod
    def of(cls, checked: Checked, document: StatementDocument) -> Self:
        """Return a cycle just verified. Raises `EvidenceError` when its claims are not usable."""
        return cls(
            attestation=checked.attestation,
            document=document,
            claim=read_claim(checked.payload),
            digest=checked.digest,
            stamped_at=checked.stamped_at,
        )

    @property
    def stem(self) -> str:
        """Return how the files of the cycle are called."""
        return attestation_stem(self.attestation.sequence, self.attestation.cycle_id)

    def evidence(self, name: str) -> str | None:
        """Return the digest (hex) of an evidence file that the statement names."""
        return next((one.digest.sha256 for one in self.document.subject if one.name == name), None)


def cell(value: object) -> str:
    """Return a cell that no spreadsheet takes for a formula; nothing for None."""
    text = "" if value is None else str(value)
    return "'" + text if text.startswith(_FORMULA) else text


class Tables:
    """Writes the tables of a pack into a folder while its cycles go by."""

    def __init__(self, pack: Entry, out: Path) -> None:
        """Read what cycles name from `pack`, write into `out`. Use as a context."""
        self._pack = pack
        self._out = out
        self._open = ExitStack()
        self._period = Period()
        self._held: list[Json] = []
        self._waived: list[Json] = []
        self._in_force: int | None = None
        self._policies: dict[str, None] = {}
        self._last_whole: PackCycle | None = None

    def __enter__(self) -> Self:
        source = self._open.enter_context(self._text(POPULATION))
        self._population = csv.writer(source, lineterminator="\n")
        self._population.writerow(_POPULATION_COLUMNS)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def add(self, cycle: PackCycle) -> None:
        """Follow a cycle. Raises `EvidenceError` when a file that it names is here and cannot be read."""
        self._period.add(cycle.claim, cycle.stamped_at)
        for row in self._leavers(cycle):
            self._population.writerow([cell(value) for value in row])
        self._hold(cycle.claim)
        self._waive(cycle.claim)
        digest = cycle.evidence(POLICY_BUNDLE)
        if digest is not None and digest not in self._policies:
            self._policies[digest] = None
            self._write_policy(digest)
        if cycle.claim.whole and cycle.claim.outcome != "failed":
            self._last_whole = cycle

    def finish(self) -> None:
        """Write what is known only at the end; then every table is whole."""
        self._write("held-plans.json", {"events": self._held})
        self._write("waivers.json", {"changes": self._waived})
        self._write("coverage.json", self._period.coverage())
        self._summarise()
        self._write_matrix()
        self._open.close()

    def _text(self, name: str) -> TextIO:
        return (self._out / name).open("w", encoding="utf-8", newline="")

    def _write(self, name: str, value: Json | dict[str, Json]) -> None:
        (self._out / name).write_bytes(dumps(value) + b"\n")

    def _leaves(self, cycle: PackCycle, log: str) -> list[dict[str, Any]] | None:
        digest = cycle.evidence(log)
        content = None if digest is None else read_here(evidence_path(self._pack, digest))
        return None if content is None else [json.loads(leaf) for leaf in leaves_of(content)]

    def _leavers(self, cycle: PackCycle) -> Iterator[Sequence[object]]:
        claim = cycle.claim
        head = (claim.sequence, claim.cycle_id, claim.finished_at)
        leaves = self._leaves(cycle, LEAVER_LOG)
        if leaves is None and claim.leavers.total:
            yield (*head, "", f"{claim.leavers.total} leavers", "", "", "records_erased")
        opened = self._opened(cycle, leaves or ())
        for index, leaf in enumerate(leaves or ()):
            told = opened.get(str(leaf.get("disclosure")), "")
            instants = (leaf.get(name) for name in ("decidedAt", "actedAt", "verifiedAt", "effectiveBy"))
            yield (*head, index, leaf["worker"], told, leaf["accessEndedAt"], leaf["state"], *instants)

    def _opened(self, cycle: PackCycle, leaves: Sequence[Mapping[str, Any]]) -> Mapping[str, str]:
        """Return the worker ids that lines of the pack open, by the digest that a leaf commits to."""
        name = f"{DECISIONS}/{cycle.stem}.jsonl"
        content = read_here(self._pack / name)
        lines = () if content is None else read_shown(content, name).lines
        committed = {str(leaf.get("disclosure")) for leaf in leaves}
        named = ((digest, line) for line in lines if (digest := sha256_hex(line)) in committed)
        return {digest: str(json.loads(line)["workerId"]) for digest, line in named}

    def _hold(self, claim: Claim) -> None:
        of: dict[str, Json] = {"sequence": claim.sequence, "cycle_id": claim.cycle_id, "at": claim.finished_at}
        digest = None if claim.plan.digest is None else claim.plan.digest.sha256
        if claim.plan.held:
            reasons: list[Json] = [{"code": one.code, "provider": one.provider} for one in claim.plan.hold_reasons]
            self._held.append(
                {"event": "held", **of, "plan": digest, "reasons": reasons, "items": claim.decisions.total}
            )
        approval = claim.plan.approval
        if approval is not None:
            by: list[Json] = [
                {"approver": one.approver, "approved_at": one.approved_at} for one in (approval, *approval.beside)
            ]
            self._held.append({"event": "released", **of, "plan": approval.plan_digest.sha256, "approvals": by})

    def _waive(self, claim: Claim) -> None:
        if claim.waivers.in_force != self._in_force:
            self._in_force = claim.waivers.in_force
            self._waived.append(
                {
                    "sequence": claim.sequence,
                    "cycle_id": claim.cycle_id,
                    "at": claim.finished_at,
                    "in_force": claim.waivers.in_force,
                    "items_waived": claim.decisions.waived,
                }
            )

    def _write_policy(self, digest: str) -> None:
        content = read_here(evidence_path(self._pack, digest))
        if content is None:
            return
        bundle = json.loads(content)
        folder = self._out / POLICY / digest[:16]
        for number, (name, text) in enumerate(bundle["modules"]):
            # The path stands in the file's first line: a name out of a bundle is no place to write to.
            self._create(folder / f"{number:03d}.rego", f"# {json.dumps(name)}\n{text}".encode())
        self._create(folder / "data.json", str(bundle["data"]).encode())
        self._create(folder / "rules.json", dumps(bundle["rules"]) + b"\n")

    @staticmethod
    def _create(path: Path, content: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def _summarise(self) -> None:
        with self._text("summary.csv") as target:
            writer = csv.writer(target, lineterminator="\n")
            months = [month.json() for month in self._period.months.values()]
            writer.writerow(months[0])
            writer.writerows([cell(value) for value in month.values()] for month in months)

    def _write_matrix(self) -> None:
        """Write workers by systems of the last whole cycle: what was found of whom, and where nothing could be seen."""
        with self._text(MATRIX) as target:
            writer = csv.writer(target, lineterminator="\n")
            cycle = self._last_whole
            systems = [] if cycle is None else sorted({scope.id for scope in cycle.claim.inventory.providers})
            writer.writerow(["sequence", "worker", "worker_id", "state", *map(cell, systems)])
            if cycle is None:
                return
            unread = {scope.id for scope in cycle.claim.inventory.providers if not scope.complete}
            for worker, worker_id, state, found in self._workers(cycle):
                cells = (_found(found.get(system), system in unread) for system in systems)
                writer.writerow([cycle.claim.sequence, worker, cell(worker_id), state, *cells])

    def _workers(self, cycle: PackCycle) -> Iterator[tuple[str, str, str, Mapping[str, Counter[str]]]]:
        judged = self._leaves(cycle, LEAVER_LOG) or ()
        opened = self._opened(cycle, judged)
        leavers = {str(one["worker"]): one for one in judged}
        found: dict[str, dict[str, Counter[str]]] = {worker: {} for worker in leavers}
        for leaf in self._leaves(cycle, DECISION_LOG) or ():
            worker = str(leaf["worker"] or "nobody known")
            of = found.setdefault(worker, {}).setdefault(str(leaf["provider"]), Counter())
            of[str(leaf["decision"])] += 1
        for worker in sorted(found):
            leaver = leavers.get(worker, {})
            state = str(leaver.get("state", "no_leaver"))
            yield worker, opened.get(str(leaver.get("disclosure")), ""), state, found[worker]


def _found(decisions: Counter[str] | None, unread: bool) -> str:  # noqa: FBT001 - one of two facts of a cell
    told = "; ".join(f"{decision} {count}" for decision, count in sorted((decisions or {}).items())) or "none"
    return f"{told} (not read to its end)" if unread else told
