"""`access-reconciler attestations export`: a pack for an auditor, of a period, for a set of controls."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final

import typer

from reconciler.adapters.evidence_pack import write_pack
from reconciler.adapters.pack_order import Disclosing, Manifest, PackOrder, Profile, instant
from reconciler.adapters.pack_signature import Sign
from reconciler.cli.attestation_trust import (
    ConfigOption,
    Given,
    IdentityOption,
    IssuerOption,
    KeyOption,
    Locate,
    PackOption,
    Place,
    RootOption,
    opened_place,
    trusted_of,
)
from reconciler.cli.attestation_verdict import answer_of
from reconciler.cli.exits import Output, OutputOption
from reconciler.core.canonical import sha256_hex
from reconciler.core.errors import WrongUsage

OutOption = Annotated[Path, typer.Option("--out", help="The zip file to write.")]
ProfileOption = Annotated[Profile, typer.Option("--profile", help="Which controls the pack speaks of.")]
FromOption = Annotated[str | None, typer.Option("--from", help="First day (UTC) or instant; default: the beginning.")]
ToOption = Annotated[str | None, typer.Option("--to", help="Last day (UTC), or the instant before; default: the end.")]
DiscloseOption = Annotated[
    str, typer.Option("--disclose", help="Whose records are opened: none, sample=25 (leavers and decisions), or full.")
]
SeedOption = Annotated[str, typer.Option("--seed", help="Draws the sample: the auditor's choice, any text.")]


SignOption = Annotated[
    bool, typer.Option("--sign", help="Sign the pack's manifest, as the configuration signs cycles.")
]
_UNSIGNED: Final = "not signed; hand this digest over by another way than the pack (--expect-manifest of `verify`)"


def export_command(locate: Locate) -> Callable[..., None]:
    """Return the command; `locate` finds a configured store."""

    def export(  # noqa: PLR0913 - each is an option of the command line
        *,
        out: OutOption,
        profile: ProfileOption = Profile.SOC2,
        since: FromOption = None,
        until: ToOption = None,
        disclose: DiscloseOption = "none",
        seed: SeedOption = "",
        config: ConfigOption = None,
        pack: PackOption = None,
        key: KeyOption = None,
        trust_root: RootOption = None,
        identity: IdentityOption = None,
        issuer: IssuerOption = None,
        sign: SignOption = False,
        output: OutputOption = Output.TABLE,
    ) -> None:
        """Verify, then write the attestations of a period, and the means to check them, into one zip for an auditor.

        Example: access-reconciler attestations export --from 2026-01-01 --to 2026-03-31 --profile soc2 --out pack.zip
        """
        order = PackOrder(
            profile=profile,
            disclosing=Disclosing.parse(disclose),
            seed=seed,
            since=None if since is None else instant(since, end=False),
            until=None if until is None else instant(until, end=True),
        )
        given = Given(key=key, trust_root=trust_root, identity=identity, issuer=issuer)
        with opened_place(locate, config, pack) as place:
            trusted, source = trusted_of(place, given, from_store=config is None and pack is not None)
            report = answer_of(place, trusted, source).report
            for problem in report.problems:
                typer.echo(problem.message, err=True)
            signs = _signing(place) if sign else None
            manifest = write_pack(place.root, trusted, report, order, out, signs)
        _tell(out, manifest, output, signed=sign)

    return export


def _signing(place: Place) -> Sign:
    if place.signer is None:
        msg = "there is no configuration that says who signs the manifest"
        raise WrongUsage(msg, advice="give --config, or leave --sign away and hand over the digest that is printed")
    signer = place.signer()
    return lambda statement: signer.sign(statement).bundle


def _tell(out: Path, manifest: Manifest, output: Output, *, signed: bool) -> None:
    digest = "sha256:" + sha256_hex(manifest.content())
    head = f"{manifest.last.sequence}:{manifest.last.digest}"
    if output is Output.JSON:
        written = {
            "out": str(out),
            "cycles": manifest.cycles,
            "signer": manifest.signer,
            "head": head,
            "manifest": digest,
            "manifest_signed": signed,
            "profile": manifest.profile,
            "disclose": manifest.disclose,
            "seed": manifest.seed,
        }
        typer.echo(json.dumps(written, indent=2))
        return
    typer.echo(f"{manifest.cycles} attestations written to {out}; signer {manifest.signer}; head {head}")
    typer.echo(f"manifest {digest}: {'signed by the signer' if signed else _UNSIGNED}")
