"""Running the tests of a policy folder, and naming what they do not prove.

That is lines that none of them goes through, and rules whose tests would pass as well if the rule never found anything.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from reconciler.adapters.opa_tool import Complaint, OpaTool, workspace
from reconciler.adapters.policy_sources import PolicySources, read_sources
from reconciler.core.errors import PolicyError
from reconciler.core.metadata import RULES
from reconciler.policies.rule_form import rule_of

_FINDING: Final = re.compile(r"^finding(?=\s+contains\b)", re.MULTILINE)
"""Where a rule of the form that `policies check` asks for begins."""
_NOTHING: Final = "\n\nfinding := set()\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A test that did not pass."""

    path: str
    line: int
    name: str
    reason: str
    """`failed`, or the error that ended it."""
    advice: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Uncovered:
    """Lines that no test goes through."""

    path: str
    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TestReport:
    """What the tests of a policy folder came to."""

    __test__ = False  # pytest would take it for a class of tests

    folder: Path
    passed: int
    skipped: int
    """Tests named `todo_…`, which OPA does not run: each is a promise not kept."""
    failures: tuple[Failure, ...]
    uncovered: tuple[Uncovered, ...]
    covered_lines: int
    untested: tuple[str, ...]
    """Rules without any test of their own."""
    unproven: tuple[str, ...] = ()
    """Rules whose own tests all pass, too, when the rule finds nothing: they ask for nothing that it does."""

    @property
    def whole(self) -> bool:
        """Say whether every test passed, every rule has one that can fail, and no line was left out."""
        left_out = self.uncovered or self.untested or self.unproven
        return bool(self.passed) and not (self.failures or self.skipped or left_out)


def run_tests(folder: Path, executable: Path, capabilities: str) -> TestReport:
    """Run the tests. Raises `PolicyError` where they cannot be run: no folder, no OPA."""
    sources = read_sources(folder)
    if sources.unreadable:
        raise sources.unreadable[0]
    with workspace(executable, sources, capabilities) as opa:
        ran = opa.test()
        if isinstance(ran, Complaint):
            return _not_run(folder, _broken(ran))
        failures = tuple(_failure(one) for one in ran if one.get("fail") or one.get("error"))
        skipped = sum(bool(one.get("skip")) for one in ran)
        report = _report(folder, sources, failures, ran, skipped)
        if failures or not report.passed:
            return report
        report = _covered(report, sources, opa)
    tested = {_rule_of_test(one) for one in ran}
    return replace(report, unproven=_unproven(tested, sources, executable, capabilities))


def _report(
    folder: Path,
    sources: PolicySources,
    failures: tuple[Failure, ...],
    ran: tuple[Mapping[str, Any], ...],
    skipped: int,
) -> TestReport:
    rules = {rule_of(path) for path, _ in sources.modules} - {""}
    tested = {_rule_of_test(one) for one in ran}
    return TestReport(
        folder=folder,
        passed=len(ran) - len(failures) - skipped,
        skipped=skipped,
        failures=failures,
        uncovered=(),
        covered_lines=0,
        untested=tuple(sorted(rules - tested)),
    )


def _not_run(folder: Path, why: Failure) -> TestReport:
    """Return the report of tests none of which could be read: what they would prove is not known."""
    return TestReport(folder=folder, passed=0, skipped=0, failures=(why,), uncovered=(), covered_lines=0, untested=())


def _rule_of_test(result: Mapping[str, Any]) -> str:
    """Return the rule in whose folder a test lies; of a test elsewhere, something that is no rule's name."""
    return str(result["location"]["file"]).removeprefix(RULES).split("/")[0]


def _unproven(tested: set[str], sources: PolicySources, executable: Path, capabilities: str) -> tuple[str, ...]:
    """Run the tests against rules that find nothing; return the rules none of whose tests fails."""
    silent = {path for path, text in sources.modules if rule_of(path) in tested and _FINDING.search(text)}
    modules = tuple(
        (path, _FINDING.sub("silenced", text) + _NOTHING if path in silent else text) for path, text in sources.modules
    )
    with workspace(executable, replace(sources, modules=modules), capabilities) as opa:
        ran = opa.test()
    if isinstance(ran, Complaint):
        told = f"{ran.path}:{ran.line}: {ran.message}"
        raise PolicyError(f"the tests do not run where no rule finds anything: {told}", advice="run `policies check`")
    moved = {_rule_of_test(one) for one in ran if one.get("fail") or one.get("error")}
    return tuple(sorted({rule_of(path) for path in silent} - moved))


def _broken(complaint: Complaint) -> Failure:
    advice = "correct it: `policies check` says more"
    return Failure(path=complaint.path or ".", line=complaint.line, name="", reason=complaint.message, advice=advice)


def _failure(result: Mapping[str, Any]) -> Failure:
    error = result.get("error")
    told = error.get("message", error) if isinstance(error, dict) else error
    reason = " ".join(str(told).split()) if error else "failed"
    place, name = result["location"], str(result["name"])
    advice = f"`opa test --bundle --var-values --run {name} FOLDER` shows the line that is not true, with its values"
    return Failure(path=str(place["file"]), line=int(place["row"]), name=name, reason=reason, advice=advice)


def _covered(report: TestReport, sources: PolicySources, opa: OpaTool) -> TestReport:
    files = opa.coverage()["files"]
    known = {name for name, _ in sources.rego}
    told = {str(name).removeprefix("./"): facts for name, facts in files.items()}
    if known - told.keys():
        missing = ", ".join(sorted(known - told.keys()))
        raise PolicyError(f"`opa test --coverage` says nothing of {missing}", advice="run it by hand")
    return replace(
        report,
        covered_lines=sum(int(told[name].get("covered_lines", 0)) for name in known),
        uncovered=tuple(one for name in sorted(known) for one in _gaps(name, told[name])),
    )


def _gaps(name: str, facts: Mapping[str, Any]) -> Iterator[Uncovered]:
    """Yield the lines that were not gone through, neighbours together."""
    rows = {
        row
        for one in facts.get("not_covered", ())
        for row in range(int(one["start"]["row"]), int(one["end"]["row"]) + 1)
    }
    first = last = 0
    for row in sorted(rows):
        if row != last + 1:
            if last:
                yield Uncovered(path=name, first=first, last=last)
            first = row
        last = row
    if last:
        yield Uncovered(path=name, first=first, last=last)
