"""`access-reconciler policies report`: what a pull request on policies comes to, in one go."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final, TypeVar

import typer

from inventory.errors import ProviderError
from reconciler.adapters.clock import SystemClock
from reconciler.cli.exits import DEFAULT_CONFIG, ERROR, OK, ConfigOption
from reconciler.cli.plain_text import print_json
from reconciler.cli.policies_check import REFUSED, check_document, results_document
from reconciler.cli.policies_diff import DiffOutput, differ
from reconciler.cli.policies_place import FolderArgument, PolicyPlace, find_tools, policy_place
from reconciler.core.canonical import Json, plain
from reconciler.core.errors import PolicyError, ReconcilerError
from reconciler.policies import check as checking
from reconciler.policies.difference import Difference
from reconciler.policies.difference_document import difference_document
from reconciler.policies.report import Part, Report, Trouble, Verdict
from reconciler.policies.report_text import markdown
from reconciler.policies.sarif import sarif_document
from reconciler.policies.testing import TestReport, run_tests
from reconciler.wiring import program_version

_EXITS: Final = {Verdict.ACCEPTED: OK, Verdict.REFUSED: REFUSED, Verdict.FAILED: ERROR}

_Found = TypeVar("_Found", checking.CheckReport, TestReport, Difference)


def report(
    folder: FolderArgument = None,
    base: Annotated[
        str | None, typer.Option("--base", help="The policies before: a folder, or a git revision. With --snapshot.")
    ] = None,
    snapshot: Annotated[
        Path | None, typer.Option("--snapshot", help="Recorded by `inventory export`. With --base.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to write report.md, report.json and check.sarif into.")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    output: Annotated[
        DiffOutput, typer.Option("--output", "-o", help="Markdown for people, or one JSON document.")
    ] = DiffOutput.MARKDOWN,
) -> None:
    """Check and test a policy folder, and say whose access it would touch, in one report for a pull request.

    Does what `policies check`, `policies test` and, with --base and --snapshot, `policies diff` do. Whatever is wrong
    in one part, the others are looked at too.

    Exit codes: 0 the policies are fit to decide, whether or not decisions change; 2 they are refused; 1 something could
    not be looked at.

    Example: access-reconciler policies report policies --base main --snapshot snapshot.json
    """
    if (base is None) != (snapshot is None):
        raise typer.BadParameter("--base and --snapshot go together: one says what to compare with, the other on what")
    place = policy_place(folder, config)
    found, sarif = _look(place, config, base, snapshot)
    document = report_document(found)
    text = markdown(found, "`report.json`" if out else "`--output json`")
    if out is not None:
        _write(out, text, document, sarif)
    if output is DiffOutput.JSON:
        print_json(document)
    else:
        sys.stdout.write(text)
    raise typer.Exit(_EXITS[found.verdict])


def report_document(report: Report) -> dict[str, Json]:
    """Return what `policies report --output json` prints: the documents of the commands that it does the work of."""
    return {
        "folder": report.folder,
        "verdict": report.verdict.value,
        "changes_effects": report.changes_effects,
        "check": None if report.check is None else check_document(report.check),
        "test": None if report.tests is None else results_document(report.tests),
        "diff": None if report.difference is None else difference_document(report.difference),
        "troubles": [plain(one) for one in report.troubles],
    }


def _look(
    place: PolicyPlace, config: Path, base: str | None, snapshot: Path | None
) -> tuple[Report, dict[str, Json] | None]:
    """Look at each part, whatever comes of the others."""
    tools = find_tools(place)
    troubles: list[Trouble] = []

    def compare(base: str, snapshot: Path) -> Difference:
        return differ(base, str(place.folder), snapshot, place.folder, config)

    check = _attempt(
        Part.CHECK,
        troubles,
        lambda: checking.check(place.folder, tools, SystemClock().now(), place.max_waiver_days),
    )
    tests = _attempt(Part.TEST, troubles, lambda: run_tests(place.folder, tools.opa, tools.capabilities))
    difference = None
    if base is not None and snapshot is not None:
        difference = _attempt(Part.DIFF, troubles, lambda: compare(base, snapshot))
    found = Report(folder=str(place.folder), check=check, tests=tests, difference=difference, troubles=tuple(troubles))
    return found, None if check is None else sarif_document(check, program_version())


def _attempt(part: Part, troubles: list[Trouble], look: Callable[[], _Found]) -> _Found | None:
    try:
        return look()
    except (ReconcilerError, ProviderError) as error:
        troubles.append(Trouble(part=part, message=str(error), advice=error.advice))
        return None


def _write(out: Path, text: str, document: dict[str, Json], sarif: dict[str, Json] | None) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "report.md").write_text(text, encoding="utf-8")
        (out / "report.json").write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        if sarif is not None:
            (out / "check.sarif").write_text(json.dumps(sarif, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise PolicyError(
            f"{out}: the report cannot be written: {error.strerror}", advice="name a folder that can be written to"
        ) from error
