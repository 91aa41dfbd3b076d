"""What is disclosed of past decisions: found by following digests from a statement down, and believed only so far.

A statement names the tree of its decisions and the policies; a leaf of that tree commits to the line that opens it,
this to what the policies were asked about the principal, and this to what the whole evaluation shared. Reads a store
and an unpacked pack alike. What does not have the digest that something signed commits to is a problem, and not used.
"""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from reconciler.adapters.attestation_document import StatementDocument
from reconciler.adapters.disclosures import DECISION_LOG, CycleLeaves, Lines, committed, read_shown
from reconciler.adapters.evidence_files import Entry
from reconciler.adapters.evidence_store import attestation_stem, evidence_path
from reconciler.adapters.problems import Problem
from reconciler.core.canonical import Json
from reconciler.core.document import nanoseconds
from reconciler.core.errors import EvidenceError
from reconciler.core.metadata import policy_digest
from reconciler.core.schemas import REQUEST_SCHEMA, FindingDocument, Instant

SHOWN_FOLDER: Final = "decisions"
"""Where a pack holds the leaves that are shown, in a file for each cycle."""

_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_T = TypeVar("_T", bound=BaseModel)


class _Read(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class PolicyRule(_Read):
    """A rule of a policy bundle, as far as it bears on findings."""

    rule_id: str
    needs: str


class PolicyBundle(_Read):
    """The policies of a cycle, as its evidence holds them."""

    digest: str
    modules: tuple[tuple[str, str], ...]
    data: str
    rules: tuple[PolicyRule, ...]


class LeafFinding(_Read):
    """A finding as a signed leaf tells it."""

    rule: str
    code: str
    severity: str
    effect: str
    needs: str


class DecisionLeaf(_Read):
    """A decision, as signed."""

    type: Literal["decision/1"]
    disclosure: _Digest
    findings: tuple[LeafFinding, ...]


class DecisionLine(_Read):
    """What opens a decision."""

    type: Literal["decision-disclosure/1"]
    provider: str
    scope: str
    principal_id: Annotated[str, Field(alias="principalId")]
    access_id: Annotated[str, Field(alias="accessId")]
    evaluation: _Digest | None


class Asked(_Read):
    """What the policies were asked about one principal, and what they answered."""

    key: str
    unit: dict[str, Any]
    workers: dict[str, Any]
    waivers: dict[str, Any]
    findings: tuple[FindingDocument, ...]

    @property
    def items(self) -> int:
        """Return how many access items the principal had."""
        return len(self.unit["access"])

    @field_validator("unit")
    @classmethod
    def _with_access(cls, unit: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(unit.get("access"), dict):
            msg = "a unit holds its access items"
            raise ValueError(msg)  # noqa: TRY004 - what pydantic reports as a fault of the document
        return unit


class EvaluationLine(_Read):
    """The line that holds it."""

    type: Literal["evaluation-input/1"]
    asked: Asked
    data: _Digest


class DataLine(_Read):
    """What the whole evaluation shared."""

    type: Literal["evaluation-data/1"]
    evaluated_at: Annotated[Instant, Field(alias="evaluatedAt")]
    roster: dict[str, Any]
    waivers: dict[str, Any]

    @property
    def instant(self) -> datetime:
        """Return the instant that the policies decided as of."""
        return datetime.fromisoformat(self.evaluated_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One decision leaf and the line that opens it."""

    index: int
    leaf: DecisionLeaf
    line: DecisionLine


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """One principal that the policies were asked about, and the decisions that rest on it."""

    document: StatementDocument
    asked: Asked
    data: DataLine
    decisions: tuple[Decision, ...]

    def input(self) -> dict[str, Json]:
        """Return the input of the policies: the request as it was, with this principal's unit alone."""
        cycle_id = self.document.predicate.cycle_id
        return {
            "schema": REQUEST_SCHEMA,
            "cycle_id": cycle_id,
            "request_id": f"{cycle_id}/replay",
            "now_ns": nanoseconds(self.data.instant),
            "units": {self.asked.key: self.asked.unit},
        }

    def request(self) -> dict[str, Json]:
        """Return the input with the documents that rules look into."""
        return {
            "input": self.input(),
            "roster": {"meta": self.data.roster, "workers": self.asked.workers},
            "waivers": {"meta": self.data.waivers, "items": self.asked.waivers},
        }


@dataclass(slots=True)
class DisclosedDecisions:
    """Reads what is disclosed under a root; gathers what cannot be believed."""

    root: Entry
    problems: list[Problem] = field(default_factory=list)

    def evaluations(self, document: StatementDocument) -> tuple[Evaluation, ...]:
        """Return what a cycle's decisions were made on, as far as it is disclosed."""
        try:
            leaves, lines = self._leaves(document)
        except EvidenceError as error:
            self._problem(document, "evidence_changed", str(error))
            return ()
        resting: dict[str, list[Decision]] = {}
        for index, content in leaves:
            leaf = self._read(document, DecisionLeaf, content)
            line = None if leaf is None else self._read(document, DecisionLine, lines.by_digest.get(leaf.disclosure))
            if leaf is not None and line is not None and line.evaluation is not None:
                resting.setdefault(line.evaluation, []).append(Decision(index=index, leaf=leaf, line=line))
        return tuple(
            Evaluation(document=document, asked=below[0], data=below[1], decisions=tuple(decisions))
            for digest, decisions in resting.items()
            if (below := self._below(document, digest, lines)) is not None
        )

    def _below(self, document: StatementDocument, digest: str, lines: Lines) -> tuple[Asked, DataLine] | None:
        line = self._read(document, EvaluationLine, lines.by_digest.get(digest))
        data = None if line is None else self._read(document, DataLine, lines.by_digest.get(line.data))
        return None if line is None or data is None else (line.asked, data)

    def _leaves(self, document: StatementDocument) -> tuple[list[tuple[int, bytes]], Lines]:
        """Return the decision leaves that are here and in the signed tree, and the lines that open them."""
        told = document.predicate
        stem = attestation_stem(told.sequence, told.cycle_id)
        if not (self.root / SHOWN_FOLDER).is_dir():
            cycle = CycleLeaves.open(self.root, document)
            for number in cycle.lines.strays:
                text = f"line {number} of disclosures/{stem}.jsonl has a digest that no leaf commits to"
                self._problem(document, "disclosure_changed", text)
            return list(enumerate(cycle.logs.get(DECISION_LOG, ()))), cycle.lines
        path = self.root / SHOWN_FOLDER / f"{stem}.jsonl"
        if not path.is_file():
            return [], Lines()
        shown = read_shown(path.read_bytes(), f"{SHOWN_FOLDER}/{path.name}")
        for text in shown.problems(document):
            self._problem(document, "disclosure_changed", text)
        signed = [leaf for leaf in shown.leaves if leaf.log == DECISION_LOG and leaf.is_in(told.decisions)]
        lines = committed(shown.lines, (leaf.leaf for leaf in shown.leaves))
        return [(leaf.index, leaf.leaf) for leaf in signed], lines

    def policies(self, document: StatementDocument) -> tuple[str, PolicyBundle | None]:
        """Return the digest of a cycle's policies, and the policies; None when they are not here, or are other ones."""
        named = {subject.name: subject.digest.sha256 for subject in document.subject}
        digest = named.get("policy-bundle", "")
        path = evidence_path(self.root, digest)
        if not digest or not path.is_file():
            return digest, None
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != digest:
            text = f"the policies {path.name} have another digest than the one that the statement signed"
            self._problem(document, "evidence_changed", text)
            return digest, None
        bundle = self._read(document, PolicyBundle, content)
        if bundle is not None and policy_digest(bundle.modules, bundle.data) != bundle.digest:
            self._problem(document, "evidence_changed", "the sources of its policies do not have the digest they claim")
            return digest, None
        return digest, bundle

    def _read(self, document: StatementDocument, kind: type[_T], content: bytes | None) -> _T | None:
        """Read what something signed commits to; None when it is not disclosed, or is nothing that we know."""
        if content is None:
            return None
        try:
            return kind.model_validate_json(content)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            self._problem(document, "disclosure_malformed", f"{kind.__name__}: {place}: {first['msg']}")
            return None

    def _problem(self, document: StatementDocument, code: str, text: str) -> None:
        told = document.predicate
        cycle = f"cycle {told.sequence} ({told.cycle_id})"
        message = text if text.startswith(cycle) else f"{cycle}: {text}"
        self.problems.append(Problem(cycle_id=told.cycle_id, code=code, message=message))
