"""The `access-reconciler` command: its sub-commands, and how errors become exit codes.

A command is imported when it is the one that is run: `--help` and a probe that asks every few seconds need none of the
cloud and database libraries that a cycle works with.
"""

import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group

from inventory.errors import ProviderError
from reconciler.cli.exits import ERROR, USAGE
from reconciler.cli.plain_text import complain
from reconciler.core.errors import ReconcilerError, SettingsError, WrongUsage
from reconciler.environment import log_level

COMMANDS: Final[Mapping[str, str]] = {
    "init": "Write a first configuration, its JSON Schema for editors, and a copy of the policies. Overwrites nothing.",
    "doctor": "Check installation, configuration, roster, policies, engine, signing key, journal and every provider.",
    "roster": "Look at the HR roster.",
    "providers": "What can be read and taken away, and with which rights.",
    "explain": "Say what is known of a worker, a principal or an access item: whose it is, what was found and done.",
    "policies": "Check, test, compare and list policies before they decide anything.",
    "inventory": "Record what the providers hold.",
    "plan": "Show what would be taken away from whom, by which rule, and what the guard says. Nothing is changed.",
    "cycle": "Run one cycle: read, decide, guard, act, read again, attest.",
    "run": "Keep watch: a cycle at the start, at an interval, at each change of roster or policies, at an access end.",
    "health": "Ask the daemon on this machine how it is: alive, ready, or done with its start.",
    "status": "Say what the last cycles came to, which plans are held, and which acts are not shown to have worked.",
    "plans": "Look at held plans, beside the running daemon.",
    "approve": "Release a held plan, by its digest: one use, expires, and refused when the world has moved.",
    "undo": "Give back what one action took away, from its before-image in the journal.",
    "attestations": "List, verify, show and export attestations.",
    "demo": "Run three cycles over a sample company of 38 workers on real AWS (moto), OpenLDAP and SCIM servers.",
}
"""Each command, or group of commands, of `reconciler.cli.<name>` with the first line of its help; a test compares."""

_QUIET: Final = frozenset({"health"})
"""Commands that use no library that logs, so no diagnostics are set up for them."""


class _Commands(TyperGroup):
    """Lists commands by their summaries, and imports the one that is asked for."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:  # noqa: ANN401 - typer's click is private
        name, _, rest = super().resolve_command(ctx, args)
        return name, load(name) if name else None, rest


def load(name: str) -> Any:  # noqa: ANN401 - typer's click is private
    """Import a command, or group of commands, by its name."""
    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    try:
        module = import_module(f"reconciler.cli.{name}")
    except ModuleNotFoundError as error:
        raise _not_installed(name, error) from error
    if hasattr(module, "app"):
        alone.add_typer(module.app, name=name)
        return get_group(alone).commands[name]
    alone.command(name)(getattr(module, name))
    return get_command(alone)


def _not_installed(command: str, error: ModuleNotFoundError) -> SettingsError:
    """Return what to tell when a command's libraries are missing: an auditor's installation has those of few."""
    if (error.name or "").split(".")[0] in {"inventory", "reconciler"}:
        raise error  # a defect of ours, not of the installation
    msg = f"`{command}` needs {error.name}, which is not installed"
    return SettingsError(msg, advice="pip install 'access-reconciler[daemon]'")


app = typer.Typer(
    name="access-reconciler",
    cls=_Commands,
    help="Keeps actual access equal to policy: finds what leavers still hold, takes it away safely, proves it.\n\n"
    "Start with: access-reconciler demo --dir demo-company",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for _name, _summary in COMMANDS.items():
    app.command(_name, help=_summary)(lambda: None)

UsageError: type[Exception] = typer.BadParameter.__bases__[0]
"""The class of all usage errors; typer shows it by its child only."""


def main() -> None:
    """Run the command line and exit with the code that its docstring promises."""
    arguments = sys.argv[1:]
    if not _is_quiet(arguments):
        _set_up_diagnostics()
    sys.exit(run(arguments))


def _is_quiet(arguments: list[str]) -> bool:
    """Say whether nothing is asked for but help, or a command that uses no library that logs."""
    return not arguments or arguments[0] == "--help" or arguments[0] in _QUIET


def _set_up_diagnostics() -> None:
    from reconciler.logs import configure_logs  # noqa: PLC0415 - takes longer to import than a probe may take

    configure_logs(log_level())


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code; errors are one line on stderr, with advice."""
    try:
        result = app(arguments, standalone_mode=False)
    except UsageError as error:
        getattr(error, "show", lambda: None)()
        return USAGE
    except (ReconcilerError, ProviderError) as error:
        complain(str(error), error.advice)
        return USAGE if isinstance(error, WrongUsage) else ERROR
    except (KeyboardInterrupt, typer.Abort):
        complain("interrupted", "run the command again: it picks up by reading again")
        return ERROR
    return result if isinstance(result, int) else 0
