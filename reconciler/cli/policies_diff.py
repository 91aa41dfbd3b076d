"""`access-reconciler policies diff`: whom a change of the policies would touch, before it is merged."""

import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from reconciler.adapters.opa import ManagedOpa
from reconciler.adapters.policy_files import load_policies
from reconciler.adapters.waiver_files import load_waivers
from reconciler.cli.exits import DEFAULT_CONFIG, HELD, OK, ConfigOption
from reconciler.cli.plain_text import print_json
from reconciler.cli.policies_place import find_tools, policy_place
from reconciler.core.errors import PolicyError
from reconciler.core.model import Waiver
from reconciler.policies.difference import Difference, Revision, Side, compare, decide, difference_document
from reconciler.policies.difference_text import markdown
from reconciler.policies.recording import Recording, read_recording
from reconciler.policies.revisions import policy_folder
from reconciler.settings import EngineSettings

_LONGEST_WAIVER_DAYS: Final = 366
"""A recording may be older than the waivers, so how long they may still run is left to `policies check`."""


class DiffOutput(StrEnum):
    """How `policies diff` answers."""

    MARKDOWN = "markdown"
    JSON = "json"


def diff(
    base: Annotated[str, typer.Argument(metavar="BASE", help="The policies before: a folder, or a git revision.")],
    head: Annotated[str, typer.Argument(metavar="HEAD", help="The policies after: the same.")],
    snapshot: Annotated[Path, typer.Option("--snapshot", help="Recorded by `inventory export`.")],
    folder: Annotated[Path | None, typer.Option("--folder", help="Policy folder that git revisions are of.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    output: Annotated[
        DiffOutput, typer.Option("--output", "-o", help="Markdown for people, or one JSON document.")
    ] = DiffOutput.MARKDOWN,
) -> None:
    """Say whose access a change of the policies would touch: decided before and after on the same recorded snapshot.

    Shows what is newly found, not found any more or asked for otherwise, by worker, access item and rule; how the plan
    and the guard's caps change; and which rules matched nothing. Reads no provider.

    Exit codes: 0 no effect changes; 2 effects change; 1 a revision cannot be decided by.

    Example: access-reconciler policies diff main policies --snapshot snapshot.json
    """
    difference = differ(base, head, snapshot, folder, config)
    if output is DiffOutput.JSON:
        print_json(difference_document(difference))
    else:
        sys.stdout.write(markdown(difference))
    raise typer.Exit(HELD if difference.changes_effects else OK)


def differ(base: str, head: str, snapshot: Path, folder: Path | None, config: Path) -> Difference:
    """Decide a recording by two revisions side by side, each with an OPA of its own, and compare."""
    place = policy_place(folder or (None if config.exists() else Path("policies")), config)
    recording = read_recording(snapshot)
    revisions = [_revision(name, place.folder, recording) for name in (base, head)]
    opa = find_tools(place).opa
    with ThreadPoolExecutor(max_workers=len(revisions)) as pool:
        before, after = pool.map(lambda revision: _decided(recording, revision, opa, place.engine), revisions)
    return compare(recording, before, after)


def _decided(recording: Recording, revision: Revision, opa: Path, settings: EngineSettings) -> Side:
    with tempfile.TemporaryDirectory(prefix="access-reconciler-diff-") as state:
        engine = ManagedOpa(
            opa,
            directory=Path(state),
            decide_timeout_seconds=settings.decide_timeout_seconds,
            control_timeout_seconds=settings.control_timeout_seconds,
        )
        with closing(engine):
            return decide(recording, revision, engine)


def _revision(name: str, folder: Path, recording: Recording) -> Revision:
    with policy_folder(name, folder) as found:
        try:
            policies = load_policies(found)
            waivers = recording.waivers if recording.pseudonymised else _waivers(found, recording.now)
        except PolicyError as error:
            raise PolicyError(f"{name}: {error}", advice=error.advice) from error
    return Revision(name=name, policies=policies, waivers=waivers)


def _waivers(folder: Path, now: datetime) -> tuple[Waiver, ...]:
    return load_waivers(folder, now, _LONGEST_WAIVER_DAYS)
