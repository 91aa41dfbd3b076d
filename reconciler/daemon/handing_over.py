"""Hands the audit trail over beside the cycles, in a thread of its own: no leaver waits for a stream that is silent.

What there is to hand over stands in the journal, and each stream has its cursor there: a process that ends before it
came to it leaves nothing out, since the next one goes on from the cursor.
"""

import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import structlog

from reconciler.core.errors import JournalError
from reconciler.core.record import Breadth, CycleRecord
from reconciler.daemon.news import News
from reconciler.ports import AuditLog, StreamLag

log = structlog.get_logger(__name__)

LAST_SECONDS: Final = 20.0
"""How long the end of the daemon waits for the last hand-over; what takes longer is handed over by the next start."""


class TrailDesk:
    """Implements `reconciler.ports.AuditLog`: notes at once, hands over between start and end of its work."""

    def __init__(self, trail: AuditLog) -> None:
        self._trail = trail
        self._news = News()
        self._of_leavers = False
        """Whether the last record was that of a leavers' pass."""
        self._lags: tuple[StreamLag, ...] = ()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Hand over until the end of the block, and there once more what the last cycle left."""
        thread = threading.Thread(target=self._run, name="audit-trail", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._news.close()
            thread.join(LAST_SECONDS)

    def record(self, record: CycleRecord) -> tuple[str, ...]:
        """Keep what only the record of a cycle knows; say which stream is behind, and since when."""
        self._of_leavers = record.breadth is Breadth.LEAVERS
        return self._trail.record(record)

    def hand_over(self) -> tuple[str, ...]:
        """Have everything handed over soon. What then fails is logged, and told by the record of the next cycle."""
        self._news.tell(of_leavers=self._of_leavers)
        return ()

    def lags(self) -> tuple[StreamLag, ...]:
        """Say what was still waiting after the last hand-over."""
        return self._lags

    def _run(self) -> None:
        last = False
        while not last:
            self._news.wait()
            last = self._news.closing
            self._turn()

    def _turn(self) -> None:
        try:
            for problem in self._trail.hand_over():
                log.warning("audit.behind", problem=problem)
            self._lags = self._trail.lags()
        except JournalError as error:
            log.warning("audit.behind", problem=str(error), advice=error.advice)
        except Exception as error:  # noqa: BLE001 - a defect met by one hand-over must not end all that follow
            # Type and place only: the message of an unforeseen error may hold anything.
            place = traceback.extract_tb(error.__traceback__)[-1]
            log.error("audit.broke", error=type(error).__name__, place=f"{place.name}, line {place.lineno}")  # noqa: TRY400 - see above
