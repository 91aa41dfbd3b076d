"""`access-reconciler providers`: what can be read and taken away, with which rights."""

from pathlib import Path
from typing import Annotated, TypedDict

import typer

from inventory.errors import Misconfigured, ProviderError
from inventory.model import Principal, ProviderInventory
from inventory.provider import Permission
from inventory.registry import load_provider, provider_types
from reconciler.adapters.clock import SystemClock
from reconciler.cli.display import print_line, print_table
from reconciler.cli.exits import DEFAULT_CONFIG, ERROR, OK, ConfigOption, Output, OutputOption
from reconciler.cli.plain_text import print_json
from reconciler.core.canonical import Json, plain
from reconciler.settings import load_settings
from reconciler.wiring import build_sources, revoker_type

app = typer.Typer(
    name="providers", help="What can be read and taken away, and with which rights.", no_args_is_help=True
)


class TypeRow(TypedDict):
    """One provider type, for printing."""

    type: str
    summary: str
    quarantine: list[str]
    revoke: list[str]


@app.command("list")
def list_providers(output: OutputOption = Output.TABLE) -> None:
    """List the provider types, and what each can quarantine and revoke.

    Example: access-reconciler providers list
    """
    rows = [_type_row(name) for name in provider_types()]
    if output is Output.JSON:
        print_json([plain(row) for row in rows])
        return
    print_table(
        "Provider types",
        ("type", "reads", "quarantine", "revoke"),
        [(row["type"], row["summary"], ", ".join(row["quarantine"]), ", ".join(row["revoke"])) for row in rows],
    )


def _type_row(name: str) -> TypeRow:
    try:
        provider = load_provider(name)
    except Misconfigured as error:
        return {"type": name, "summary": f"not installed: {error.advice}", "quarantine": [], "revoke": []}
    declared = revoker_type(name)
    effects = declared.capabilities.effects if declared else frozenset()
    return {
        "type": name,
        "summary": provider.summary,
        "quarantine": sorted(kind.value for kind, effect in effects if effect.value == "quarantine"),
        "revoke": sorted(kind.value for kind, effect in effects if effect.value == "revoke"),
    }


@app.command("permissions")
def permissions(
    provider_type: Annotated[str, typer.Argument(metavar="TYPE", help="Provider type.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Print the rights that the reader and the revoker of a provider type need, and what each is for.

    Example: access-reconciler providers permissions aws_iam
    """
    reader = load_provider(provider_type).read_permissions
    declared = revoker_type(provider_type)
    revoker = declared.capabilities.revoke_permissions if declared else ()
    if output is Output.JSON:
        print_json({"reader": plain(reader), "revoker": plain(revoker)})
        return
    print_table("Reader", ("right", "for"), [_right(one) for one in reader])
    print_table("Revoker", ("right", "for"), [_right(one) for one in revoker])


def _right(permission: Permission) -> tuple[str, str]:
    return (permission.name, permission.purpose)


@app.command("check")
def check(config: ConfigOption = DEFAULT_CONFIG, output: OutputOption = Output.TABLE) -> None:
    """Read every configured provider in bulk and say what could be read. Changes nothing.

    Exit codes: 0 every scope was read whole; 1 something is missing.

    Example: access-reconciler providers check --config access-reconciler.yaml
    """
    raise typer.Exit(_report(config, output))


@app.command("coverage")
def coverage(config: ConfigOption = DEFAULT_CONFIG, output: OutputOption = Output.TABLE) -> None:
    """Print what is read of each artefact kind in each scope: complete, partial, denied, unsupported or excluded.

    Example: access-reconciler providers coverage --output json
    """
    _report(config, output)


def _report(config: Path, output: Output) -> int:
    rows: list[dict[str, Json]] = []
    sources = build_sources(load_settings(config), SystemClock())
    for source in sources.values():
        try:
            inventories = source.collector.collect(_nobody)
        except ProviderError as error:
            rows.append({"provider": source.provider, "complete": False, "problem": f"{error}; {error.advice}"})
            continue
        finally:
            source.collector.close()
        rows += [_scope_row(inventory) for inventory in inventories]
    if output is Output.JSON:
        print_json(list(rows))
    else:
        _print_coverage(rows)
    return OK if rows and all(row["complete"] for row in rows) else ERROR


def _nobody(_: Principal) -> bool:
    return False


def _scope_row(inventory: ProviderInventory) -> dict[str, Json]:
    return {
        "provider": inventory.provider,
        "scope": inventory.scope,
        "complete": inventory.complete,
        "identity_known": inventory.identity_known,
        "api_calls": inventory.api_calls,
        "coverage": plain(inventory.coverage),
        "errors": plain(inventory.errors),
    }


_ENTRY_KEYS = ("kind", "state", "count", "reason")


def _print_coverage(rows: list[dict[str, Json]]) -> None:
    lines = []
    for row in rows:
        entries = row.get("coverage")
        if not isinstance(entries, list):
            print_line(f"{row['provider']}: {row['problem']}")
            continue
        known = [entry for entry in entries if isinstance(entry, dict)]
        lines += [(row["provider"], row["scope"], *(entry[key] for key in _ENTRY_KEYS)) for entry in known]
    print_table("Coverage", ("provider", "scope", "artefact", "state", "count", "why"), lines)
