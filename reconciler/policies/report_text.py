"""A report on a pull request as Markdown: the verdict first, then what is wrong and where, then whom it touches."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

from reconciler.policies.check import CheckReport
from reconciler.policies.difference import Difference, Turn
from reconciler.policies.difference_text import SHOWN
from reconciler.policies.difference_text import markdown as difference_markdown
from reconciler.policies.markup import cell, counted, fitted
from reconciler.policies.problems import Level
from reconciler.policies.report import Part, Report, Verdict
from reconciler.policies.testing import TestReport

MOST_CHARACTERS: Final = 65_000
"""A comment of GitHub holds 65,536 characters; what is left is for whoever posts it, to put a mark and links around."""
_NOT_COMPARED: Final = "nothing was compared, so whom the change touches is not known"


def markdown(report: Report, whole: str, most: int = MOST_CHARACTERS) -> str:
    """Return the report in at most `most` characters; where lists had to be shortened, `whole` says where all is."""
    parts = [f"## {_headline(report)}", _table(report)]
    if report.troubles:
        parts.append("### Could not be looked at\n\n" + _list([_trouble(report, one.part) for one in report.troubles]))
    for title, lines in (("What is wrong", _problems(report)), ("Tests", _tests(report.tests))):
        if lines:
            parts.append(f"### {title}: {len(lines)}\n\n{_list(lines)}")
    if report.difference is not None:
        if report.verdict is Verdict.REFUSED:
            parts.append("> These policies are refused: what follows is only what they would decide.")
        parts.append(difference_markdown(report.difference).rstrip("\n"))
    return fitted("\n\n".join(parts) + "\n", most, whole)


def _headline(report: Report) -> str:
    if report.verdict is Verdict.REFUSED:
        return "Policies refused"
    if report.verdict is Verdict.FAILED:
        return "Policies could not be looked at"
    if report.changes_effects is None:
        return "Policies accepted; whom they touch was not looked at"
    return f"Policies accepted, {'decisions change' if report.changes_effects else 'no decision changes'}"


def _table(report: Report) -> str:
    rows = (
        (Part.CHECK, None if report.check is None else _checked(report.check)),
        (Part.TEST, None if report.tests is None else _tested(report.tests)),
        (Part.DIFF, None if report.difference is None else _compared(report.difference)),
    )
    failed = {one.part for one in report.troubles}
    told = [
        f"| {part} | {text or ('could not be looked at' if part in failed else _NOT_COMPARED)} |" for part, text in rows
    ]
    return "\n".join(("| part | outcome |", "| --- | --- |", *told))


def _checked(check: CheckReport) -> str:
    counts = Counter(problem.level for problem in check.problems)
    verdict = "refused" if check.refused else "accepted"
    return (
        f"{verdict}: {counts[Level.ERROR]} errors, {counts[Level.WARNING]} warnings "
        f"({len(check.rules)} rules, {len(check.waivers)} waivers in force)"
    )


def _tested(tests: TestReport) -> str:
    missed = sum(gap.last - gap.first + 1 for gap in tests.uncovered)
    unproven = f"{len(tests.unproven)} whose tests pass without it, " if tests.unproven else ""
    coverage = f"{missed} lines not gone through" if tests.covered_lines else "coverage was not looked at"
    return (
        f"{'passed' if tests.whole else 'refused'}: {tests.passed} passed, {len(tests.failures)} failed, "
        f"{len(tests.untested)} rules without a test, {unproven}{coverage}"
    )


def _compared(difference: Difference) -> str:
    counts = Counter(line.turn for line in difference.lines)
    return (
        f"{counts[Turn.GAINED]} newly found, {counts[Turn.CHANGED]} asked for otherwise, "
        f"{counts[Turn.LOST]} not found any more, "
        f"{counted(len(difference.planned), 'access item')} dealt with otherwise"
    )


def _trouble(report: Report, part: Part) -> str:
    one = next(trouble for trouble in report.troubles if trouble.part is part)
    return f"{part}: {cell(one.message)}; {cell(one.advice)}"


def _problems(report: Report) -> list[str]:
    if report.check is None:
        return []
    return [
        f"{problem.level}: {_place(report.folder, problem.path, problem.line)} {cell(problem.message)}; "
        f"{cell(problem.advice)}"
        for problem in report.check.problems
    ]


def _tests(tests: TestReport | None) -> list[str]:
    return [] if tests is None else list(_test_lines(tests))


def _test_lines(tests: TestReport) -> Iterator[str]:
    folder = str(tests.folder)
    for one in tests.failures:
        reason = f"{one.name or 'the tests'}: {one.reason}; {one.advice}"
        yield f"{_place(folder, one.path, one.line)} {cell(reason)}"
    for gap in tests.uncovered:
        yield f"{_place(folder, gap.path, gap.first)} no test goes through lines {gap.first} to {gap.last}"
    for rule in tests.untested:
        yield f"{_place(folder, f'access/rules/{rule}', 1)} the rule has no test; write one beside it"
    for rule in tests.unproven:
        told = "its tests also pass when the rule finds nothing; test what it has to find"
        yield f"{_place(folder, f'access/rules/{rule}', 1)} {told}"
    if tests.skipped:
        yield f"{tests.skipped} tests are named todo\\_… and were not run; write them, or take them out"


def _place(folder: str, path: str, line: int) -> str:
    return f"**{cell(folder if path == '.' else f'{folder}/{path}:{line}')}**"


def _list(lines: Sequence[str]) -> str:
    """Return a list of which the first lines stand open and the rest is folded."""
    open_lines, rest = [[f"- {line}" for line in part] for part in (lines[:SHOWN], lines[SHOWN:])]
    text = "\n".join(open_lines)
    if rest:
        folded = "\n".join(rest)
        text += f"\n\n<details><summary>{len(rest)} more</summary>\n\n{folded}\n\n</details>"
    return text
