"""What is told of a cycle that has ended, and to whom: metrics, traces and notifications.

Copies for whoever watches. Nothing of it is ever read back by a cycle, and a listener that fails changes none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from inventory.model import ProviderName, Snapshot
from reconciler.core.record import CycleRecord
from reconciler.ports import JournalEntry, StreamLag

STAGES: Final = ("recover", "collect", "correlate", "evaluate", "guard", "execute", "verify", "attest")
"""Stages that a cycle reports, in their order. Reading again after each act is part of `execute`."""
OTHER: Final = "other"
"""Stands for a name that is not on a bounded list, so that no label or attribute grows without end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTime:
    """From when to when a cycle was in one stage."""

    stage: str
    """One of `STAGES`, or `OTHER`."""
    began_at: datetime
    ended_at: datetime

    @property
    def seconds(self) -> float:
        """Return how long it was."""
        return max((self.ended_at - self.began_at).total_seconds(), 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class CycleTold:
    """One cycle that ended with a record, and what the journal says beside it."""

    record: CycleRecord
    snapshot: Snapshot | None
    """What was looked at; holds personal data, of which listeners tell ids at most, and only where they are set to."""
    gave_way: bool
    """It did nothing, because a leaver came in between, and is decided again."""
    acts: tuple[JournalEntry, ...]
    """Intents of this cycle with their ends."""
    unsettled: int
    """Acts of all cycles whose end is not known or not verified."""
    caps: Mapping[ProviderName, float]
    """Share of its limit that each provider has used within the sliding window; above 1 where a plan is held for it."""
    lags: tuple[StreamLag, ...]
    stages: tuple[StageTime, ...]

    @property
    def held_digest(self) -> str:
        """Return the digest of the plan that was held, or empty."""
        plan = self.record.plan
        return plan.digest if plan is not None and self.record.guard.hold_reasons else ""


class Listener(Protocol):
    """Is told how cycles end. Must neither fail nor take long: what takes long belongs into a thread of its own."""

    def cycle_ended(self, told: CycleTold) -> None:
        """Take note of a cycle that ended with a record, however it ended."""

    def cycle_broke(self, error: str) -> None:
        """Take note of a cycle that could not be recorded or attested; `error` is the name of the error's type."""
