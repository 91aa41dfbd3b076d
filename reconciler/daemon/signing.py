"""Signs beside the cycles, in a thread of its own: no leaver waits for a log, a time stamper, or a deadline.

A cycle that has ended is recorded for good; all that is left to do here is to have its statement signed. What a thread
is at when the daemon ends is signed by the next start.
"""

import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import structlog

from inventory.provider import Clock
from reconciler.core.errors import ReconcilerError
from reconciler.core.record import Breadth
from reconciler.core.spooling import Backlog
from reconciler.daemon.news import News
from reconciler.spool import Spool
from reconciler.told import CycleTold

log = structlog.get_logger(__name__)

SOON_SECONDS: Final = 10.0
"""When to look again after something failed; whether an attempt is due then, the pause after failures says."""
REST_SECONDS: Final = 60.0
"""While statements wait they are looked at this often: another process may sign them beside us."""
IDLE_SECONDS: Final = 600.0
"""While none waits, the end of a cycle is what to look for: looking goes through the names of all that was signed."""
LAST_SECONDS: Final = 20.0
"""How long the end of the daemon waits for the last signature; what takes longer is signed by the next start."""


Tell = Callable[[Backlog], None]


class SigningDesk:
    """Implements `reconciler.told.Listener`: each end of a cycle is a reason to sign. Works between start and end."""

    def __init__(self, open_spool: Callable[[], Spool], clock: Clock) -> None:
        """`open_spool` is called before each go, so that a key or a token that was renewed is used."""
        self._open = open_spool
        self._clock = clock
        self._news = News()
        self._fresh = True
        """Whether nothing was tried yet since the start: who restarts has mended something, and waits for no pause."""
        self.tell: Tell = lambda _: None
        """Is told of what waits, before and after each go; must not fail."""

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Sign until the end of the block, and there once more what the last cycle left."""
        thread = threading.Thread(target=self._run, name="signing", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._news.close()
            thread.join(LAST_SECONDS)

    def cycle_ended(self, told: CycleTold) -> None:
        """Have what the cycle stated signed, when leavers who come in rows have been let go first."""
        self._news.tell(of_leavers=told.gave_way or told.record.breadth is Breadth.LEAVERS)

    def cycle_broke(self, error: str) -> None:  # noqa: ARG002 - a listener is told more than this one needs
        """Look whether it stated anything before it broke."""
        self._news.tell(of_leavers=False)

    def turn(self) -> float:
        """Sign what is due, and return after how many seconds to look again."""
        try:
            return self._go(self._open())
        except ReconcilerError as error:
            log.warning("signing.failed", error=str(error), advice=error.advice)
        except Exception as error:  # noqa: BLE001 - a defect met by one signature must not end all that follow
            # Type and place only: the message of an unforeseen error may hold anything.
            place = traceback.extract_tb(error.__traceback__)[-1]
            log.error("signing.broke", error=type(error).__name__, place=f"{place.name}, line {place.lineno}")  # noqa: TRY400 - see above
        return SOON_SECONDS

    def _go(self, spool: Spool) -> float:
        left = spool.backlog()
        self.tell(left)
        if left.waiting and (self._fresh or left.rests_until is None):
            self._fresh = False
            before, left = len(left.waiting), spool.work(patient=False)
            self.tell(left)
            log.info("signing.done", signed=before - len(left.waiting), waiting=len(left.waiting))
        if not left.waiting:
            return IDLE_SECONDS
        if left.rests_until is None:
            return 0.0
        return min((left.rests_until - self._clock.now()).total_seconds(), REST_SECONDS)

    def _run(self) -> None:
        pause = 0.0
        while not self._news.closing:
            self._news.wait(pause)
            pause = max(self.turn(), 0.0)
        self.turn()
