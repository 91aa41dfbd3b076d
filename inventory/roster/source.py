"""Where a roster comes from."""

from typing import Protocol

from inventory.roster.model import AcceptedRoster, RosterVerdict


class RosterSource(Protocol):
    """Reads the feed anew at each call and passes it through the gate."""

    def load(self, previous: AcceptedRoster | None) -> RosterVerdict:
        """Return the verdict; a feed that cannot be read at all is refused, never raised."""

    def fingerprint(self) -> str:
        """Return a cheap digest of the feed as it lies there now, to see whether it moved since `load`."""
