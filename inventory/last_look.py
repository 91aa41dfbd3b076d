"""What the look before an act showed, kept for the act that follows it at once.

A revoker that must know how an object stands before it writes has just read that, for the before-image. Asking again a
moment later costs a leaver a round trip and tells nothing new: between a second look and the write, just as much can
happen as between the first one and the write.
"""

import threading
from typing import Final, Generic, TypeVar

from inventory.provider import Clock

HOLDS_SECONDS: Final = 2.0
"""So long a look stands, from when it began: as long as a read stands for the read right before an act."""
_MANY: Final = 256
"""Looks beyond this number are forgotten once they no longer stand: an act that was stopped never takes its own."""

Seen = TypeVar("Seen")


class LastLook(Generic[Seen]):
    """Remembers by act what was seen, as long as a look stands; each serves one act once."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[float, Seen]] = {}

    def keep(self, act: str, seen: Seen, looked_at: float) -> Seen:
        """Keep what was asked for at a monotonic instant, under the id of the act that it is for, and return it."""
        with self._lock:
            if len(self._seen) >= _MANY:
                self._seen = {key: one for key, one in self._seen.items() if self._stands(one[0])}
            self._seen[act] = (looked_at, seen)
        return seen

    def take(self, act: str) -> tuple[Seen] | None:
        """Return what the look before this act showed; None when there was none just now, or it was taken already."""
        with self._lock:
            found = self._seen.pop(act, None)
        return (found[1],) if found is not None and self._stands(found[0]) else None

    def __len__(self) -> int:
        """Return how many looks are kept."""
        return len(self._seen)

    def _stands(self, looked_at: float) -> bool:
        return 0 <= self._clock.monotonic_seconds() - looked_at <= HOLDS_SECONDS
