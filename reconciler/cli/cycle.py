"""`access-reconciler cycle`: one pass of the loop, acted upon as far as the modes allow."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from reconciler.attestation import Attested
from reconciler.cli.display import StderrProgress, complain, print_json, print_line, print_table
from reconciler.cli.documents import action_counts, cycle_document
from reconciler.cli.exits import DEFAULT_CONFIG, ERROR, HELD, OK, ConfigOption, Output, OutputOption
from reconciler.core.model import HoldCode, Mode
from reconciler.core.record import CycleOutcome, CycleRecord, LeaverState
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


def show_record(attested: Attested, *, verified: bool) -> None:
    """Print a cycle for people: plan or results, what is withheld, the guard's word, and the attestation."""
    record = attested.record
    print_line(f"cycle {record.sequence} ({record.mode.value}): {record.outcome.value}")
    for error in record.errors:
        print_line(f"  ! {error}")
    _show_items(record)
    _show_withheld(record)
    for reason in record.guard.hold_reasons:
        print_line(f"held: {reason.message}")
    standing = [one for one in record.guard.hold_reasons if one.code is not HoldCode.APPROVAL_MOVED]
    if standing and record.plan and all(one.code.releasable for one in standing):
        print_line(f"to release exactly this plan: access-reconciler approve {record.plan.digest}")
    if record.guard.approval is not None:
        print_line(f"released by the approval of {record.guard.approval.approved_by}")
    counts = ", ".join(f"{name} {count}" for name, count in action_counts(record).items())
    print_line(f"actions: {counts}")
    _show_leavers(record)
    print_line(f"attestation: {attested.path} ({'chain verified' if verified else 'NOT VERIFIED'})")


def _show_items(record: CycleRecord) -> None:
    if record.results:
        print_table(
            "Actions",
            ("provider", "principal", "item", "effect", "outcome", "read again", "seconds", "why"),
            [
                (
                    result.action.provider,
                    principal_name(result.action.principal.login_names, result.action.principal.principal_id),
                    result.action.item.kind.value,
                    result.action.effect.value,
                    result.outcome.value + (f": {result.detail}" if result.detail else ""),
                    result.verification.value if result.verification else "-",
                    f"{(result.verified_at - result.decided_at).total_seconds():.2f}" if result.verified_at else "-",
                    f"{result.action.rule}: {result.action.reason}",
                )
                for result in record.results
            ],
        )
    elif record.plan and record.plan.actions:
        print_table(
            "Plan",
            ("provider", "principal", "item", "effect", "worker", "rule", "why"),
            [
                (
                    action.provider,
                    principal_name(action.principal.login_names, action.principal.principal_id),
                    f"{action.item.kind.value}",
                    action.effect.value,
                    action.worker_id or "-",
                    action.rule,
                    action.reason,
                )
                for action in record.plan.actions
            ],
        )


def principal_name(login_names: tuple[str, ...], principal_id: str) -> str:
    """Return what people call a principal."""
    return login_names[0] if login_names else principal_id


def _show_withheld(record: CycleRecord) -> None:
    if record.plan is None or not (record.plan.withheld or record.plan.reviews):
        return
    rows = [(one.finding, one.message) for one in record.plan.withheld]
    rows += [(finding, finding.reason) for finding in record.plan.reviews]
    print_table(
        "For a human",
        ("provider", "principal", "item", "worker", "rule", "why it is not taken away"),
        [
            (
                finding.provider,
                finding.principal_id,
                finding.access_id,
                finding.worker_id or "-",
                finding.code,
                message,
            )
            for finding, message in rows
        ],
    )


def _show_leavers(record: CycleRecord) -> None:
    clean = sum(one.state is LeaverState.CLEAN for one in record.leavers)
    print_line(f"leavers: {len(record.leavers)}, of whom clean {clean}")
    for one in record.leavers:
        if one.state is not LeaverState.CLEAN:
            missing = f"; not known: {', '.join(one.missing)}" if one.missing else ""
            print_line(f"  {one.worker_id}: {one.state.value}, {one.remaining} access items left{missing}")
