"""`policies test` names every line that no test goes through, and `policies list` says what is there."""

import json
import shutil
from pathlib import Path

import pytest

from reconciler.adapters.policy_files import load_policies
from reconciler.cli.main import run
from reconciler.core.model import Effect
from reconciler.policies.catalogue import catalogue, effects
from reconciler.policies.testing import TestReport, Uncovered, run_tests
from tests import peers
from tests.builders import NOW
from tests.output_schemas import problems as schema_problems
from tests.worlds import POLICIES, emit, rule_source, starter

LIB = "access/lib/lib.rego"
DAY = 'test_day_of_an_instant if lib.day("2026-02-16T15:00:00.000000Z") == "2026-02-16"'


def copy(folder: Path) -> Path:
    """Return a copy of the policies of this repository."""
    return Path(shutil.copytree(POLICIES, folder / "policies"))


def ran(folder: Path) -> TestReport:
    """Run the tests of a folder with the installed OPA."""
    return run_tests(folder, Path(peers.require("opa")), (POLICIES / "capabilities.json").read_text())


def change(file: Path, old: str, new: str) -> None:
    """Replace something that is there in a file."""
    source = file.read_text()
    assert old in source
    file.write_text(source.replace(old, new))


def test_the_policies_of_this_repository_are_tested_whole() -> None:
    """Every test passes, every rule has one, and every line was gone through."""
    report = ran(POLICIES)
    assert (report.failures, report.uncovered, report.untested, report.skipped) == ((), (), (), 0)
    assert report.whole
    assert report.passed > 50


def test_tests_that_cannot_be_read_prove_and_disprove_nothing(tmp_path: Path) -> None:
    """A file that does not parse is the one failure: nothing passed, and no rule is said to have no test."""
    folder = copy(tmp_path)
    (folder / LIB).write_text("<<<<<<< HEAD\n" + (folder / LIB).read_text())
    report = ran(folder)
    assert [(one.path, one.line) for one in report.failures] == [(LIB, 1)]
    assert (report.passed, report.untested, report.uncovered) == (0, (), ())
    assert not report.whole


def test_lines_that_no_test_goes_through_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """New lines without a test fail the command, by file and lines, and in JSON as its schema says."""
    folder = copy(tmp_path)
    source = (folder / LIB).read_text()
    first = source.count("\n") + 2
    (folder / LIB).write_text(f"{source}\nnobody if {{\n\tinput.unit.worker_id == null\n}}\n")
    assert ran(folder).uncovered == (Uncovered(path=LIB, first=first, last=first + 1),)
    assert run(["policies", "test", str(folder)]) == 2
    assert f"{LIB}:{first}: no test goes through lines {first} to {first + 1}" in capsys.readouterr().out
    assert run(["policies", "test", str(folder), "--output", "json"]) == 2
    document = json.loads(capsys.readouterr().out)
    assert schema_problems("policies-test", document) == []
    assert document["uncovered"] == [{"path": LIB, "first": first, "last": first + 1}]


def test_a_test_that_fails_is_named(tmp_path: Path) -> None:
    """A failed test and one that is only planned are counted, and the policies are not fit."""
    folder = copy(tmp_path)
    tests = folder / "access/lib/lib_test.rego"
    change(tests, DAY, DAY.replace('== "2026-02-16"', '== "2026-02-17"') + "\n\ntodo_test_more if false")
    report = ran(folder)
    assert [(one.path, one.name, one.reason) for one in report.failures] == [
        ("access/lib/lib_test.rego", "test_day_of_an_instant", "failed")
    ]
    assert report.skipped == 1
    assert not report.whole


def test_policies_that_do_not_compile_fail_their_tests(tmp_path: Path) -> None:
    """Tests that cannot begin are a failure with file and line, never a pass; neither may they reach outside."""
    folder = copy(tmp_path)
    change(folder / "access/lib/lib_test.rego", DAY, 'test_outside if http.send({"url": "https://x.example"})')
    (failure,) = ran(folder).failures
    assert failure.path == "access/lib/lib_test.rego"
    assert "http.send" in failure.reason


def test_a_rule_without_a_test_is_named(tmp_path: Path) -> None:
    """A rule that no test is about fails the run, though all others pass."""
    folder = copy(tmp_path)
    (folder / "access/rules/bare").mkdir()
    (folder / "access/rules/bare/bare.rego").write_text(rule_source("bare", "finding contains x if some x in []"))
    report = ran(folder)
    assert report.untested == ("bare",)
    assert not report.whole


def test_a_rule_whose_tests_cannot_fail_is_named(tmp_path: Path) -> None:
    """A test that goes through every line and asks for nothing is no proof: it passes for a rule that is empty, too."""
    folder = copy(tmp_path)
    place = folder / "access/rules/loud"
    place.mkdir()
    source = rule_source("loud", emit('access_id == "never"'))
    (place / "loud.rego").write_text(source)
    head = "package access.rules.loud_test\n\nimport data.access.rules.loud\n\n"
    asked = 'with input as {"unit": {"access": {"never": {}}}}'
    (place / "loud_test.rego").write_text(f"{head}test_loud if count(loud.finding) >= 0 {asked}\n")
    report = ran(folder)
    assert report.unproven == ("loud",)
    assert (report.failures, report.untested, report.uncovered) == ((), (), ())
    assert not report.whole
    (place / "loud_test.rego").write_text(f"{head}test_loud if count(loud.finding) == 1 {asked}\n")
    assert ran(folder).whole


def test_no_test_at_all_is_no_pass(tmp_path: Path) -> None:
    """A folder whose tests are gone is not fit."""
    folder = copy(tmp_path)
    for file in folder.rglob("*_test.rego"):
        file.unlink()
    assert not ran(folder).whole


def test_the_catalogue_says_what_each_rule_asks_for() -> None:
    """Effects come from the rule's source and its thresholds, weakest first; comments ask for nothing."""
    policies = starter()
    leaver = next(rule for rule in policies.rules if rule.rule_id == "leaver")
    assert effects(policies, leaver)[-1] is Effect.REVOKE
    drift = next(rule for rule in policies.rules if rule.rule_id == "drift")
    assert effects(policies, drift) == (Effect.REVIEW,)
    pages = POLICIES.parent / "docs" / "rules"
    rows = {str(row["rule"]): row for row in catalogue(policies, pages, NOW)}
    assert set(rows) == {rule.rule_id for rule in policies.rules}
    assert all(Path(str(row["docs"])).is_file() for row in rows.values())
    assert "leaver_unknown_kind" in rows["leaver"]["codes"]  # type: ignore[operator]  # a list of codes


def test_a_rule_that_counts_later_is_listed_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`policies list` prints what its schema says, and of a rule to come from when it counts."""
    folder = copy(tmp_path)
    source = (folder / "access/rules/drift/drift.rego").read_text()
    day = next(line for line in source.splitlines() if "effective_on" in line)
    change(folder / "access/rules/drift/drift.rego", day, '#   effective_on: "2126-05-01T00:00:00Z"')
    assert run(["policies", "list", str(folder), "--output", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert schema_problems("policies-list", document) == []
    states = {row["rule"]: (row["in_effect"], row["effective_on"]) for row in document["rules"]}
    assert states["drift"] == (False, "2126-05-01T00:00:00.000000Z")
    assert states["leaver"][0]
    assert document["digest"] == load_policies(folder).digest
    assert run(["policies", "list", str(folder)]) == 0
    assert "2126-05-01 (not yet)" in capsys.readouterr().out
