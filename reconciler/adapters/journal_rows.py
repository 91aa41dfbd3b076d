"""The queries that several methods of the journal share, and rows back into the values of the port."""

from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Row, Select, func, select

from inventory.model import PrincipalId, ProviderName
from reconciler.adapters.journal_schema import (
    approval_uses,
    approvals,
    epochs,
    intents,
    outcomes,
    undo_intents,
    undos,
    verifications,
)
from reconciler.adapters.journal_values import load_action, load_before, load_instant
from reconciler.core.canonical import rfc3339
from reconciler.core.errors import LeaseLost
from reconciler.core.model import CycleId, Effect, Mode, OutcomeState, PlanDigest, Touch, VerificationState
from reconciler.core.record import CycleOutcome
from reconciler.ports import CycleEntry, Intent, JournalEntry, Uptime


def current_epoch(connection: Connection) -> int:
    """Return the newest epoch, 0 before the first."""
    return int(connection.execute(select(func.coalesce(func.max(epochs.c.epoch), 0))).scalar_one())


def refuse_other(epoch: int, connection: Connection) -> None:
    """Raise `LeaseLost` unless an epoch is the newest."""
    current = current_epoch(connection)
    if current != epoch:
        msg = f"this process holds epoch {epoch} of the journal, the writer now holds {current}"
        raise LeaseLost(msg, advice="another process took over: let this one end")


def since_uptime(uptime: Uptime | None) -> tuple[ColumnElement[bool], ...]:
    """Return the condition that an intent's writer had taken over since an uptime; none where it is not known."""
    if uptime is None:
        return ()
    since = (epochs.c.boot == uptime.boot, epochs.c.uptime_seconds >= uptime.seconds)
    return (intents.c.epoch.in_(select(epochs.c.epoch).where(*since)),)


def pending_query(now: datetime) -> Select[tuple[object, ...]]:
    """Return the query of approvals that are neither used nor expired, oldest first."""
    return (
        select(approvals)
        .join_from(approvals, approval_uses, isouter=True)
        .where(approval_uses.c.approval.is_(None), approvals.c.expires_at > rfc3339(now))
        .order_by(approvals.c.position)
    )


def entries_query() -> Select[tuple[object, ...]]:
    """Return the query of intents with outcome, latest verification and undo, in the order they were made."""
    later = verifications.alias("later")
    newest = (
        select(func.max(later.c.position)).where(later.c.action_id == intents.c.action_id).correlate(intents)
    ).scalar_subquery()
    begun = select(func.max(undo_intents.c.recorded_at)).where(undo_intents.c.action_id == intents.c.action_id)
    return (
        select(
            intents,
            begun.correlate(intents).scalar_subquery().label("undo_begun_at"),
            outcomes.c.outcome,
            outcomes.c.detail,
            outcomes.c.recorded_at.label("outcome_at"),
            verifications.c.state,
            verifications.c.recorded_at.label("verified_at"),
            undos.c.recorded_at.label("undone_at"),
        )
        .outerjoin_from(intents, outcomes)
        .outerjoin(verifications, verifications.c.position == newest)
        .outerjoin(undos, undos.c.action_id == intents.c.action_id)
        .order_by(intents.c.position)
    )


def load_touch(row: Row[str, str, str]) -> Touch:
    """Return who was touched at a provider, and how."""
    return Touch(
        provider=ProviderName(row.provider), principal_id=PrincipalId(row.principal_id), effect=Effect(row.effect)
    )


def load_cycle_entry(row: Row[tuple[object, ...]]) -> CycleEntry:
    """Return a row of the cycles, with its end where it has one."""
    return CycleEntry(
        sequence=row.sequence,
        cycle_id=CycleId(row.cycle_id),
        mode=Mode(row.mode),
        started_at=load_instant(row.started_at),
        outcome=None if row.outcome is None else CycleOutcome(row.outcome),
        finished_at=_instant(row.finished_at),
        statement_digest=row.statement_digest or "",
    )


def load_journal_entry(row: Row[tuple[object, ...]]) -> JournalEntry:
    """Return a row of the intents, with what is known of its end."""
    return JournalEntry(
        intent=Intent(
            action=load_action(row.action),
            before=load_before(row.before),
            cycle_id=CycleId(row.cycle_id),
            epoch=row.epoch,
            plan_digest=PlanDigest(row.plan_digest),
            policy_digest=row.policy_digest,
            recorded_at=load_instant(row.recorded_at),
        ),
        outcome=None if row.outcome is None else OutcomeState(row.outcome),
        outcome_detail=row.detail or "",
        outcome_at=_instant(row.outcome_at),
        verification=None if row.state is None else VerificationState(row.state),
        verified_at=_instant(row.verified_at),
        undo_begun_at=_instant(row.undo_begun_at),
        undone_at=_instant(row.undone_at),
    )


def _instant(text: str | None) -> datetime | None:
    return None if text is None else load_instant(text)
