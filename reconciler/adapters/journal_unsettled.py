"""Acts whose end is not known or not shown, found without going through the whole history each time."""

import threading
from collections.abc import Sequence

from sqlalchemy import func, select

from reconciler.adapters.journal_database import Database
from reconciler.adapters.journal_rows import entries_query, load_journal_entry
from reconciler.adapters.journal_schema import intents, outcomes, undos, verifications
from reconciler.core.model import OutcomeState, VerificationState
from reconciler.ports import JournalEntry

_CLOSED = (OutcomeState.FAILED.value, OutcomeState.SKIPPED.value)


class UnsettledActs:
    """Looks for intents that something is still owed to; remembers up to which one nothing is.

    A settled act stays settled, unless a later reading shows its item again: whoever records that says `reopened`.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._settled_up_to = 0

    def reopened(self) -> None:
        """Look through the whole history the next time."""
        with self._lock:
            self._settled_up_to = 0

    def entries(self) -> Sequence[JournalEntry]:
        """Return intents without an outcome, and those not shown to be gone though the act may have been made.

        A failed or skipped act is settled by its outcome, an undone one by its undo. Raises `JournalError`.
        """
        with self._lock:
            not_gone = func.coalesce(verifications.c.state, "") != VerificationState.GONE.value
            maybe_made = outcomes.c.outcome.is_(None) | (outcomes.c.outcome.not_in(_CLOSED) & not_gone)
            wanted = (undos.c.action_id.is_(None), maybe_made, intents.c.position > self._settled_up_to)
            with self._database.reading("read the unsettled actions") as connection:
                last = connection.execute(select(func.max(intents.c.position))).scalar() or 0
                rows = connection.execute(entries_query().where(*wanted)).all()
            self._settled_up_to = min([last, *(row.position - 1 for row in rows)])
            return tuple(load_journal_entry(row) for row in rows)
