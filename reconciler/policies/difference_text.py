"""A difference as Markdown, for a comment on a pull request: who loses and who keeps what, by which rule and cap.

Long lists are folded. What does not fit into one comment is left out with its number, never in silence.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

from reconciler.circumstances import populations
from reconciler.policies.difference import KEEP, Difference, Line, Side, Turn, silent_rules, touched_principals
from reconciler.policies.markup import cell

SHOWN: Final = 15
"""Lines of a list that stand open; the rest is folded."""
MOST_LINES: Final = 200
"""Lines of a list that are given at all: a comment of GitHub holds 65,536 characters."""
_TITLES: Final = {
    Turn.GAINED: "Newly found",
    Turn.CHANGED: "Asked for otherwise",
    Turn.LOST: "Not found any more",
}
_HEAD: Final = (
    "| worker | principal | access item | kind | before | after | rule |\n| --- | --- | --- | --- | --- | --- | --- |"
)


def markdown(difference: Difference) -> str:
    """Return the comment."""
    parts = [_summary(difference), _plan(difference)]
    for turn, title in _TITLES.items():
        lines = [line for line in difference.lines if line.turn is turn]
        if lines:
            parts.append(f"### {title}: {len(lines)}\n\n{_by_rule(lines)}\n\n{_list(lines)}")
    if difference.planned:
        parts.append(_planned(difference))
    parts.append(_quiet(difference))
    return "\n\n".join(parts) + "\n"


def _summary(difference: Difference) -> str:
    counts = Counter(line.turn for line in difference.lines)
    people = len({line.worker_id for line in difference.lines if line.worker_id})
    told = ", ".join(f"{counts[turn]} {title.lower()}" for turn, title in _TITLES.items())
    recording = difference.recording
    items, principals = sum(1 for _ in recording.snapshot.items()), sum(1 for _ in recording.snapshot.principals())
    verdict = f"**Decisions change: {told}; {people} workers.**" if difference.lines else "**No decision changes.**"
    names = " Ids are pseudonyms; waivers are those of the recording." if recording.pseudonymised else ""
    return (
        f"## Access decisions: {_revision(difference.base)} → {_revision(difference.head)}\n\n{verdict}\n\n"
        f"On {items} access items of {principals} principals, as of {recording.now:%Y-%m-%d %H:%M} UTC.{names}"
    )


def _revision(side: Side) -> str:
    """Return a revision as people write it: of a commit, the beginning."""
    return side.name[:12] if re.fullmatch(r"[0-9a-f]{40}", side.name) else cell(side.name)


def _plan(difference: Difference) -> str:
    base, head = difference.base, difference.head
    rows = [
        f"| {name} | {_effects(side)} | {len(side.plan.withheld)} | {len(side.evaluation.unknown)} | {_held(side)} |"
        for name, side in (("before", base), ("after", head))
    ]
    before, after = touched_principals(base), touched_principals(head)
    limits = difference.recording.limits
    caps = []
    for one in populations(difference.recording.snapshot):
        percent = f" and {limits.max_percent} %" if one.principals >= limits.percent_population else ""
        caps.append(
            f"| {cell(one.provider)} | {one.principals} | {before[one.provider]} | {after[one.provider]} "
            f"| {limits.max_principals}{percent} |"
        )
    return (
        "### The plan\n\n| | actions | withheld | undecided | the guard |\n| --- | --- | --- | --- | --- |\n"
        + "\n".join(rows)
        + "\n\n| provider | principals | touched before | after | cap |\n| --- | --- | --- | --- | --- |\n"
        + "\n".join(caps)
    )


def _effects(side: Side) -> str:
    effects = Counter(action.effect.value for action in side.plan.actions)
    return ", ".join(f"{effect} {effects[effect]}" for effect in sorted(effects)) or "none"


def _held(side: Side) -> str:
    return "holds it: " + "; ".join(cell(one.message) for one in side.holds) if side.holds else "lets it pass"


def _by_rule(lines: Sequence[Line]) -> str:
    rules = Counter((line.rule, line.before, line.after) for line in lines)
    told = (f"`{rule}`: {before} → {after} ({count})" for (rule, before, after), count in sorted(rules.items()))
    return ", ".join(told)


def _list(lines: Sequence[Line]) -> str:
    rows = [
        f"| {cell(line.worker_id or '')} | {cell(f'{line.provider}/{line.principal_id}')} | {cell(line.access_id)} "
        f"| {line.kind.value} | {line.before} | {line.after} | `{line.rule}` |"
        for line in lines
    ]
    return folded(rows, _HEAD)


def _planned(difference: Difference) -> str:
    rows = [
        f"| {cell(provider)} | {cell(item)} | {before} | {after} |"
        for provider, item, before, after in difference.planned
    ]
    lose = sum(before == KEEP for _, _, before, _ in difference.planned)
    keep = sum(after == KEEP for _, _, _, after in difference.planned)
    head = "| provider | access item | planned before | after |\n| --- | --- | --- | --- |"
    title = f"### Dealt with otherwise: {len(rows)} access items, {lose} newly lost, {keep} newly kept"
    return f"{title}\n\n{folded(rows, head)}"


def folded(rows: Sequence[str], head: str) -> str:
    """Return a table of which the first rows stand open and the others are folded; what is left out is counted."""
    text = "\n".join((head, *rows[:SHOWN]))
    rest, left = rows[SHOWN:MOST_LINES], len(rows) - MOST_LINES
    if rest:
        folded = "\n".join((head, *rest))
        text += f"\n\n<details><summary>{len(rest)} more</summary>\n\n{folded}\n\n</details>"
    if left > 0:
        text += f"\n\n{left} more are not shown here: `--output json` has all {len(rows)}."
    return text


def _quiet(difference: Difference) -> str:
    quiet = silent_rules(difference.head)
    if not quiet:
        return "Every rule matched something."
    return f"Rules that matched nothing: {', '.join(f'`{rule}`' for rule in quiet)}."
