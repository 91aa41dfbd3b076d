"""What a row of verified cycles covered, what it did not, and what is left: month by month, for whoever must judge it.

Fed one cycle at a time and holding no cycle: a year of cycles costs what a month does.
"""

from collections import Counter
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Final

from reconciler.adapters.pack_claims import Claim
from reconciler.core.canonical import Json

_READ: Final = "complete"
"""State of an artefact kind that was read to its end."""
_OUTCOMES: Final = {"complete", "partial", "held", "failed"}


@dataclass(slots=True, kw_only=True)
class Month:
    """The cycles that ended in one month."""

    month: str
    """`YYYY-MM`, UTC."""
    cycles: int = 0
    complete: int = 0
    partial: int = 0
    held: int = 0
    failed: int = 0
    observed: int = 0
    """Cycles in observe mode: nothing was to be taken away."""
    leavers_only: int = 0
    """Passes over the principals of leavers alone."""
    interrupted: int = 0
    """Cycles without an attestation, of which the chain tells."""
    stale_roster: int = 0
    """Cycles without a roster, or with one older than its limit."""
    attempted: int = 0
    verified_gone: int = 0
    action_failures: int = 0
    """Acts that failed or of which nobody knows how they ended."""
    slowest_removal_seconds: int | None = None
    latest_signature_seconds: int | None = None
    """Longest time from a cycle's end to its time stamp; None without trusted time."""

    def add(self, claim: Claim, stamped_at: datetime | None) -> None:
        """Count a cycle."""
        self.cycles += 1
        if claim.outcome in _OUTCOMES:
            setattr(self, claim.outcome, getattr(self, claim.outcome) + 1)
        self.observed += claim.mode == "observe"
        self.leavers_only += not claim.whole
        self.stale_roster += claim.roster is None or not claim.roster.fresh
        self.attempted += claim.actions.attempted
        self.verified_gone += claim.actions.verified_gone
        self.action_failures += claim.actions.failed + claim.actions.unknown
        self.slowest_removal_seconds = _later(self.slowest_removal_seconds, claim.slo.max_time_to_revoke_seconds)
        if stamped_at is not None:
            late = (stamped_at - datetime.fromisoformat(claim.finished_at)).total_seconds()
            self.latest_signature_seconds = _later(self.latest_signature_seconds, round(late))

    def json(self) -> dict[str, Json]:
        """Return the counts by name."""
        return {one.name: getattr(self, one.name) for one in fields(self)}


def _later(one: int | None, other: int | None) -> int | None:
    return max((value for value in (one, other) if value is not None), default=None)


@dataclass(slots=True, kw_only=True)
class NotCovered:
    """Something that cycles could not see."""

    provider: str
    kind: str
    """Of artefact; empty for a scope that was not read to its end."""
    state: str
    cycles: int = 0
    first: int
    last: int
    """Sequence numbers of the first and the last such cycle."""

    def json(self) -> dict[str, Json]:
        """Return the fields by name."""
        return {one.name: getattr(self, one.name) for one in fields(self)}


@dataclass(slots=True)
class Period:
    """Cycles, as they are followed in their order."""

    months: dict[str, Month] = field(default_factory=dict)
    gaps: dict[tuple[str, str, str], NotCovered] = field(default_factory=dict)
    whole: int = 0
    """Cycles that asked for everything: those that `gaps` are of."""
    first: Claim | None = None
    last: Claim | None = None
    last_whole: Claim | None = None
    hold_reasons: Counter[str] = field(default_factory=Counter)
    earliest_stamp: datetime | None = None
    latest_stamp: datetime | None = None

    def add(self, claim: Claim, stamped_at: datetime | None = None) -> None:
        """Follow a cycle; `stamped_at` is the trusted time of its signature."""
        month = self.months.setdefault(claim.finished_at[:7], Month(month=claim.finished_at[:7]))
        if self.last is not None:
            month.interrupted += claim.sequence - self.last.sequence - 1
        month.add(claim, stamped_at)
        self.first, self.last = self.first or claim, claim
        self.hold_reasons.update(hold.code for hold in claim.plan.hold_reasons)
        if stamped_at is not None:
            self.earliest_stamp = min(self.earliest_stamp or stamped_at, stamped_at)
            self.latest_stamp = max(self.latest_stamp or stamped_at, stamped_at)
        if claim.whole:
            self.whole += 1
            self.last_whole = claim
            self._cover(claim)

    def _cover(self, claim: Claim) -> None:
        unseen = {(scope.id, "", "incomplete") for scope in claim.inventory.providers if not scope.complete}
        for scope in claim.inventory.providers:
            unseen |= {(scope.id, one.kind, one.state) for one in scope.coverage if one.state != _READ}
        for provider, kind, state in sorted(unseen):
            known = self.gaps.setdefault(
                (provider, kind, state),
                NotCovered(provider=provider, kind=kind, state=state, first=claim.sequence, last=claim.sequence),
            )
            known.cycles, known.last = known.cycles + 1, claim.sequence

    def coverage(self) -> dict[str, Json]:
        """Return the months, what was not covered, and the residual risk at the end."""
        return {
            "months": [month.json() for month in self.months.values()],
            "whole_cycles": self.whole,
            "not_covered": [gap.json() for gap in self.gaps.values()],
            "hold_reasons": dict[str, Json](sorted(self.hold_reasons.items())),
            "residual": self.residual(),
        }

    def residual(self) -> Json:
        """Return what the last whole cycle left: leavers not clean, and items that nobody decided on or that wait."""
        claim = self.last_whole
        if claim is None:
            return None
        return {
            "sequence": claim.sequence,
            "cycle_id": claim.cycle_id,
            "as_of": claim.finished_at,
            "leavers_in_violation": claim.leavers.violation,
            "leavers_not_concluded_upon": claim.leavers.cannot_conclude,
            "missing": [*claim.leavers.missing],
            "items_in_review": claim.decisions.review,
            "items_waived": claim.decisions.waived,
            "items_undecided": claim.decisions.undecided,
            "principals_undecided": claim.decisions.undecided_principals,
            "actions_not_done": claim.actions.not_attempted + claim.actions.skipped,
            "actions_failed_or_unknown": claim.actions.failed + claim.actions.unknown,
        }
