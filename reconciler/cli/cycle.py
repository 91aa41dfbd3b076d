"""`access-reconciler cycle`: one pass of the loop, acted upon as far as the modes allow."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from reconciler.attestation import Attested
from reconciler.cli.display import StderrProgress
from reconciler.cli.documents import cycle_document
from reconciler.cli.exits import DEFAULT_CONFIG, ERROR, HELD, OK, ConfigOption, Output, OutputOption
from reconciler.cli.plain_text import complain, print_json
from reconciler.cli.record_view import show_record
from reconciler.core.model import Mode
from reconciler.core.record import CycleOutcome, CycleRecord
from reconciler.cycle import run_cycle
from reconciler.settings import Settings, load_settings
from reconciler.wiring import assemble, verify_own

ModeOption = Annotated[Mode | None, typer.Option("--mode", "-m", help="Lower the modes of the settings to this one.")]
AtOption = Annotated[str, typer.Option("--at", metavar="INSTANT", help="RFC 3339 instant to plan for; observe only.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]


def cycle(
    config: ConfigOption = DEFAULT_CONFIG,
    mode: ModeOption = None,
    at: AtOption = "",
    output: OutputOption = Output.TABLE,
    quiet: QuietOption = False,  # noqa: FBT002 - a command-line flag
) -> None:
    """Run one cycle: read, decide, guard, act, read again, attest.

    Each provider goes as far as its mode in the settings allows; --mode can only lower that.

    Exit codes: 0 nothing to do or all done and verified; 1 error, or something was not read, done or verified; 2 held,
    or the plan has actions and the cycle only observed.

    Example: access-reconciler cycle --config access-reconciler.yaml --mode observe
    """
    settings = load_settings(config)
    attested = perform(settings, mode or Mode.ENFORCE, at=at, quiet=quiet)
    verified = verify_own(settings).verified
    if output is Output.JSON:
        print_json(cycle_document(attested, verified=verified))
    else:
        show_record(attested, verified=verified)
    if attested.record.outcome is CycleOutcome.FAILED:
        complain(attested.record.errors[-1])
    raise typer.Exit(exit_code(attested.record))


def perform(settings: Settings, ceiling: Mode, *, at: str = "", quiet: bool = False) -> Attested:
    """Run one cycle under the settings; `at` moves the clock of a cycle that only observes."""
    observer = StderrProgress(quiet=quiet)
    instant = _instant(at) if at else None
    with assemble(settings, ceiling, observer, purpose=f"cycle --mode {ceiling.value}", at=instant) as assembly:
        return run_cycle(assembly.house, assembly.rules)


def _instant(text: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no RFC 3339 instant such as 2026-12-01T00:00:00Z") from error
    if instant.tzinfo is None:
        raise typer.BadParameter(f"{text!r} has no zone: add Z or an offset")
    return instant.astimezone(UTC)


def exit_code(record: CycleRecord) -> int:
    """Return the exit code that a cycle's record means."""
    if record.outcome is CycleOutcome.FAILED:
        return ERROR
    planned = bool(record.plan and record.plan.actions)
    if record.outcome is CycleOutcome.HELD or (planned and record.mode is Mode.OBSERVE):
        return HELD
    return OK if record.outcome is CycleOutcome.COMPLETE else ERROR
