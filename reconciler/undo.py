"""Giving back what one act took away: the only way in which this program ever gives access.

Only a journalled act with a before-image can be undone, by a human's command, and it too is verified by reading.
"""

from inventory.errors import Unavailable
from inventory.provider import Clock, Collector
from reconciler.core.errors import UndoRefused
from reconciler.core.model import OutcomeState, Receipt, VerificationState
from reconciler.ports import Journal, JournalEntry, Revoker
from reconciler.rereading import Patience, Rereader


def undo(entry: JournalEntry, revoker: Revoker, collector: Collector, journal: Journal, clock: Clock) -> Receipt:
    """Give back what an act took, see that it is back, and record it.

    That it begins is durable before the call, so that access given back is never without a trace. Raises `UndoRefused`
    when there is nothing to give back, an `inventory.errors.ProviderError` when the provider refused, and its
    `Unavailable` when the provider agreed but reading again does not show it: undoing again is safe.
    """
    _check(entry)
    action = entry.intent.action
    journal.record_undo_intent(action.action_id, clock.now())
    receipt = revoker.undo(action, entry.intent.before)
    rereader = Rereader(collector=collector, clock=clock, patience=Patience())
    seen = rereader.read_until(
        action.principal, (action,), lambda states: states[action.action_id] is VerificationState.STILL_THERE
    )
    if seen.judgements[action.action_id] is not VerificationState.STILL_THERE:
        msg = f"{action.provider} agreed to undo {action.action_id}, but reading again does not show it"
        raise Unavailable(
            msg, advice=f"{seen.problem or 'look at the principal'}; then undo again: it is safe to repeat"
        )
    journal.record_undo(action.action_id, receipt.detail, clock.now())
    return receipt


def _check(entry: JournalEntry) -> None:
    action_id = entry.intent.action.action_id
    if entry.undone_at is not None:
        msg = f"action {action_id} was undone already"
        raise UndoRefused(msg, advice="nothing is left to do")
    lost_reply = entry.outcome is OutcomeState.UNKNOWN and entry.verification is VerificationState.GONE
    if entry.outcome is not OutcomeState.DONE and not lost_reply:
        msg = f"action {action_id} took nothing away: {entry.outcome or 'it has no outcome yet'}"
        raise UndoRefused(msg, advice="a cycle settles interrupted actions by reading again; then look once more")
    if not entry.intent.before.restorable:
        msg = f"what action {action_id} removed cannot be given back by its provider"
        raise UndoRefused(msg, advice="create it anew at the provider")
