"""A backtest as Markdown: what each recorded snapshot says, then whom the change would have touched, and how often."""

from typing import Final

from reconciler.policies.backtest import Backtest, Day, Often
from reconciler.policies.difference import Turn
from reconciler.policies.difference_text import folded
from reconciler.policies.markup import cell

_DAYS: Final = (
    "| snapshot (UTC) | access items | newly found | asked otherwise | not found any more | newly taken | newly left "
    "| undecided | the guard after |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
)
_LINES: Final = (
    "| worker | principal | access item | kind | before | after | rule | snapshots | last |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
)


def backtest_markdown(found: Backtest) -> str:
    """Return the comment."""
    parts = [_summary(found), folded(found.days[::-1], _day, _DAYS)]
    if found.lines:
        lines = folded(found.lines, lambda one: _line(one, len(found.days)), _LINES)
        parts.append(f"### Whom it would have touched: {len(found.lines)} decisions\n\n{lines}")
    parts.append(_quiet(found))
    return "\n\n".join(parts) + "\n"


def _summary(found: Backtest) -> str:
    changed = sum(day.changes_effects for day in found.days)
    held = sum(bool(day.holds_after) and not day.holds_before for day in found.days)
    verdict = f"**Decisions change on {changed} of {len(found.days)} snapshots.**"
    if not changed:
        verdict = f"**No decision changes on any of {len(found.days)} snapshots.**"
    guard = f" On {held} of them the guard would hold a plan that passed before." if held else ""
    fewer = ""
    if len(found.days) < found.asked:
        fewer = f"\n\nOnly {len(found.days)} snapshots are recorded; {found.asked} were asked for."
    return f"## Access decisions on days that were: {cell(found.base)} → {cell(found.head)}\n\n{verdict}{guard}{fewer}"


def _day(day: Day) -> str:
    counts = " | ".join(str(day.turns.get(turn, 0)) for turn in (Turn.GAINED, Turn.CHANGED, Turn.LOST))
    whole = "" if day.complete else " (incomplete)"
    guard = "lets it pass"
    if day.holds_after:
        guard = "holds it: " + "; ".join(cell(one.message) for one in day.holds_after)
    return (
        f"| {day.as_of:%Y-%m-%d %H:%M} | {day.access_items}{whole} | {counts} | {day.newly_taken} | {day.newly_left} "
        f"| {day.undecided} | {guard} |"
    )


def _line(one: Often, days: int) -> str:
    line = one.line
    return (
        f"| {cell(line.worker_id or '')} | {cell(f'{line.provider}/{line.principal_id}')} | {cell(line.access_id)} "
        f"| {line.kind.value} | {line.before} | {line.after} | `{line.rule}` | {one.times} of {days} "
        f"| {one.last:%Y-%m-%d} |"
    )


def _quiet(found: Backtest) -> str:
    if not found.never_matched:
        return "Every rule matched something on one of the snapshots."
    return f"Rules that matched nothing on any snapshot: {', '.join(f'`{rule}`' for rule in found.never_matched)}."
