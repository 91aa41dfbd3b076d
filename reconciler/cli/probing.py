"""Asking several servers at once whether they answer, each for a bounded time.

A probe that does not end is left behind in a thread that does not keep the program from ending.
"""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait

from inventory.provider import Clock

Probe = Callable[[], str]
"""Looks at one thing and says what it found; raises what is wrong with it."""


class NoAnswer(Exception):
    """A probe did not end in time."""


class Probes:
    """Probes under way, all of them since they were begun."""

    def __init__(self, probes: Mapping[str, Probe], clock: Clock, seconds: float) -> None:
        """Begin all probes at once; each has so many seconds from now."""
        self._clock = clock
        self._until = clock.monotonic_seconds() + seconds
        self._running = {name: _begin(name, probe) for name, probe in probes.items()}

    def answer(self, name: str) -> str:
        """Wait for one probe. Raises `NoAnswer` when its time is over, and whatever the probe raised."""
        running = self._running[name]
        if not wait((running,), timeout=max(0.0, self._until - self._clock.monotonic_seconds())).done:
            raise NoAnswer(name)
        return running.result()


def _begin(name: str, probe: Probe) -> Future[str]:
    running: Future[str] = Future()

    def run() -> None:
        try:
            running.set_result(probe())
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits, who raises it again
            running.set_exception(error)

    threading.Thread(target=run, name=f"probe {name}", daemon=True).start()
    return running
