"""`access-reconciler attestations`: list, verify, show and export what was signed.

Works on a folder alone: without daemon, database, network or provider. Exit codes: 0 verified; 1 not verified, or an
error; 3 verified, yet cycles were interrupted or could not see everything, or the key came from the same folder. Whom
a keyless statement must be signed by is never taken from the folder: it is given, or configured.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from reconciler.adapters.attestation_document import read_statement
from reconciler.adapters.attestations import (
    Attestation,
    Head,
    Report,
    attestation_root,
    attestations_in,
    public_key_of,
    verify,
)
from reconciler.adapters.evidence_pack import write_pack
from reconciler.adapters.sigstore_bundle import MODE, Trusted, VerifyingKey
from reconciler.cli.exits import DEFAULT_CONFIG, ERROR, OK, Output, OutputOption
from reconciler.core.canonical import sha256_hex
from reconciler.core.errors import EvidenceError
from reconciler.ports import CycleEntry
from reconciler.settings import load_settings
from reconciler.signers import configured_trust, trusted_identity
from reconciler.wiring import open_store
from reconciler.writer import journal_exists, open_journal

WITH_GAPS = 3
"""Verified, with gaps: told apart from verified as the auditor must not overlook it."""

_WITNESSED = "A transparency log and a time-stamping authority bear witness; all of it rests on the trusted root."
_NO_WITNESS = "No transparency log, no trusted time: the key file is all that this rests on."
_SELF_CONSISTENT = "Self-consistent only: the key was taken from the store itself. Give --key to know who signed."


class KeySource(StrEnum):
    """Where the trusted key came from."""

    GIVEN = "given"
    """By the auditor, with --key, or with --trust-root, --identity and --issuer."""
    CONFIGURED = "configured"
    """The operator's own signing key or identity, as the configuration names it."""
    STORE = "store"
    """From the folder that is being verified."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What a configuration says of the attestations it makes."""

    root: Path
    """Holds `attestations/` and `evidence/`."""
    trusted: Callable[[], Trusted]
    """Reads whom the operator expects to have signed; raises `EvidenceError`."""
    journal: tuple[CycleEntry, ...] = ()
    """The cycles that the journal knows, oldest first."""


Locate = Callable[[Path | None], Place]
"""Reads a configuration (None: the usual one) and says where its attestations are."""

ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help=f"Configuration file; {DEFAULT_CONFIG} without --dir.")
]
DirOption = Annotated[
    Path | None, typer.Option("--dir", help="State folder or unpacked evidence pack, instead of a configuration.")
]
KeyOption = Annotated[Path | None, typer.Option("--key", help="Public key (PEM) of the signer that you trust.")]
RootOption = Annotated[
    Path | None,
    typer.Option("--trust-root", help="Trusted root or client trust configuration that you trust, for keyless."),
]
IdentityOption = Annotated[str | None, typer.Option("--identity", help="Who must have signed, for keyless.")]
IssuerOption = Annotated[str | None, typer.Option("--issuer", help="Who must vouch for the identity, for keyless.")]
HeadOption = Annotated[
    str | None,
    typer.Option("--expect-head", help="SEQUENCE:DIGEST, or a file that holds it: finds a tail that was cut off."),
]


class _Commands:
    """The four commands; `locate` is how they find a configured store."""

    def __init__(self, locate: Locate) -> None:
        self._locate = locate

    def verify(  # noqa: PLR0913 - each is an option of the command line
        self,
        *,
        config: ConfigOption = None,
        folder: DirOption = None,
        key: KeyOption = None,
        trust_root: RootOption = None,
        identity: IdentityOption = None,
        issuer: IssuerOption = None,
        expect_head: HeadOption = None,
        output: OutputOption = Output.TABLE,
    ) -> None:
        """Verify every signature, every count and the chain; say which cycle is wrong.

        Example: access-reconciler attestations verify --dir pack --key signer.pub --expect-head 12:sha256:ab12…
        """
        place = self._place(config, folder)
        given = Given(key=key, trust_root=trust_root, identity=identity, issuer=issuer)
        trusted, source = _trusted(place, given, from_store=config is None and folder is not None)
        report = verify(place.root, trusted, expected_head=_head(expect_head), journal=place.journal)
        if output is Output.JSON:
            typer.echo(json.dumps(_document(report, source), indent=2))
        else:
            _print_report(report, source)
        raise typer.Exit(_exit_code(report, source))

    def list(self, config: ConfigOption = None, folder: DirOption = None, output: OutputOption = Output.TABLE) -> None:
        """List the attestations as they lie there, unverified.

        Example: access-reconciler attestations list --output json
        """
        attestations, _ = attestations_in(self._place(config, folder).root)
        rows = [_row(attestation) for attestation in attestations]
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
        folder: DirOption = None,
    ) -> None:
        """Print the statement of one cycle, unverified.

        Example: access-reconciler attestations show 12
        """
        attestations, _ = attestations_in(self._place(config, folder).root)
        attestation = _find(attestations, cycle)
        try:
            statement = json.loads(_bytes(attestation))
        except ValueError as error:
            msg = f"{attestation.statement.name} is not JSON any more"
            raise EvidenceError(msg, advice="run `attestations verify`") from error
        typer.echo(json.dumps(statement, indent=2, ensure_ascii=False))

    def export(  # noqa: PLR0913 - each is an option of the command line
        self,
        *,
        out: Annotated[Path, typer.Option("--out", help="The zip file to write.")],
        config: ConfigOption = None,
        folder: DirOption = None,
        key: KeyOption = None,
        trust_root: RootOption = None,
        identity: IdentityOption = None,
        issuer: IssuerOption = None,
        output: OutputOption = Output.TABLE,
    ) -> None:
        """Verify, then write all attestations with the means to check them into one zip file for an auditor.

        Example: access-reconciler attestations export --out attestations.zip
        """
        place = self._place(config, folder)
        given = Given(key=key, trust_root=trust_root, identity=identity, issuer=issuer)
        trusted, _ = _trusted(place, given, from_store=config is None and folder is not None)
        report = verify(place.root, trusted, journal=place.journal)
        for problem in report.problems:
            typer.echo(problem.message, err=True)
        write_pack(place.root, trusted, report, out)
        head = None if report.head is None else str(report.head)
        if output is Output.JSON:
            written = {"out": str(out), "cycles": report.cycles, "signer": report.signer, "head": head}
            typer.echo(json.dumps(written, indent=2))
            return
        typer.echo(f"{report.cycles} attestations written to {out}; signer {report.signer}; head {report.head}")

    def _place(self, config: Path | None, folder: Path | None) -> Place:
        if folder is not None and config is None:
            root = attestation_root(folder)
            return Place(root=root, trusted=lambda: VerifyingKey.from_file(public_key_of(root)))
        place = self._locate(config)
        root = attestation_root(place.root if folder is None else folder)
        ours = root.resolve() == place.root.resolve()  # a pack may be older than the journal
        return Place(root=root, trusted=place.trusted, journal=place.journal if ours else ())


def configured_place(config: Path | None) -> Place:
    """Return where the attestations of a configuration lie, with what its journal knows, if there is one yet."""
    settings = load_settings(config or DEFAULT_CONFIG)
    journal: tuple[CycleEntry, ...] = ()
    if journal_exists(settings):
        with open_journal(settings) as opened:
            journal = tuple(opened.cycles())
    return Place(root=open_store(settings).root, trusted=lambda: configured_trust(settings), journal=journal)


def build_app(locate: Locate = configured_place) -> typer.Typer:
    """Return the command group; `locate` finds a configured store."""
    commands = _Commands(locate)
    group = typer.Typer(name="attestations", no_args_is_help=True, help="List, verify, show and export attestations.")
    group.command("verify")(commands.verify)
    group.command("list")(commands.list)
    group.command("show")(commands.show)
    group.command("export")(commands.export)
    return group


app = build_app()


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """Whom the auditor says must have signed."""

    key: Path | None
    trust_root: Path | None
    identity: str | None
    issuer: str | None

    def trusted(self) -> Trusted | None:
        """Return the key or the identity; None when neither was given. Raises `EvidenceError` for half of one."""
        keyless = (self.trust_root, self.identity, self.issuer)
        if self.key is not None and any(keyless):
            msg = "--key and the options of keyless signing exclude each other"
            raise EvidenceError(msg, advice="give --key, or --trust-root, --identity and --issuer")
        if self.key is not None:
            return VerifyingKey.from_file(self.key)
        if self.trust_root is not None and self.identity is not None and self.issuer is not None:
            return trusted_identity(self.trust_root, self.identity, self.issuer)
        if any(keyless):
            msg = "--trust-root, --identity and --issuer need one another"
            raise EvidenceError(msg, advice="none of them is ever taken from the attestations: give all three")
        return None


def _trusted(place: Place, given: Given, *, from_store: bool) -> tuple[Trusted, KeySource]:
    trusted = given.trusted()
    if trusted is not None:
        return trusted, KeySource.GIVEN
    return place.trusted(), KeySource.STORE if from_store else KeySource.CONFIGURED


def _head(text: str | None) -> Head | None:
    if text is None:
        return None
    path = Path(text)
    try:
        return Head.parse(path.read_text(encoding="utf-8") if path.is_file() else text)
    except OSError as error:
        msg = f"the head file {path} cannot be read: {error.strerror}"
        raise EvidenceError(msg, advice="give SEQUENCE:DIGEST itself") from error


def _exit_code(report: Report, source: KeySource) -> int:
    if not report.verified:
        return ERROR
    return WITH_GAPS if report.gaps or report.incomplete or source is KeySource.STORE else OK


def _document(report: Report, source: KeySource) -> dict[str, object]:
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


def _print_report(report: Report, source: KeySource) -> None:
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
        typer.echo(_SELF_CONSISTENT)


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
