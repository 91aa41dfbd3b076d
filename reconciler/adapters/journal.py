"""The journal on a SQL database: what was about to be done, what came of it, and who released it.

Each step of an act is a row of its own, durable when the call returns. Nothing is updated in place: unique keys refuse
a second outcome, a second use of an approval, a second end of a cycle. The tables stand in `journal_schema.py`,
their meaning and the backup in `docs/journal.md`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import takewhile
from typing import Self

from sqlalchemy import URL, Connection, Table, func, insert, or_, select

from inventory.roster.model import AcceptedRoster
from reconciler.adapters.journal_database import BUSY_TIMEOUT_SECONDS, Database
from reconciler.adapters.journal_rows import (
    current_epoch,
    entries_query,
    load_cycle_entry,
    load_journal_entry,
    load_touch,
    pending_query,
    refuse_other,
    since_uptime,
)
from reconciler.adapters.journal_schema import (
    approval_uses,
    approvals,
    cycle_ends,
    cycles,
    epochs,
    intents,
    observations,
    outcomes,
    plans,
    rosters,
    undo_intents,
    undos,
    verifications,
)
from reconciler.adapters.journal_unsettled import UnsettledActs
from reconciler.adapters.journal_values import (
    document,
    load_approval,
    load_holds,
    load_instant,
    load_plan,
    load_roster,
    without_nul,
)
from reconciler.core.canonical import rfc3339
from reconciler.core.errors import ApprovalRefused, JournalError
from reconciler.core.guard import joint
from reconciler.core.model import (
    ActionId,
    Approval,
    CycleId,
    HoldReason,
    Mode,
    OutcomeState,
    Plan,
    PlanDigest,
    VerificationState,
)
from reconciler.core.record import Breadth, CycleOutcome, Reverted
from reconciler.ports import CycleEntry, Intent, JournalEntry, Touch, Uptime

SHORTEST_PREFIX = 8
"""Characters of an action id that `entry` asks for at least."""


class SqlJournal:
    """Implements `reconciler.ports.Journal` on SQLAlchemy."""

    def __init__(
        self,
        url: str | URL,
        *,
        busy_timeout_seconds: float = BUSY_TIMEOUT_SECONDS,
        approvals_needed: int = 1,
        check_lease: Callable[[], None] = lambda: None,
    ) -> None:
        """Open the journal, making it or bringing its tables up to date; raises `JournalError`.

        `check_lease` raises `LeaseLost`. It is asked under the write lock before anything that leads to an act, or that
        a later cycle goes by; the epoch that was taken here has to be the newest then as well.
        """
        self._approvals_needed = approvals_needed
        self._database = Database(url, busy_timeout_seconds=busy_timeout_seconds)
        self._check_lease = check_lease
        self._epoch: int | None = None
        self._unsettled = UnsettledActs(self._database)
        self._ended: tuple[CycleEntry, ...] = ()
        self._observed: dict[str, frozenset[str]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the database."""
        self._database.close()

    @property
    def database(self) -> Database:
        """Return the open database, for the audit trail that lives beside the journal's tables."""
        return self._database

    def take_over(self, now: datetime, uptime: Uptime | None = None) -> int:
        """Raise the epoch and return it: from now on older holders cannot write an intent."""
        steady = {} if uptime is None else {"boot": uptime.boot, "uptime_seconds": uptime.seconds}

        def work(connection: Connection) -> int:
            self._check_lease()
            epoch = current_epoch(connection) + 1
            connection.execute(insert(epochs).values(epoch=epoch, taken_at=rfc3339(now), **steady))
            return epoch

        self._epoch = self._database.repeated("take over the journal", work)
        return self._epoch

    def _as_writer(self, connection: Connection) -> None:
        """Raise `LeaseLost` when another process took over since this one did; a command that did not has the lease."""
        self._check_lease()
        if self._epoch is not None:
            refuse_other(self._epoch, connection)

    def begin_cycle(self, cycle_id: CycleId, mode: Mode, now: datetime) -> int:
        """Open a cycle and return its sequence number, gapless from 1."""

        def work(connection: Connection) -> int:
            self._as_writer(connection)
            sequence = int(connection.execute(select(func.coalesce(func.max(cycles.c.sequence), 0))).scalar_one()) + 1
            row = {"sequence": sequence, "cycle_id": cycle_id, "mode": mode.value, "started_at": rfc3339(now)}
            connection.execute(insert(cycles).values(row))
            return sequence

        return self._database.repeated(f"begin cycle {cycle_id}", work)

    def finish_cycle(self, cycle_id: CycleId, outcome: CycleOutcome, statement_digest: str, now: datetime) -> None:
        """Close a cycle with the digest of its statement; a second end is refused with `JournalError`."""
        row = {"cycle_id": cycle_id, "outcome": outcome.value, "statement_digest": statement_digest}
        with self._database.writing(f"finish cycle {cycle_id}") as connection:
            self._as_writer(connection)
            connection.execute(insert(cycle_ends).values(row | {"finished_at": rfc3339(now)}))

    def cycles(self) -> Sequence[CycleEntry]:
        """Return all cycles, oldest first; those that have ended are read once, for their rows never change.

        A journal that holds fewer than it did was restored under us, and is read anew.
        """
        query = (
            select(cycles, cycle_ends.c.outcome, cycle_ends.c.statement_digest, cycle_ends.c.finished_at)
            .join_from(cycles, cycle_ends, isouter=True)
            .order_by(cycles.c.sequence)
        )
        with self._database.reading("read the cycles") as connection:
            there = connection.scalar(select(func.max(cycles.c.sequence))) or 0
            known = self._ended if there >= len(self._ended) else ()
            later = [load_cycle_entry(row) for row in connection.execute(query.where(cycles.c.sequence > len(known)))]
        found = (*known, *later)
        self._ended = (*known, *takewhile(lambda entry: entry.statement_digest != "", later))
        return found

    def record_plan(
        self, plan: Plan, held: Sequence[HoldReason], expires_at: datetime, breadth: Breadth = Breadth.WHOLE
    ) -> None:
        """Keep a plan with the reasons that hold it (none: approved), and how much its cycle looked at."""
        row = {
            "cycle_id": plan.cycle_id,
            "plan_digest": plan.digest,
            "expires_at": rfc3339(expires_at),
            "held": bool(held),
            "hold_reasons": document(tuple(held)),
            "document": document(plan),
            "breadth": breadth.value,
        }
        with self._database.writing(f"record the plan of cycle {plan.cycle_id}") as connection:
            self._as_writer(connection)
            connection.execute(insert(plans).values(row))

    def held_plan(self, digest: PlanDigest) -> tuple[Plan, tuple[HoldReason, ...], datetime] | None:
        """Return the latest held plan of this digest, its reasons and its expiry."""
        query = (
            select(plans.c.document, plans.c.hold_reasons, plans.c.expires_at)
            .where(plans.c.plan_digest == digest, plans.c.held)
            .order_by(plans.c.position.desc())
            .limit(1)
        )
        with self._database.reading("read a held plan") as connection:
            row = connection.execute(query).first()
        if row is None:
            return None
        return load_plan(row.document), load_holds(row.hold_reasons), load_instant(row.expires_at)

    def record_approval(self, approval: Approval) -> None:
        """Keep a human's release of a held plan."""
        row = {
            "plan_digest": approval.plan_digest,
            "approved_by": without_nul(approval.approved_by),
            "approved_at": rfc3339(approval.approved_at),
            "expires_at": rfc3339(approval.expires_at),
            "lifts": document(tuple(approval.lifts)),
            "uid": approval.uid,
            "login": approval.login,
        }
        with self._database.writing("record an approval") as connection:
            connection.execute(insert(approvals).values(row))

    def approval_for(self, digest: PlanDigest, now: datetime) -> Approval | None:
        """Return the unused, unexpired approval of this digest, joined of as many as are needed."""
        given = [entry for entry in self.pending_approvals(now) if entry.plan_digest == digest]
        return joint(given, self._approvals_needed)

    def pending_approvals(self, now: datetime) -> Sequence[Approval]:
        """Return every unused, unexpired approval, oldest first."""
        with self._database.reading("read the approvals") as connection:
            rows = connection.execute(pending_query(now)).all()
        return tuple(load_approval(row) for row in rows)

    def use_approval(self, digest: PlanDigest, cycle_id: CycleId, now: datetime) -> None:
        """Spend the approval; raises `ApprovalRefused` when none is left.

        Approving one plan twice before it is used releases it once: all its pending approvals are spent together.
        """
        with self._database.writing("use an approval") as connection:
            self._as_writer(connection)
            rows = connection.execute(pending_query(now).where(approvals.c.plan_digest == digest)).all()
            if not rows:
                msg = f"no approval of {digest} is left to use"
                raise ApprovalRefused(msg, advice="it is used or expired: look at the held plan and approve it again")
            used = [{"approval": row.position, "cycle_id": cycle_id, "used_at": rfc3339(now)} for row in rows]
            connection.execute(insert(approval_uses), used)

    def record_intent(self, intent: Intent) -> None:
        """Make an intent durable; it is its own share of the window's counters. Raises `LeaseLost` on an old epoch."""
        action = intent.action
        row = {
            "action_id": action.action_id,
            "cycle_id": intent.cycle_id,
            "epoch": intent.epoch,
            "plan_digest": intent.plan_digest,
            "policy_digest": intent.policy_digest,
            "provider": action.provider,
            "principal_id": without_nul(action.principal.principal_id),
            "effect": action.effect.value,
            "recorded_at": rfc3339(intent.recorded_at),
            "action": document(action),
            "before": document(intent.before),
        }

        def work(connection: Connection) -> None:
            self._check_lease()
            refuse_other(intent.epoch, connection)
            connection.execute(insert(intents).values(row))

        self._database.together(f"record the intent of action {action.action_id}", work)

    def record_outcome(self, action_id: ActionId, outcome: OutcomeState, detail: str, now: datetime) -> None:
        """Keep how the act ended; a second outcome for one intent is refused with `JournalError`."""
        row = {
            "action_id": action_id,
            "outcome": outcome.value,
            "detail": without_nul(detail),
            "recorded_at": rfc3339(now),
        }
        self._database.together(f"record the outcome of action {action_id}", _adding(outcomes, row))

    def record_verification(self, action_id: ActionId, state: VerificationState, now: datetime) -> None:
        """Keep what reading again showed; later rows supersede earlier ones."""
        row = {"action_id": action_id, "state": state.value, "recorded_at": rfc3339(now)}
        self._database.together(f"record the verification of action {action_id}", _adding(verifications, row))
        if state is not VerificationState.GONE:
            self._unsettled.reopened()

    def record_undo_intent(self, action_id: ActionId, now: datetime) -> None:
        """Keep that an act is about to be undone; each attempt is a row."""
        row = {"action_id": action_id, "recorded_at": rfc3339(now)}
        with self._database.writing(f"record that the undo of action {action_id} begins") as connection:
            self._as_writer(connection)
            connection.execute(insert(undo_intents).values(row))

    def record_undo(self, action_id: ActionId, detail: str, now: datetime) -> None:
        """Keep that an act was undone; a second undo is refused with `JournalError`."""
        row = {"action_id": action_id, "detail": without_nul(detail), "recorded_at": rfc3339(now)}
        with self._database.writing(f"record the undo of action {action_id}") as connection:
            connection.execute(insert(undos).values(row))

    def reverted(self, after: datetime | None, until: datetime) -> Reverted:
        """Count undos begun and confirmed after an instant (None: ever) and until another, that one included."""
        since, last = "" if after is None else rfc3339(after), rfc3339(until)
        begun, confirmed = (
            select(func.count()).select_from(one).where(one.c.recorded_at > since, one.c.recorded_at <= last)
            for one in (undo_intents, undos)
        )
        with self._database.reading("count the undos") as connection:
            return Reverted(begun=connection.scalar(begun) or 0, confirmed=connection.scalar(confirmed) or 0)

    def entry(self, action_id: ActionId) -> JournalEntry | None:
        """Return one intent with its end; `action_id` may be an unambiguous prefix of at least 8 characters.

        Raises `JournalError` when several intents begin with it.
        """
        query = entries_query().where(intents.c.action_id.startswith(action_id, autoescape=True))
        with self._database.reading("read an action") as connection:
            rows = [row for row in connection.execute(query) if row.action_id.startswith(action_id)]
        exact = [row for row in rows if row.action_id == action_id]
        if exact or len(action_id) < SHORTEST_PREFIX:
            rows = exact
        if len(rows) > 1:
            msg = f"{len(rows)} actions begin with {action_id}"
            raise JournalError(msg, advice="give more characters of the action's id")
        return load_journal_entry(rows[0]) if rows else None

    def entries(self, cycle_id: CycleId | None = None) -> Sequence[JournalEntry]:
        """Return intents in the order they were made, of one cycle or of all."""
        query = entries_query() if cycle_id is None else entries_query().where(intents.c.cycle_id == cycle_id)
        with self._database.reading("read the actions") as connection:
            return tuple(load_journal_entry(row) for row in connection.execute(query))

    def unsettled(self) -> Sequence[JournalEntry]:
        """Return intents without an outcome, and those not shown to be gone though the act may have been made."""
        return self._unsettled.entries()

    def touched_since(self, since: datetime, uptime: Uptime | None = None) -> Sequence[Touch]:
        """Return the principals named by intents since an instant, each provider, principal and effect once.

        With an uptime, also those since then by the clock that nobody sets.
        """
        query = (
            select(intents.c.provider, intents.c.principal_id, intents.c.effect)
            .where(or_(intents.c.recorded_at >= rfc3339(since), *since_uptime(uptime)))
            .distinct()
            .order_by(intents.c.provider, intents.c.principal_id, intents.c.effect)
        )
        with self._database.reading("count the principals touched") as connection:
            return tuple(load_touch(row) for row in connection.execute(query))

    def remember_roster(self, accepted: AcceptedRoster, now: datetime) -> None:
        """Keep the last roster that passed the gate."""
        with self._database.writing("remember the roster") as connection:
            self._as_writer(connection)
            connection.execute(insert(rosters).values(recorded_at=rfc3339(now), document=document(accepted)))

    def last_roster(self) -> AcceptedRoster | None:
        """Return the last roster that passed the gate."""
        query = select(rosters.c.document).order_by(rosters.c.position.desc()).limit(1)
        with self._database.reading("read the last roster") as connection:
            text = connection.execute(query).scalar()
        return None if text is None else load_roster(text)

    def observed(self, kind: str, value: str) -> bool:
        """Say whether a policy revision, daemon version or provider has been through a whole cycle before."""
        return value in self.all_observed(kind)

    def remember_observed(self, kind: str, value: str, cycle_id: CycleId, now: datetime) -> None:
        """Keep that it has; the first cycle stays the one on record."""
        self.remember_all_observed(kind, (value,), cycle_id, now)

    def all_observed(self, kind: str) -> frozenset[str]:
        """Return every value of a kind that was observed."""
        with self._database.reading("read what was observed") as connection:
            return self._observed_by(connection, kind)

    def remember_all_observed(self, kind: str, values: Iterable[str], cycle_id: CycleId, now: datetime) -> None:
        """Keep that all of them have, in one transaction; the first cycle of each stays the one on record."""
        common = {"kind": kind, "cycle_id": cycle_id, "recorded_at": rfc3339(now)}
        with self._database.writing("remember what was observed") as connection:
            self._as_writer(connection)
            if new := sorted(set(values) - self._observed_by(connection, kind)):
                connection.execute(insert(observations), [{**common, "value": value} for value in new])

    def _observed_by(self, connection: Connection, kind: str) -> frozenset[str]:
        """Return what is committed of a kind, read again only when there is more of it than there was.

        Values are unique, and never changed or removed, whoever wrote them: as many of them are the same ones.
        """
        here = observations.c.kind == kind
        known = self._observed.get(kind, frozenset())
        if connection.scalar(select(func.count()).select_from(observations).where(here)) != len(known):
            known = frozenset(connection.execute(select(observations.c.value).where(here)).scalars())
            self._observed[kind] = known
        return known


def _adding(table: Table, row: Mapping[str, object]) -> Callable[[Connection], None]:
    def work(connection: Connection) -> None:
        connection.execute(insert(table).values(row))

    return work
