"""`access-reconciler demo`: the main job on a sample company, on real local servers."""

import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from reconciler.cli.cycle import perform
from reconciler.cli.display import print_line, say
from reconciler.cli.documents import cycle_document
from reconciler.cli.exits import ERROR, OK, Output, OutputOption
from reconciler.cli.plain_text import complain, print_json
from reconciler.cli.record_view import show_record
from reconciler.core.canonical import Json
from reconciler.core.model import Mode, Plan
from reconciler.core.record import CycleOutcome
from reconciler.demo.signing import Signing, commands_that_verify
from reconciler.demo.stage import LIFETIME_SECONDS, close_stage
from reconciler.demo.story import Prepared, people, prepare, untouched
from reconciler.engines import find_opa
from reconciler.policies.standing import starter_policies
from reconciler.settings import EngineSettings, Settings, load_settings
from reconciler.wiring import verify_own

CYCLES = (
    (Mode.OBSERVE, "The first cycle observes: it shows what would be taken away, and why."),
    (Mode.ENFORCE, "The second cycle enforces, and reads again to prove that it is gone."),
    (Mode.ENFORCE, "The third cycle finds nothing to do."),
)


def demo(
    directory: Annotated[Path, typer.Option("--dir", help="Folder of the sample company; emptied at every start.")],
    output: OutputOption = Output.TABLE,
    prepare_only: Annotated[bool, typer.Option("--prepare-only", help="Set up, and run no cycle.")] = False,  # noqa: FBT002 - a command-line flag
    stop: Annotated[bool, typer.Option("--stop", help="End the servers of an earlier demo.")] = False,  # noqa: FBT002 - a command-line flag
    signing: Annotated[
        Signing, typer.Option("--signing", help="Who signs: a key, or a private Sigstore of the demo's own.")
    ] = Signing.KEY,
) -> None:
    """Run three cycles over a sample company of 38 workers on real AWS (moto), OpenLDAP and SCIM servers.

    Works without root, without OpenLDAP (that provider is left out) and without OPA (then on the in-process engine),
    and says so. The servers stay for an hour, so that they can be asked directly; --stop ends them.

    With --signing sigstore, a private Sigstore of the demo's own runs beside them, and a workload's identity signs.

    Example: access-reconciler demo --dir demo-company
    """
    folder = directory.resolve()
    if stop:
        ended = close_stage(folder)
        print_line("the servers have ended" if ended else "there are no servers of a demo in this folder")
        raise typer.Exit(OK)
    started = time.monotonic()
    engine = "managed" if find_opa(EngineSettings()) else "embedded"
    prepared = prepare(folder, starter_policies(), engine, say, signing)
    if prepare_only:
        if output is Output.JSON:
            print_json(_summary(prepared, [], untouched(prepared.stage), time.monotonic() - started))
        else:
            print_line(f"ready: {_program()} cycle --config {prepared.configuration} --mode observe")
        raise typer.Exit(OK)
    settings = load_settings(prepared.configuration)
    documents, good = _cycles(settings, quiet=output is Output.JSON)
    others = untouched(prepared.stage)
    good = good and not others["unexpected"]
    if output is Output.JSON:
        print_json(_summary(prepared, documents, others, time.monotonic() - started))
    else:
        _farewell(prepared, others, time.monotonic() - started, _verifying(prepared))
    if not good:
        complain("the demo did not end as it should", "the cycles above say what was not done, read or left alone")
    raise typer.Exit(OK if good else ERROR)


def _cycles(settings: Settings, *, quiet: bool) -> tuple[list[Json], bool]:
    if not quiet:
        print_line("Who is who:")
        for person in people().splitlines():
            print_line(person)
    documents: list[Json] = []
    last: Plan | None = None
    for mode, text in CYCLES:
        if not quiet:
            print_line()
            print_line(text)
        attested = perform(settings, mode, quiet=quiet)
        last = attested.record.plan
        verified = verify_own(settings).verified
        documents.append(cycle_document(attested, verified=verified))
        if not quiet:
            show_record(attested, verified=verified)
        if not verified or attested.record.outcome is CycleOutcome.FAILED:
            return documents, False
    return documents, last is not None and not last.actions


def _summary(prepared: Prepared, cycles: list[Json], others: dict[str, Json], seconds: float) -> dict[str, Json]:
    return {
        "directory": str(prepared.directory),
        "config": str(prepared.configuration),
        "engine": prepared.engine,
        "left_out": dict(prepared.stage.left_out),
        "servers": {name: dict(address) for name, address in prepared.stage.addresses.items()},
        "cycles": cycles,
        "others": others,
        "verify": [list(command) for command in _verifying(prepared)],
        "seconds": round(seconds, 1),
    }


def _farewell(prepared: Prepared, others: dict[str, Json], seconds: float, verifying: list[list[str]]) -> None:
    changed, wrong = others["changed"], others["unexpected"]
    print_line()
    if wrong:
        print_line(f"WRONG: these were changed and should not have been: {wrong}")
    else:
        count = len(changed) if isinstance(changed, list) else 0
        print_line(
            f"Asked directly, the servers hold {others['principals']} principals; {count} of them changed, all of them "
            "leavers', and everybody else is exactly as before."
        )
    config = prepared.configuration
    print_line(f"It took {seconds:.0f} s. Look further:")
    program = _program()
    for command in verifying:
        print_line(f"  {shlex.join(command)}")
    print_line(f"  {program} explain E1003 --config {config}")
    print_line(f"  {program} plan --config {config}")
    print_line(f"  the servers and their addresses: {prepared.directory / 'servers.json'}")
    print_line(
        f"The servers end by themselves in {LIFETIME_SECONDS / 60:.0f} minutes, or now: {program} demo --dir "
        f"{prepared.directory} --stop"
    )


def _verifying(prepared: Prepared) -> list[list[str]]:
    """Return the commands that verify what the last cycle signed, with all that an auditor has to bring."""
    config = str(prepared.configuration)
    bundles = sorted((prepared.directory / "state" / "evidence" / "attestations").glob("*.sigstore.json"))
    if not bundles or not prepared.stage.signing:
        return [[_program(), "attestations", "verify", "--config", config]]
    return commands_that_verify(_program(), prepared.stage.signing, bundles[-1])


def _program() -> str:
    """Return how this very program is called: by its name where that is on PATH, else by its path."""
    return "access-reconciler" if shutil.which("access-reconciler") else sys.argv[0]
