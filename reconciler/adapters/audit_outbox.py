"""The audit trail inside the journal: made from the journal's own rows, handed over in order, from a cursor.

Whatever the journal holds and the trail does not is added by looking, not by being told: a process killed between an
act and its audit record loses nothing, since the next look finds the row without one. Adding is one transaction for
the rows it looks at, so each row makes its records exactly once.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Column, Connection, Row, Select, String, and_, cast, func, insert, literal, select

from reconciler.adapters.journal_database import Database
from reconciler.adapters.journal_schema import (
    approval_uses,
    approvals,
    audit_cursors,
    audit_records,
    cycle_ends,
    cycles,
    intents,
    outcomes,
    plans,
    undos,
    verifications,
)
from reconciler.adapters.journal_values import (
    load_action,
    load_approval,
    load_before,
    load_holds,
    load_instant,
    load_plan,
)
from reconciler.core.audit import (
    AuditKind,
    AuditRecord,
    EndedCycle,
    Step,
    act_begun,
    act_ended,
    approval_given,
    approval_spent,
    cycle_ended,
    given_back,
    inputs_refused,
    plan_made,
    policies_compared,
    read_again,
)
from reconciler.core.canonical import dumps, rfc3339
from reconciler.core.model import CycleId, Mode, OutcomeState, PlanDigest, VerificationState
from reconciler.core.record import CycleOutcome, CycleRecord

ROWS_AT_ONCE: Final = 500
"""Rows of one table that one look makes records of; keeps the write lock short on a long history."""
_ORDER: Final = {kind: place for place, kind in enumerate(AuditKind)}

AnyRow = Row[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptRecord:
    """A record of the trail as it is handed over."""

    position: int
    record_id: str
    at: datetime
    document: str
    """Canonical JSON, one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """A table of the journal whose rows are facts of the trail."""

    name: str
    key: Column[Any]
    place: Column[Any]
    """Orders the rows; a whole number."""
    rows: Select[Any]
    records: Callable[[Connection, AnyRow], Iterable[AuditRecord]]
    late: Select[Any] | None = None
    """Asks for the lowest place at which a row may still come, where rows do not come in their order."""
    any_time: bool = False
    """A row may come at any place at any time: all are looked at every time, for there are few."""


class AuditOutbox:
    """The audit trail of one journal."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._whole_up_to: dict[str, int] = {}
        """The place of each source up to which the trail holds every row that will ever be there."""

    def gather(self) -> int:
        """Add what the journal holds and the trail does not; return how many records. Raises `JournalError`."""
        with self._database.reading("look how far the audit trail can be whole") as connection:
            whole = {one.name: _whole_up_to(connection, one, self._whole_up_to.get(one.name, 0)) for one in _SOURCES}
        total, looked = 0, dict(self._whole_up_to)
        while found := self._look(looked):
            with self._database.writing("gather the audit trail") as connection:
                _keep(connection, found)
            total += len(found)
        self._whole_up_to = whole
        return total

    def _look(self, looked: dict[str, int]) -> "list[_Made]":
        with self._database.reading("look for what the audit trail lacks") as connection:
            return [made for source in _SOURCES for made in _unkept(connection, source, looked)]

    def keep(self, record: CycleRecord) -> None:
        """Add what only the record of a cycle knows: inputs refused, policies compared. Raises `JournalError`.

        The first record of a cycle counts: one that closes an interrupted cycle later adds nothing to it.
        """
        told = (*inputs_refused(record), *policies_compared(record))
        if not told:
            return
        kept = select(audit_records.c.position).where(
            audit_records.c.source == "record", audit_records.c.source_key == record.cycle_id
        )
        with self._database.writing(f"keep what the record tells of cycle {record.cycle_id}") as connection:
            if connection.execute(kept.limit(1)).first() is None:
                _keep(connection, [("record", record.cycle_id, part, one) for part, one in enumerate(told)])

    def keep_erasures(self, erasures: Sequence[AuditRecord]) -> None:
        """Add what the record of erasures tells and the trail does not, each once. Raises `JournalError`."""
        made = {f"{one.cycle_id}@{rfc3339(one.at)}": one for one in erasures}
        known = select(audit_records.c.source_key).where(audit_records.c.source == "erasure")
        with self._database.writing("keep the erasures in the audit trail") as connection:
            there = set(connection.execute(known).scalars())
            _keep(connection, [("erasure", key, 0, one) for key, one in made.items() if key not in there])

    def after(self, position: int, limit: int) -> tuple[KeptRecord, ...]:
        """Return the records that follow a position, in order."""
        query = (
            select(audit_records)
            .where(audit_records.c.position > position)
            .order_by(audit_records.c.position)
            .limit(limit)
        )
        with self._database.reading("read the audit trail") as connection:
            return tuple(
                KeptRecord(
                    position=row.position, record_id=row.record_id, at=load_instant(row.at), document=row.document
                )
                for row in connection.execute(query)
            )

    def cursor(self, stream: str) -> int | None:
        """Return how far a stream has been handed over; None when it never was."""
        query = select(func.max(audit_cursors.c.up_to)).where(audit_cursors.c.stream == stream)
        with self._database.reading("read an audit cursor") as connection:
            return connection.execute(query).scalar()

    def advance(self, stream: str, position: int, now: datetime) -> None:
        """Keep that a stream holds everything up to a position."""
        row = {"stream": stream, "up_to": position, "recorded_at": rfc3339(now)}
        with self._database.writing("advance an audit cursor") as connection:
            connection.execute(insert(audit_cursors).values(row))

    def before(self, at: datetime) -> int:
        """Return the last position whose records all happened before an instant; 0 when there is none."""
        first = select(func.min(audit_records.c.position)).where(audit_records.c.at >= rfc3339(at))
        last = select(func.coalesce(func.max(audit_records.c.position), 0))
        with self._database.reading("find the start of an audit stream") as connection:
            found = connection.execute(first).scalar()
            return int(connection.execute(last).scalar_one()) if found is None else int(found) - 1

    def waiting(self, position: int) -> tuple[int, datetime | None]:
        """Return how many records follow a position, and since when the oldest of them waits."""
        query = select(func.count(), func.min(audit_records.c.at)).where(audit_records.c.position > position)
        with self._database.reading("count the waiting audit records") as connection:
            count, oldest = connection.execute(query).one()
        return int(count), None if oldest is None else load_instant(oldest)


_Made = tuple[str, str, int, AuditRecord]
"""Source, key of its row, part, and the record."""


def _keep(connection: Connection, made: Sequence[_Made]) -> None:
    """Write records in the order in which they happened; part 0 of a row stands for the row."""
    rows = [
        {
            "source": source,
            "source_key": key,
            "part": part,
            "record_id": record.record_id,
            "at": rfc3339(record.at),
            "document": dumps(record.document()).decode("utf-8"),
        }
        for source, key, part, record in sorted(made, key=lambda one: (one[3].at, _ORDER[one[3].kind]))
    ]
    if rows:
        connection.execute(insert(audit_records), rows)


def _unkept(connection: Connection, source: _Source, looked: dict[str, int]) -> list[_Made]:
    """Return the records of the next rows that have none, and remember in `looked` how far the table was looked at."""
    key = cast(source.key, String(128))
    known = and_(
        audit_records.c.source == literal(source.name), audit_records.c.source_key == key, audit_records.c.part == 0
    )
    query = (
        source.rows.add_columns(key.label("source_key"), source.place.label("place"))
        .outerjoin(audit_records, known)
        .where(audit_records.c.position.is_(None), source.place > looked.get(source.name, 0))
        .order_by(source.place)
        .limit(ROWS_AT_ONCE)
    )
    rows = connection.execute(query).all()
    if rows:
        looked[source.name] = rows[-1].place
    return [
        (source.name, row.source_key, part, record)
        for row in rows
        for part, record in enumerate(source.records(connection, row))
    ]


def _whole_up_to(connection: Connection, source: _Source, known: int) -> int:
    """Return the place up to which every row is there that ever will be; `known` is such a place from before."""
    if source.any_time:
        return 0
    first = None if source.late is None else connection.execute(source.late.where(source.place > known)).scalar()
    if first is not None:
        return int(first) - 1
    return int(connection.execute(select(func.max(source.place))).scalar() or 0)


def _cycle(_: Connection, row: AnyRow) -> Iterable[AuditRecord]:
    yield cycle_ended(
        EndedCycle(
            cycle_id=CycleId(row.cycle_id),
            sequence=row.sequence,
            mode=Mode(row.mode),
            outcome=CycleOutcome(row.outcome),
            statement_digest=row.statement_digest,
            started_at=load_instant(row.started_at),
            finished_at=load_instant(row.finished_at),
        )
    )


def _plan(connection: Connection, row: AnyRow) -> Iterable[AuditRecord]:
    earlier = select(plans.c.document).where(plans.c.position < row.position).order_by(plans.c.position.desc()).limit(1)
    previous = connection.execute(earlier).scalar()
    return plan_made(
        load_plan(row.document), load_holds(row.hold_reasons), None if previous is None else load_plan(previous)
    )


def _approval(_: Connection, row: AnyRow) -> Iterable[AuditRecord]:
    yield approval_given(row.position, load_approval(row))


def _release(_: Connection, row: AnyRow) -> Iterable[AuditRecord]:
    yield approval_spent(row.approval, PlanDigest(row.plan_digest), CycleId(row.cycle_id), load_instant(row.used_at))


def _act(_: Connection, row: AnyRow) -> Iterable[AuditRecord]:
    restorable = load_before(row.before).restorable
    yield act_begun(_step(row), epoch=row.epoch, plan_digest=PlanDigest(row.plan_digest), restorable=restorable)


def _outcome(_: Connection, row: AnyRow) -> Iterable[AuditRecord]:
    yield act_ended(_step(row), OutcomeState(row.outcome))


def _verification(_: Connection, row: AnyRow) -> Iterable[AuditRecord]:
    yield read_again(_step(row), row.position, VerificationState(row.state))


def _undo(_: Connection, row: AnyRow) -> Iterable[AuditRecord]:
    yield given_back(_step(row))


def _step(row: AnyRow) -> Step:
    return Step(action=load_action(row.action), cycle_id=CycleId(row.cycle_id), at=load_instant(row.recorded_at))


_ACTION: Final = (intents.c.action, intents.c.cycle_id)
_SOURCES: Final = (
    _Source(
        name="plan",
        key=plans.c.position,
        place=plans.c.position,
        rows=select(plans.c.position, plans.c.document, plans.c.hold_reasons).select_from(plans),
        records=_plan,
    ),
    _Source(
        name="approval",
        key=approvals.c.position,
        place=approvals.c.position,
        rows=select(approvals).select_from(approvals),
        records=_approval,
        any_time=True,
    ),
    _Source(
        name="release",
        key=approval_uses.c.approval,
        place=approval_uses.c.approval,
        rows=select(approval_uses, approvals.c.plan_digest).join_from(approval_uses, approvals),
        records=_release,
        any_time=True,
    ),
    _Source(
        name="act",
        key=intents.c.action_id,
        place=intents.c.position,
        rows=select(intents).select_from(intents),
        records=_act,
    ),
    _Source(
        name="outcome",
        key=outcomes.c.action_id,
        place=intents.c.position,
        rows=select(outcomes.c.outcome, outcomes.c.recorded_at, *_ACTION).join_from(outcomes, intents),
        records=_outcome,
        late=select(func.min(intents.c.position))
        .join_from(intents, outcomes, isouter=True)
        .where(outcomes.c.action_id.is_(None)),
    ),
    _Source(
        name="verification",
        key=verifications.c.position,
        place=verifications.c.position,
        rows=select(verifications.c.position, verifications.c.state, verifications.c.recorded_at, *_ACTION).join_from(
            verifications, intents
        ),
        records=_verification,
    ),
    _Source(
        name="undo",
        key=undos.c.action_id,
        place=intents.c.position,
        rows=select(undos.c.recorded_at, *_ACTION).join_from(undos, intents),
        records=_undo,
        any_time=True,
    ),
    _Source(
        name="cycle",
        key=cycle_ends.c.cycle_id,
        place=cycles.c.sequence,
        rows=select(cycles, cycle_ends.c.outcome, cycle_ends.c.statement_digest, cycle_ends.c.finished_at).join_from(
            cycle_ends, cycles
        ),
        records=_cycle,
        late=select(func.min(cycles.c.sequence))
        .join_from(cycles, cycle_ends, isouter=True)
        .where(cycle_ends.c.cycle_id.is_(None)),
    ),
)
"""The tables of the journal whose rows are facts of the trail."""
