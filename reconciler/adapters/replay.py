"""Making past decisions again with the stock `opa`, and comparing: the auditor's re-performance.

The findings that `opa` comes to are compared, for each access item, with those on record, and both with those of the
leaf that was signed. What became of a finding afterwards (waived, held back, capped) is the planner's, not the
policies', and is not replayed.
"""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from reconciler.adapters.attestation_document import StatementDocument
from reconciler.adapters.disclosed_decisions import Decision, DisclosedDecisions, Evaluation, PolicyBundle
from reconciler.adapters.evidence_files import Entry
from reconciler.adapters.opa_eval import OpaEval, opa_eval
from reconciler.adapters.problems import Problem
from reconciler.core.canonical import Json
from reconciler.core.decision import Expectation, check_decision
from reconciler.core.document import unit_key
from reconciler.core.errors import PolicyError, Undecided
from reconciler.core.schemas import FindingDocument

MOST_AT_ONCE: Final = 5_000
"""Access items in one run of `opa`, about 1.5 MB, of which it takes some thirty times as much memory."""

_Found = tuple[FindingDocument, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One access item on which the policies do not say what the cycle says that they said."""

    sequence: int
    cycle_id: str
    leaf: int | None
    """Index of the decision leaf; None for an item that has none, or whose leaf is not shown."""
    access_id: str
    then: tuple[str, ...]
    """Findings on record, each as rule, code, severity and effect."""
    now: tuple[str, ...]
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayReport:
    """What came of replaying some cycles."""

    cycles: int
    decisions: int
    """Decisions that the statements of the cycles tell of: those equal, different and not disclosed together."""
    equal: int
    different: int
    not_disclosed: int
    differences: tuple[Difference, ...]
    problems: tuple[Problem, ...]
    """What does not have the digest that something signed commits to; it was not replayed."""


@dataclass(slots=True)
class _Policies:
    """The policies of some cycles, laid out for `opa`, and what is still to be asked of them."""

    bundle: PolicyBundle
    engine: OpaEval
    waiting: list[Evaluation] = field(default_factory=list)
    items: int = 0


class Replay:
    """Replays cycles one after another. Hold it as a context: the policies are laid out on disk meanwhile."""

    def __init__(self, root: Entry, executable: Path) -> None:
        self._source = DisclosedDecisions(root)
        self._executable = executable
        self._stack = ExitStack()
        self._policies: dict[str, _Policies | None] = {}
        self._cycles = self._decisions = self._equal = self._different = 0
        self._differences: list[Difference] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add(self, document: StatementDocument) -> None:
        """Replay a cycle, now or together with later ones.

        Raises `PolicyError` when `opa` cannot be run, and `EvidenceError` when a file cannot be read or written.
        """
        self._cycles += 1
        self._decisions += document.predicate.decisions.total
        evaluations = self._source.evaluations(document)
        policies = self._policies_of(document) if evaluations else None
        if policies is None:
            return
        for evaluation in evaluations:
            weight = max(1, evaluation.asked.items)
            if policies.items + weight > MOST_AT_ONCE:
                self._settle(policies)
            policies.waiting.append(evaluation)
            policies.items += weight

    def finish(self) -> ReplayReport:
        """Have everything decided that still waits, and return the report."""
        for policies in self._policies.values():
            if policies is not None:
                self._settle(policies)
        return ReplayReport(
            cycles=self._cycles,
            decisions=self._decisions,
            equal=self._equal,
            different=self._different,
            not_disclosed=self._decisions - self._equal - self._different,
            differences=tuple(self._differences),
            problems=tuple(self._source.problems),
        )

    def _policies_of(self, document: StatementDocument) -> _Policies | None:
        digest, bundle = self._source.policies(document)
        if digest not in self._policies:
            engine = None
            if bundle is not None:
                engine = self._stack.enter_context(opa_eval(self._executable, bundle.modules, bundle.data))
            self._policies[digest] = None if bundle is None or engine is None else _Policies(bundle, engine)
        return self._policies[digest]

    def _settle(self, policies: _Policies) -> None:
        waiting, policies.waiting, policies.items = policies.waiting, [], 0
        if waiting:
            self._ask(policies, waiting)

    def _ask(self, policies: _Policies, batch: Sequence[Evaluation]) -> None:
        """Ask about a batch, halving it where one of it makes the policies fail."""
        try:
            decided = policies.engine.decide({str(number): one.request() for number, one in enumerate(batch)})
        except Undecided as error:
            if len(batch) == 1:
                self._fail(batch[0], str(error))
                return
            middle = len(batch) // 2
            self._ask(policies, batch[:middle])
            self._ask(policies, batch[middle:])
            return
        for number, one in enumerate(batch):
            self._compare(policies.bundle, one, decided.get(str(number)))

    def _compare(self, bundle: PolicyBundle, evaluation: Evaluation, decided: Json) -> None:
        rules = frozenset(rule.rule_id for rule in bundle.rules)
        expected = Expectation(roster=evaluation.data.roster, waivers=evaluation.data.waivers, rules=rules)
        if not isinstance(decided, dict):
            self._fail(evaluation, "the decision is undefined")
            return
        try:
            found = check_decision(decided, evaluation.input(), expected)[evaluation.asked.key]
        except (Undecided, PolicyError) as error:
            self._fail(evaluation, str(error))
            return
        then, now = _by_item(evaluation.asked.findings), _by_item(found)
        for one in evaluation.decisions:
            before, after = then.pop(one.line.access_id, ()), now.pop(one.line.access_id, ())
            message = _difference(bundle, evaluation, one, before, after)
            if message:
                self._different += 1
                self._differ(evaluation, one, one.line.access_id, (before, after), message)
            else:
                self._equal += 1
        for access_id in sorted(then.keys() | now.keys()):
            pair = (then.get(access_id, ()), now.get(access_id, ()))
            if pair[0] != pair[1]:
                self._differ(evaluation, None, access_id, pair, "the policies find something else than is on record")

    def _fail(self, evaluation: Evaluation, reason: str) -> None:
        """Count decisions that cannot be made again as different: the cycle says that they were made."""
        then = _by_item(evaluation.asked.findings)
        for one in evaluation.decisions:
            self._different += 1
            self._differ(evaluation, one, one.line.access_id, (then.get(one.line.access_id, ()), ()), reason)

    def _differ(
        self, evaluation: Evaluation, one: Decision | None, access_id: str, pair: tuple[_Found, _Found], message: str
    ) -> None:
        told = evaluation.document.predicate
        then, now = ([f"{found.rule} {found.code} {found.severity} {found.effect}" for found in part] for part in pair)
        self._differences.append(
            Difference(
                sequence=told.sequence,
                cycle_id=told.cycle_id,
                leaf=None if one is None else one.index,
                access_id=access_id,
                then=tuple(then),
                now=tuple(now),
                message=message,
            )
        )


def _by_item(findings: Iterable[FindingDocument]) -> dict[str, _Found]:
    """Return findings by access item, each item's in one order: the order of a set is no promise of the policies."""
    found: dict[str, list[FindingDocument]] = {}
    for one in sorted(findings, key=lambda one: (one.rule, one.code, one.effect.rank, one.severity, one.reason)):
        found.setdefault(one.access_id, []).append(one)
    return {access_id: tuple(part) for access_id, part in found.items()}


def _difference(bundle: PolicyBundle, evaluation: Evaluation, one: Decision, then: _Found, now: _Found) -> str:
    """Say how a decision differs from what the policies say now: empty when it does not."""
    line = one.line
    if evaluation.asked.key != unit_key(line.provider, line.scope, line.principal_id):
        return "the policies were asked about another principal than the line says"
    if then != now:
        return "the policies find something else than is on record"
    rules = {rule.rule_id: rule for rule in bundle.rules}
    signed = sorted((told.rule, told.code, told.severity, told.effect, told.needs) for told in one.leaf.findings)
    again = sorted((it.rule, it.code, it.severity.value, it.effect.value, rules[it.rule].needs) for it in now)
    return "" if signed == again else "the leaf that was signed says something else than the policies"
