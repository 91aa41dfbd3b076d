"""Builders of the world that a plan is made of: a leaver whose items are found wrong, and all may be taken."""

from dataclasses import replace
from typing import Any

from inventory.model import AccessItem, ArtefactKind, Principal
from inventory.roster.model import WorkerId
from reconciler.core.model import Correlation, CorrelationState, CycleId, Effect, Finding, Mode, Plan
from reconciler.core.planning import make_plan
from reconciler.core.withholding import PlanningWorld, Reach
from tests import builders

ALL = frozenset((kind, effect) for kind in ArtefactKind for effect in (Effect.QUARANTINE, Effect.REVOKE))


def reach(mode: Mode = Mode.ENFORCE, effects: frozenset[tuple[ArtefactKind, Effect]] = ALL) -> Reach:
    """Build what can be carried out at the test's provider."""
    return Reach(provider_type="aws_iam", effects=effects, account_contains=True, mode=mode)


def match(principal: Principal, confidence: int = 98, **changes: Any) -> Correlation:
    """Build a match of a principal with the leaver E1001."""
    sure = Correlation(
        provider=principal.provider,
        principal_id=principal.principal_id,
        state=CorrelationState.MATCHED,
        worker_id=WorkerId("E1001"),
        rule="employee_id",
        confidence=confidence,
        identity=True,
    )
    return replace(sure, **changes)


def plan_for(
    items: tuple[AccessItem, ...],
    principals: tuple[Principal, ...] = (builders.principal(),),
    findings: tuple[Finding, ...] | None = None,
    **changes: object,
) -> Plan:
    """Plan for the leaver's items, all of them found wrong unless the test says otherwise."""
    world = PlanningWorld(
        cycle_id=CycleId("c1"),
        now=builders.NOW,
        planned_at=builders.NOW,
        snapshot=builders.snapshot(builders.inventory(principals, items)),
        correlations=tuple(match(one) for one in principals),
        findings=tuple(builders.finding(item) for item in items) if findings is None else findings,
        reach={builders.PROVIDER: reach()},
        policy_digest="sha256:p",
        roster_digest="sha256:r",
    )
    return make_plan(replace(world, **changes))  # type: ignore[arg-type] # tests name real fields
