"""The first half of a cycle: read the roster and the providers, tell whose is what, ask the policies, make a plan.

Reads only. `look` is what every cycle begins with, and all that `explain` does.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from inventory.collection import Source
from inventory.model import Principal, ProviderName, Snapshot
from inventory.provider import Clock, Interest
from inventory.roster.model import Roster, RosterVerdict, WorkerId
from inventory.roster.source import RosterSource
from reconciler.attestation import Attester
from reconciler.core.correlation import (
    CONFIDENCE,
    CorrelationSettings,
    RosterIndex,
    correlate,
    correlate_one,
    index_roster,
)
from reconciler.core.document import EvaluationWorld
from reconciler.core.errors import ReconcilerError, Superseded
from reconciler.core.grounds import GroundsKeeper
from reconciler.core.guard import Limits
from reconciler.core.memory import NOTHING, Memory, from_text
from reconciler.core.model import (
    ActionResult,
    Approval,
    Correlation,
    CorrelationState,
    CycleId,
    Evaluation,
    HoldReason,
    Mode,
    Plan,
    PolicySet,
)
from reconciler.core.planning import make_plan
from reconciler.core.record import Breadth, CycleRecord, PolicyChange
from reconciler.core.standing import Standing, standing_of
from reconciler.core.verdicts import leavers_of
from reconciler.core.waivers import WaiverSet
from reconciler.core.withholding import PlanningWorld, Protection, Reach
from reconciler.evaluation import evaluate
from reconciler.ports import (
    LONGEST_OBSERVED,
    AuditLog,
    Journal,
    Observer,
    PolicyEngine,
    Progress,
    Revoker,
    StreamLag,
)
from reconciler.rereading import Patience
from reconciler.surveys import Ground, Sight, Survey, everything


class RosterRefused(ReconcilerError):
    """The roster feed cannot be read as a roster: nothing is decided on its word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CycleRules:
    """The settings of a cycle, as plain values."""

    mode: Mode
    limits: Limits
    protection: Protection
    correlation: CorrelationSettings
    reach: Mapping[ProviderName, Reach]
    one_by_one: frozenset[ProviderName]
    """Providers where writes are not made side by side."""
    version: str
    config_digest: str
    roster_max_age_seconds: int
    approval_ttl_seconds: int
    patience: Patience
    """How long reading again may take to show the end state."""
    collect_deadline_seconds: float
    parallel_principals: int = 4
    """Principals of one provider that are acted upon at once."""
    parallel_actions: int = 8
    """Actions on one principal that are made at once; its own removal waits for the others."""


class NoAuditLog:
    """Implements `ports.AuditLog` for a house without streams: the journal alone tells."""

    def record(self, record: CycleRecord) -> tuple[str, ...]:  # noqa: ARG002 - the signature is the port's
        """Keep nothing."""
        return ()

    def hand_over(self) -> tuple[str, ...]:
        """Hand over nothing."""
        return ()

    def lags(self) -> tuple[StreamLag, ...]:
        """Say that nothing waits, for there is no stream."""
        return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CycleHouse:
    """Everything outside that a cycle works with. In observe mode `revokers` is empty: no write client exists."""

    clock: Clock
    new_cycle_id: Callable[[], str]
    journal: Journal
    attester: Attester
    engine: PolicyEngine
    roster: RosterSource
    load_policies: Callable[[], PolicySet]
    load_waivers: Callable[[datetime], WaiverSet]
    sources: Mapping[ProviderName, Source]
    revokers: Mapping[ProviderName, Revoker]
    observer: Observer
    own_names: frozenset[tuple[ProviderName, str]] = frozenset()
    """As whom the revokers write: provider, and a principal id or a value of the principal's address."""
    decide_at: datetime | None = None
    """Another instant to decide as of; only in observe mode."""
    audit: AuditLog = field(default_factory=NoAuditLog)
    boot: str = ""
    """Names the start of the machine that the clock's monotonic seconds belong to; empty where nobody knows it."""
    urgent: Callable[[], bool] = lambda: False
    """Says that something waits which cannot wait; a cycle that has not begun to act then gives way."""
    keep_snapshot: Callable[["Picture", "CycleRules"], None] = lambda *_: None
    """Records now and then what a whole cycle saw, to try policies on. Raises OSError when it cannot be written."""
    first_look: Callable[["Picture", "CycleRules", "Occasion"], PolicyChange | None] = lambda *_: None
    """Compares a new policy revision with the one before, on what a whole cycle saw."""


@dataclass(slots=True, kw_only=True)
class Notes:
    """What is known so far: filled as the story goes on, so that a failure is attested with all that came before."""

    cycle_id: CycleId
    sequence: int
    started_at: datetime
    latest: datetime
    """The latest instant that the journal knows of a cycle, or the start: a clock that was set back revives nothing."""
    decide_at: datetime
    """The instant that the policies decide as of: the start, but for a rehearsal."""
    breadth: Breadth = Breadth.WHOLE
    roster: RosterVerdict | None = None
    leavers: int = 0
    about: frozenset[WorkerId] | None = None
    """Leavers that the cycle can give a verdict on; None for all."""
    snapshot: Snapshot | None = None
    correlations: tuple[Correlation, ...] = ()
    standing: Standing | None = None
    policies: PolicySet | None = None
    waivers: WaiverSet | None = None
    memory: Memory = NOTHING
    evaluation: Evaluation | None = None
    grounds: GroundsKeeper = field(default_factory=GroundsKeeper)
    """What the decisions rest on, for those who want to repeat them."""
    plan: Plan | None = None
    new_policy: bool = False
    """No whole cycle has gone by this policy revision before."""
    policy_change: PolicyChange | None = None
    holds: tuple[HoldReason, ...] = ()
    held: bool = False
    approval: Approval | None = None
    results: tuple[ActionResult, ...] = ()
    errors: list[str] = field(default_factory=list)
    failed: bool = False


def say(house: CycleHouse, stage: str, message: str) -> None:
    """Tell whoever watches which step begins or ended."""
    house.observer.progress(Progress(stage=stage, message=message))


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What a cycle sees and would do, before anything is guarded or done."""

    world: EvaluationWorld
    evaluation: Evaluation
    planning: PlanningWorld
    """What the plan was made of, for who wants to know what other findings would have made of it."""
    plan: Plan
    sight: Sight
    refused_waivers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Occasion:
    """When a policy revision is compared with the one before."""

    new: bool
    """No whole cycle has gone by it before this one."""
    urgent: Callable[[], bool]
    """Says that something waits which cannot wait."""


def look(notes: Notes, house: CycleHouse, rules: CycleRules, survey: Survey = everything) -> Picture:
    """Collect, correlate, evaluate and plan; what is known so far stands in `notes`, also when this raises.

    Raises `RosterRefused`, `PolicyError`, a `ProviderError` that hits everything, or `Superseded`.
    """
    roster, index = _read_roster(notes, house, rules)
    sight = _collect(notes, house, rules, survey, interest_in(index, roster, notes.decide_at))
    give_way(house)
    notes.correlations = correlate(sight.snapshot.principals(), sight.snapshot.items(), index)
    give_way(house)
    if sight.breadth is Breadth.WHOLE:
        notes.standing = standing_of(sight.snapshot, notes.correlations, sight.populations, notes.sequence)
    world = _world(notes, house, sight, roster)
    evaluation = _evaluate(notes, house, world)
    give_way(house)
    planning = _planning(notes, house, rules, world, evaluation)
    notes.plan = plan = make_plan(planning)
    give_way(house)
    refused = notes.waivers.refused if notes.waivers else ()
    return Picture(
        world=world, evaluation=evaluation, planning=planning, plan=plan, sight=sight, refused_waivers=refused
    )


def give_way(house: CycleHouse) -> None:
    """Raise `Superseded` where something waits that cannot wait."""
    if house.urgent():
        raise Superseded("gave way to a leaver", advice="nothing was done; the whole pass follows")


def _read_roster(notes: Notes, house: CycleHouse, rules: CycleRules) -> tuple[Roster, RosterIndex]:
    say(house, "collect", "reading the roster")
    notes.roster = verdict = house.roster.load(house.journal.last_roster())
    if verdict.roster is None:
        first = verdict.refused[0] if verdict.refused else None
        where = f"line {first.line}, column {first.column}: {first.message}" if first else "nothing was read"
        raise RosterRefused(f"the roster was refused: {where}", advice="see docs/roster.md for the code")
    notes.leavers = len(leavers_of(verdict.roster.workers, notes.decide_at))
    return verdict.roster, index_roster(verdict.roster, rules.correlation)


def interest_in(index: RosterIndex, roster: Roster, now: datetime) -> Interest:
    """Say whom to read live: whoever may be a leaver's, and whoever nobody is surely known to own.

    A match by name alone is no owner: a principal can call itself what it likes.
    """
    leavers = {worker.worker_id for worker in leavers_of(roster.workers, now)}

    def interest(principal: Principal) -> bool:
        known = correlate_one(principal, index)
        if known.state is CorrelationState.ORPHAN or known.confidence <= CONFIDENCE["display_name"]:
            return True
        return any(match.worker_id in leavers for match in known.candidates)

    return interest


def _collect(notes: Notes, house: CycleHouse, rules: CycleRules, survey: Survey, interest: Interest) -> Sight:
    say(house, "collect", f"reading {len(house.sources)} providers")
    if not house.sources:
        notes.errors.append("no provider is configured: nothing was read")
    sight = survey(
        Ground(
            sources=house.sources,
            clock=house.clock,
            interest=interest,
            own_names=_own_names(house, rules),
            deadline_seconds=rules.collect_deadline_seconds,
        )
    )
    notes.snapshot, notes.breadth, notes.about = sight.snapshot, sight.breadth, sight.about
    notes.errors += sight.errors
    principals = sum(len(inventory.principals) for inventory in sight.snapshot.inventories)
    items = sum(len(inventory.items) for inventory in sight.snapshot.inventories)
    say(house, "correlate", f"{principals} principals, {items} access items")
    return sight


OWN = "own"
"""Kind of observation: as whom a revoker said that it writes, as the provider's name and a name there."""


def own_texts(house: CycleHouse) -> frozenset[str]:
    """Return as whom the revokers write, as the journal keeps it; a provider alone where that is nobody listed.

    Longer ones than the journal keeps are left out: an LDAP entry is known by its short id too.
    """
    texts = {f"{provider} {name}" for provider, name in house.own_names} | {f"{name} " for name in house.revokers}
    return frozenset(text for text in texts if len(text) <= LONGEST_OBSERVED)


def _own_names(house: CycleHouse, rules: CycleRules) -> frozenset[tuple[ProviderName, str]]:
    """Return as whom the revokers write. A cycle that observes has none to ask, and goes by what they said before.

    So a plan spares whom the next acting cycle spares, and has the same digest. An acting cycle never goes by it: a
    principal that a revoker has given up is like any other.
    """
    if rules.mode is not Mode.OBSERVE:
        return house.own_names
    said = [value.partition(" ") for value in house.journal.all_observed(OWN)]
    asked = {provider for provider, _, _ in said}
    for name in sorted(house.sources):
        if name not in asked and rules.reach[name].effects:
            say(house, "plan", f"{name}: as whom its revoker writes is not known until a cycle may act there")
    return house.own_names | {(ProviderName(provider), name) for provider, _, name in said if name}


def _world(notes: Notes, house: CycleHouse, sight: Sight, roster: Roster) -> EvaluationWorld:
    notes.policies = policies = house.load_policies()
    notes.waivers = waivers = house.load_waivers(notes.decide_at)
    notes.errors += (*policies.doubts, *waivers.errors())
    notes.memory = Memory(
        keys=from_text(house.journal.all_observed("key")), persons=from_text(house.journal.all_observed("person"))
    )
    return EvaluationWorld(
        cycle_id=notes.cycle_id,
        now=notes.decide_at,
        snapshot=sight.snapshot,
        correlations=notes.correlations,
        roster=roster,
        policies=policies,
        waivers=waivers.whole,
        asked=sight.asked,
        memory=notes.memory,
    )


def _evaluate(notes: Notes, house: CycleHouse, world: EvaluationWorld) -> Evaluation:
    say(house, "evaluate", "asking the policy engine")
    notes.evaluation = evaluation = evaluate(house.engine, world, lambda: give_way(house), notes.grounds)
    notes.errors += evaluation.problems
    say(house, "evaluate", f"{evaluation.evaluated} access items, {len(evaluation.findings)} findings")
    return evaluation


def protected_today(protection: Protection, roster: Roster) -> Protection:
    """Return the protection with the ids that protected workers have today, beside those of earlier employments."""
    today = {one.worker_id for one in roster.workers if not protection.workers.isdisjoint(one.former_ids)}
    return replace(protection, workers=protection.workers | today)


def _planning(
    notes: Notes, house: CycleHouse, rules: CycleRules, world: EvaluationWorld, evaluation: Evaluation
) -> PlanningWorld:
    return PlanningWorld(
        cycle_id=world.cycle_id,
        now=world.now,
        planned_at=house.clock.now(),
        snapshot=world.snapshot,
        correlations=world.correlations,
        findings=evaluation.findings,
        undecided=frozenset(evaluation.unknown),
        waivers=world.waivers,
        held_waivers=notes.waivers.held if notes.waivers else (),
        reach=rules.reach,
        protection=protected_today(rules.protection, world.roster),
        min_admins=rules.limits.min_admins,
        policy_digest=world.policies.digest,
        roster_digest=world.roster.digest,
    )
