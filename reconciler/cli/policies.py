"""`access-reconciler policies`: what may not be, checked, tested and listed before it decides anything."""

from collections.abc import Mapping
from typing import Final

import typer

from reconciler.adapters.clock import SystemClock
from reconciler.adapters.policy_files import load_policies
from reconciler.cli.display import print_line, print_table
from reconciler.cli.exits import DEFAULT_CONFIG, ConfigOption, Output, OutputOption
from reconciler.cli.plain_text import print_json
from reconciler.cli.policies_check import check, try_tests
from reconciler.cli.policies_place import FolderArgument, policy_place
from reconciler.core.canonical import Json
from reconciler.policies.catalogue import catalogue

app: Final = typer.Typer(
    name="policies", help="Check, test and list policies before they decide anything.", no_args_is_help=True
)
app.command("check")(check)
app.command("test")(try_tests)


@app.command("list")
def list_rules(
    folder: FolderArgument = None, config: ConfigOption = DEFAULT_CONFIG, output: OutputOption = Output.TABLE
) -> None:
    """List the rules: code, severity, what each can ask for, controls, and from when it counts.

    Example: access-reconciler policies list policies
    """
    place = policy_place(folder, config)
    policies = load_policies(place.folder)
    rows = catalogue(policies, place.folder.parent / "docs" / "rules", SystemClock().now())
    if output is Output.JSON:
        print_json({"folder": str(place.folder), "digest": policies.digest, "rules": rows})
        return
    columns = ("rule", "severity", "asks for", "needs", "controls", "counts from", "title")
    print_table("Rules", columns, [_cells(row) for row in rows])
    print_line(f"{len(rows)} rules, {policies.digest}")


def _cells(row: Mapping[str, Json]) -> tuple[object, ...]:
    day = str(row["effective_on"])[:10] if row["effective_on"] else "always"
    since = day if row["in_effect"] else f"{day} (not yet)"
    return (
        row["rule"],
        row["severity"],
        _joined(row["effects"]),
        row["needs"],
        _joined(row["controls"]),
        since,
        row["title"],
    )


def _joined(words: Json) -> str:
    return ", ".join(str(word) for word in words) if isinstance(words, list) else ""
