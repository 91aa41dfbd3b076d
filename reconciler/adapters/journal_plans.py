"""The held plans of the journal, for who decides about them while the daemon runs. Reads only, without the lease."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, or_, select

from reconciler.adapters.journal_database import Database
from reconciler.adapters.journal_schema import cycles, intents, plans
from reconciler.adapters.journal_values import load_holds, load_instant, load_plan
from reconciler.core.canonical import rfc3339
from reconciler.core.model import HoldReason, Plan
from reconciler.core.record import Breadth


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptPlan:
    """A held plan as the journal keeps it; of plans that are alike, the latest."""

    plan: Plan
    reasons: tuple[HoldReason, ...]
    expires_at: datetime
    sequence: int
    """Of the cycle that held it."""
    standing: bool
    """Whether the last whole cycle came to it, or a smaller one since: otherwise a whole look at the world saw another.
    """
    carried_out: bool
    """Whether acts were begun from it since it was held."""


def held_plans(
    database: Database, *, unexpired_at: datetime | None = None, beginning: str = ""
) -> tuple[KeptPlan, ...]:
    """Return held plans, the latest first: of any age, or those that can still be approved at an instant.

    `beginning` is what their digest begins with. Raises `JournalError`.
    """
    latest = select(func.max(plans.c.position)).where(plans.c.held).group_by(plans.c.plan_digest)
    whole = func.coalesce(plans.c.breadth, Breadth.WHOLE.value) == Breadth.WHOLE.value
    last = select(plans.c.position, plans.c.plan_digest).where(whole).order_by(plans.c.position.desc()).limit(1)
    last_whole = last.subquery()
    standing = or_(
        plans.c.position >= func.coalesce(select(last_whole.c.position).scalar_subquery(), 0),
        plans.c.plan_digest == select(last_whole.c.plan_digest).scalar_subquery(),
    )
    begun = (
        select(func.count())
        .where(intents.c.plan_digest == plans.c.plan_digest, intents.c.recorded_at >= cycles.c.started_at)
        .correlate(plans, cycles)
        .scalar_subquery()
    )
    query = (
        select(plans, cycles.c.sequence, standing.label("standing"), begun.label("begun"))
        .join_from(plans, cycles, plans.c.cycle_id == cycles.c.cycle_id)
        .where(plans.c.position.in_(latest), plans.c.plan_digest.startswith(beginning, autoescape=True))
        .order_by(plans.c.position.desc())
    )
    if unexpired_at is not None:
        query = query.where(plans.c.expires_at > rfc3339(unexpired_at))
    with database.reading("read the held plans") as connection:
        return tuple(
            KeptPlan(
                plan=load_plan(row.document),
                reasons=load_holds(row.hold_reasons),
                expires_at=load_instant(row.expires_at),
                sequence=row.sequence,
                standing=row.standing,
                carried_out=row.begun > 0,
            )
            for row in connection.execute(query)
        )
