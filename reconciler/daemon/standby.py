"""Before the first cycle and beside all of them: waiting for the lease, waiting after it, and noticing its loss."""

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

import structlog

from reconciler.core.errors import JournalError, LeaseLost
from reconciler.daemon.health import Health
from reconciler.daemon.orders import Orders
from reconciler.ports import Lease

log = structlog.get_logger(__name__)

TRY_SECONDS: Final = 1.0
"""While standing by, the lease is tried this often."""
WATCH_SECONDS: Final = 5.0
"""A lease that is held is asked for this often, so that an idle daemon does not find out at its next cycle only."""

LeaseT = TypeVar("LeaseT", bound=Lease)


class Standby:
    """Waits, shows itself alive meanwhile, and ends at once when told to. `stop` may be called from signal handlers."""

    def __init__(self, health: Health) -> None:
        self._health = health
        self._orders: Orders[None] = Orders()
        self._stopped = False

    @property
    def stopped(self) -> bool:
        """Say whether the order to end has come."""
        return self._stopped

    def stop(self) -> None:
        """Order the end."""
        self._stopped = True
        self._orders.put(None)

    def pause(self, seconds: float) -> bool:
        """Wait as alive, and say whether to go on."""
        self._health.idle()
        if self._stopped:
            return False
        try:
            self._orders.next_within(seconds)
        except queue.Empty:
            return not self._stopped
        return False

    def wait_for(self, take: Callable[[], LeaseT]) -> LeaseT | None:
        """Try to take the lease until it is ours, and return it; None when told to end.

        A journal that cannot be reached is no reason to give up: that is what the next holder has to wait for, too.
        """
        told = ""
        while not self._stopped:
            try:
                lease = take()
            except (LeaseLost, JournalError) as error:
                if str(error) != told:
                    told = str(error)
                    log.warning("lease.standing_by", reason=told)
                    self._health.standing_by(told)
            else:
                log.info("lease.taken", stood_by=bool(told))
                self._health.took_over()
                return lease
            self.pause(TRY_SECONDS)
        return None


@contextmanager
def watched(lease: Lease, on_lost: Callable[[], None], seconds: float = WATCH_SECONDS) -> Iterator[None]:
    """Ask for a lease again and again, and tell once when it is lost."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(seconds):
            try:
                lease.check()
            except LeaseLost as error:
                log.warning("lease.gone", error=str(error))
                on_lost()
                return

    thread = threading.Thread(target=watch, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
