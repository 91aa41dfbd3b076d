"""The `access-reconciler` command: its sub-commands, and how errors become exit codes."""

import sys

import typer

from inventory.errors import ProviderError
from reconciler.cli import approve, attestations, cycle, demo, doctor, explain, init, plan, providers, roster, undo
from reconciler.cli import run as daemon
from reconciler.cli.display import complain
from reconciler.cli.exits import ERROR, USAGE
from reconciler.core.errors import ReconcilerError
from reconciler.demo.process import ServerFailed
from reconciler.logs import configure_logs
from reconciler.settings import log_level

app = typer.Typer(
    name="access-reconciler",
    help="Keeps actual access equal to policy: finds what leavers still hold, takes it away safely, proves it.\n\n"
    "Start with: access-reconciler demo --dir demo-company",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(roster.app, name="roster")
app.add_typer(providers.app, name="providers")
app.add_typer(attestations.app, name="attestations")
app.command("init")(init.init)
app.command("doctor")(doctor.doctor)
app.command("plan")(plan.plan)
app.command("cycle")(cycle.cycle)
app.command("run")(daemon.run)
app.command("approve")(approve.approve)
app.command("undo")(undo.undo)
app.command("explain")(explain.explain)
app.command("demo")(demo.demo)

UsageError: type[Exception] = typer.BadParameter.__bases__[0]
"""The class of all usage errors; typer shows it by its child only."""


def main() -> None:
    """Run the command line and exit with the code that its docstring promises."""
    configure_logs(log_level())
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code; errors are one line on stderr, with advice."""
    try:
        result = app(arguments, standalone_mode=False)
    except UsageError as error:
        getattr(error, "show", lambda: None)()
        return USAGE
    except (ReconcilerError, ProviderError) as error:
        complain(str(error), error.advice)
        return ERROR
    except ServerFailed as error:
        complain(str(error), "")
        return ERROR
    except (KeyboardInterrupt, typer.Abort):
        complain("interrupted", "run the command again: it picks up by reading again")
        return ERROR
    return result if isinstance(result, int) else 0
