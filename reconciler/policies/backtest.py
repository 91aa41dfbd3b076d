"""What a change of the policies would have done on days that were: two revisions on several recorded snapshots."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from reconciler.core.canonical import Json, plain
from reconciler.core.model import HoldReason
from reconciler.policies.difference import KEEP, Difference, Line, Turn, silent_rules


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """What came out on one recorded snapshot; the snapshot itself is not kept."""

    as_of: datetime
    complete: bool
    access_items: int
    changes_effects: bool
    turns: Mapping[Turn, int]
    newly_taken: int
    """Access items for which only the plan after the change has an act."""
    newly_left: int
    undecided: int
    """Principals that the revision after the change cannot be asked about."""
    holds_before: tuple[HoldReason, ...]
    holds_after: tuple[HoldReason, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Often:
    """One decision that changes, and on how many of the snapshots."""

    line: Line
    times: int
    last: datetime
    """The newest snapshot on which it changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backtest:
    """What changes between two revisions, over recorded snapshots from the oldest to the newest."""

    base: str
    head: str
    asked: int
    """How many snapshots were asked for; there may be fewer."""
    days: tuple[Day, ...]
    lines: tuple[Often, ...]
    """Those that change on most snapshots first."""
    never_matched: tuple[str, ...]
    """Rules of the revision after the change that found nothing on any of them."""

    @property
    def changes_effects(self) -> bool:
        """Say whether anybody's access is decided or dealt with otherwise on any of the snapshots."""
        return any(day.changes_effects for day in self.days)


def backtest(base: str, head: str, asked: int, differences: Iterable[Difference]) -> Backtest:
    """Sum up comparisons, oldest first; each is let go before the next one is made."""
    days: list[Day] = []
    times: Counter[Line] = Counter()
    last: dict[Line, datetime] = {}
    silent: set[str] | None = None
    for one in differences:
        days.append(_day(one))
        times.update(one.lines)
        last.update(dict.fromkeys(one.lines, one.recording.now))
        quiet = set(silent_rules(one.head))
        silent = quiet if silent is None else silent & quiet
    lines = [Often(line=line, times=count, last=last[line]) for line, count in times.items()]
    return Backtest(
        base=base,
        head=head,
        asked=asked,
        days=tuple(days),
        lines=tuple(sorted(lines, key=lambda one: (-one.times, _place(one.line)))),
        never_matched=tuple(sorted(silent or ())),
    )


def _place(line: Line) -> tuple[str, ...]:
    return (line.worker_id or "~", line.provider, line.principal_id, line.access_id, line.rule, line.before)


def _day(one: Difference) -> Day:
    snapshot = one.recording.snapshot
    return Day(
        as_of=one.recording.now,
        complete=snapshot.complete,
        access_items=sum(1 for _ in snapshot.items()),
        changes_effects=one.changes_effects,
        turns=Counter(line.turn for line in one.lines),
        newly_taken=sum(planned.before == KEEP for planned in one.planned),
        newly_left=sum(planned.after == KEEP for planned in one.planned),
        undecided=len(one.head.evaluation.unknown),
        holds_before=one.base.holds,
        holds_after=one.head.holds,
    )


def backtest_document(found: Backtest) -> dict[str, Json]:
    """Return what `policies diff --backtest N --output json` prints."""
    return {
        "changes_effects": found.changes_effects,
        "base": found.base,
        "head": found.head,
        "asked": found.asked,
        "snapshots": [_day_document(day) for day in found.days],
        "lines": [_line_document(one) for one in found.lines],
        "never_matched": list(found.never_matched),
    }


def _day_document(day: Day) -> dict[str, Json]:
    return {
        "as_of": plain(day.as_of),
        "complete": day.complete,
        "access_items": day.access_items,
        "changes_effects": day.changes_effects,
        "counts": {turn.value: day.turns.get(turn, 0) for turn in Turn},
        "newly_taken": day.newly_taken,
        "newly_left": day.newly_left,
        "undecided": day.undecided,
        "holds_before": [_hold(one) for one in day.holds_before],
        "holds_after": [_hold(one) for one in day.holds_after],
    }


def _hold(one: HoldReason) -> dict[str, Json]:
    return {"code": one.code.value, "provider": one.provider, "message": one.message}


def _line_document(one: Often) -> dict[str, Json]:
    line = plain(one.line)
    told: dict[str, Json] = line if isinstance(line, dict) else {}
    return {**told, "turn": one.line.turn.value, "snapshots": one.times, "last": plain(one.last)}
