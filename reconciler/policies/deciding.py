"""One revision of the policies, decided on a recorded world: what it finds, what it would plan, what would hold it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from reconciler.circumstances import populations
from reconciler.core.document import EvaluationWorld, Unit, Unreadable
from reconciler.core.guard import Circumstances, hold_reasons
from reconciler.core.model import CycleId, Evaluation, HoldReason, Plan, PolicySet, Waiver
from reconciler.core.planning import make_plan
from reconciler.core.withholding import PlanningWorld, Tables, lay_out
from reconciler.evaluation import PARALLEL, Manner, evaluate
from reconciler.policies.recording import Recording
from reconciler.ports import PolicyEngine

_CYCLE: Final = CycleId("policies-diff")


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One revision, decided."""

    name: str
    policies: PolicySet
    waivers: int
    evaluation: Evaluation
    plan: Plan
    holds: tuple[HoldReason, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """A policy set with the waivers that go with it."""

    name: str
    policies: PolicySet
    waivers: tuple[Waiver, ...]


def world_of(recording: Recording, policies: PolicySet, waivers: tuple[Waiver, ...]) -> EvaluationWorld:
    """Return the recorded world as policies are asked about it."""
    return EvaluationWorld(
        cycle_id=_CYCLE,
        now=recording.now,
        snapshot=recording.snapshot,
        correlations=recording.correlations,
        roster=recording.roster,
        policies=policies,
        waivers=waivers,
        memory=recording.memory,
    )


Units = Iterable[Unit | Unreadable]


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What deciding need not make, and how much of the machine it takes."""

    units: Units | None = None
    laid_out: Tables | None = None
    at_once: int = PARALLEL
    """Requests under way at a time."""


def decide(recording: Recording, revision: Revision, engine: PolicyEngine, made: Made = Made()) -> Side:
    """Decide a recorded world by one revision. Raises `PolicyError` where the engine cannot."""
    world = world_of(recording, revision.policies, revision.waivers)
    evaluation = evaluate(engine, world, manner=Manner(made=made.units, at_once=made.at_once))
    return planned(recording, revision, evaluation, made.laid_out)


def planned(recording: Recording, revision: Revision, evaluation: Evaluation, tables: Tables | None) -> Side:
    """Return what a revision comes to that found this."""
    planning = replace(
        _planning(recording),
        findings=evaluation.findings,
        undecided=frozenset(evaluation.unknown),
        waivers=revision.waivers,
        policy_digest=revision.policies.digest,
    )
    plan = make_plan(planning, tables)
    return weighed(recording, revision.policies, evaluation, plan, name=revision.name, waivers=revision.waivers)


def laid_out(recording: Recording) -> Tables:
    """Lay a recorded world out for the plans of every revision."""
    return lay_out(_planning(recording))


def _planning(recording: Recording) -> PlanningWorld:
    """Return the recorded world as plans are made of it, before anything was found."""
    return PlanningWorld(
        cycle_id=_CYCLE,
        now=recording.now,
        planned_at=recording.now,
        snapshot=recording.snapshot,
        correlations=recording.correlations,
        findings=(),
        reach=recording.reach,
        protection=recording.protection,
        min_admins=recording.limits.min_admins,
        policy_digest="",
        roster_digest=recording.roster.digest,
    )


def weighed(
    recording: Recording,
    policies: PolicySet,
    evaluation: Evaluation,
    plan: Plan,
    *,
    name: str = "",
    waivers: tuple[Waiver, ...] | None = None,
) -> Side:
    """Return what one revision comes to, with what the guard would say; `waivers` are the recording's own if None."""
    around = Circumstances(
        now=recording.now,
        limits=recording.limits,
        populations=populations(recording.snapshot),
        touched=recording.touched,
    )
    return Side(
        name=name or policies.digest,
        policies=policies,
        waivers=sum(recording.now < one.expires_at for one in (recording.waivers if waivers is None else waivers)),
        evaluation=evaluation,
        plan=plan,
        holds=hold_reasons(plan, around),
    )
