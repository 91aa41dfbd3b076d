"""What `attestations verify` answers: an exit code, a document, or sentences."""

from dataclasses import asdict, dataclass
from typing import Final

import typer
from rich.console import Console
from rich.table import Table

from reconciler.adapters.attestations import Report
from reconciler.adapters.erasure import ErasedCount
from reconciler.adapters.pack_claims import Claim
from reconciler.adapters.pack_order import Manifest
from reconciler.adapters.pack_period import Period
from reconciler.adapters.pack_signature import Binding
from reconciler.adapters.sigstore_bundle import MODE
from reconciler.adapters.verified_log import LogState
from reconciler.cli.attestation_trust import KeySource
from reconciler.cli.exits import ERROR, IN_PART, OK
from reconciler.cli.plain_text import clean
from reconciler.core.canonical import rfc3339

_WITNESSED = "A transparency log and a time-stamping authority bear witness; all of it rests on the trusted root."
_NO_WITNESS = "No transparency log, no trusted time: the key is all that this rests on."


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What verification has to say."""

    report: Report
    source: KeySource
    period: Period
    manifest: Manifest | None
    """None for a state folder."""
    binding: Binding | None
    """How far that manifest can be believed; None for a state folder."""
    notes: tuple[str, ...]
    """What a pack should show and does not."""
    erased: ErasedCount
    """What was destroyed, and is on record as destroyed."""


_COLUMNS: Final = {
    "cycles": "cycles",
    "complete": "complete",
    "partial": "partial",
    "held": "held",
    "failed": "failed",
    "observe": "observed",
    "leavers only": "leavers_only",
    "interrupted": "interrupted",
    "stale roster": "stale_roster",
    "gone": "verified_gone",
    "not done": "action_failures",
    "slowest (s)": "slowest_removal_seconds",
    "signed late (s)": "latest_signature_seconds",
}
"""Columns of the table of months, and the counts that they show."""
SELF_CONSISTENT = "Self-consistent only: the key was taken from the store itself. Give --key to know who signed."


def exit_code(answer: Answer) -> int:
    """Return 0 for verified, 1 for not, 3 for verified with gaps, with less shown than promised, or by itself alone."""
    report = answer.report
    if not report.verified:
        return ERROR
    less = report.gaps or report.incomplete or answer.notes or answer.source is KeySource.STORE
    return IN_PART if less else OK


def document(answer: Answer) -> dict[str, object]:
    """Return the answer as the schema `attestations-verify` has it."""
    report, source, manifest = answer.report, answer.source, answer.manifest
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
        "not_shown": list(answer.notes),
        "pack": None
        if manifest is None
        else {
            "profile": manifest.profile,
            "disclose": manifest.disclose,
            "seed": manifest.seed,
            "manifest": None if answer.binding is None else asdict(answer.binding),
            "after": None if manifest.after is None else f"{manifest.after.sequence}:{manifest.after.digest}",
        },
        "erased": answer.erased.told(),
        "log": None if report.log is None else _log_document(report.log),
        "period": _period_document(answer.period),
    }


def _log_document(log: LogState) -> dict[str, object]:
    return {
        "origin": log.section.origin,
        "verifier_key": log.section.verifier_key,
        "size": log.section.after.size,
        "root": log.section.after.root,
        "recomputed": log.recomputed,
    }


def _period_document(period: Period) -> dict[str, object]:
    """Return what was covered, in snake case as all output is."""
    first, last = period.first, period.last
    told: dict[str, object] = {
        "first_sequence": None if first is None else first.sequence,
        "last_sequence": None if last is None else last.sequence,
        "started_at": None if first is None else first.started_at,
        "finished_at": None if last is None else last.finished_at,
        "signed_from": None if period.earliest_stamp is None else rfc3339(period.earliest_stamp),
        "signed_to": None if period.latest_stamp is None else rfc3339(period.latest_stamp),
    }
    return told | period.coverage()


def print_report(answer: Answer) -> None:
    """Print the answer for people, problems first."""
    report, source, period = answer.report, answer.source, answer.period
    for problem in report.problems:
        typer.echo(clean(f"{problem.code}: {problem.message}"))
    typer.echo(f"{report.cycles} attestations, {'verified' if report.verified else 'NOT VERIFIED'}")
    rests_on = "key" if report.mode == MODE else "trusted root"
    typer.echo(f"signer {report.signer} ({report.mode}; {rests_on} {source.value})")
    _print_pack(answer.manifest)
    _print_binding(answer.binding)
    _print_when(period)
    _print_months(period)
    _print_not_covered(period)
    _print_lacks(answer)
    typer.echo(f"evidence files checked: {report.evidence_checked}; not here: {report.evidence_absent}")
    _print_erased(answer.erased)
    if report.log is not None:
        typer.echo(f"log of all records: {report.log.section.after.size}, {_how_far(report.log)}")
    if report.head is not None:
        typer.echo(f"head {report.head} (keep it elsewhere; --expect-head finds a tail that was cut off)")
    typer.echo(_NO_WITNESS if report.mode == MODE else _WITNESSED)
    if source is KeySource.STORE:
        typer.echo(SELF_CONSISTENT)


def _print_lacks(answer: Answer) -> None:
    report = answer.report
    if report.gaps:
        typer.echo(f"interrupted cycles without an attestation: {', '.join(map(str, report.gaps))}")
    if report.incomplete:
        typer.echo(f"cycles that could not see, decide or do everything: {len(report.incomplete)}")
        for cycle_id in report.incomplete:
            typer.echo(f"  {cycle_id}")
    for note in answer.notes:
        typer.echo(clean(f"not shown: {note}"))


def _print_pack(manifest: Manifest | None) -> None:
    if manifest is None:
        return
    seed = f", drawn by the seed {manifest.seed}" if manifest.seed else ""
    typer.echo(clean(f"pack for {manifest.profile}; disclosed: {manifest.disclose}{seed}"))
    if manifest.after is not None:
        before = f"{manifest.after.sequence}:{manifest.after.digest}"
        typer.echo(f"begins with cycle {manifest.first.sequence}, in the middle of the chain, after {before}")


def _print_binding(binding: Binding | None) -> None:
    if binding is None:
        return
    by = ["signed by the signer"] if binding.signed else []
    by += ["as expected"] if binding.compared else []
    if by:
        typer.echo(f"manifest {binding.digest}: {' and '.join(by)}")
    else:
        typer.echo(f"manifest not signed, and not compared with a digest (--expect-manifest): {binding.digest}")
        typer.echo("  nothing shows that README, controls and schema are those of the export")


def _print_erased(erased: ErasedCount) -> None:
    if erased.cycles:
        parts = f"{erased.keys} keys, {erased.disclosures} disclosures, {erased.logs} logs"
        typer.echo(f"erased on record: {parts} of {erased.cycles} cycles")
    if erased.unfinished:
        typer.echo(f"cycles whose erasure is recorded and not finished: {erased.unfinished} (erase them again)")
    if erased.erasures.unreadable:
        typer.echo(f"unreadable lines in the record of erasures: {erased.erasures.unreadable}")


def _how_far(log: LogState) -> str:
    if log.recomputed:
        return "its root recomputed (keep a checkpoint elsewhere: --expect-checkpoint finds a log rewritten since)"
    return "its root as the statements tell it: neither all hashes nor all records are here to recompute it"


def _print_when(period: Period) -> None:
    if period.first is None or period.last is None:
        return
    typer.echo(f"cycles {period.first.sequence} to {period.last.sequence}: {_day(period.first)} to {_day(period.last)}")
    if period.earliest_stamp is None or period.latest_stamp is None:
        typer.echo("signed when: no trusted time; the times are those that the reconciler's own clock told")
        return
    typer.echo(f"signed when: {rfc3339(period.earliest_stamp)} to {rfc3339(period.latest_stamp)}, by trusted time")


def _day(claim: Claim) -> str:
    return claim.finished_at[:16] + "Z"


def _print_months(period: Period) -> None:
    table = Table(*("month", *_COLUMNS), box=None, padding=(0, 1), pad_edge=False)
    for month in period.months.values():
        table.add_row(month.month, *(_cell(getattr(month, name)) for name in _COLUMNS.values()))
    Console(width=160, soft_wrap=True).print(table)


def _cell(value: int | None) -> str:
    return "none" if value is None else str(value)


def _print_not_covered(period: Period) -> None:
    typer.echo("what was not covered:" if period.gaps else f"not covered: nothing, in {period.whole} whole cycles")
    for gap in period.gaps.values():
        what = f"{gap.provider}/{gap.kind}: {gap.state}" if gap.kind else f"{gap.provider}: not read to its end"
        where = f"cycle {gap.first}" if gap.cycles == 1 else f"{gap.cycles} cycles, {gap.first} to {gap.last}"
        typer.echo(f"  {what} ({where}; of {period.whole} whole ones)")
    for code, count in sorted(period.hold_reasons.items()):
        typer.echo(f"  held: {code} ({count} times)")
