"""`access-reconciler attestations`: list, verify, show and export what was signed.

Works on a folder or a pack alone: without daemon, database, network or provider, from an installation that has none of
their libraries. Exit codes: 0 verified; 1 not verified, or an error; 3 verified, yet cycles were interrupted or could
not see everything, or the key came from the same folder. Whom a keyless statement must be signed by is never taken from
the folder: it is given, or configured.
"""

import json
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from reconciler.adapters.attestation_document import read_statement
from reconciler.adapters.attestations import Attestation, attestations_in
from reconciler.cli.attestation_chain import chain_command
from reconciler.cli.attestation_export import export_command
from reconciler.cli.attestation_leaf import leaf_command
from reconciler.cli.attestation_report import document, exit_code, print_report
from reconciler.cli.attestation_trust import (
    CheckpointOption,
    ConfigOption,
    Given,
    HeadOption,
    IdentityOption,
    IssuerOption,
    Kept,
    KeyOption,
    Locate,
    ManifestOption,
    PackOption,
    RootOption,
    configured_place,
    expected_checkpoint,
    expected_head,
    expected_manifest,
    opened_place,
    trusted_of,
)
from reconciler.cli.attestation_verdict import answer_of
from reconciler.cli.erase import erase
from reconciler.cli.exits import Output, OutputOption
from reconciler.cli.replay import replay_command
from reconciler.cli.unsigned import pending, retry
from reconciler.core.canonical import sha256_hex
from reconciler.core.errors import EvidenceError


class _Commands:
    """The commands that look; `locate` is how they find a configured store."""

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
        expect_manifest: ManifestOption = None,
        output: OutputOption = Output.TABLE,
    ) -> None:
        """Verify every signature, every count and the chain; say which cycle is wrong.

        Example: access-reconciler attestations verify --pack pack.zip --key signer.pub --expect-head 12:sha256:ab12…
        """
        given = Given(key=key, trust_root=trust_root, identity=identity, issuer=issuer)
        with opened_place(self._locate, config, pack) as place:
            trusted, source = trusted_of(place, given, from_store=config is None and pack is not None)
            answer = answer_of(
                place,
                trusted,
                source,
                kept=Kept(
                    head=expected_head(expect_head),
                    checkpoint=expected_checkpoint(expect_checkpoint),
                    manifest=expected_manifest(expect_manifest),
                ),
            )
        if output is Output.JSON:
            typer.echo(json.dumps(document(answer), indent=2))
        else:
            print_report(answer)
        raise typer.Exit(exit_code(answer))

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


def build_app(locate: Locate = configured_place) -> typer.Typer:
    """Return the command group; `locate` finds a configured store."""
    commands = _Commands(locate)
    group = typer.Typer(name="attestations", no_args_is_help=True, help="List, verify, show and export attestations.")
    group.command("verify")(commands.verify)
    group.command("list")(commands.list)
    group.command("show")(commands.show)
    group.command("export")(export_command(locate))
    group.command("chain")(chain_command(locate))
    group.command("verify-leaf")(leaf_command(locate))
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
