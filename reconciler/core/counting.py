"""What the numbers of one statement must say of each other, checked before signing and again by whoever verifies.

A cycle that claims to be complete while a provider was not, or more removals than attempts, is caught here, whichever
side of the signature the mistake or the lie was made on.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """The numbers and claims of one statement."""

    mode: str
    outcome: str
    providers_complete: bool
    """Every scope is complete, and there is one."""
    roster_fresh: bool
    undecided_principals: int
    breadth: str
    roster_leavers: int | None
    """How many workers of the roster had left; None without a roster."""
    decisions: Mapping[str, int]
    """The whole numbers of the section `decisions`, by field name."""
    actions: Mapping[str, int]
    """The whole numbers of the section `actions`, by field name."""
    leavers: Mapping[str, int]
    """The whole numbers of the section `leavers`, by field name."""


def contradictions(counts: Counts) -> tuple[str, ...]:
    """Return one sentence for each rule that the numbers break; none when they agree. A missing number counts as 0."""
    return (*_decisions(counts), *_actions(counts), *_leavers(counts), *_outcome(counts))


def _decisions(counts: Counts) -> Iterator[str]:
    told = counts.decisions
    parts = sum(told.get(name, 0) for name in ("keep", "review", "quarantine", "revoke", "waived", "undecided"))
    if parts != told.get("total", 0):
        yield f"decisions add up to {parts}, not to the total of {told.get('total', 0)}"
    if told.get("leafCount", parts) != told.get("total", 0):
        yield f"{told.get('leafCount', 0)} decision leaves for {told.get('total', 0)} decisions"


def _actions(counts: Counts) -> Iterator[str]:
    told = counts.actions
    number = told.get
    ended = sum(number(name, 0) for name in ("succeeded", "alreadyGone", "failed", "unknown"))
    if ended != number("attempted", 0):
        yield f"{number('attempted', 0)} actions attempted, {ended} with an outcome"
    settled = number("attempted", 0) + number("skipped", 0) + number("notAttempted", 0)
    if settled != number("intended", 0):
        yield f"{number('intended', 0)} actions intended, {settled} accounted for"
    if number("verifiedGone", 0) > number("succeeded", 0):
        yield f"{number('verifiedGone', 0)} removals verified of {number('succeeded', 0)} made"
    if number("leafCount", number("intended", 0)) != number("intended", 0):
        yield f"{number('leafCount', 0)} action leaves for {number('intended', 0)} intended actions"


def _leavers(counts: Counts) -> Iterator[str]:
    told = counts.leavers
    total = told.get("total", 0)
    judged = sum(told.get(name, 0) for name in ("clean", "violation", "cannotConclude"))
    if judged != total:
        yield f"{total} leavers, {judged} with a verdict"
    if told.get("leafCount", total) != total:
        yield f"{told.get('leafCount', 0)} leaver leaves for {total} leavers"
    everybody = counts.breadth == "whole" and counts.outcome in {"complete", "held"}
    if everybody and counts.roster_leavers is not None and counts.roster_leavers != total:
        yield f"{counts.roster_leavers} leavers by the roster, {total} judged"


def _outcome(counts: Counts) -> Iterator[str]:
    attempted = counts.actions.get("attempted", 0)
    if counts.outcome == "complete":
        if not counts.providers_complete:
            yield "outcome is complete while a provider is not"
        if not counts.roster_fresh:
            yield "outcome is complete while the roster is not fresh"
        if counts.undecided_principals:
            yield f"outcome is complete while {counts.undecided_principals} principals are undecided"
    if attempted and counts.outcome == "held":
        yield f"outcome is held, yet {attempted} actions were attempted"
    if attempted and counts.mode == "observe":
        yield f"{attempted} actions were attempted in observe mode"


@dataclass(slots=True)
class UndoBalance:
    """Undos begun and not confirmed so far, over a chain of statements: none is confirmed that was not begun.

    What a missing statement counted is unknown, so nothing is concluded after one.
    """

    _open: int = 0
    _known: bool = True

    def lose(self) -> None:
        """Conclude nothing from here on: a statement is missing, or cannot be read."""
        self._known = False

    def overdrawn(self, begun: int, confirmed: int) -> bool:
        """Count one more statement, and say whether it confirms more undos than were begun; it alone is blamed."""
        self._open += begun - confirmed
        if self._open >= 0 or not self._known:
            return False
        self._open = 0
        return True
