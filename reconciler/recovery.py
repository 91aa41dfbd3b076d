"""Looking again after an interruption: every act without a known end is settled by reading, never by acting.

A restart does not continue a cycle. It takes the lease, raises the epoch, settles what was under way, and opens a new
cycle that plans from the world as it is: what is still there is found, decided and planned afresh.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from inventory.model import PrincipalId, ProviderName
from inventory.provider import Clock, Collector
from reconciler.core.model import ActionResult, CycleId, OutcomeState, VerificationState
from reconciler.core.verification import effective_by
from reconciler.ports import CycleEntry, Journal, JournalEntry
from reconciler.rereading import Patience, Rereader

_FOUND_GONE = "interrupted; found gone at recovery"
_FOUND_THERE = "interrupted before or during the call; still there at recovery"


def interrupted_cycles(journal: Journal) -> tuple[CycleEntry, ...]:
    """Return the cycles that began and never finished, oldest first."""
    return tuple(entry for entry in journal.cycles() if entry.outcome is None)


def results_of(journal: Journal, cycle_id: CycleId) -> tuple[ActionResult, ...]:
    """Return all that the journal knows of a cycle's acts, as the results that its interrupted execution never gave.

    After `recover`, this is what the statement of an interrupted cycle rests on. An act without an outcome is unknown.
    """
    return tuple(_result_of(entry) for entry in journal.entries(cycle_id))


def _result_of(entry: JournalEntry) -> ActionResult:
    outcome = entry.outcome or OutcomeState.UNKNOWN
    made_at = None if outcome is OutcomeState.FAILED else entry.outcome_at
    return ActionResult(
        action=entry.intent.action,
        outcome=outcome,
        verification=entry.verification,
        detail=entry.outcome_detail,
        decided_at=entry.intent.recorded_at,
        acted_at=entry.outcome_at,
        verified_at=entry.verified_at,
        effective_by=None if made_at is None else effective_by(entry.intent.action, made_at),
    )


def recover(
    journal: Journal, collectors: Mapping[ProviderName, Collector], clock: Clock, patience: Patience | None = None
) -> tuple[ActionResult, ...]:
    """Settle each unsettled intent by reading its principal again, and return what is known of it now.

    Gone: done (where no outcome was known) and verified. Still there without an outcome: failed, for the next cycle to
    plan afresh. Unreadable: unknown, and asked again at the next recovery. An act is given the rest of its
    verification window before it counts as still there. Raises `JournalError`.
    """
    patience = patience or Patience()
    groups: dict[tuple[ProviderName, PrincipalId], list[JournalEntry]] = defaultdict(list)
    for entry in journal.unsettled():
        action = entry.intent.action
        groups[action.provider, action.principal.principal_id].append(entry)
    results: list[ActionResult] = []
    for (provider, _), entries in groups.items():
        collector = collectors.get(provider)
        if collector is None:
            results.extend(
                _unread(journal, entry, "the provider is not configured any more", clock.now()) for entry in entries
            )
            continue
        rest = _rest_of_window(entries, patience, clock.now())
        rereader = Rereader(collector=collector, clock=clock, patience=replace(patience, window_seconds=rest))
        results.extend(_settle(journal, entries, rereader))
    return tuple(results)


def _rest_of_window(entries: Sequence[JournalEntry], patience: Patience, now: datetime) -> float:
    youngest = max(entry.outcome_at or entry.intent.recorded_at for entry in entries)
    rest = youngest + timedelta(seconds=patience.window_seconds) - now
    return min(rest.total_seconds(), patience.window_seconds)


def _settle(journal: Journal, entries: Sequence[JournalEntry], rereader: Rereader) -> list[ActionResult]:
    actions = [entry.intent.action for entry in entries]
    seen = rereader.read_until(
        actions[0].principal, actions, lambda states: all(state is VerificationState.GONE for state in states.values())
    )
    results = []
    for entry in entries:
        state = seen.judgements[entry.intent.action.action_id]
        if state is VerificationState.UNKNOWN:
            reason = seen.problem or "its artefact kind could not be read"
            results.append(_unread(journal, entry, reason, seen.read_at))
        else:
            results.append(_known(journal, entry, state, seen.read_at))
    return results


def _known(journal: Journal, entry: JournalEntry, state: VerificationState, read_at: datetime) -> ActionResult:
    action_id = entry.intent.action.action_id
    # The verification goes first: a crash between the two leaves the intent without an outcome, so it is read again.
    if state is not entry.verification:
        journal.record_verification(action_id, state, read_at)
    known = replace(entry, verification=state, verified_at=read_at)
    if entry.outcome is None:
        gone = state is VerificationState.GONE
        outcome, detail = (OutcomeState.DONE, _FOUND_GONE) if gone else (OutcomeState.FAILED, _FOUND_THERE)
        journal.record_outcome(action_id, outcome, detail, read_at)
        known = replace(known, outcome=outcome, outcome_detail=detail, outcome_at=read_at)
    return _result_of(known)


def _unread(journal: Journal, entry: JournalEntry, reason: str, now: datetime) -> ActionResult:
    if entry.verification is not VerificationState.UNKNOWN:
        journal.record_verification(entry.intent.action.action_id, VerificationState.UNKNOWN, now)
    known = replace(entry, verification=VerificationState.UNKNOWN, verified_at=None)
    return replace(_result_of(known), detail=f"not settled at recovery: {reason}")
