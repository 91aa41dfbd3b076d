"""The facts of a cycle for its record: what was known of roster, scopes and limits, in counts and digests."""

from inventory.model import Credential, Grant, ProviderInventory, Session
from inventory.roster.model import RosterProblem, RosterVerdict
from reconciler.core.evidence import inventory_digest
from reconciler.core.guard import Limits
from reconciler.core.model import ActionResult, Approval, HoldReason, OutcomeState, VerificationState
from reconciler.core.record import GuardFacts, InventoryFacts, RosterFacts


def settled(result: ActionResult) -> bool:
    """Say whether an action ended as planned: done or already absent, and gone when read again."""
    ended = result.outcome in (OutcomeState.DONE, OutcomeState.ALREADY_ABSENT)
    return ended and result.verification is VerificationState.GONE


def roster_facts(verdict: RosterVerdict, leavers: int, max_age_seconds: int) -> RosterFacts | None:
    """Return what is known of a roster; None when it was refused and nothing is."""
    roster = verdict.roster
    if roster is None:
        return None
    return RosterFacts(
        source=roster.source,
        digest=roster.digest,
        as_of=roster.as_of,
        fetched_at=roster.fetched_at,
        rows=roster.rows,
        workers=len(roster.workers),
        leavers=leavers,
        accepted=verdict.accepted,
        max_age_seconds=max_age_seconds,
        problems=tuple(_place(one) for one in (*verdict.held, *roster.problems)),
    )


def _place(problem: RosterProblem) -> str:
    return f"line {problem.line}, column {problem.column}: {problem.code}"


def inventory_facts(inventory: ProviderInventory) -> InventoryFacts:
    """Return what is known of one scope."""
    return InventoryFacts(
        provider=inventory.provider,
        provider_type=inventory.provider_type,
        scope=inventory.scope,
        complete=inventory.complete,
        started_at=inventory.started_at,
        finished_at=inventory.finished_at,
        digest=inventory_digest(inventory),
        principals=len(inventory.principals),
        credentials=sum(isinstance(item, Credential) for item in inventory.items),
        grants=sum(isinstance(item, Grant) for item in inventory.items),
        sessions=sum(isinstance(item, Session) for item in inventory.items),
        api_calls=inventory.api_calls,
        coverage=inventory.coverage,
        errors=inventory.errors,
    )


def guard_facts(limits: Limits, holds: tuple[HoldReason, ...], approval: Approval | None) -> GuardFacts:
    """Return the limits in force and what they said."""
    return GuardFacts(
        max_principals=limits.max_principals,
        max_percent=limits.max_percent,
        percent_population=limits.percent_population,
        window_seconds=limits.window_seconds,
        min_admins=limits.min_admins,
        plan_ttl_seconds=limits.plan_ttl_seconds,
        approvals_needed=limits.approvals_needed,
        hold_reasons=holds,
        approval=approval,
    )
