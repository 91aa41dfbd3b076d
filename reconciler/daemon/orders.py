"""Orders that signals bring: put in by handlers, waited for by the main thread.

The kernel hands a signal to any thread of the process, and to another than the main one where that has one pending
already (signal(7), "Signal mask and pending signals"). Python runs handlers in the main thread alone, once it executes
byte code again (docs.python.org, `signal`, "Execution of Python signal handlers"): a main thread that waits without end
would never follow such an order. So it never waits for longer than one step at a time.
"""

import queue
from typing import Final, Generic, TypeVar

STEP_SECONDS: Final = 1.0
"""An order that reached another thread is followed after this at most."""

OrderT = TypeVar("OrderT")


class Orders(Generic[OrderT]):
    """A queue whose `put` takes no lock that a handler could find held by the thread it interrupts."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[OrderT] = queue.SimpleQueue()

    def put(self, order: OrderT) -> None:
        """Put an order in; for signal handlers and threads."""
        self._queue.put(order)

    def next(self) -> OrderT:
        """Wait for an order and return it."""
        while True:
            try:
                return self._queue.get(timeout=STEP_SECONDS)
            except queue.Empty:
                continue

    def next_within(self, seconds: float) -> OrderT:
        """Wait for an order and return it; raises `queue.Empty` when none comes in time."""
        left = max(seconds, 0.0)
        while left > STEP_SECONDS:
            try:
                return self._queue.get(timeout=STEP_SECONDS)
            except queue.Empty:
                left -= STEP_SECONDS
        return self._queue.get(timeout=left)
