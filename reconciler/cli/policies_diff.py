"""`access-reconciler policies diff`: whom a change of the policies would touch, before it is merged."""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer

from reconciler.adapters.opa import ManagedOpa
from reconciler.adapters.policy_files import load_policies
from reconciler.adapters.waiver_files import load_waivers, read_waivers
from reconciler.cli.display import StderrProgress
from reconciler.cli.exits import DEFAULT_CONFIG, HELD, OK, ConfigOption
from reconciler.cli.garbage import no_collections
from reconciler.cli.plain_text import print_json
from reconciler.cli.policies_place import find_tools, policy_place
from reconciler.core.errors import PolicyError
from reconciler.core.model import PolicySet, Waiver
from reconciler.evaluation import PARALLEL
from reconciler.policies.backtest import Backtest, backtest, backtest_document
from reconciler.policies.backtest_text import backtest_markdown
from reconciler.policies.deciding import Revision
from reconciler.policies.difference import Difference, compare
from reconciler.policies.difference_document import difference_document
from reconciler.policies.difference_text import markdown
from reconciler.policies.narrowing import part_to_ask
from reconciler.policies.recording import Recording, read_recording
from reconciler.policies.revisions import policy_folder
from reconciler.policies.shelf import FOLDER, Shelf
from reconciler.policies.side_by_side import Asked, Part, decide_both
from reconciler.policies.waiver_changes import waiver_changes, waivers_compared
from reconciler.ports import Progress
from reconciler.settings import EngineSettings, load_settings
from reconciler.wiring import state_path

_LONGEST_WAIVER_DAYS: Final = 366
"""A recording may be older than the waivers, so how long they may still run is left to `policies check`."""


class DiffOutput(StrEnum):
    """How `policies diff` answers."""

    MARKDOWN = "markdown"
    JSON = "json"


def diff(  # noqa: PLR0913 - each is an option of the command line
    *,
    base: Annotated[str, typer.Argument(metavar="BASE", help="The policies before: a folder, or a git revision.")],
    head: Annotated[str, typer.Argument(metavar="HEAD", help="The policies after: the same.")],
    snapshot: Annotated[
        Path | None, typer.Option("--snapshot", help="Recorded by `inventory export`; else the daemon's newest.")
    ] = None,
    backtest_over: Annotated[
        int | None, typer.Option("--backtest", metavar="N", min=1, help="On the daemon's N newest snapshots.")
    ] = None,
    folder: Annotated[Path | None, typer.Option("--folder", help="Policy folder that git revisions are of.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    output: Annotated[
        DiffOutput, typer.Option("--output", "-o", help="Markdown for people, or one JSON document.")
    ] = DiffOutput.MARKDOWN,
) -> None:
    """Say whose access a change of the policies would touch: decided before and after on the same recorded snapshot.

    Shows what is newly found, not found any more or asked for otherwise, by worker, access item and rule; how the plan
    and the guard's caps change; and which rules matched nothing. With --backtest, on how many snapshots of the last
    days each decision would have changed. Reads no provider.

    Exit codes: 0 no effect changes; 2 effects change; 1 a revision cannot be decided by.

    Example: access-reconciler policies diff main policies --snapshot snapshot.json
    """
    if snapshot is not None and backtest_over is not None:
        raise typer.BadParameter("--backtest takes the daemon's own snapshots: leave --snapshot out")
    if backtest_over is not None:
        _tried(_backtested(base, head, backtest_over, folder, config), output)
    difference = differ(base, head, snapshot or _newest(config, 1)[0], folder, config)
    if output is DiffOutput.JSON:
        print_json(difference_document(difference))
    else:
        sys.stdout.write(markdown(difference))
    raise typer.Exit(HELD if difference.changes_effects else OK)


def _tried(found: Backtest, output: DiffOutput) -> NoReturn:
    if output is DiffOutput.JSON:
        print_json(backtest_document(found))
    else:
        sys.stdout.write(backtest_markdown(found))
    raise typer.Exit(HELD if found.changes_effects else OK)


def differ(base: str, head: str, snapshot: Path, folder: Path | None, config: Path) -> Difference:
    """Decide a recording by two revisions side by side, each with an OPA of its own, and compare."""
    with _comparing(base, head, folder, config) as compared:
        return compared(read_recording(snapshot))


def _backtested(base: str, head: str, count: int, folder: Path | None, config: Path) -> Backtest:
    """Compare on one recorded snapshot after the other; only one of them is held at a time."""
    paths, progress = _newest(config, count), StderrProgress()

    def told(compared: Callable[[Recording], Difference]) -> Iterator[Difference]:
        for number, path in enumerate(paths, 1):
            progress.progress(Progress(stage="snapshot", done=number, total=len(paths), message=path.name))
            yield compared(read_recording(path))

    with _comparing(base, head, folder, config) as compared:
        return backtest(base, head, count, told(compared))


def _newest(config: Path, count: int) -> tuple[Path, ...]:
    settings = load_settings(config)
    return Shelf(state_path(settings, FOLDER), settings.snapshots).newest(count)


@contextmanager
def _comparing(base: str, head: str, folder: Path | None, config: Path) -> Iterator[Callable[[Recording], Difference]]:
    """Open both revisions, each with an OPA of its own, and give what compares them on a recording.

    The engines start and take in their policies while the caller reads the recording.
    """
    place = policy_place(folder or (None if config.exists() else Path("policies")), config)
    opa = find_tools(place).opa
    with no_collections(), ExitStack() as stack, ThreadPoolExecutor(max_workers=2) as pool:
        old, new = (_opened(name, place.folder, _Engines(opa, place.engine, stack)) for name in (base, head))
        loaded = pool.submit(old.engine.load, old.policies, {})
        narrowed = pool.submit(_narrowed, old, new)

        def compared(recording: Recording) -> Difference:
            loaded.result()
            part = narrowed.result()
            waivers = old.waivers(recording), new.waivers(recording)
            recorded = recording.waivers if recording.pseudonymised else None
            before, after = (
                one.asked(some) for one, some in zip((old, new), waivers_compared(*waivers, recorded), strict=True)
            )
            sides = decide_both(recording, before, after, part, _at_once(part))
            return compare(recording, *sides, waiver_changes(*waivers, recorded))

        yield compared


@dataclass(frozen=True, slots=True)
class _Engines:
    """Starts engines, and ends them with the command."""

    executable: Path
    settings: EngineSettings
    stack: ExitStack

    def another(self) -> ManagedOpa:
        """Return one that starts when it is loaded."""
        engine = ManagedOpa(
            self.executable,
            directory=Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="access-reconciler-diff-"))),
            decide_timeout_seconds=self.settings.decide_timeout_seconds,
            control_timeout_seconds=self.settings.control_timeout_seconds,
        )
        self.stack.callback(engine.close)
        return engine


@dataclass(frozen=True, slots=True)
class _Opened:
    """One revision with the OPA that decides by it."""

    name: str
    folder: Path
    policies: PolicySet
    engine: ManagedOpa
    engines: _Engines

    def waivers(self, recording: Recording) -> tuple[Waiver, ...]:
        """Return the folder's own; under pseudonyms, which decide by the recorded ones, those that can be read."""
        try:
            if recording.pseudonymised:
                return read_waivers(self.folder, recording.now, _LONGEST_WAIVER_DAYS).as_set().whole
            return load_waivers(self.folder, recording.now, _LONGEST_WAIVER_DAYS)
        except PolicyError as error:
            raise PolicyError(f"{self.name}: {error}", advice=error.advice) from error

    def asked(self, waivers: tuple[Waiver, ...]) -> Asked:
        """Return the revision as it is asked, with these waivers."""
        return Asked(
            revision=Revision(name=self.name, policies=self.policies, waivers=waivers),
            engine=self.engine,
        )


def _opened(name: str, folder: Path, engines: _Engines) -> _Opened:
    found = engines.stack.enter_context(policy_folder(name, folder))
    try:
        policies = load_policies(found)
    except PolicyError as error:
        raise PolicyError(f"{name}: {error}", advice=error.advice) from error
    return _Opened(name, found, policies, engines.another(), engines)


def _narrowed(old: _Opened, new: _Opened) -> Part | None:
    """Load the second revision, and what of it has to be asked about everybody into an engine beside it."""
    new.engine.load(new.policies, {})
    policies = part_to_ask(old.policies, new.policies, new.engine.trees())
    if policies is None:
        return None
    engine = new.engines.another()
    if policies.rules:
        engine.load(policies, {})
    return Part(policies=policies, engine=engine)


def _at_once(part: Part | None) -> int:
    """Return how many requests each engine works on: more than there are processors only slow one another.

    Two engines that have the same to do share the processors. One with a part to do is soon done with it.
    """
    processors = os.cpu_count() or 1
    return max(1, min(PARALLEL, processors // 2 if part is None else processors))
