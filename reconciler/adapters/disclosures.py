"""Showing leaves of a cycle: each with the line that opens it, and the proof that it is in the tree that was signed.

Works on a store and on an unpacked pack alike. `CycleLeaves.open` reads the logs and the lines of one cycle as they lie
in a store and checks them against its statement; `of_worker`, `everything` and `sample` choose leaves; `show` gives the
chosen ones as they go into a pack (`decisions/000012-<cycle id>.jsonl`); `read_shown` reads that file again.

A file of shown leaves is JSON lines: `disclosed-leaf/1` for each leaf (log, index, leaf count, text, inclusion proof in
hex, lowest first), and then the lines of `core.disclosure` that open them, byte for byte.
"""

import hashlib
import heapq
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reconciler.adapters.attestation_document import StatementDocument, Tree
from reconciler.adapters.evidence_files import Entry
from reconciler.adapters.evidence_store import disclosures_path, evidence_path
from reconciler.core import merkle
from reconciler.core.canonical import dumps, sha256_hex
from reconciler.core.disclosure import DECISION_DISCLOSURE
from reconciler.core.errors import EvidenceError
from reconciler.core.leaves import leaves_of

LEAVER_LOG: Final = "leaver-log"
DECISION_LOG: Final = "decision-log"
ACTION_LOG: Final = "action-log"
LOGS: Final = (LEAVER_LOG, DECISION_LOG, ACTION_LOG)
"""The logs of a cycle, in the order of the running log."""
SHOWN_LEAF: Final = "disclosed-leaf/1"

_ADVICE = "restore it from a backup, or ask for it anew"

Place = tuple[str, int]
"""A leaf of a cycle: its log, and its index there."""


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


class _Leaf(_Line):
    """What a leaf says of others: which line opens it, and by which pseudonyms it is found."""

    type: str
    disclosure: str | None = None
    worker: str | None = None
    principal: str | None = None
    access: str | None = None

    @property
    def item(self) -> tuple[str, str] | None:
        """Return the pseudonyms of the access item that the leaf is about."""
        return None if self.principal is None or self.access is None else (self.principal, self.access)


class _Opening(_Line):
    """What a line says of others: which line it rests on, and whom it is about."""

    type: Literal["evaluation-data/1", "evaluation-input/1", "decision-disclosure/1", "leaver-disclosure/1"]
    data: str | None = None
    evaluation: str | None = None
    worker_id: Annotated[str | None, Field(alias="workerId")] = None

    @property
    def rests_on(self) -> str | None:
        """Return the digest of the line below this one."""
        return self.evaluation if self.type == DECISION_DISCLOSURE else self.data


class _ShownLeaf(_Line):
    """A leaf in a file of shown leaves."""

    type: Literal["disclosed-leaf/1"]
    log: Literal["leaver-log", "decision-log", "action-log"]
    index: Annotated[int, Field(ge=0)]
    leaf_count: Annotated[int, Field(ge=1, alias="leafCount")]
    leaf: str
    proof: list[Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownLeaf:
    """One leaf with the proof that it is in the tree of its log."""

    log: str
    index: int
    size: int
    """Leaves in the whole tree."""
    leaf: bytes
    proof: tuple[bytes, ...]

    def is_in(self, tree: Tree) -> bool:
        """Say whether the proof shows this leaf in the tree that a statement tells."""
        return self.size == tree.leaf_count and merkle.verify_inclusion(
            self.leaf, self.index, self.size, self.proof, bytes.fromhex(tree.merkle_root.sha256)
        )

    def line(self) -> bytes:
        """Return the leaf as a line of a file of shown leaves."""
        told = {
            "type": SHOWN_LEAF,
            "log": self.log,
            "index": self.index,
            "leafCount": self.size,
            "leaf": self.leaf.decode(),
            "proof": [one.hex() for one in self.proof],
        }
        return dumps(told)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """The leaves of one cycle that are shown, and the lines that open them."""

    leaves: tuple[ShownLeaf, ...]
    lines: tuple[bytes, ...]
    """Byte for byte as the leaves commit to them; of a leaf whose line was destroyed there is none."""

    def problems(self, document: StatementDocument) -> Iterator[str]:
        """Yield what of this is not in the trees that a statement tells, or is not what a leaf there commits to."""
        told = document.predicate
        cycle = f"cycle {told.sequence} ({told.cycle_id})"
        for leaf in self.leaves:
            if not leaf.is_in(tree_of(document, leaf.log)):
                yield f"{cycle}: leaf {leaf.index} of the {leaf.log} is not in the tree that was signed"
        for number in committed(self.lines, (leaf.leaf for leaf in self.leaves)).strays:
            kind = _type_of(self.lines[number - 1]) or "unreadable"
            yield f"{cycle}: disclosed line {number} ({kind}) has a digest that no leaf shown commits to"

    def content(self) -> bytes:
        """Return the file of shown leaves."""
        return b"".join(line + b"\n" for line in (*(leaf.line() for leaf in self.leaves), *self.lines))


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines by digest, and those that nothing commits to."""

    by_digest: Mapping[str, bytes] = field(default_factory=dict)
    strays: tuple[int, ...] = ()
    """Numbers, from 1, of the lines that no leaf commits to: they were changed after the cycle, or belong elsewhere."""


def tree_of(document: StatementDocument, log: str) -> Tree:
    """Return what a statement tells of the tree of one of its logs."""
    told = document.predicate
    trees: dict[str, Tree] = {LEAVER_LOG: told.leavers, DECISION_LOG: told.decisions, ACTION_LOG: told.actions}
    return trees[log]


def committed(lines: Sequence[bytes], leaves: Iterable[bytes]) -> Lines:
    """Follow the digests from leaves to lines, and on to the lines that those rest on.

    A line that cannot be read as one is a stray like any other that nothing leads to.
    """
    digests = [sha256_hex(line) for line in lines]
    there = dict(zip(digests, lines, strict=True))
    waiting = [leaf.disclosure for leaf in map(_read_leaf, leaves) if leaf is not None and leaf.disclosure is not None]
    reached: set[str] = set()
    while waiting:
        digest = waiting.pop()
        if digest not in there or digest in reached:
            continue
        reached.add(digest)
        below = _read_opening(there[digest])
        if below is not None and below.rests_on is not None:
            waiting.append(below.rests_on)
    strays = tuple(number for number, digest in enumerate(digests, 1) if digest not in reached)
    return Lines({digest: line for digest, line in there.items() if digest in reached}, strays)


def _read_leaf(leaf: bytes) -> _Leaf | None:
    try:
        return _Leaf.model_validate_json(leaf)
    except ValidationError:
        return None


def _read_opening(line: bytes) -> _Opening | None:
    try:
        return _Opening.model_validate_json(line)
    except ValidationError:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class CycleLeaves:
    """The leaves of one cycle and the lines that open them, as they lie in a store."""

    document: StatementDocument
    logs: Mapping[str, tuple[bytes, ...]]
    """The leaves of each log that is here."""
    lines: Lines

    @classmethod
    def open(cls, root: Entry, document: StatementDocument) -> Self:
        """Read the logs and lines of a cycle; what was destroyed is left out.

        Raises `EvidenceError` when a log is not the one that the statement names, or cannot be read.
        """
        told = document.predicate
        named = {subject.name: subject.digest.sha256 for subject in document.subject}
        logs = {}
        for log in LOGS:
            content = _read(evidence_path(root, named[log]), log) if log in named else None
            if content is None:
                continue
            if hashlib.sha256(content).hexdigest() != named[log]:
                msg = f"the {log} of cycle {told.sequence} ({told.cycle_id}) is not what its statement signed"
                raise EvidenceError(msg, advice=_ADVICE)
            logs[log] = leaves_of(content)
        content = _read(disclosures_path(root, told.sequence, told.cycle_id), "disclosures")
        lines = committed(leaves_of(content) if content else (), (leaf for log in logs.values() for leaf in log))
        if not {LEAVER_LOG, DECISION_LOG} <= logs.keys():
            lines = Lines(lines.by_digest)  # what leaves that were destroyed committed to is no stray
        return cls(document=document, logs=logs, lines=lines)

    def everything(self) -> tuple[Place, ...]:
        """Choose every leaf that is here."""
        return tuple(place for log in LOGS for place in self._places(log))

    def of_worker(self, worker_id: str) -> tuple[Place, ...]:
        """Choose what is about one worker: as a leaver, in decisions, and the acts on what was decided of.

        Goes by the lines: of a cycle whose lines were destroyed nothing can be chosen.
        """
        found = [
            (log, index)
            for log in (LEAVER_LOG, DECISION_LOG)
            for index, opening in enumerate(map(self._opening_of, self.logs.get(log, ())))
            if opening is not None and opening.worker_id == worker_id
        ]
        return self.whole_story(found)

    def whole_story(self, chosen: Iterable[Place]) -> tuple[Place, ...]:
        """Add to leavers the decisions about them, and to decisions the acts on their items; each leaf once, in order.

        Goes by the pseudonyms that the leaves of one cycle share.
        """
        places = set(chosen)
        workers = {self._told(place).worker for place in places if place[0] == LEAVER_LOG} - {None}
        places |= {place for place in self._places(DECISION_LOG) if self._told(place).worker in workers}
        items = {self._told(place).item for place in places if place[0] == DECISION_LOG} - {None}
        places |= {place for place in self._places(ACTION_LOG) if self._told(place).item in items}
        return _in_order(places)

    def show(self, chosen: Iterable[Place]) -> Shown:
        """Return the chosen leaves with their proofs and the lines that open them. Raises IndexError for no leaf."""
        by_log: dict[str, list[int]] = {}
        for log, index in chosen:
            by_log.setdefault(log, []).append(index)
        leaves = tuple(leaf for log in LOGS for leaf in _proven(log, self.logs.get(log, ()), by_log.get(log, [])))
        wanted = committed(tuple(self.lines.by_digest.values()), (leaf.leaf for leaf in leaves)).by_digest
        return Shown(
            leaves=leaves, lines=tuple(line for digest, line in self.lines.by_digest.items() if digest in wanted)
        )

    def _opening_of(self, leaf: bytes) -> _Opening | None:
        read = _read_leaf(leaf)
        line = None if read is None or read.disclosure is None else self.lines.by_digest.get(read.disclosure)
        return None if line is None else _read_opening(line)

    def _places(self, log: str) -> Iterator[Place]:
        return ((log, index) for index in range(len(self.logs.get(log, ()))))

    def _told(self, place: Place) -> _Leaf:
        log, index = place
        return _read_leaf(self.logs[log][index]) or _Leaf(type="")


def _in_order(places: Iterable[Place]) -> tuple[Place, ...]:
    return tuple(sorted(places, key=lambda place: (LOGS.index(place[0]), place[1])))


def _proven(log: str, leaves: tuple[bytes, ...], indices: Sequence[int]) -> Iterator[ShownLeaf]:
    for index, proof in zip(indices, merkle.inclusion_proofs(leaves, indices), strict=True):
        yield ShownLeaf(log=log, index=index, size=len(leaves), leaf=leaves[index], proof=proof)


def draw_rank(seed: str, leaf_hash: bytes) -> int:
    """Return the place of a leaf in the draw of a sample: by the SHA-256 of the seed and the hash of the leaf."""
    return int.from_bytes(hashlib.sha256(dumps([seed, leaf_hash.hex()])).digest())


def sample(cycles: Iterable[CycleLeaves], count: int, seed: str) -> dict[str, tuple[Place, ...]]:
    """Choose `count` leavers and `count` decisions of a period, each with its whole story: leaves by cycle id.

    Whoever knows the seed can draw it again, from leaf hashes alone: see `draw_rank`. The first of each log are taken.
    Leaves whose lines were destroyed are drawn like others: a sample does not favour what is still here. Holds one
    cycle at a time.
    """
    best: dict[str, list[tuple[int, str, int, tuple[Place, ...]]]] = {LEAVER_LOG: [], DECISION_LOG: []}
    for cycle in cycles:
        cycle_id = cycle.document.predicate.cycle_id
        for log, ranked in best.items():
            for index, leaf in enumerate(cycle.logs.get(log, ())):
                rank = -draw_rank(seed, merkle.leaf_hash(leaf))
                if len(ranked) < count or (ranked and rank > ranked[0][0]):
                    heapq.heappush(ranked, (rank, cycle_id, index, cycle.whole_story([(log, index)])))
                if len(ranked) > count:
                    heapq.heappop(ranked)
    drawn: dict[str, set[Place]] = {}
    for ranked in best.values():
        for _, cycle_id, _, places in ranked:
            drawn.setdefault(cycle_id, set()).update(places)
    return {cycle_id: _in_order(places) for cycle_id, places in drawn.items()}


def read_shown(content: bytes, name: str) -> Shown:
    """Read a file of shown leaves; nothing in it is believed yet. Raises `EvidenceError` naming the file."""
    leaves: list[ShownLeaf] = []
    lines: list[bytes] = []
    for number, line in enumerate(leaves_of(content), 1):
        if _type_of(line) != SHOWN_LEAF:
            lines.append(line)
            continue
        try:
            read = _ShownLeaf.model_validate_json(line)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            msg = f"{name}: line {number} is no shown leaf: {first['msg']}"
            raise EvidenceError(msg, advice=_ADVICE) from error
        leaves.append(
            ShownLeaf(
                log=read.log,
                index=read.index,
                size=read.leaf_count,
                leaf=read.leaf.encode(),
                proof=tuple(bytes.fromhex(one) for one in read.proof),
            )
        )
    return Shown(leaves=tuple(leaves), lines=tuple(lines))


def _type_of(line: bytes) -> str:
    try:
        told = json.loads(line)
    except (ValueError, RecursionError):
        return ""
    found = told.get("type") if isinstance(told, dict) else None
    return found if isinstance(found, str) else ""


def _read(path: Entry, what: str) -> bytes | None:
    """Return the content of a file, or None when there is none: it was destroyed, or never made."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        msg = f"the {what} {path.name} cannot be read: {error.strerror}"
        raise EvidenceError(msg, advice="check the rights of the evidence folder") from error


def unopened(leaves: Iterable[bytes], lines: Lines) -> int:
    """Return how many leaves that commit to a line have none that is here."""
    read = (_read_leaf(leaf) for leaf in leaves)
    return sum(one is not None and one.disclosure is not None and one.disclosure not in lines.by_digest for one in read)
