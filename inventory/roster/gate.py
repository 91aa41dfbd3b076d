"""The gate: how fresh a feed must be, and how much of the company may change at once. Pure, whole numbers only.

A held feed is readable, and nothing may be taken away on its word until a human has looked.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from inventory.roster.model import AcceptedRoster, Roster, RosterProblem

STALE = "roster_stale"
SHRUNKEN = "roster_shrunken"
MASS_TERMINATION = "mass_termination"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateLimits:
    """What the gate lets pass; the settings of the same names say why."""

    max_age_hours: int
    max_future_seconds: int
    max_shrink_percent: int
    max_shrink: int
    max_leavers_percent: int
    max_leavers_floor: int


def accepted_of(roster: Roster) -> AcceptedRoster:
    """Return what is remembered of a roster that passed the gate."""
    return AcceptedRoster(
        digest=roster.digest,
        as_of=roster.as_of,
        workers=len(roster.workers),
        open_workers=sum(worker.access_end_at is None for worker in roster.workers),
    )


def held_reasons(
    roster: Roster, previous: AcceptedRoster | None, *, at: datetime, limits: GateLimits
) -> tuple[RosterProblem, ...]:
    """Return why a feed is held at an instant; empty when it passes.

    `previous` is the last feed that passed; None on the first, which is measured by its age alone. So is the same feed
    seen again: what it says was measured when it came, and confirmed if it was held.
    """
    found = _freshness(roster, at, limits)
    if previous is not None and previous.digest != roster.digest:
        found += _order(roster, previous, limits) + _shrinkage(roster, previous, limits)
        found += _mass_leaving(roster, previous, at, limits)
    return tuple(found)


def _held(code: str, message: str) -> RosterProblem:
    return RosterProblem(line=0, column=0, code=code, message=message)


def _freshness(roster: Roster, at: datetime, limits: GateLimits) -> list[RosterProblem]:
    age = at - roster.as_of
    if age > timedelta(hours=limits.max_age_hours):
        hours = int(age / timedelta(hours=1))
        return [_held(STALE, f"the feed is {hours} h old, {limits.max_age_hours} h are allowed: see why none came")]
    if age < -timedelta(seconds=limits.max_future_seconds):
        return [_held(STALE, "the feed is dated in the future, so its age is unknown: check the clocks")]
    return []


def _order(roster: Roster, previous: AcceptedRoster, limits: GateLimits) -> list[RosterProblem]:
    if roster.as_of + timedelta(seconds=limits.max_future_seconds) < previous.as_of:
        return [_held(STALE, "the feed is older than the last accepted one: an old file came back")]
    return []


def _shrinkage(roster: Roster, previous: AcceptedRoster, limits: GateLimits) -> list[RosterProblem]:
    missing = previous.workers - len(roster.workers)
    if missing > limits.max_shrink or missing * 100 > previous.workers * limits.max_shrink_percent:
        return [
            _held(
                SHRUNKEN,
                f"{missing} of {previous.workers} workers are missing since the last accepted roster "
                f"(allowed: {limits.max_shrink_percent} % and {limits.max_shrink}): the export is cut, or filtered",
            )
        ]
    return []


def _mass_leaving(roster: Roster, previous: AcceptedRoster, at: datetime, limits: GateLimits) -> list[RosterProblem]:
    """Count by two measures, because joiners hide the first and back-dated ends the second; the larger counts."""
    no_longer_open = previous.open_workers - accepted_of(roster).open_workers
    ended_since = sum(
        worker.access_end_at is not None and previous.as_of < worker.access_end_at <= at for worker in roster.workers
    )
    leavers = max(no_longer_open, ended_since)
    if leavers > limits.max_leavers_floor and leavers * 100 > previous.open_workers * limits.max_leavers_percent:
        return [
            _held(
                MASS_TERMINATION,
                f"{leavers} of {previous.open_workers} open workers ended at once since the last accepted roster "
                f"(allowed: {limits.max_leavers_percent} %): confirm with HR",
            )
        ]
    return []
