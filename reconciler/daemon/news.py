"""Reasons to work beside the passes, for a thread that can wait: leavers who come in rows are let go first.

Such work takes the processor from the pass that runs at the same time, and the end of one leaver's pass is often the
moment at which the next leaver comes.
"""

import threading
from typing import Final

QUIET_SECONDS: Final = 2.0
"""After a leavers' pass, so long must pass without another one."""
MOST_LET_GO: Final = 10
"""After so many leavers' passes in a row the work is done nevertheless, so it waits 20 seconds at the most."""


class News:
    """Told by any thread, waited for by one."""

    def __init__(self, quiet_seconds: float = QUIET_SECONDS) -> None:
        self._quiet_seconds = quiet_seconds
        self._came = threading.Event()
        self._of_leavers = False
        self._closing = False

    @property
    def closing(self) -> bool:
        """Say whether the work has to come to its end."""
        return self._closing

    def tell(self, *, of_leavers: bool) -> None:
        """Say that there is something to do, and whether a leavers' pass left it."""
        self._of_leavers = of_leavers
        self._came.set()

    def close(self) -> None:
        """Say that nothing will come any more; whoever waits goes on at once."""
        self._closing = True
        self._came.set()

    def wait(self, seconds: float | None = None) -> None:
        """Return when there is something to do, or after so many seconds."""
        self._came.wait(seconds)
        self._came.clear()
        for _ in range(MOST_LET_GO):
            if self._closing or not self._of_leavers:
                return
            if not self._came.wait(self._quiet_seconds):
                break
            self._came.clear()
        self._of_leavers = False
