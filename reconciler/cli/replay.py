"""`access-reconciler attestations replay`: has past decisions made again by the stock `opa`, and compares.

Needs what `verify` needs, and an `opa` binary. Exit codes: 0 every decision was disclosed and is equal; 1 one differs,
or something is not what was signed; 3 everything disclosed is equal, yet only part was, or the key came from the same
folder.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.adapters.attestation_document import read_statement
from reconciler.adapters.attestations import Attestation, attestations_in, check
from reconciler.adapters.evidence_files import Entry
from reconciler.adapters.opa_eval import find_opa, opa_version
from reconciler.adapters.replay import Replay, ReplayReport
from reconciler.adapters.sigstore_bundle import Trusted
from reconciler.cli.attestation_report import SELF_CONSISTENT
from reconciler.cli.attestation_trust import (
    ConfigOption,
    Given,
    IdentityOption,
    IssuerOption,
    KeyOption,
    KeySource,
    Locate,
    PackOption,
    RootOption,
    opened_place,
    trusted_of,
)
from reconciler.cli.exits import ERROR, IN_PART, OK, Output, OutputOption
from reconciler.core.errors import EvidenceError

if TYPE_CHECKING:
    from reconciler.adapters.problems import Problem

OpaOption = Annotated[Path | None, typer.Option("--opa", help="The opa binary; the one on PATH without it.")]
CycleOption = Annotated[
    list[str] | None,
    typer.Option("--cycle", help="Sequence number or cycle id; may be given several times. All cycles without it."),
]


def replay_command(locate: Locate) -> Callable[..., None]:
    """Return the command; `locate` finds a configured store."""

    def replay(  # noqa: PLR0913 - each is an option of the command line
        *,
        config: ConfigOption = None,
        pack: PackOption = None,
        opa: OpaOption = None,
        cycle: CycleOption = None,
        key: KeyOption = None,
        trust_root: RootOption = None,
        identity: IdentityOption = None,
        issuer: IssuerOption = None,
        output: OutputOption = Output.TABLE,
    ) -> None:
        """Have the disclosed decisions made again by `opa`, on the policies of their cycles, and compare.

        Example: access-reconciler attestations replay --pack pack.zip --key signer.pub --opa /usr/local/bin/opa
        """
        executable = _executable(opa)
        with opened_place(locate, config, pack) as place:
            given = Given(key=key, trust_root=trust_root, identity=identity, issuer=issuer)
            trusted, source = trusted_of(place, given, from_store=config is None and pack is not None)
            chosen = _chosen(attestations_in(place.root)[0], cycle or [])
            report = _replay(place.root, executable, chosen, trusted)
        if output is Output.JSON:
            typer.echo(json.dumps(_document(report, executable, source), indent=2))
        else:
            _print(report, executable, source)
        raise typer.Exit(_exit_code(report, source))

    return replay


def _executable(given: Path | None) -> Path:
    found = given or find_opa()
    if found is None:
        raise EvidenceError("there is no opa on PATH", advice="install OPA, or name its binary with --opa")
    return found.resolve() if given is not None else found


def _chosen(attestations: tuple[Attestation, ...], cycles: list[str]) -> tuple[Attestation, ...]:
    chosen = tuple(one for one in attestations if not cycles or {str(one.sequence), one.cycle_id} & set(cycles))
    lost = sorted(set(cycles) - {name for one in chosen for name in (str(one.sequence), one.cycle_id)})
    if lost:
        msg = f"there is no attestation of cycle {', '.join(lost)}"
        raise EvidenceError(msg, advice="see `attestations list` for sequence numbers and ids")
    return chosen


def _replay(root: Entry, executable: Path, chosen: tuple[Attestation, ...], trusted: Trusted) -> ReplayReport:
    """Replay the cycles whose statements are signed as they must be; the others are problems."""
    problems: list[Problem] = []
    with Replay(root, executable) as replay:
        for attestation in chosen:
            checked = check(attestation, trusted)
            problems.extend(checked.problems)
            if checked.document is not None:
                replay.add(read_statement(attestation.statement.read_bytes()))
        report = replay.finish()
    return replace(report, problems=(*problems, *report.problems))


def _exit_code(report: ReplayReport, source: KeySource) -> int:
    if report.problems or report.differences:
        return ERROR
    whole = report.equal and not report.not_disclosed and source is not KeySource.STORE
    return OK if whole else IN_PART


def _document(report: ReplayReport, executable: Path, source: KeySource) -> dict[str, object]:
    return {
        "cycles": report.cycles,
        "decisions": report.decisions,
        "equal": report.equal,
        "different": report.different,
        "not_disclosed": report.not_disclosed,
        "differences": [asdict(one) for one in report.differences],
        "problems": [asdict(one) for one in report.problems],
        "opa": opa_version(executable),
        "key_source": source.value,
        "self_consistent_only": source is KeySource.STORE,
    }


def _print(report: ReplayReport, executable: Path, source: KeySource) -> None:
    for problem in report.problems:
        typer.echo(f"{problem.code}: {problem.message}")
    for one in report.differences:
        where = "an item without a leaf" if one.leaf is None else f"decision {one.leaf}"
        typer.echo(f"different: cycle {one.sequence} ({one.cycle_id}), {where}, {one.access_id}: {one.message}")
        typer.echo(f"  then: {'; '.join(one.then) or 'nothing'}")
        typer.echo(f"  now:  {'; '.join(one.now) or 'nothing'}")
    typer.echo(f"{report.decisions} decisions of {report.cycles} cycles, made again by OPA {opa_version(executable)}:")
    typer.echo(f"{report.equal} equal, {report.different} different, {report.not_disclosed} not disclosed")
    if not report.decisions:
        typer.echo("These cycles decided nothing, so nothing was replayed.")
    if source is KeySource.STORE:
        typer.echo(SELF_CONSISTENT)
