"""`access-reconciler attestations chain`: how each cycle follows the one before, and how late it was signed."""

import json
from collections.abc import Callable
from datetime import datetime

import typer
from rich.console import Console
from rich.table import Table

from reconciler.adapters.attestations import Checked
from reconciler.cli.attestation_report import exit_code
from reconciler.cli.attestation_trust import (
    ConfigOption,
    Given,
    HeadOption,
    IdentityOption,
    IssuerOption,
    Kept,
    KeyOption,
    Locate,
    PackOption,
    RootOption,
    expected_head,
    opened_place,
    trusted_of,
)
from reconciler.cli.attestation_verdict import answer_of
from reconciler.cli.exits import Output, OutputOption
from reconciler.cli.plain_text import clean
from reconciler.core.canonical import rfc3339

_COLUMNS = ("sequence", "outcome", "finished_at", "late_seconds", "follows", "log_before", "log_after", "problems")
_HEADINGS = ("sequence", "outcome", "finished", "signed late (s)", "follows", "log from", "log to", "problems")


def chain_command(locate: Locate) -> Callable[..., None]:
    """Return the command; `locate` finds a configured store."""

    def chain(  # noqa: PLR0913 - each is an option of the command line
        *,
        config: ConfigOption = None,
        pack: PackOption = None,
        key: KeyOption = None,
        trust_root: RootOption = None,
        identity: IdentityOption = None,
        issuer: IssuerOption = None,
        expect_head: HeadOption = None,
        output: OutputOption = Output.TABLE,
    ) -> None:
        """Verify, and show what each cycle follows, where its records stand in the log, and how late it was signed.

        Example: access-reconciler attestations chain --pack pack.zip --key signer.pub
        """
        given = Given(key=key, trust_root=trust_root, identity=identity, issuer=issuer)
        rows: list[dict[str, object]] = []
        with opened_place(locate, config, pack) as place:
            trusted, source = trusted_of(place, given, from_store=config is None and pack is not None)
            answer = answer_of(
                place,
                trusted,
                source,
                kept=Kept(head=expected_head(expect_head)),
                each=lambda checked: rows.append(_row(checked)),
            )
        for row in rows:
            row["problems"] = sorted({one.code for one in answer.report.problems if one.cycle_id == row["cycle_id"]})
        if output is Output.JSON:
            told = {
                "verified": answer.report.verified,
                "cycles": rows,
                "gaps": list(answer.report.gaps),
                "head": None if answer.report.head is None else str(answer.report.head),
                "problems": [{"code": one.code, "message": one.message} for one in answer.report.problems],
            }
            typer.echo(json.dumps(told, indent=2))
        else:
            _print(rows, answer.report.gaps)
            for problem in answer.report.problems:
                typer.echo(clean(f"{problem.code}: {problem.message}"))
        raise typer.Exit(exit_code(answer))

    return chain


def _row(checked: Checked) -> dict[str, object]:
    row: dict[str, object] = {
        "sequence": checked.attestation.sequence,
        "cycle_id": checked.attestation.cycle_id,
        "digest": checked.digest or None,
    }
    if checked.document is None:
        return row | dict.fromkeys(
            ("outcome", "finished_at", "signed_at", "late_seconds", "follows", "log_before", "log_after")
        )
    told = checked.document.predicate
    signed = checked.stamped_at
    late = None if signed is None else round((signed - datetime.fromisoformat(told.finished_at)).total_seconds())
    return row | {
        "outcome": told.outcome,
        "finished_at": told.finished_at,
        "signed_at": None if signed is None else rfc3339(signed),
        "late_seconds": late,
        "follows": None if told.previous is None else told.previous.sequence,
        "log_before": told.log.tree_size_before,
        "log_after": told.log.tree_size_after,
    }


def _print(rows: list[dict[str, object]], gaps: tuple[int, ...]) -> None:
    table = Table(*_HEADINGS, box=None, padding=(0, 1), pad_edge=False)
    for row in rows:
        table.add_row(*(_cell(row[name]) for name in _COLUMNS))
    Console(width=160, soft_wrap=True).print(table)
    typer.echo(f"interrupted cycles without an attestation: {', '.join(map(str, gaps)) or 'none'}")


def _cell(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return "none" if value is None else str(value)
