"""Statements that wait for their signature: what is remembered of attempts that failed, and when the next one is due.

A statement is `spooled` once it lies durably in its place in the chain, `signed` when a signature was made, and
`verified` when that signature was checked as an auditor would; only then does its bundle lie beside it.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from reconciler.core.errors import ReconcilerError, UnverifiedSignature
from reconciler.core.model import CycleId

_MOST_DOUBLED: Final = 16
"""More failures in a row than this make no difference to any pause that somebody may set."""


class StatementState(StrEnum):
    """How far a statement has come."""

    SPOOLED = "spooled"
    """Stored durably; no signature of it is known."""
    SIGNED = "signed"
    """The last attempt made a signature that does not verify: nobody may rely on it, and it is made again."""
    VERIFIED = "verified"
    """Its bundle is stored, and was verified before it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long to wait after an attempt that failed; seconds."""

    first_seconds: float = 10.0
    longest_seconds: float = 600.0


USUAL_PACE: Final = Pace()


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempts:
    """What is remembered of attempts to sign, over processes, until one succeeds."""

    sequence: int = 0
    """The statement of the last attempt; 0 when there was none since the spool was empty."""
    began_at: datetime | None = None
    """When it began. An attempt without a failure that is not under way was cut short."""
    failures: int = 0
    """Attempts in a row that failed."""
    not_before: datetime | None = None
    """When the next one is due; None when nothing stands in its way."""
    error: str = ""
    """Why the last one failed."""
    advice: str = ""
    unverified: bool = False
    """Whether it made a signature, which did not verify."""

    def begun(self, sequence: int, now: datetime) -> "Attempts":
        """Return what is remembered while an attempt is under way."""
        return replace(self, sequence=sequence, began_at=now)

    def failed(self, error: ReconcilerError, pace: Pace, now: datetime, chance: float) -> "Attempts":
        """Return what is remembered of a failure: the pause doubles with each, and half of it is left to chance.

        `chance` is a number from 0 up to 1, so that installations that failed together do not come back together.
        """
        doubled = pace.first_seconds * 2 ** min(self.failures, _MOST_DOUBLED)
        pause = min(pace.longest_seconds, doubled) * (1 + chance) / 2
        return replace(
            self,
            failures=self.failures + 1,
            not_before=now + timedelta(seconds=pause),
            error=str(error),
            advice=error.advice,
            unverified=isinstance(error, UnverifiedSignature),
        )

    def rests_until(self, pace: Pace, now: datetime) -> datetime | None:
        """Return until when nothing is tried; None when an attempt is due.

        An instant further off than the longest pause comes from a clock that was wrong, and counts for nothing.
        """
        if self.not_before is None or self.not_before <= now:
            return None
        return self.not_before if self.not_before - now <= timedelta(seconds=pace.longest_seconds) else None

    def state_of(self, sequence: int) -> StatementState:
        """Return how far a statement without a bundle has come."""
        made = self.unverified and self.sequence == sequence
        return StatementState.SIGNED if made else StatementState.SPOOLED


NO_ATTEMPTS: Final = Attempts()
"""Nothing failed, and nothing is under way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A stored statement that has no bundle yet."""

    sequence: int
    cycle_id: CycleId


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """What a statement says of how it is to be signed, and since when it waits."""

    signing_mode: str
    genesis: str
    """Binds its chain to an installation and a signer."""
    finished_at: datetime
    """When its cycle ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What waits for its signature."""

    waiting: tuple[Waiting, ...] = ()
    """Oldest first."""
    since: datetime | None = None
    """When the cycle of the oldest one ended; None when none waits."""
    attempts: Attempts = NO_ATTEMPTS
    rests_until: datetime | None = None
    """Nothing is tried before; None when an attempt is due, or none is needed."""

    def age_seconds(self, now: datetime) -> float:
        """Return for how long the oldest one has waited; 0 when none does."""
        return 0.0 if self.since is None else max((now - self.since).total_seconds(), 0.0)
