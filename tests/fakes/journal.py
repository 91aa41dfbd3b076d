"""A journal in memory that keeps the port's promises; the contract suite holds it to the same tests as the real one."""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from inventory.roster.model import AcceptedRoster
from reconciler.core.errors import ApprovalRefused, JournalError, LeaseLost
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
    Touch,
    VerificationState,
)
from reconciler.core.record import Breadth, CycleOutcome, Reverted
from reconciler.ports import CycleEntry, Intent, JournalEntry, Uptime


class MemoryJournal:
    """Implements `reconciler.ports.Journal` in a few dictionaries."""

    def __init__(self, approvals_needed: int = 1) -> None:
        self.approvals_needed = approvals_needed
        self._lock = threading.RLock()
        self.epoch = 0
        self._cycles: dict[CycleId, CycleEntry] = {}
        self._plans: list[tuple[Plan, tuple[HoldReason, ...], datetime]] = []
        self._approvals: list[Approval] = []
        self._used: list[Approval] = []
        self._entries: dict[ActionId, JournalEntry] = {}
        self._undos_begun: list[datetime] = []
        self._rosters: list[AcceptedRoster] = []
        self._uptimes: dict[int, Uptime | None] = {}
        self._observed: set[tuple[str, str]] = set()

    def take_over(self, now: datetime, uptime: Uptime | None = None) -> int:
        with self._lock:
            self.epoch += 1
            self._uptimes[self.epoch] = uptime
            return self.epoch

    def begin_cycle(self, cycle_id: CycleId, mode: Mode, now: datetime) -> int:
        with self._lock:
            _refuse(cycle_id in self._cycles)
            sequence = len(self._cycles) + 1
            self._cycles[cycle_id] = CycleEntry(sequence=sequence, cycle_id=cycle_id, mode=mode, started_at=now)
            return sequence

    def finish_cycle(self, cycle_id: CycleId, outcome: CycleOutcome, statement_digest: str, now: datetime) -> None:
        with self._lock:
            _refuse(cycle_id not in self._cycles or self._cycles[cycle_id].outcome is not None)
            self._cycles[cycle_id] = replace(
                self._cycles[cycle_id], outcome=outcome, finished_at=now, statement_digest=statement_digest
            )

    def cycles(self) -> Sequence[CycleEntry]:
        return tuple(self._cycles.values())

    def record_plan(
        self, plan: Plan, held: Sequence[HoldReason], expires_at: datetime, breadth: Breadth = Breadth.WHOLE
    ) -> None:
        with self._lock:
            _refuse(any(known.cycle_id == plan.cycle_id for known, _, _ in self._plans))
            self._plans.append((plan, tuple(held), expires_at))

    def held_plan(self, digest: PlanDigest) -> tuple[Plan, tuple[HoldReason, ...], datetime] | None:
        return next((entry for entry in reversed(self._plans) if entry[0].digest == digest and entry[1]), None)

    def record_approval(self, approval: Approval) -> None:
        self._approvals.append(approval)

    def approval_for(self, digest: PlanDigest, now: datetime) -> Approval | None:
        given = [entry for entry in self.pending_approvals(now) if entry.plan_digest == digest]
        return joint(given, self.approvals_needed)

    def pending_approvals(self, now: datetime) -> Sequence[Approval]:
        spent = {id(entry) for entry in self._used}
        return tuple(entry for entry in self._approvals if entry.expires_at > now and id(entry) not in spent)

    def use_approval(self, digest: PlanDigest, cycle_id: CycleId, now: datetime) -> None:
        with self._lock:
            pending = [entry for entry in self.pending_approvals(now) if entry.plan_digest == digest]
            if not pending:
                raise ApprovalRefused("no approval is left to use")
            self._used.extend(pending)

    def record_intent(self, intent: Intent) -> None:
        with self._lock:
            if intent.epoch != self.epoch:
                raise LeaseLost("another process took over")
            _refuse(intent.action.action_id in self._entries or intent.cycle_id not in self._cycles)
            self._entries[intent.action.action_id] = JournalEntry(intent=intent)

    def record_outcome(self, action_id: ActionId, outcome: OutcomeState, detail: str, now: datetime) -> None:
        with self._lock:
            entry = self._known(action_id)
            _refuse(entry.outcome is not None)
            self._entries[action_id] = replace(entry, outcome=outcome, outcome_detail=detail, outcome_at=now)

    def record_verification(self, action_id: ActionId, state: VerificationState, now: datetime) -> None:
        with self._lock:
            self._entries[action_id] = replace(self._known(action_id), verification=state, verified_at=now)

    def record_undo_intent(self, action_id: ActionId, now: datetime) -> None:
        with self._lock:
            self._entries[action_id] = replace(self._known(action_id), undo_begun_at=now)
            self._undos_begun.append(now)

    def record_undo(self, action_id: ActionId, detail: str, now: datetime) -> None:
        with self._lock:
            entry = self._known(action_id)
            _refuse(entry.undone_at is not None)
            self._entries[action_id] = replace(entry, undone_at=now)

    def reverted(self, after: datetime | None, until: datetime) -> Reverted:
        def counted(at: datetime | None) -> bool:
            return at is not None and at <= until and (after is None or at > after)

        return Reverted(
            begun=sum(map(counted, self._undos_begun)),
            confirmed=sum(counted(entry.undone_at) for entry in self._entries.values()),
        )

    def entry(self, action_id: ActionId) -> JournalEntry | None:
        if action_id in self._entries or len(action_id) < 8:
            return self._entries.get(action_id)
        found = [entry for known, entry in self._entries.items() if known.startswith(action_id)]
        _refuse(len(found) > 1)
        return found[0] if found else None

    def entries(self, cycle_id: CycleId | None = None) -> Sequence[JournalEntry]:
        return tuple(entry for entry in self._entries.values() if cycle_id in (None, entry.intent.cycle_id))

    def unsettled(self) -> Sequence[JournalEntry]:
        closed = (OutcomeState.FAILED, OutcomeState.SKIPPED)
        return tuple(
            entry
            for entry in self._entries.values()
            if entry.undone_at is None
            and (
                entry.outcome is None
                or (entry.outcome not in closed and entry.verification is not VerificationState.GONE)
            )
        )

    def touched_since(self, since: datetime, uptime: Uptime | None = None) -> Sequence[Touch]:
        def steady(epoch: int) -> bool:
            taken = self._uptimes.get(epoch)
            if uptime is None or taken is None or taken.boot != uptime.boot:
                return False
            return taken.seconds >= uptime.seconds

        touches = {
            (intent.action.provider, intent.action.principal.principal_id, intent.action.effect)
            for intent in (entry.intent for entry in self._entries.values())
            if intent.recorded_at >= since or steady(intent.epoch)
        }
        return tuple(
            Touch(provider=provider, principal_id=principal_id, effect=effect)
            for provider, principal_id, effect in sorted(touches)
        )

    def remember_roster(self, accepted: AcceptedRoster, now: datetime) -> None:
        self._rosters.append(accepted)

    def last_roster(self) -> AcceptedRoster | None:
        return self._rosters[-1] if self._rosters else None

    def observed(self, kind: str, value: str) -> bool:
        return (kind, value) in self._observed

    def remember_observed(self, kind: str, value: str, cycle_id: CycleId, now: datetime) -> None:
        self._observed.add((kind, value))

    def all_observed(self, kind: str) -> frozenset[str]:
        return frozenset(value for known, value in self._observed if known == kind)

    def remember_all_observed(self, kind: str, values: Iterable[str], cycle_id: CycleId, now: datetime) -> None:
        self._observed.update((kind, value) for value in values)

    def close(self) -> None:
        return None

    def _known(self, action_id: ActionId) -> JournalEntry:
        _refuse(action_id not in self._entries)
        return self._entries[action_id]


def _refuse(wrong: bool) -> None:  # noqa: FBT001 - reads as the condition it is
    if wrong:
        raise JournalError("the journal does not take this")
