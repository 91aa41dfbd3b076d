"""`access-reconciler attestations`: list, verify, show and export what was signed.

Works on a folder or a pack alone: without daemon, database, network or provider, from an installation that has none of
their libraries. Exit codes: 0 verified; 1 not verified, or an error; 3 verified, yet cycles were interrupted or could
not see everything, or the key came from the same folder. Whom a keyless statement must be signed by is never taken from
the folder: it is given, or configured.
"""

import json
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from reconciler.adapters.attestation_document import read_statement
from reconciler.adapters.attestations import Attestation, Checked, attestations_in, verify
from reconciler.adapters.erasure import ErasedCount, recorded_erasures
from reconciler.adapters.evidence_pack import write_pack
from reconciler.adapters.pack_period import Period, following
from reconciler.cli.attestation_report import document, exit_code, print_report, with_damaged
from reconciler.cli.attestation_trust import (
    CheckpointOption,
    ConfigOption,
    Given,
    HeadOption,
    IdentityOption,
    IssuerOption,
    KeyOption,
    Locate,
    PackOption,
    RootOption,
    configured_place,
    expected_checkpoint,
    expected_head,
    opened_place,
    trusted_of,
)
from reconciler.cli.erase import erase
from reconciler.cli.exits import Output, OutputOption
from reconciler.cli.replay import replay_command
from reconciler.cli.unsigned import pending, retry
from reconciler.core.canonical import sha256_hex
from reconciler.core.errors import EvidenceError


class _Commands:
    """The four commands; `locate` is how they find a configured store."""

    def __init__(self, locate: Locate) -> None:
        self._locate = locate

    def verify(  # noqa: PLR0913 - each is an option of the command line
        self,
        *,
        config: ConfigOption = None,
        pack: PackOption = None,
        key: KeyOption = None,
        trust_root: RootOption = None,
        identity: IdentityOption = None,
        issuer: IssuerOption = None,
        expect_head: HeadOption = None,
        expect_checkpoint: CheckpointOption = None,
        output: OutputOption = Output.TABLE,
    ) -> None:
        """Verify every signature, every count and the chain; say which cycle is wrong.

        Example: access-reconciler attestations verify --pack pack.zip --key signer.pub --expect-head 12:sha256:ab12…
        """
        given = Given(key=key, trust_root=trust_root, identity=identity, issuer=issuer)
        with opened_place(self._locate, config, pack) as place:
            trusted, source = trusted_of(place, given, from_store=config is None and pack is not None)
            period = Period()
            erased = ErasedCount(place.root, recorded_erasures(place.root))
            followed = following(period, trusted)

            def each(checked: Checked) -> None:
                followed(checked)
                if checked.document is not None:
                    erased.count(checked.document)

            found = verify(
                place.root,
                trusted,
                expected_head=expected_head(expect_head),
                expected_checkpoint=expected_checkpoint(expect_checkpoint),
                journal=place.journal,
                each=each,
            )
        report = with_damaged(found, place.damaged)
        if output is Output.JSON:
            typer.echo(json.dumps(document(report, source, period, erased), indent=2))
        else:
            print_report(report, source, period, erased)
        raise typer.Exit(exit_code(report, source))

    def list(self, config: ConfigOption = None, pack: PackOption = None, output: OutputOption = Output.TABLE) -> None:
        """List the attestations as they lie there, unverified.

        Example: access-reconciler attestations list --output json
        """
        with opened_place(self._locate, config, pack) as place:
            rows = [_row(attestation) for attestation in attestations_in(place.root)[0]]
        if output is Output.JSON:
            typer.echo(json.dumps({"attestations": rows}, indent=2))
            return
        table = Table("sequence", "cycle", "mode", "outcome", "finished")
        for row in rows:
            table.add_row(
                *(str(row[name] or "?") for name in ("sequence", "cycle_id", "mode", "outcome", "finished_at"))
            )
        Console().print(table)

    def show(
        self,
        cycle: Annotated[str, typer.Argument(help="Sequence number, cycle id, or the beginning of one.")],
        config: ConfigOption = None,
        pack: PackOption = None,
    ) -> None:
        """Print the statement of one cycle, unverified.

        Example: access-reconciler attestations show 12
        """
        with opened_place(self._locate, config, pack) as place:
            attestation = _find(attestations_in(place.root)[0], cycle)
            content = _bytes(attestation)
        try:
            statement = json.loads(content)
        except ValueError as error:
            msg = f"{attestation.statement.name} is not JSON any more"
            raise EvidenceError(msg, advice="run `attestations verify`") from error
        typer.echo(json.dumps(statement, indent=2, ensure_ascii=False))

    def export(  # noqa: PLR0913 - each is an option of the command line
        self,
        *,
        out: Annotated[Path, typer.Option("--out", help="The zip file to write.")],
        config: ConfigOption = None,
        pack: PackOption = None,
        key: KeyOption = None,
        trust_root: RootOption = None,
        identity: IdentityOption = None,
        issuer: IssuerOption = None,
        output: OutputOption = Output.TABLE,
    ) -> None:
        """Verify, then write all attestations with the means to check them into one zip file for an auditor.

        Example: access-reconciler attestations export --out attestations.zip
        """
        given = Given(key=key, trust_root=trust_root, identity=identity, issuer=issuer)
        with opened_place(self._locate, config, pack) as place:
            trusted, _ = trusted_of(place, given, from_store=config is None and pack is not None)
            report = with_damaged(verify(place.root, trusted, journal=place.journal), place.damaged)
            for problem in report.problems:
                typer.echo(problem.message, err=True)
            write_pack(place.root, trusted, report, out)
        head = None if report.head is None else str(report.head)
        if output is Output.JSON:
            written = {"out": str(out), "cycles": report.cycles, "signer": report.signer, "head": head}
            typer.echo(json.dumps(written, indent=2))
            return
        typer.echo(f"{report.cycles} attestations written to {out}; signer {report.signer}; head {report.head}")


def build_app(locate: Locate = configured_place) -> typer.Typer:
    """Return the command group; `locate` finds a configured store."""
    commands = _Commands(locate)
    group = typer.Typer(name="attestations", no_args_is_help=True, help="List, verify, show and export attestations.")
    group.command("verify")(commands.verify)
    group.command("list")(commands.list)
    group.command("show")(commands.show)
    group.command("export")(commands.export)
    group.command("replay")(replay_command(locate))
    group.command("erase")(erase)
    group.command("pending")(pending)
    group.command("retry")(retry)
    return group


app = build_app()


def _bytes(attestation: Attestation) -> bytes:
    try:
        return attestation.statement.read_bytes()
    except OSError as error:
        _unreadable(attestation, error)


def _unreadable(attestation: Attestation, error: OSError) -> NoReturn:
    msg = f"the statement of cycle {attestation.sequence} ({attestation.cycle_id}) cannot be read: {error.strerror}"
    raise EvidenceError(msg, advice="run `attestations verify`") from error


def _row(attestation: Attestation) -> dict[str, object]:
    row: dict[str, object] = {
        "sequence": attestation.sequence,
        "cycle_id": attestation.cycle_id,
        "mode": None,
        "outcome": None,
        "finished_at": None,
        "digest": None,
        "bundle": str(attestation.bundle),
        "problem": None,
    }
    try:
        payload = _bytes(attestation)
        predicate = read_statement(payload).predicate
    except EvidenceError as error:
        return row | {"problem": str(error)}
    return row | {
        "mode": predicate.mode,
        "outcome": predicate.outcome,
        "finished_at": predicate.finished_at,
        "digest": "sha256:" + sha256_hex(payload),
    }


def _find(attestations: tuple[Attestation, ...], wanted: str) -> Attestation:
    found = [
        attestation
        for attestation in attestations
        if str(attestation.sequence) == wanted or attestation.cycle_id == wanted
    ] or [attestation for attestation in attestations if attestation.cycle_id.startswith(wanted)]
    if len(found) != 1:
        msg = f"{len(found)} attestations are of a cycle {wanted!r}"
        raise EvidenceError(msg, advice="see `attestations list` for sequence numbers and ids")
    return found[0]
