"""`access-reconciler attestations verify-leaf`: one record, its proof, and whom it is about."""

import json
import re
from collections.abc import Callable
from typing import Annotated, NoReturn

import typer

from reconciler.adapters.attestation_document import StatementDocument
from reconciler.adapters.attestations import Attestation, attestations_in, check
from reconciler.adapters.disclosures import LOGS, CycleLeaves, Shown, committed, read_shown
from reconciler.adapters.evidence_files import Entry, read_here
from reconciler.adapters.evidence_store import attestation_stem
from reconciler.adapters.pack_tables import DECISIONS
from reconciler.adapters.sigstore_bundle import Trusted
from reconciler.cli.attestation_trust import (
    ConfigOption,
    Given,
    IdentityOption,
    IssuerOption,
    KeyOption,
    KeySource,
    Locate,
    PackOption,
    Place,
    RootOption,
    opened_place,
    trusted_of,
)
from reconciler.cli.exits import IN_PART, Output, OutputOption
from reconciler.core.errors import EvidenceError, WrongUsage

_LEAF = re.compile(rf"(?P<sequence>[1-9][0-9]{{0,15}}):(?P<log>{'|'.join(LOGS)}):(?P<index>[0-9]{{1,9}})\Z")
LeafOption = Annotated[
    str, typer.Option("--leaf", help="SEQUENCE:LOG:INDEX, such as 12:decision-log:0, as `decisions/` has it.")
]


def leaf_command(locate: Locate) -> Callable[..., None]:
    """Return the command; `locate` finds a configured store."""

    def verify_leaf(  # noqa: PLR0913 - each is an option of the command line
        *,
        leaf: LeafOption,
        config: ConfigOption = None,
        pack: PackOption = None,
        key: KeyOption = None,
        trust_root: RootOption = None,
        identity: IdentityOption = None,
        issuer: IssuerOption = None,
        output: OutputOption = Output.TABLE,
    ) -> None:
        """Show one record: the signature of its cycle, its inclusion proof, and the line that says whom it is about.

        Example: access-reconciler attestations verify-leaf --pack pack.zip --key signer.pub --leaf 12:decision-log:0
        """
        given = Given(key=key, trust_root=trust_root, identity=identity, issuer=issuer)
        sequence, log, index = _parsed(leaf)
        with opened_place(locate, config, pack) as place:
            trusted, source = trusted_of(place, given, from_store=config is None and pack is not None)
            document = _signed(_attestation(place, sequence), trusted)
            shown = _one(_shown(place.root, document), log, index)
            for problem in shown.problems(document):
                raise EvidenceError(problem, advice="the record was changed after it was signed; ask for the pack anew")
        _tell(leaf, shown, signer=trusted.signer, output=output)
        raise typer.Exit(IN_PART if source is KeySource.STORE else 0)

    return verify_leaf


def _parsed(text: str) -> tuple[int, str, int]:
    match = _LEAF.match(text)
    if match is None:
        msg = f"{text!r} names no record"
        raise WrongUsage(msg, advice=f"write SEQUENCE:LOG:INDEX; logs are {', '.join(LOGS)}")
    return int(match["sequence"]), match["log"], int(match["index"])


def _attestation(place: Place, sequence: int) -> Attestation:
    for attestation in attestations_in(place.root)[0]:
        if attestation.sequence == sequence:
            return attestation
    raise EvidenceError(f"there is no attestation of cycle {sequence}", advice="see `attestations list`")


def _signed(attestation: Attestation, trusted: Trusted) -> StatementDocument:
    checked = check(attestation, trusted)
    if checked.document is None:
        first = checked.problems[0]
        raise EvidenceError(f"{first.code}: {first.message}", advice="run `attestations verify`")
    return checked.document


def _shown(root: Entry, document: StatementDocument) -> Shown:
    """Return what is disclosed of a cycle: in a pack what lies there, in a state folder everything."""
    told = document.predicate
    name = f"{DECISIONS}/{attestation_stem(told.sequence, told.cycle_id)}.jsonl"
    content = read_here(root / name)
    if content is not None:
        return read_shown(content, name)
    opened = CycleLeaves.open(root, document)
    return opened.show(opened.everything())


def _one(shown: Shown, log: str, index: int) -> Shown:
    """Return one record with the lines that open it alone."""
    leaves = tuple(one for one in shown.leaves if (one.log, one.index) == (log, index))
    if not leaves:
        _not_disclosed(log, index)
    wanted = committed(shown.lines, (one.leaf for one in leaves)).by_digest
    return Shown(leaves=leaves, lines=tuple(wanted.values()))


def _not_disclosed(log: str, index: int) -> NoReturn:
    msg = f"record {index} of the {log} is not here"
    raise EvidenceError(msg, advice="it is not disclosed, or was erased: ask the operator for it")


def _tell(leaf: str, shown: Shown, *, signer: str, output: Output) -> None:
    (one,) = shown.leaves
    record, lines = json.loads(one.leaf), [json.loads(line) for line in shown.lines]
    if output is Output.JSON:
        told = {"leaf": leaf, "verified": True, "signer": signer, "record": record, "opened_by": lines}
        typer.echo(json.dumps(told, indent=2, ensure_ascii=False))
        return
    typer.echo(f"{leaf}: in the tree of {one.size} records that {signer} signed")
    typer.echo(json.dumps(record, indent=2, ensure_ascii=False))
    typer.echo("opened by:" if lines else "nothing opens it here: persons stay pseudonyms")
    for line in lines:
        typer.echo(json.dumps(line, indent=2, ensure_ascii=False))
