"""What stops a plan: the check between deciding and acting.

`guard` turns a `Plan` into an `ApprovedPlan` or a `HeldPlan`; nothing in between. A held plan does nothing at all:
there is no "first K". The executor's type accepts only an `ApprovedPlan`, and an `ApprovedPlan` checks the limits
itself when it is made, so no path, test or console can hold one that breaks them.

Whole numbers only: a percentage is compared as `touched * 100 > population * percent`.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from inventory.model import PrincipalId, PrincipalKind, ProviderName, ScopeId
from reconciler.core.errors import LimitExceeded
from reconciler.core.model import Action, Approval, Effect, HoldCode, HoldReason, Need, Plan, Touch


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much one cycle, and one sliding window, may take."""

    max_principals: int = 25
    """Most principals of one provider that may be touched, this cycle and the window together."""
    max_percent: int = 10
    """Most percent of a provider's principals, where it has at least `percent_population` of them."""
    percent_population: int = 100
    """Below this many principals a percentage says nothing; the count always holds."""
    window_seconds: int = 24 * 3600
    min_admins: int = 2
    """Administrators that must remain in a scope after the plan."""
    plan_ttl_seconds: int = 15 * 60
    approvals_needed: int = 1
    """Accounts that have to approve a held plan, each for itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Population:
    """How many principals a provider has, and who of them we are."""

    provider: ProviderName
    principals: int
    own_principals: tuple[PrincipalId, ...] = ()
    identity_known: bool = False
    complete_scopes: tuple[ScopeId, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """All that the guard looks at besides the plan."""

    now: datetime
    limits: Limits
    populations: tuple[Population, ...]
    touched: tuple[Touch, ...] = ()
    """Principals named by intents within the window."""
    roster_holds: tuple[HoldReason, ...] = ()
    novelties: tuple[HoldReason, ...] = ()
    """What is new and must observe first: policy revision, daemon version, provider."""
    approval: Approval | None = None

    def population(self, provider: ProviderName) -> Population:
        """Return the population of a provider; an unknown one is empty, without identity or complete scope."""
        for entry in self.populations:
            if entry.provider == provider:
                return entry
        return Population(provider=provider, principals=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovedPlan:
    """A plan within the limits, or released by an approval of its digest. The only thing that executes.

    Raises `LimitExceeded` when made of a plan that must be held.
    """

    plan: Plan
    circumstances: Circumstances
    lifted: tuple[HoldReason, ...] = ()
    """Reasons that the approval lifted."""

    def __post_init__(self) -> None:
        reasons = hold_reasons(self.plan, self.circumstances)
        barred = [reason for reason in reasons if not _lifts(self.circumstances, self.plan, reason)]
        if barred:
            raise LimitExceeded(
                f"plan {self.plan.digest} must be held: {barred[0].message}", advice="hold it and ask for an approval"
            )
        forbidden = [action for action in self.plan.actions if _forbidden(action, self.circumstances)]
        if forbidden:
            raise LimitExceeded(
                f"plan {self.plan.digest} names a principal that may never be acted upon: {forbidden[0].action_id}",
                advice="this is a defect of the planner: report it",
            )

    @property
    def limits(self) -> Limits:
        """Return the limits it was checked against."""
        return self.circumstances.limits

    @property
    def expires_at(self) -> datetime:
        """Return the instant after which none of its actions may begin."""
        return self.plan.created_at + timedelta(seconds=self.limits.plan_ttl_seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldPlan:
    """A plan of which nothing is done, and why."""

    plan: Plan
    reasons: tuple[HoldReason, ...]

    @property
    def releasable(self) -> bool:
        """Say whether an approval of its digest can release it."""
        return all(reason.code.releasable for reason in self.reasons)


def guard(plan: Plan, circumstances: Circumstances) -> ApprovedPlan | HeldPlan:
    """Approve the whole plan or hold the whole plan."""
    reasons = hold_reasons(plan, circumstances)
    if any(not _lifts(circumstances, plan, reason) for reason in reasons):
        return HeldPlan(plan=plan, reasons=reasons)
    return ApprovedPlan(plan=plan, circumstances=circumstances, lifted=reasons)


def hold_reasons(plan: Plan, circumstances: Circumstances) -> tuple[HoldReason, ...]:
    """Return every reason to hold a plan; none for a plan without actions."""
    if not plan.actions:
        return ()
    return (
        *circumstances.roster_holds,
        *circumstances.novelties,
        *_identity_holds(plan, circumstances),
        *_scope_holds(plan, circumstances),
        *_cap_holds(plan, circumstances),
    )


def _lifts(circumstances: Circumstances, plan: Plan, reason: HoldReason) -> bool:
    """Say whether the approvals release the plan from a reason: only from one that each approver was shown."""
    approval, needed = circumstances.approval, circumstances.limits.approvals_needed
    if approval is None:
        return False
    given = (approval, *approval.beside)
    if needed > 1 and len({one.uid for one in given} - {None}) < needed:
        return False
    return reason.code.releasable and all(one.plan_digest == plan.digest and reason.code in one.lifts for one in given)


def joint(approvals: Sequence[Approval], needed: int) -> Approval | None:
    """Return the approvals of one plan as one, or None while fewer accounts than needed have approved.

    Where one is enough, the oldest counts. Where more are needed, each account counts once, by its latest word; an
    approval of which the account is not known counts for nobody. Together they lift what every approver was shown.
    """
    if needed == 1:
        return approvals[0] if approvals else None
    latest = {one.uid: one for one in approvals if one.uid is not None}
    if len(latest) < needed:
        return None
    first, *others = sorted(latest.values(), key=lambda one: one.approved_at)[:needed]
    shown = set(first.lifts).intersection(*(one.lifts for one in others))
    return replace(first, lifts=tuple(sorted(shown)), beside=tuple(others))


def _identity_holds(plan: Plan, circumstances: Circumstances) -> list[HoldReason]:
    providers = sorted({action.provider for action in plan.actions})
    return [
        HoldReason(
            code=HoldCode.IDENTITY_UNKNOWN,
            provider=provider,
            message=f"{provider} did not say who we are there, so our own access cannot be kept safe",
        )
        for provider in providers
        if not circumstances.population(provider).identity_known
    ]


def _scope_holds(plan: Plan, circumstances: Circumstances) -> list[HoldReason]:
    scopes = sorted({(action.provider, action.scope) for action in plan.actions if action.needs is Need.SCOPE})
    return [
        HoldReason(
            code=HoldCode.SCOPE_INCOMPLETE,
            provider=provider,
            message=f"{provider}/{scope} was not read whole, and an action rests on what was not seen there",
        )
        for provider, scope in scopes
        if scope not in circumstances.population(provider).complete_scopes
    ]


def _cap_holds(plan: Plan, circumstances: Circumstances) -> list[HoldReason]:
    groups: dict[tuple[ProviderName, str], set[PrincipalId]] = defaultdict(set)
    named = [(action.provider, action.effect, action.principal.principal_id) for action in plan.actions]
    named += [(touch.provider, touch.effect, touch.principal_id) for touch in circumstances.touched]
    acting = {action.provider for action in plan.actions}
    for provider, effect, principal_id in named:
        if provider in acting:
            groups[provider, "any effect"].add(principal_id)
            groups[provider, effect.value].add(principal_id)
    holds = []
    for (provider, effect_name), principals in sorted(groups.items()):
        holds += _cap_hold(circumstances, provider, effect_name, len(principals))
    return holds


def _cap_hold(circumstances: Circumstances, provider: ProviderName, effect: str, count: int) -> list[HoldReason]:
    limits = circumstances.limits
    population = circumstances.population(provider).principals
    hours = limits.window_seconds // 3600
    if count > limits.max_principals:
        message = f"{provider}: {count} principals ({effect}) within {hours} h; the limit is {limits.max_principals}"
        return [HoldReason(code=HoldCode.CAP_COUNT, provider=provider, message=message)]
    if population >= limits.percent_population and count * 100 > population * limits.max_percent:
        message = (
            f"{provider}: {count} of {population} principals ({effect}) within {hours} h; "
            f"the limit is {limits.max_percent} %"
        )
        return [HoldReason(code=HoldCode.CAP_PERCENT, provider=provider, message=message)]
    return []


def _forbidden(action: Action, circumstances: Circumstances) -> bool:
    population = circumstances.population(action.provider)
    return (
        action.principal.kind not in (PrincipalKind.HUMAN, PrincipalKind.EXTERNAL)
        or action.principal.principal_id in population.own_principals
        or action.effect not in (Effect.QUARANTINE, Effect.REVOKE)
        or not action.principal.read.whole
        or not action.item.live
    )
