"""Erasing what is personal of past cycles: by destroying keys, disclosures and leaves, never a digest.

Statements, signatures, hashes, roots and proofs stay and still verify. What is destroyed is recorded first, in
`erasures.jsonl` beside the attestations: who, when, which cycle and what, one canonical JSON line for each cycle. So a
reader can tell what was erased from what is missing; a crash in between leaves a record and files that the next erasure
of the cycle destroys.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reconciler.adapters.attestation_document import StatementDocument
from reconciler.adapters.disclosures import LOGS, tree_of
from reconciler.adapters.durable_file import append_to_file, remove_files
from reconciler.adapters.evidence_files import Entry, read_here
from reconciler.adapters.evidence_store import PSEUDONYM_KEYS, attestation_stem, disclosures_path, evidence_path
from reconciler.adapters.os_account import Account
from reconciler.core.audit import AuditRecord, cycle_erased
from reconciler.core.canonical import dumps, rfc3339
from reconciler.core.errors import EvidenceError
from reconciler.core.model import CycleId

ERASURES: Final = "erasures.jsonl"
"""What was erased, in the evidence folder."""
KEY: Final = "pseudonym-key"
DISCLOSURES: Final = "disclosures"
_Root = TypeVar("_Root", bound=Entry)


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    type: Literal["erasure/1"]
    cycle_id: str = Field(alias="cycleId")
    destroyed: tuple[str, ...]


class _WholeRecord(_Record):
    sequence: int
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasable:
    """What of one cycle is there to be destroyed."""

    sequence: int
    cycle_id: str
    parts: tuple[tuple[str, Path], ...]
    """What it is, and where it lies."""


def erasable(root: Path, document: StatementDocument, *, leaves: bool) -> Erasable:
    """Return what of a cycle can be destroyed and is still there; with `leaves`, the texts of its leaves too."""
    told = document.predicate
    parts = tuple(part for part in _parts(root, document, leaves=leaves) if part[1].is_file())
    return Erasable(sequence=told.sequence, cycle_id=told.cycle_id, parts=parts)


def _parts(root: _Root, document: StatementDocument, *, leaves: bool) -> list[tuple[str, _Root]]:
    """Return what of a cycle can be destroyed, and where it lies as long as it is there."""
    told = document.predicate
    named = {subject.name: subject.digest.sha256 for subject in document.subject}
    stem = attestation_stem(told.sequence, told.cycle_id)
    parts = [
        (KEY, root / f"{PSEUDONYM_KEYS}/{stem}.key"),
        (DISCLOSURES, disclosures_path(root, told.sequence, told.cycle_id)),
    ]
    if leaves:  # an empty log is one file for all cycles, and says nothing of anybody
        parts += [(log, evidence_path(root, named[log])) for log in LOGS if tree_of(document, log).leaf_count]
    return parts


def erase(root: Path, chosen: Sequence[Erasable], by: Account, at: datetime) -> None:
    """Record, durably, and then destroy. Raises `EvidenceError` when the disk refuses; erasing again goes on."""
    lines = [
        dumps(
            {
                "type": "erasure/1",
                "at": rfc3339(at),
                "by": {"uid": by.uid, "login": by.login},
                "sequence": one.sequence,
                "cycleId": one.cycle_id,
                "destroyed": [name for name, _ in one.parts],
            }
        )
        for one in chosen
        if one.parts
    ]
    path = root / ERASURES
    try:
        torn = path.is_file() and not path.read_bytes().endswith(b"\n")
        append_to_file(path, (b"\n" if torn else b"") + b"".join(line + b"\n" for line in lines))
        remove_files(place for one in chosen for _, place in one.parts)
    except OSError as error:
        msg = f"the erasure could not be finished: {error.strerror or error}"
        raise EvidenceError(msg, advice="check the rights of the evidence folder, and erase again") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasures:
    """What a folder records as erased."""

    by_cycle: Mapping[str, frozenset[str]] = field(default_factory=dict)
    unreadable: int = 0
    """Lines that say nothing: a crash tore them, or somebody wrote them."""


def audited_erasures(root: Path) -> tuple[AuditRecord, ...]:
    """Return what is recorded as erased as records of the audit trail; a torn line is none. Raises `EvidenceError`."""
    found = []
    for line in (read_here(root / ERASURES) or b"").splitlines():
        try:
            told = _WholeRecord.model_validate_json(line)
        except ValidationError:
            continue  # `recorded_erasures` counts it, and `verify` tells it
        found.append(cycle_erased(CycleId(told.cycle_id), told.sequence, told.destroyed, told.at))
    return tuple(found)


def recorded_erasures(root: Entry) -> Erasures:
    """Read what is recorded as erased; nothing signs it. Raises `EvidenceError` when the file cannot be read."""
    try:
        content = (root / ERASURES).read_bytes()
    except FileNotFoundError:
        return Erasures()
    except OSError as error:
        msg = f"{ERASURES} cannot be read: {error.strerror}"
        raise EvidenceError(msg, advice="check the rights of the evidence folder") from error
    found: dict[str, frozenset[str]] = {}
    unreadable = 0
    for line in content.splitlines():
        try:
            record = _Record.model_validate_json(line)
        except ValidationError:
            unreadable += 1
            continue
        found[record.cycle_id] = found.get(record.cycle_id, frozenset()) | set(record.destroyed)
    return Erasures(by_cycle=found, unreadable=unreadable)


@dataclass(slots=True)
class ErasedCount:
    """Counts, cycle by cycle, what is on record as erased and is not here any more."""

    root: Entry
    erasures: Erasures
    cycles: int = 0
    keys: int = 0
    disclosures: int = 0
    logs: int = 0
    unfinished: int = 0
    """Cycles of which something on record as erased is still here."""

    def count(self, document: StatementDocument) -> None:
        """Count one cycle."""
        destroyed = self.erasures.by_cycle.get(document.predicate.cycle_id)
        if destroyed is None:
            return
        here = {name for name, place in _parts(self.root, document, leaves=True) if place.is_file()}
        gone = destroyed - here
        self.cycles += bool(gone)
        self.keys += KEY in gone
        self.disclosures += DISCLOSURES in gone
        self.logs += len(gone & set(LOGS))
        self.unfinished += bool(destroyed & here)

    def told(self) -> dict[str, int]:
        """Return the counts by name."""
        return {
            "cycles": self.cycles,
            "keys": self.keys,
            "disclosures": self.disclosures,
            "logs": self.logs,
            "unfinished": self.unfinished,
            "unreadable": self.erasures.unreadable,
        }


def chosen_cycles(
    documents: Sequence[StatementDocument], cycles: Sequence[str], before: datetime | None
) -> Iterator[StatementDocument]:
    """Yield the statements of the cycles that are named, or that ended before an instant.

    Raises `EvidenceError` when a named cycle has no statement.
    """
    names = {name for one in documents for name in (str(one.predicate.sequence), one.predicate.cycle_id)}
    lost = sorted(set(cycles) - names)
    if lost:
        msg = f"there is no attestation of cycle {', '.join(lost)}"
        raise EvidenceError(msg, advice="see `attestations list` for sequence numbers and ids")
    for one in documents:
        told = one.predicate
        named = str(told.sequence) in cycles or told.cycle_id in cycles
        if named or (before is not None and datetime.fromisoformat(told.finished_at) < before):
            yield one
