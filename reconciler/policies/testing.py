"""Running the tests of a policy folder, and naming every line that none of them goes through."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reconciler.adapters.opa_tool import Complaint, OpaTool, workspace
from reconciler.adapters.policy_sources import PolicySources, read_sources
from reconciler.core.errors import PolicyError
from reconciler.core.metadata import RULES
from reconciler.policies.rule_form import rule_of


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

    @property
    def whole(self) -> bool:
        """Say whether every test passed, every rule has one, and no line was left out."""
        return bool(self.passed) and not (self.failures or self.uncovered or self.untested or self.skipped)


def run_tests(folder: Path, executable: Path, capabilities: str) -> TestReport:
    """Run the tests. Raises `PolicyError` where they cannot be run: no folder, no OPA."""
    sources = read_sources(folder)
    if sources.unreadable:
        raise sources.unreadable[0]
    with workspace(executable, sources, capabilities) as opa:
        ran = opa.test()
        if isinstance(ran, Complaint):
            return _report(folder, sources, (_broken(ran),), (), 0)
        failures = tuple(_failure(one) for one in ran if one.get("fail") or one.get("error"))
        skipped = sum(bool(one.get("skip")) for one in ran)
        report = _report(folder, sources, failures, ran, skipped)
        return report if failures or not report.passed else _covered(report, sources, opa)


def _report(
    folder: Path,
    sources: PolicySources,
    failures: tuple[Failure, ...],
    ran: tuple[Mapping[str, Any], ...],
    skipped: int,
) -> TestReport:
    rules = {rule_of(path) for path, _ in sources.modules} - {""}
    tested = {str(one["location"]["file"]).removeprefix(RULES).split("/")[0] for one in ran}
    return TestReport(
        folder=folder,
        passed=len(ran) - len(failures) - skipped,
        skipped=skipped,
        failures=failures,
        uncovered=(),
        covered_lines=0,
        untested=tuple(sorted(rules - tested)),
    )


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
