"""A difference as Markdown, for a comment on a pull request: who loses and who keeps what, by which rule and cap.

Long lists are folded. What does not fit into one comment is left out with its number, never in silence.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, TypeVar

from reconciler.core.model import Effect
from reconciler.policies.deciding import Side
from reconciler.policies.difference import (
    KEEP,
    Cap,
    Difference,
    Line,
    Planned,
    Turn,
    caps,
    planned_effects,
    silent_rules,
    withheld_codes,
)
from reconciler.policies.difference_document import difference_digest
from reconciler.policies.markup import cell, counted
from reconciler.policies.waiver_changes import WaiverChange

Entry = TypeVar("Entry")
SHOWN: Final = 15
"""Lines of a list that stand open; the rest is folded."""
MOST_LINES: Final = 200
"""Lines of a list that are given at all: a comment of GitHub holds 65,536 characters."""
_TITLES: Final = {
    Turn.GAINED: "Newly found",
    Turn.CHANGED: "Asked for otherwise",
    Turn.LOST: "Not found any more",
}
_WHOSE: Final = "| worker | principal | access item | kind | before | after | rule |"
_SEVEN: Final = "| --- | --- | --- | --- | --- | --- | --- |"
_LINES_HEAD: Final = f"{_WHOSE} what the plan does |\n{_SEVEN} --- |"
_PLANNED_HEAD: Final = f"{_WHOSE} why |\n{_SEVEN} --- |"


def markdown(difference: Difference) -> str:
    """Return the comment: who loses and who keeps what first, then the caps, then what the rules say."""
    parts = [_summary(difference), *_waivers(difference), *_planned(difference), _plan(difference)]
    does = _Does(difference.head)
    for turn, title in _TITLES.items():
        lines = [line for line in difference.lines if line.turn is turn]
        if lines:
            parts.append(f"### {title}: {len(lines)}\n\n{_by_rule(lines)}\n\n{_list(lines, does)}")
    parts += [_quiet(difference), _digest(difference)]
    return "\n\n".join(parts) + "\n"


def _summary(difference: Difference) -> str:
    counts = Counter(line.turn for line in difference.lines)
    told = ", ".join(f"{counts[turn]} {title.lower()}" for turn, title in _TITLES.items())
    recording = difference.recording
    items, principals = sum(1 for _ in recording.snapshot.items()), sum(1 for _ in recording.snapshot.principals())
    quiet = "No rule decides otherwise." if difference.not_shown else "No decision changes."
    found = f"Decisions change: {told}; {_people(difference.lines)}." if difference.lines else quiet
    names = " Ids are pseudonyms; waivers are those of the recording, less what the change takes out."
    return (
        f"## Access decisions: {_revision(difference.base)} → {_revision(difference.head)}\n\n"
        f"**{_verdict(difference)}**\n\n{found}\n\n"
        f"On {counted(items, 'access item')} of {counted(principals, 'principal')}, "
        f"as of {recording.now:%Y-%m-%d %H:%M} UTC." + (names if recording.pseudonymised else "")
    )


def _verdict(difference: Difference) -> str:
    """Answer in one line who loses, who keeps, and whether the guard would let it pass."""
    parts = [f"{_of_people(some)} {title.lower()}" for title, some in _outcomes(difference).items() if some]
    nobody = "Nobody's access is seen to be dealt with otherwise" if difference.not_shown else _NOBODY
    told = ", ".join(parts) or nobody
    over = [one.provider for one in caps(difference) if not one.fits]
    if over:
        told += f". Beyond the cap of {', '.join(map(cell, over))}: the guard would hold the plan"
    elif difference.head.holds:
        told += ". The guard would hold the plan, though not for its caps"
    else:
        told += ". Within every cap"
    hidden = len(difference.not_shown)
    if hidden:
        told += f". Not shown, for ids are pseudonyms here: whom {counted(hidden, 'changed waiver')} would touch"
    open_now, open_before = len(difference.head.evaluation.unknown), len(difference.base.evaluation.unknown)
    if open_now != open_before:
        told += f". Principals that cannot be decided: {open_before} before, {open_now} after"
    return f"{told}."


_NOBODY: Final = "Nobody's access is dealt with otherwise"


def _waivers(difference: Difference) -> list[str]:
    """Return the waivers that change, and loudly which of them nobody can look into on this recording."""
    if not difference.waivers:
        return []
    changed = difference.waivers
    text = f"### Waivers that change: {len(changed)}\n\n" + folded(changed, _waiver_row, _WAIVERS_HEAD)
    if difference.not_shown:
        text += (
            "\n\n> **Whom the waivers marked so would touch cannot be shown on a recording under pseudonyms.** Who may "
            "see names runs `policies diff` on one without: `inventory export FILE`."
        )
    return [text]


def _waiver_row(one: WaiverChange) -> str:
    return (
        f"| {cell(one.waiver_id)} | {one.turn.value} | {cell(one.rule)} | {one.expires_at:%Y-%m-%d} "
        f"| {'in the lists below' if one.shown else '**not shown**'} |"
    )


_WAIVERS_HEAD: Final = "| waiver | | rule | until | what it does |\n| --- | --- | --- | --- | --- |"


def _outcomes(difference: Difference) -> Mapping[str, Sequence[Planned]]:
    return {
        "Newly lost": [one for one in difference.planned if one.before == KEEP],
        "Newly kept": [one for one in difference.planned if one.after == KEEP],
        "Lost in another way": [one for one in difference.planned if KEEP not in (one.before, one.after)],
    }


def _of_people(some: Sequence[Planned]) -> str:
    return f"{counted(len(some), 'access item')} of {_people(some)}"


def _people(some: Iterable[Line | Planned]) -> str:
    workers = len({one.worker_id for one in some if one.worker_id})
    nobodys = len({(one.provider, one.principal_id) for one in some if not one.worker_id})
    beside = f"{counted(nobodys, 'principal')} of nobody"
    if not workers and nobodys:
        return beside
    return counted(workers, "worker") + (f" and of {beside}" if nobodys else "")


def _revision(side: Side) -> str:
    """Return a revision as people write it: of a commit, the beginning."""
    return side.name[:12] if re.fullmatch(r"[0-9a-f]{40}", side.name) else cell(side.name)


def _planned(difference: Difference) -> list[str]:
    return [
        f"### {title}: {_of_people(some)}\n\n{_by_rule(some)}\n\n"
        + folded(some, lambda one: f"{_row(one)} {_why(one)} |", _PLANNED_HEAD)
        for title, some in _outcomes(difference).items()
        if some
    ]


def _why(one: Planned) -> str:
    if one.after == KEEP:
        return f"withheld: {_codes(one.withheld_after)}" if one.withheld_after else "nothing asks for it any more"
    if one.before == KEEP and one.withheld_before:
        return f"withheld before: {_codes(one.withheld_before)}"
    return "newly asked for" if one.before == KEEP else "asked for otherwise"


def _codes(codes: Sequence[str]) -> str:
    return ", ".join(f"`{code}`" for code in codes)


def _plan(difference: Difference) -> str:
    rows = [
        f"| {name} | {_effects(side)} | {_withheld(side)} | {len(side.evaluation.unknown)} | {_held(side)} |"
        for name, side in (("before", difference.base), ("after", difference.head))
    ]
    hours = difference.recording.limits.window_seconds // 3600
    return (
        "### The plan and the caps\n\n| | actions | withheld | undecided | the guard |\n"
        "| --- | --- | --- | --- | --- |\n"
        + "\n".join(rows)
        + f"\n\n| provider | principals | touched before | after | touched in the last {hours} h | cap | within it |\n"
        "| --- | --- | --- | --- | --- | --- | --- |\n" + "\n".join(map(_cap, caps(difference)))
    )


def _cap(one: Cap) -> str:
    most = str(one.max_principals)
    if one.max_percent is not None:
        most += f", and {one.max_percent} % ({one.principals * one.max_percent // 100})"
    return (
        f"| {cell(one.provider)} | {one.principals} | {one.touched_before} | {one.touched_after} "
        f"| {one.touched_already} | {most} | {'yes' if one.fits else '**no**'} |"
    )


def _effects(side: Side) -> str:
    effects = Counter(action.effect.value for action in side.plan.actions)
    return ", ".join(f"{effect} {effects[effect]}" for effect in sorted(effects)) or "none"


def _withheld(side: Side) -> str:
    codes = Counter(one.code for one in side.plan.withheld)
    return ", ".join(f"{code} {codes[code]}" for code in sorted(codes)) or "none"


def _held(side: Side) -> str:
    return "holds it: " + "; ".join(cell(one.message) for one in side.holds) if side.holds else "lets it pass"


def _by_rule(some: Sequence[Line | Planned]) -> str:
    rules = Counter((one.rule, one.before, one.after) for one in some)
    told = (f"`{rule}`: {before} → {after} ({count})" for (rule, before, after), count in sorted(rules.items()))
    return ", ".join(told)


class _Does:
    """What a plan does about an access item that a rule speaks of."""

    def __init__(self, side: Side) -> None:
        self._acts = planned_effects(side.plan)
        self._withheld = withheld_codes(side.plan)

    def about(self, line: Line) -> str:
        place = (line.provider, line.access_id)
        if place in self._acts:
            return self._acts[place]
        if line.after != KEEP and place in self._withheld:
            return f"nothing, withheld: {_codes(self._withheld[place])}"
        return "asks a person" if line.after == Effect.REVIEW.value else "nothing"


def _list(lines: Sequence[Line], does: _Does) -> str:
    return folded(lines, lambda line: f"{_row(line)} {does.about(line)} |", _LINES_HEAD)


def _row(one: Line | Planned) -> str:
    return (
        f"| {cell(one.worker_id or '')} | {cell(f'{one.provider}/{one.principal_id}')} | {cell(one.access_id)} "
        f"| {one.kind.value} | {one.before} | {one.after} | `{one.rule}` |"
    )


def folded(entries: Sequence[Entry], row: Callable[[Entry], str], head: str) -> str:
    """Return a table of which the first rows stand open and the others are folded; what is left out is counted."""
    rows = [row(one) for one in entries[:MOST_LINES]]
    text = "\n".join((head, *rows[:SHOWN]))
    rest, left = rows[SHOWN:], len(entries) - MOST_LINES
    if rest:
        folded = "\n".join((head, *rest))
        text += f"\n\n<details><summary>{len(rest)} more</summary>\n\n{folded}\n\n</details>"
    if left > 0:
        text += f"\n\n{left} more are not shown here: `--output json` has all {len(entries)}."
    return text


def _quiet(difference: Difference) -> str:
    before, after = ({rule.rule_id for rule in side.policies.rules} for side in (difference.base, difference.head))
    told = [
        f"{title}: {', '.join(f'`{rule}`' for rule in sorted(some))}."
        for title, some in (("Rules that are new", after - before), ("Rules that are gone", before - after))
        if some
    ]
    quiet = silent_rules(difference.head)
    silent = f"Rules that matched nothing: {', '.join(f'`{rule}`' for rule in quiet)}."
    return " ".join([*told, silent if quiet else "Every rule matched something."])


def _digest(difference: Difference) -> str:
    return (
        f"Digest of this difference: `{difference_digest(difference)}`. Whoever has looked at it may adopt the change "
        "so that it acts at once: `policies adopt --diff-digest`, on the same snapshot."
    )
