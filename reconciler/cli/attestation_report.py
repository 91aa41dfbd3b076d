"""What `attestations verify` answers: an exit code, a document, or sentences."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Final

import typer

from reconciler.adapters.attestations import Problem, Report
from reconciler.adapters.sigstore_bundle import MODE
from reconciler.cli.attestation_trust import KeySource
from reconciler.cli.exits import ERROR, OK

WITH_GAPS: Final = 3
"""Verified, with gaps: told apart from verified as the auditor must not overlook it."""

_WITNESSED = "A transparency log and a time-stamping authority bear witness; all of it rests on the trusted root."
_NO_WITNESS = "No transparency log, no trusted time: the key file is all that this rests on."
SELF_CONSISTENT = "Self-consistent only: the key was taken from the store itself. Give --key to know who signed."


def with_damaged(report: Report, damaged: Sequence[str]) -> Report:
    """Return the report with a problem for each file of a zip file that the zip file's own checksum refuses."""
    if not damaged:
        return report
    told = (
        Problem(cycle_id="", code="pack_damaged", message=f"{name} was changed in the zip file") for name in damaged
    )
    return replace(report, verified=False, head=None, problems=(*told, *report.problems))


def exit_code(report: Report, source: KeySource) -> int:
    """Return 0 for verified, 1 for not, 3 for verified with gaps or by a key of the same folder."""
    if not report.verified:
        return ERROR
    return WITH_GAPS if report.gaps or report.incomplete or source is KeySource.STORE else OK


def document(report: Report, source: KeySource) -> dict[str, object]:
    """Return the report as the schema `attestations-verify` has it."""
    return {
        "verified": report.verified,
        "cycles": report.cycles,
        "gaps": list(report.gaps),
        "incomplete": list(report.incomplete),
        "problems": [asdict(problem) for problem in report.problems],
        "signer": report.signer,
        "mode": report.mode,
        "key_source": source.value,
        "self_consistent_only": source is KeySource.STORE,
        "head": None if report.head is None else str(report.head),
        "evidence": {"checked": report.evidence_checked, "absent": report.evidence_absent},
    }


def print_report(report: Report, source: KeySource) -> None:
    """Print the report for people, problems first."""
    for problem in report.problems:
        typer.echo(f"{problem.code}: {problem.message}")
    typer.echo(f"{report.cycles} attestations, {'verified' if report.verified else 'NOT VERIFIED'}")
    rests_on = "key" if report.mode == MODE else "trusted root"
    typer.echo(f"signer {report.signer} ({report.mode}; {rests_on} {source.value})")
    if report.gaps:
        typer.echo(f"interrupted cycles without an attestation: {', '.join(map(str, report.gaps))}")
    if report.incomplete:
        typer.echo(f"cycles that could not see, decide or do everything: {len(report.incomplete)}")
        for cycle_id in report.incomplete:
            typer.echo(f"  {cycle_id}")
    typer.echo(f"evidence files checked: {report.evidence_checked}; not here: {report.evidence_absent}")
    if report.head is not None:
        typer.echo(f"head {report.head} (keep it elsewhere; --expect-head finds a tail that was cut off)")
    typer.echo(_NO_WITNESS if report.mode == MODE else _WITNESSED)
    if source is KeySource.STORE:
        typer.echo(SELF_CONSISTENT)
