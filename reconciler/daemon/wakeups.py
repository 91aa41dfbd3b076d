"""The one queue into which everything that says "look again" puts the same token.

What wakes the daemon is never believed: a token says that a cycle is worth running, not what it would find. Tokens of
one reason coalesce, so that ten thousand of them are one, and the queue never holds more than there are reasons.
"""

import queue
from collections.abc import Mapping
from enum import StrEnum


class Reason(StrEnum):
    """What put the token in: for logs only, a cycle does not know it."""

    START = "start"
    TIMER = "timer"
    HINT = "hint"
    """A watched folder reports an event; whether anything changed is looked at before a cycle runs."""
    WRITTEN = "written"
    """As a hint, from a file that was closed after writing: its writer is likely done."""
    REPLACED = "replaced"
    """As a hint, from a rename: what took its place is whole."""
    READ = "read"
    """A reading of all providers has ended, and waits to be decided upon."""
    CHANGE = "change"
    """Roster or policies are not what they were when the last cycle began."""
    SIGNAL = "signal"
    """An operator asks, by SIGHUP."""
    INSTANT = "instant"
    """A known access end has come."""
    WEBHOOK = "webhook"
    """A signed call says that something happened; what, is not believed."""
    RETRY = "retry"
    """The last cycle did not end well."""
    LEASE = "lease"
    """The lease is lost; the cycle that would begin finds that out, and ends the daemon."""
    STOP = "stop"


_NEVER_PRESSING = frozenset({Reason.TIMER, Reason.READ, Reason.RETRY, Reason.STOP})


class Wakeups:
    """A coalescing queue. `wake` may be called from any thread and from a signal handler, and never blocks or fails.

    It takes no lock: a handler that interrupts the thread that holds one would wait for itself for ever. `SimpleQueue`
    is reentrant, and two threads that race put two tokens at worst, which `take` folds into one.
    """

    def __init__(self) -> None:
        self._tokens: queue.SimpleQueue[Reason] = queue.SimpleQueue()
        self._waiting: dict[Reason, bool] = dict.fromkeys(Reason, False)
        self.taken: dict[Reason, int] = dict.fromkeys(Reason, 0)
        """How many tokens of each reason were taken out so far."""

    @property
    def waiting(self) -> Mapping[Reason, bool]:
        """Say of each reason whether a token of it waits."""
        return dict(self._waiting)

    def pressing(self) -> bool:
        """Say whether a token waits that may tell of a leaver."""
        return any(waits and reason not in _NEVER_PRESSING for reason, waits in self._waiting.items())

    def wake(self, reason: Reason) -> None:
        """Put a token in, unless one of the same reason waits already."""
        if not self._waiting[reason]:
            self._waiting[reason] = True
            self._tokens.put(reason)

    def take(self, timeout_seconds: float) -> frozenset[Reason]:
        """Wait for a token and return the reasons of all that are there; empty when none came in time.

        Whoever wakes before this returns is answered by what the caller does next; whoever wakes later waits for the
        next `take`. Nobody is lost between the two.
        """
        try:
            reasons = [self._tokens.get(timeout=max(timeout_seconds, 0))]
        except queue.Empty:
            return frozenset()
        # No more than lie there now: a flood must not keep the caller here.
        reasons += [self._tokens.get() for _ in range(self._tokens.qsize())]
        for reason in reasons:
            self._waiting[reason] = False
            self.taken[reason] += 1
        return frozenset(reasons)
