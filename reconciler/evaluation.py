"""The evaluate stage: puts policies and facts into an engine, asks about every principal, believes nothing unchecked.

What cannot be decided is unknown: neither clean nor a reason to act. One principal on which a rule fails is found by
halving its request and does not hold up the others; an engine that cannot be trusted at all fails the cycle.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from threading import Lock

from inventory.model import PrincipalId, ProviderName
from reconciler.core.canaries import canary_units, canary_workers, check_canaries
from reconciler.core.canonical import Json
from reconciler.core.decision import Expectation, check_decision
from reconciler.core.document import (
    EvaluationWorld,
    Unit,
    Unreadable,
    batches,
    request,
    roster_document,
    units,
    waivers_document,
    workers_named,
)
from reconciler.core.errors import PolicyError, Undecided
from reconciler.core.grounds import GroundsKeeper
from reconciler.core.model import EngineInfo, Evaluation, Finding, Rule
from reconciler.core.schemas import FindingDocument
from reconciler.ports import PolicyEngine

PARALLEL = 3
"""Requests under way at once: an engine works on one with one thread (docs/policies.md, "Requests")."""
HALVINGS = 400
"""Extra requests a cycle spends on finding principals that a rule fails on: about 40 of them in requests of 500 items;
beyond it whole requests stay unknown."""
FAILURES_IN_A_ROW = 3
"""Requests without any answer, one after another, after which the engine counts as down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How an evaluation goes about it."""

    made: Iterable[Unit | Unreadable] | None = None
    """The units to ask about, where somebody has made those of this very world already."""
    at_once: int = PARALLEL
    """Requests under way at a time."""
    canaries: bool = True
    """False where the policies are a part of some that have answered the canaries as a whole: the rule that takes the
    leaver's key may lie in the other part."""


def evaluate(
    engine: PolicyEngine,
    world: EvaluationWorld,
    give_way: Callable[[], None] = lambda: None,
    grounds: GroundsKeeper | None = None,
    manner: Manner = Manner(),
) -> Evaluation:
    """Return what the policies say of a snapshot.

    `give_way` is called between two requests and may raise. `grounds` is given what was asked and answered about each
    principal with a finding.

    Raises `PolicyError` when the engine holds other policies than ours, answers the canaries wrongly, is down, or
    changes while it is asked: then nothing is known of anybody.
    """
    roster = roster_document(world.roster, workers_named(world))
    waivers = waivers_document(world.waivers, world.now)
    workers = roster["workers"]
    everyone = {**(workers if isinstance(workers, dict) else {}), **canary_workers(world.roster, world.now)}
    loaded = engine.load(world.policies, {"roster": {**roster, "workers": everyone}, "waivers": waivers})
    _check_revision(loaded, world)
    expected = Expectation(
        roster=_meta(roster), waivers=_meta(waivers), rules=frozenset(rule.rule_id for rule in world.policies.rules)
    )
    asking = _Asking(engine, world, expected, manner.at_once)
    if manner.canaries:
        canaries = canary_units(world)
        check_canaries(asking.ask(canaries, "canaries"), canaries)
    if grounds is not None:
        grounds.begin(world.now, roster, waivers)
    tally = _Tally({rule.rule_id: rule for rule in world.policies.rules}, world, grounds)
    with closing(asking.answers(_ready(units(world) if manner.made is None else manner.made, tally))) as answers:
        for answer in answers:
            give_way()
            tally.take(answer)
    if grounds is not None:
        grounds.end()
    if engine.info() != loaded:
        msg = "the policy engine changed its policies or its version while it was asked"
        raise PolicyError(msg, advice="start the cycle anew, and deploy policies between cycles")
    return tally.evaluation(loaded)


def _check_revision(loaded: EngineInfo, world: EvaluationWorld) -> None:
    if loaded.revision != world.policies.digest:
        msg = f"engine {loaded.name} holds policies {loaded.revision}, not {world.policies.digest}"
        raise PolicyError(msg, advice="load the same policies into the engine and into the reconciler")


def _meta(document: dict[str, Json]) -> dict[str, Json]:
    meta = document["meta"]
    return meta if isinstance(meta, dict) else {}


def _ready(made: Iterable[Unit | Unreadable], tally: "_Tally") -> Iterator[Unit]:
    """Yield the units that can be asked about, and tally the others as unknown."""
    for unit in made:
        if isinstance(unit, Unreadable):
            tally.unreadable(unit)
        else:
            yield unit


@dataclass(frozen=True, slots=True)
class _Answer:
    """What became of one request: the findings of the units decided, and the units that stay unknown."""

    decided: tuple[tuple[Unit, tuple[FindingDocument, ...]], ...] = ()
    unknown: tuple[Unit, ...] = ()
    problems: tuple[str, ...] = ()
    answered: bool = True
    """False when the engine gave no answer at all."""


@dataclass(slots=True)
class _Asking:
    """Asks an engine about batches of units, several at a time."""

    engine: PolicyEngine
    world: EvaluationWorld
    expected: Expectation
    at_once: int
    lock: Lock = field(default_factory=Lock)
    halvings: int = field(default_factory=lambda: HALVINGS)

    def ask(self, asked: tuple[Unit, ...], number: str) -> dict[str, tuple[FindingDocument, ...]]:
        """Ask once and check the answer."""
        sent = request(self.world.cycle_id, number, self.world.now, asked)
        return check_decision(self.engine.evaluate(sent), sent, self.expected)

    def answers(self, ready: Iterable[Unit]) -> Generator[_Answer, None, None]:
        """Yield the answers to all batches in order; raises `PolicyError` when the engine is not to be trusted."""
        pool = ThreadPoolExecutor(max_workers=self.at_once, thread_name_prefix="evaluate")
        try:
            pending: deque[Future[_Answer]] = deque()
            for number, batch in enumerate(batches(ready)):
                pending.append(pool.submit(self.settle, batch, str(number)))
                if len(pending) > self.at_once:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def settle(self, batch: tuple[Unit, ...], number: str) -> _Answer:
        """Ask about a batch, halving it as long as only its content is in doubt."""
        sent = request(self.world.cycle_id, number, self.world.now, batch)
        try:
            raw = self.engine.evaluate(sent)
        except Undecided as error:
            return self._halve(batch, number, error)
        except PolicyError as error:
            return _Answer(unknown=batch, problems=(f"request {number}: {error}",), answered=False)
        try:
            found = check_decision(raw, sent, self.expected)
        except Undecided as error:
            return self._halve(batch, number, error)
        return _Answer(decided=tuple((unit, found[unit.key]) for unit in batch))

    def _halve(self, batch: tuple[Unit, ...], number: str, error: Undecided) -> _Answer:
        if len(batch) == 1:
            principal = batch[0].principal
            problem = f"{principal.provider}: principal {principal.principal_id!r} could not be decided: {error}"
            return _Answer(unknown=batch, problems=(problem,))
        if not self._may_halve():
            problem = f"request {number}: {len(batch)} principals stay undecided, too many requests failed: {error}"
            return _Answer(unknown=batch, problems=(problem,))
        middle = len(batch) // 2
        first, second = self.settle(batch[:middle], f"{number}.0"), self.settle(batch[middle:], f"{number}.1")
        return _Answer(
            decided=first.decided + second.decided,
            unknown=first.unknown + second.unknown,
            problems=first.problems + second.problems,
            answered=first.answered or second.answered,
        )

    def _may_halve(self) -> bool:
        with self.lock:
            self.halvings -= 2
            return self.halvings >= 0


@dataclass(slots=True)
class _Tally:
    """Gathers the answers of a cycle."""

    rules: dict[str, Rule]
    world: EvaluationWorld
    grounds: GroundsKeeper | None
    findings: list[Finding] = field(default_factory=list)
    evaluated: int = 0
    unknown: set[tuple[ProviderName, PrincipalId]] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)
    silent: int = 0

    def unreadable(self, entry: Unreadable) -> None:
        """Count a principal that could not even be asked about."""
        self.unknown.add((entry.provider, entry.principal_id))
        self.problems.append(entry.problem)

    def take(self, answer: _Answer) -> None:
        """Count an answer; raises `PolicyError` when the engine has been silent too often in a row."""
        self.silent = 0 if answer.answered else self.silent + 1
        self.problems.extend(answer.problems)
        if self.silent >= FAILURES_IN_A_ROW:
            msg = f"the policy engine gave no answer {self.silent} times in a row: {answer.problems[-1]}"
            raise PolicyError(msg, advice="see that the engine runs and can be reached; the next cycle tries again")
        self.unknown.update((unit.principal.provider, unit.principal.principal_id) for unit in answer.unknown)
        for unit, found in answer.decided:
            self.evaluated += len(unit.items)
            self.findings.extend(self._finding(unit, raw) for raw in found)
            if found and self.grounds is not None:
                place = (unit.principal.provider, unit.principal.scope, unit.principal.principal_id)
                self.grounds.keep(place, unit.key, unit.document, [one.model_dump(mode="json") for one in found])

    def _finding(self, unit: Unit, raw: FindingDocument) -> Finding:
        rule = self.rules[raw.rule]
        pending = rule.effective_on is not None and rule.effective_on > self.world.now
        return Finding(
            provider=unit.principal.provider,
            scope=unit.principal.scope,
            principal_id=unit.principal.principal_id,
            access_id=unit.items[raw.access_id].access_id,
            kind=unit.items[raw.access_id].kind,
            worker_id=unit.worker_id,
            rule=raw.rule,
            code=raw.code,
            severity=raw.severity,
            effect=raw.effect,
            needs=rule.needs,
            reason=raw.reason,
            controls=rule.controls,
            applies_from=rule.effective_on if pending else None,
        )

    def evaluation(self, engine: EngineInfo) -> Evaluation:
        """Return everything, sorted. A finding on a principal that is unknown elsewhere is kept: it is true."""
        return Evaluation(
            engine=engine,
            findings=tuple(sorted(self.findings, key=finding_order)),
            evaluated=self.evaluated,
            unknown=tuple(sorted(self.unknown)),
            problems=tuple(sorted(self.problems)),
        )


def finding_order(finding: Finding) -> tuple[str, ...]:
    """Return what findings are sorted by: everything that tells one from another."""
    return (
        finding.provider,
        finding.scope,
        finding.principal_id,
        finding.access_id,
        finding.rule,
        finding.code,
        finding.effect,
        finding.reason,
    )
