"""`attestations pending` and `attestations retry`: what waits for its signature, and signing it now.

Both work beside the daemon. What they need of it is imported when they are used: an auditor's installation has none.
"""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from reconciler.cli.exits import DEFAULT_CONFIG, ERROR, IN_PART, OK, ConfigOption, Output, OutputOption
from reconciler.cli.plain_text import clean, print_json
from reconciler.core.canonical import Json, plain
from reconciler.core.errors import ReconcilerError
from reconciler.core.spooling import Backlog

if TYPE_CHECKING:
    from datetime import datetime

    from reconciler.settings import Settings

_MOST_SHOWN = 20

MostOption = Annotated[int, typer.Option("--most", min=1, help="Sign this many at most; the rest waits on.")]


def pending(config: ConfigOption = DEFAULT_CONFIG, output: OutputOption = Output.TABLE) -> None:
    """Say which statements wait for their signature, how far each has come, and what the last attempt met.

    Takes no lease, needs no key and asks no service. Exit codes: 0 none waits; 3 some do; 1 error.

    Example: access-reconciler attestations pending
    """
    from reconciler.settings import load_settings  # noqa: PLC0415 - see above

    settings = load_settings(config)
    backlog, now = _look(settings)
    if output is Output.JSON:
        print_json(backlog_document(backlog, now))
    else:
        _show(backlog, now)
    raise typer.Exit(IN_PART if backlog.waiting else OK)


def retry(config: ConfigOption = DEFAULT_CONFIG, most: MostOption = 1000, output: OutputOption = Output.TABLE) -> None:
    """Sign what waits now, oldest first, whatever pause is left after the last failure.

    Exit codes: 0 nothing waits any more; 1 an attempt failed, and the rest waits on.

    Example: access-reconciler attestations retry
    """
    from reconciler.settings import load_settings  # noqa: PLC0415 - see above

    settings = load_settings(config)
    before, _ = _look(settings)
    failure = _sign(settings, most)
    left, now = _look(settings)
    signed = len(before.waiting) - len(left.waiting)
    if output is Output.JSON:
        print_json({"signed": signed, **backlog_document(left, now)})
    else:
        typer.echo(f"{signed} signed, {len(left.waiting)} left")
    if failure is not None:
        raise failure
    raise typer.Exit(ERROR if left.waiting else OK)


def backlog_document(backlog: Backlog, now: "datetime") -> dict[str, Json]:
    """Return what waits as JSON has it."""
    attempts = backlog.attempts
    return {
        "waiting": [
            {"sequence": one.sequence, "cycle_id": one.cycle_id, "state": attempts.state_of(one.sequence).value}
            for one in backlog.waiting
        ],
        "since": plain(backlog.since),
        "age_seconds": backlog.age_seconds(now),
        "failures": attempts.failures,
        "error": attempts.error,
        "advice": attempts.advice,
        "next_attempt": plain(backlog.rests_until),
    }


def _look(settings: "Settings") -> "tuple[Backlog, datetime]":
    from reconciler.adapters.clock import SystemClock  # noqa: PLC0415 - see above
    from reconciler.spool import look  # noqa: PLC0415 - see above
    from reconciler.wiring import open_store  # noqa: PLC0415 - see above

    clock = SystemClock()
    return look(open_store(settings), settings.signing.pace, clock), clock.now()


def _sign(settings: "Settings", most: int) -> ReconcilerError | None:
    """Sign up to so many, and return what stopped it."""
    from reconciler.adapters.clock import SystemClock  # noqa: PLC0415 - see above
    from reconciler.wiring import build_attester  # noqa: PLC0415 - see above

    try:
        build_attester(settings).spool(SystemClock()).work(most, patient=False)
    except ReconcilerError as error:
        return error
    return None


def _show(backlog: Backlog, now: "datetime") -> None:
    if not backlog.waiting:
        typer.echo("no statement waits for its signature")
        return
    table = Table("sequence", "cycle", "state")
    for one in backlog.waiting[:_MOST_SHOWN]:
        table.add_row(str(one.sequence), one.cycle_id, backlog.attempts.state_of(one.sequence).value)
    Console().print(table)
    count = len(backlog.waiting)
    if count > _MOST_SHOWN:
        typer.echo(f"and {count - _MOST_SHOWN} more")
    typer.echo(f"{count} waiting; the oldest for {backlog.age_seconds(now):.0f} s")
    if backlog.attempts.failures:
        typer.echo(f"last attempt: {clean(backlog.attempts.error)}; {clean(backlog.attempts.advice)}")
        typer.echo(f"failures in a row: {backlog.attempts.failures}")
    if backlog.rests_until is not None:
        typer.echo(f"next attempt: {plain(backlog.rests_until)}, or now: access-reconciler attestations retry")
