"""What a new revision of the policies changes, as JSON and for people: in cycles, and beside held plans."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from reconciler.cli.display import print_entry, print_heading, print_line
from reconciler.core.canonical import Json, plain
from reconciler.core.record import ChangeState, PolicyChange
from reconciler.policies.markup import counted

SHOWN: Final = 15
"""Access items that are shown; `--output json` has more of them."""
_SHORT: Final = len("sha256:") + 12

Named = Callable[[Any, Any], str]
"""Returns what people call a principal or an access item, by provider and id."""


def change_document(change: PolicyChange | None) -> Json:
    """Return a change as the documents of `cycle`, `plan` and `plans show` hold it; null where none was looked for."""
    return None if change is None else plain(change)


def change_summary(change: PolicyChange | None) -> Json:
    """Return a change in numbers; null where none was looked for."""
    if change is None:
        return None
    return {
        "state": change.state.value,
        "before": change.before,
        "after": change.after,
        "at": plain(change.at),
        "cycle_id": change.cycle_id,
        "reason": change.reason,
        "counts": dict(change.counts) if change.state is ChangeState.COMPARED else None,
    }


def show_change(change: PolicyChange, principal: Named = lambda _, one: one, item: Named = lambda _, one: one) -> None:
    """Print who would newly lose or keep what, by which rule, and whether that is within the caps."""
    print_heading("What the new policies change")
    print_line(change_line(change))
    if change.difference is None:
        return
    difference: Mapping[str, Any] = change.difference
    for one in difference["planned"][:SHOWN]:
        worker = f"  worker {one['worker_id']}" if one["worker_id"] else ""
        subject = f"{one['provider']}  {principal(one['provider'], one['principal_id'])}{worker}"
        effect = f"{one['before']} → {one['after']}"
        print_entry(subject, f"{one['rule']}: {_why(one)}", [(effect, item(one["provider"], one["access_id"]))])
    more = len(difference["planned"][SHOWN:]) + change.planned_left_out
    if more:
        print_line(f"  and {counted(more, 'more access item')}")
    for one in difference["by_rule"]:
        print_line(f"  rule {one['rule']}: {one['before']} → {one['after']}, {counted(one['count'], 'access item')}")
    for cap in difference["caps"]:
        if not cap["fits"]:
            touched = f"{cap['touched_after']} of {cap['principals']} principals"
            print_line(f"  beyond the cap of {cap['provider']}: {touched}")


def change_line(change: PolicyChange) -> str:
    """Return a change as one line in numbers, or why there is none."""
    what = f"policies {change.before[:_SHORT] or 'unknown'} → {change.after[:_SHORT]}"
    if change.state is not ChangeState.COMPARED:
        return f"{what}: not compared: {change.reason}"
    counts = change.counts
    told = (
        f"{counted(counts['newly_lost'], 'access item')} newly lost, {counts['newly_kept']} newly kept, "
        f"{counts['lost_otherwise']} lost in another way; decisions: {counts['gained']} newly found, "
        f"{counts['changed']} asked for otherwise, {counts['lost']} not found any more"
    )
    kept = f"; {change.reason}" if change.reason else ""
    return f"{what}, on what its first cycle read: {told}{kept}"


def _why(one: Mapping[str, Any]) -> str:
    if one["withheld_after"]:
        return f"withheld, {', '.join(one['withheld_after'])}"
    if one["withheld_before"]:
        return f"withheld before, {', '.join(one['withheld_before'])}"
    return "not asked for any more" if one["after"] == "keep" else "asked for now"
