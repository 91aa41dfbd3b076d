"""The parts of a statement that a verifier relies on, read from bytes that nobody trusts yet.

Fields that are not named here are left alone: a later version may add some (in-toto's monotonic principle).
"""

import json
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from reconciler.core.canonical import encoded
from reconciler.core.counting import Counts
from reconciler.core.errors import EvidenceError
from reconciler.core.running_log import LOGGED, LogHead, LogSection, Place

_Count = Annotated[int, Field(ge=0)]
_Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_ADVICE = "the statement was not made by this program, or by a later version of it"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", alias_generator=to_camel)


class DigestSet(_Model):
    """An in-toto digest set with the one algorithm that is used here."""

    sha256: _Hex


class Subject(_Model):
    """An evidence file that the statement speaks of."""

    name: Annotated[str, Field(min_length=1)]
    digest: DigestSet


class Previous(_Model):
    """The attestation that this one follows."""

    sequence: Annotated[int, Field(ge=1)]
    cycle_id: str
    statement_digest: DigestSet


class Tree(_Model):
    """The Merkle root over the records of a section, and how many there are."""

    merkle_root: DigestSet
    leaf_count: _Count


class Decisions(Tree):
    """How many access items each decision was made for."""

    total: _Count
    keep: _Count
    review: _Count
    quarantine: _Count
    revoke: _Count
    waived: _Count
    undecided: _Count
    undecided_principals: _Count


class Reverted(_Model):
    """How often access was given back since the cycle before."""

    begun: _Count
    confirmed: _Count


class Actions(Tree):
    """How the actions ended."""

    intended: _Count
    attempted: _Count
    succeeded: _Count
    already_gone: _Count
    failed: _Count
    unknown: _Count
    skipped: _Count
    not_attempted: _Count
    verified_gone: _Count
    reverted: Reverted


class Leavers(Tree):
    """How many leavers have which verdict."""

    total: _Count
    clean: _Count
    violation: _Count
    cannot_conclude: _Count


class Scope(_Model):
    """Whether one scope was read to its end."""

    id: str
    complete: bool


class Inventory(_Model):
    """The scopes that were read."""

    providers: list[Scope]


class RosterClaim(_Model):
    """Whether the roster was recent enough, and how many had left by it."""

    fresh: bool
    leavers: _Count


class Reconciler(_Model):
    """Who made the statement, and how it says it is signed."""

    version: str
    instance_id: str
    signing_mode: str
    assurance: str


class Log(_Model):
    """The running log before and after the cycle's leaves."""

    origin: str
    verifier_key: str
    tree_size_before: _Count
    tree_size_after: _Count
    root_before: DigestSet
    root_after: DigestSet

    @property
    def section(self) -> LogSection:
        """Return the same as the log itself knows it."""
        return LogSection(
            origin=self.origin,
            verifier_key=self.verifier_key,
            before=LogHead(size=self.tree_size_before, root=self.root_before.sha256),
            after=LogHead(size=self.tree_size_after, root=self.root_after.sha256),
        )


class Predicate(_Model):
    """What a cycle claims."""

    cycle_id: str
    sequence: Annotated[int, Field(ge=1)]
    mode: Literal["observe", "quarantine", "enforce"]
    breadth: Literal["whole", "leavers"]
    outcome: Literal["complete", "partial", "held", "failed"]
    started_at: str
    finished_at: str
    previous: Previous | None
    chain_genesis: DigestSet
    log: Log
    reconciler: Reconciler
    roster: RosterClaim | None
    inventory: Inventory
    decisions: Decisions
    actions: Actions
    leavers: Leavers

    @property
    def counts(self) -> Counts:
        """Return the numbers that must agree with one another."""
        scopes = self.inventory.providers
        return Counts(
            mode=self.mode,
            outcome=self.outcome,
            providers_complete=bool(scopes) and all(scope.complete for scope in scopes),
            roster_fresh=self.roster is not None and self.roster.fresh,
            undecided_principals=self.decisions.undecided_principals,
            decisions=self.decisions.model_dump(exclude={"merkle_root"}, by_alias=True),
            actions=self.actions.model_dump(exclude={"merkle_root", "reverted"}, by_alias=True),
            breadth=self.breadth,
            roster_leavers=None if self.roster is None else self.roster.leavers,
            leavers=self.leavers.model_dump(exclude={"merkle_root"}, by_alias=True),
        )


class StatementDocument(_Model):
    """An in-toto statement about one cycle."""

    type_: Annotated[str, Field(alias="_type")]
    predicate_type: str
    subject: Annotated[list[Subject], Field(min_length=1)]
    predicate: Predicate

    def place(self, *, continues: bool) -> Place:
        """Return which part of the log the cycle claims, and for which of its files."""
        named = {subject.name for subject in self.subject}
        told = {
            "cycle-log": 1,
            "leaver-log": self.predicate.leavers.leaf_count,
            "decision-log": self.predicate.decisions.leaf_count,
            "action-log": self.predicate.actions.leaf_count,
        }
        counts = tuple((name, told[name]) for name in LOGGED if name in named)
        return Place(section=self.predicate.log.section, counts=counts, continues=continues)


def read_statement(payload: bytes) -> StatementDocument:
    """Read a statement from its bytes.

    Raises `EvidenceError` when they are not canonical JSON, or lack a field that a verifier needs.
    """
    try:
        document = json.loads(payload)
        canonical = encoded(document)
    except (ValueError, RecursionError) as error:
        msg = "the statement is not JSON"
        raise EvidenceError(msg, advice=_ADVICE) from error
    if canonical != payload:
        msg = "the statement is not in canonical form"
        raise EvidenceError(msg, advice=_ADVICE)
    return parsed_statement(payload)


def parsed_statement(payload: bytes) -> StatementDocument:
    """Read a statement that is known to be one of ours, without looking at its form: for who reads them all at once.

    Raises `EvidenceError` when it is no JSON, or lacks a field that a verifier needs.
    """
    try:
        return StatementDocument.model_validate_json(payload)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        msg = f"the statement's field {place or '(document)'} is not usable: {first['msg']}"
        raise EvidenceError(msg, advice=_ADVICE) from error
