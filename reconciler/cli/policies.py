"""`access-reconciler policies`: what may not be, checked, tested and listed before it decides anything."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import typer

from reconciler.adapters.clock import SystemClock
from reconciler.adapters.policy_files import load_policies
from reconciler.adapters.waiver_files import ReadWaivers, read_waivers
from reconciler.cli.display import print_line, print_table
from reconciler.cli.exits import DEFAULT_CONFIG, OK, ConfigOption, Output, OutputOption
from reconciler.cli.plain_text import print_json
from reconciler.cli.policies_adopt import adopt, bundle, revisions
from reconciler.cli.policies_check import REFUSED, check, try_tests
from reconciler.cli.policies_diff import diff
from reconciler.cli.policies_place import FolderArgument, policy_place
from reconciler.cli.policies_report import report
from reconciler.core.canonical import Json
from reconciler.core.errors import PolicyError
from reconciler.core.model import Waiver
from reconciler.core.waivers import waiver_facts
from reconciler.policies.catalogue import catalogue
from reconciler.policies.waiving import waivers_list

app: Final = typer.Typer(
    name="policies", help="Check, test, compare and list policies before they decide anything.", no_args_is_help=True
)
app.command("check")(check)
app.command("test")(try_tests)
app.command("diff")(diff)
app.command("report")(report)
app.command("adopt")(adopt)
app.command("bundle")(bundle)
app.command("revisions")(revisions)


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


@app.command("waivers")
def list_waivers(
    folder: FolderArgument = None, config: ConfigOption = DEFAULT_CONFIG, output: OutputOption = Output.TABLE
) -> None:
    """List the waivers: what each is about, who answers for it, and until when it holds.

    Exit codes: 0 all are in force, or there are none; 2 one has expired or is malformed and waives nothing.

    Example: access-reconciler policies waivers policies
    """
    place = policy_place(folder, config)
    if not place.folder.is_dir():
        raise PolicyError(f"{place.folder}: no such folder", advice="name the policy folder")
    now = SystemClock().now()
    read = read_waivers(place.folder, now, place.max_waiver_days)
    if output is Output.JSON:
        print_json({"folder": str(place.folder), **waivers_list(read, now)})
    else:
        _show_waivers(read, now)
    raise typer.Exit(REFUSED if read.refused or any(one.waiver.expires_at <= now for one in read.whole) else OK)


def _show_waivers(read: ReadWaivers, now: datetime) -> None:
    columns = ("waiver", "rule", "about", "owner", "approved by", "until", "reason")
    print_table("Waivers", columns, [_waiver_cells(one.waiver, now) for one in read.whole])
    for error in read.refused:
        print_line(f"waives nothing: {error}")
    facts = waiver_facts(read.as_set(), now)
    print_line(f"{facts.in_force} in force, {facts.expiring_soon} of them end within 30 days; {facts.digest}")


def _waiver_cells(waiver: Waiver, now: datetime) -> tuple[object, ...]:
    about = (waiver.provider, waiver.principal_id, waiver.access_id, waiver.worker_id)
    until = f"{waiver.expires_at:%Y-%m-%d %H:%M}" + (" (expired)" if waiver.expires_at <= now else "")
    named = " ".join(part for part in about if part)
    return (waiver.waiver_id, waiver.rule, named, waiver.owner, waiver.approved_by, until, waiver.reason)


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
