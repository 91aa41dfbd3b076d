"""`access-reconciler policies check` and `policies test`."""

from enum import StrEnum
from typing import Annotated, Final

import typer

from reconciler.adapters.clock import SystemClock
from reconciler.cli.display import print_line
from reconciler.cli.exits import DEFAULT_CONFIG, OK, ConfigOption, Output, OutputOption
from reconciler.cli.plain_text import print_json
from reconciler.cli.policies_place import FolderArgument, find_tools, policy_place
from reconciler.core.canonical import Json, plain
from reconciler.policies import check as checking
from reconciler.policies.problems import Level
from reconciler.policies.sarif import sarif_document
from reconciler.policies.testing import TestReport, run_tests
from reconciler.wiring import program_version

REFUSED: Final = 2
"""The policies were looked at, and are not fit to decide."""


class CheckOutput(StrEnum):
    """How `policies check` answers."""

    TABLE = "table"
    JSON = "json"
    SARIF = "sarif"


CheckOutputOption = Annotated[
    CheckOutput, typer.Option("--output", "-o", help="For people, one JSON document, or SARIF 2.1.0 for a code host.")
]


def check(
    folder: FolderArgument = None,
    config: ConfigOption = DEFAULT_CONFIG,
    output: CheckOutputOption = CheckOutput.TABLE,
) -> None:
    """Say everything that is wrong with a policy folder, by file and line, and what to do about it.

    Runs `opa fmt`, `opa check --strict` with this version's schemas and without builtins that reach outside, Regal
    where it is on PATH, and rules about rules; reads METADATA, thresholds and waivers as the daemon does.

    Exit codes: 0 nothing is wrong, warnings aside; 2 the policies are refused; 1 they could not be checked.

    Example: access-reconciler policies check policies
    """
    place = policy_place(folder, config)
    report = checking.check(
        place.folder, find_tools(place), SystemClock().now(), place.max_waiver_days, place.providers
    )
    if output is CheckOutput.SARIF:
        print_json(sarif_document(report, program_version()))
    elif output is CheckOutput.JSON:
        print_json(check_document(report))
    else:
        _show_check(report)
    raise typer.Exit(REFUSED if report.refused else OK)


def check_document(report: checking.CheckReport) -> dict[str, Json]:
    """Return what `policies check --output json` prints."""
    return {
        "folder": str(report.folder),
        "accepted": not report.refused,
        "digest": report.policies.digest if report.policies else None,
        "rules": [rule.rule_id for rule in report.rules],
        "modules": report.modules,
        "tests": report.tests,
        "waivers": len(report.waivers),
        "opa": report.opa_version,
        "regal": report.regal,
        "errors": _count(report, Level.ERROR),
        "warnings": _count(report, Level.WARNING),
        "problems": [plain(problem) for problem in report.problems],
    }


def _count(report: checking.CheckReport, level: Level) -> int:
    return sum(problem.level is level for problem in report.problems)


def _show_check(report: checking.CheckReport) -> None:
    for problem in report.problems:
        print_line(f"{problem.level.value}: {problem}")
    errors, warnings = _count(report, Level.ERROR), _count(report, Level.WARNING)
    print_line(
        f"{report.folder}: {len(report.rules)} rules, {report.modules} modules, {report.tests} test modules, "
        f"{len(report.waivers)} waivers; {errors} errors, {warnings} warnings; OPA {report.opa_version}, "
        f"{'with Regal' if report.regal else 'Regal is not installed'}"
    )


def try_tests(
    folder: FolderArgument = None, config: ConfigOption = DEFAULT_CONFIG, output: OutputOption = Output.TABLE
) -> None:
    """Run the tests of a policy folder and name every line that none of them goes through.

    Exit codes: 0 every test passed, every rule has one that fails where the rule finds nothing, and every line was gone
    through; 2 not so; 1 the tests could not be run.

    Example: access-reconciler policies test policies
    """
    place = policy_place(folder, config)
    tools = find_tools(place)
    report = run_tests(place.folder, tools.opa, tools.capabilities)
    if output is Output.JSON:
        print_json(results_document(report))
    else:
        _show_test(report)
    raise typer.Exit(OK if report.whole else REFUSED)


def results_document(report: TestReport) -> dict[str, Json]:
    """Return what `policies test --output json` prints."""
    return {
        "folder": str(report.folder),
        "accepted": report.whole,
        "passed": report.passed,
        "skipped": report.skipped,
        "failures": [plain(one) for one in report.failures],
        "covered_lines": report.covered_lines,
        "uncovered": [plain(one) for one in report.uncovered],
        "untested": list(report.untested),
        "unproven": list(report.unproven),
    }


def _show_test(report: TestReport) -> None:
    for failure in report.failures:
        print_line(f"{failure.path}:{failure.line}: {failure.name or 'the tests'}: {failure.reason}; {failure.advice}")
    for gap in report.uncovered:
        lines = f"line {gap.first}" if gap.first == gap.last else f"lines {gap.first} to {gap.last}"
        print_line(f"{gap.path}:{gap.first}: no test goes through {lines}; write one, or take what nobody needs out")
    for rule in report.untested:
        print_line(f"access/rules/{rule}: the rule has no test; add {rule}_test.rego beside it")
    for rule in report.unproven:
        print_line(f"access/rules/{rule}: its tests also pass when the rule finds nothing; test what it has to find")
    if report.skipped:
        print_line(f"{report.skipped} tests are named `todo_…` and were not run; write them, or take them out")
    print_line(f"{report.folder}: {report.passed} tests passed, {len(report.failures)} failed, {_gone_through(report)}")


def _gone_through(report: TestReport) -> str:
    missed = sum(gap.last - gap.first + 1 for gap in report.uncovered)
    if not report.covered_lines:
        return "coverage was not looked at"
    return f"{report.covered_lines} lines gone through, {missed} not"
