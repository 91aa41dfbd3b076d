"""`access-reconciler undo`: gives back what one action took away."""

from typing import Annotated

import typer

from reconciler.adapters.clock import SystemClock
from reconciler.cli.display import print_line
from reconciler.cli.exits import DEFAULT_CONFIG, ConfigOption, Output, OutputOption
from reconciler.cli.plain_text import print_json
from reconciler.core.canonical import plain
from reconciler.core.errors import ReconcilerError
from reconciler.core.model import ActionId
from reconciler.settings import load_settings
from reconciler.undo import undo as undo_entry
from reconciler.wiring import undo_tools


class NoSuchAction(ReconcilerError):
    """The journal knows no such action."""


def undo(
    action_id: Annotated[str, typer.Argument(metavar="ACTION", help="Action id, or its first 8 characters or more.")],
    config: ConfigOption = DEFAULT_CONFIG,
    output: OutputOption = Output.TABLE,
) -> None:
    """Give back what one action took away, from its before-image in the journal.

    Refused for what no provider can give back (a deleted key's secret), for what was undone already, and for what was
    never done. A finding that still stands will be planned again by the next cycle: waive it, or mend the roster.

    Example: access-reconciler undo 3f9c2a71
    """
    settings = load_settings(config)
    clock = SystemClock()
    with undo_tools(settings, clock) as tools:
        entry = tools.journal.entry(ActionId(action_id))
        if entry is None:
            raise NoSuchAction(f"there is no action {action_id}", advice="see `access-reconciler explain`")
        action = entry.intent.action
        receipt = undo_entry(
            entry, tools.revoker(action.provider), tools.collector(action.provider), tools.journal, clock
        )
    if output is Output.JSON:
        print_json({"action_id": action.action_id, "receipt": plain(receipt)})
    else:
        print_line(f"gave back {action.item.kind.value} {action.item.access_id} at {action.provider}")
