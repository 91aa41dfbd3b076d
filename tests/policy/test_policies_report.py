"""`policies report`: the verdict, the text for people, and that nothing is left out unsaid."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.cli.main import run
from reconciler.policies.check import CheckReport
from reconciler.policies.markup import cell, fitted
from reconciler.policies.problems import Problem
from reconciler.policies.recording import to_bytes
from reconciler.policies.report import Part, Report, Trouble, Verdict
from reconciler.policies.report_text import markdown
from reconciler.policies.testing import Failure, TestReport, Uncovered
from tests import peers
from tests.output_schemas import problems as schema_problems
from tests.recordings import recording
from tests.small_policies import small_policies

FOLDER = Path("policies")


def checked(*problems: Problem) -> CheckReport:
    """Build what a check of a small folder found."""
    return CheckReport(
        folder=FOLDER,
        policies=None,
        rules=(),
        waivers=(),
        modules=3,
        tests=1,
        opa_version="1.22.2",
        regal=False,
        problems=problems,
    )


def ran(
    *failures: Failure,
    uncovered: tuple[Uncovered, ...] = (),
    untested: tuple[str, ...] = (),
    unproven: tuple[str, ...] = (),
) -> TestReport:
    """Build what the tests of a small folder came to."""
    return TestReport(
        folder=FOLDER,
        passed=5,
        skipped=0,
        failures=failures,
        uncovered=uncovered,
        covered_lines=0 if failures else 40,
        untested=untested,
        unproven=unproven,
    )


def problem(line: int = 3, message: str = "is not as `opa fmt` writes it") -> Problem:
    """Build a problem of a rule."""
    return Problem(path="access/rules/x/x.rego", line=line, code="format", message=message, advice="run `opa fmt`")


def told(**changes: object) -> Report:
    """Build a report in which everything is well, changed in the given parts."""
    values = {"folder": "policies", "check": checked(), "tests": ran(), "difference": None, "troubles": ()}
    return Report(**(values | changes))  # type: ignore[arg-type]  # the caller names the parts


TROUBLE = Trouble(part=Part.DIFF, message="gone: git does not know it", advice="name a revision")


@pytest.mark.parametrize(
    ("report", "verdict", "headline"),
    [
        (told(), Verdict.ACCEPTED, "Policies accepted; whom they touch was not looked at"),
        (told(check=checked(problem())), Verdict.REFUSED, "Policies refused"),
        (told(tests=ran(untested=("x",))), Verdict.REFUSED, "Policies refused"),
        (told(troubles=(TROUBLE,)), Verdict.FAILED, "Policies could not be looked at"),
        (told(check=checked(problem()), troubles=(TROUBLE,)), Verdict.REFUSED, "Policies refused"),
    ],
)
def test_a_refusal_stands_whatever_else_could_not_be_looked_at(report: Report, verdict: Verdict, headline: str) -> None:
    """The verdict is the headline; a part that could not be looked at never makes an acceptance."""
    assert report.verdict is verdict
    assert markdown(report, "the file").startswith(f"## {headline}\n")


def test_each_line_says_where_and_what_to_do() -> None:
    """Problems, failed tests, lines without a test, rules without one, and what could not be looked at."""
    tests = ran(
        Failure(path="access/rules/x/x_test.rego", line=9, name="test_x", reason="failed", advice="run it"),
        uncovered=(Uncovered(path="access/lib/lib.rego", first=4, last=5),),
        untested=("y",),
        unproven=("z",),
    )
    text = markdown(told(check=checked(problem()), tests=tests, troubles=(TROUBLE,)), "the file")
    assert "- error: **policies/access/rules/x/x.rego:3** is not as \\`opa fmt\\` writes it; run \\`opa fmt\\`" in text
    assert "- **policies/access/rules/x/x\\_test.rego:9** test\\_x: failed; run it" in text
    assert "- **policies/access/lib/lib.rego:4** no test goes through lines 4 to 5" in text
    assert "- **policies/access/rules/y:1** the rule has no test" in text
    assert "- **policies/access/rules/z:1** its tests also pass when the rule finds nothing" in text
    assert "1 rules without a test, 1 whose tests pass without it, " in text
    assert "- diff: gone: git does not know it; name a revision" in text
    assert "| diff | could not be looked at |" in text


def test_a_long_list_is_folded() -> None:
    """The first problems stand open, the rest is one click away and counted."""
    text = markdown(told(check=checked(*(problem(line) for line in range(1, 41)))), "the file")
    assert "### What is wrong: 40" in text
    assert "<details><summary>25 more</summary>" in text
    assert text.count("x.rego:") == 40


def test_a_report_that_is_too_long_says_what_it_leaves_out() -> None:
    """Lists give up their last rows, each saying how many and where they are; what sums up stays."""
    text = markdown(told(check=checked(*(problem(line) for line in range(1, 2001)))), "`report.json`", 20_000)
    assert len(text) <= 20_000
    left_out = [int(number) for number in re.findall(r"(\d+) lines are left out here for their length: `report", text)]
    assert sum(left_out) + text.count("x.rego:") == 2000
    assert text.count("x.rego:") > 100
    assert "| check | refused: 2000 errors" in text


@given(
    st.lists(st.sampled_from(["- item", "| a | b |", "| --- | --- |", "word " * 30, "", "x" * 300]), max_size=80),
    st.integers(min_value=300, max_value=3000),
)
def test_no_text_is_longer_than_asked_for(lines: list[str], most: int) -> None:
    """Whatever the text is made of, it fits, and says so when something is missing."""
    text = "\n".join(lines) + "\n"
    short = fitted(text, most, "the file")
    assert len(short) <= most
    assert (short == text) == (len(text) <= most)
    assert short == text or "left out" in short


@given(st.text(max_size=60))
def test_what_comes_from_outside_stays_text(text: str) -> None:
    """Nothing of a name ends a cell, opens a tag or a link, or calls a person."""
    shown = cell(text)
    assert "\n" not in shown
    assert re.search(r"(?<!\\)[|`\[]", shown.replace("\\\\", "")) is None
    assert "<" not in shown.replace("<!-- -->", "")
    assert re.search(r"[@#](?!<!-- -->)", shown) is None


def test_the_command_looks_at_the_rest_where_one_part_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A revision that is not there leaves check and test standing; exit 1, and the documents are as the schemas say."""
    peers.require("opa")
    small_policies(tmp_path)
    monkeypatch.chdir(tmp_path)
    snapshot = tmp_path / "snapshot.json"
    snapshot.write_bytes(to_bytes(recording()))
    given_ = ["--base", "no-such-revision", "--snapshot", str(snapshot), "--out", str(tmp_path / "out")]
    assert run(["policies", "report", "policies", *given_, "--output", "json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert schema_problems("policies-report", document) == []
    assert (document["verdict"], document["changes_effects"], document["diff"]) == ("failed", None, None)
    assert document["check"]["accepted"]
    assert document["test"]["accepted"]
    assert [one["part"] for one in document["troubles"]] == ["diff"]
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == document
    assert (tmp_path / "out" / "report.md").read_text().startswith("## Policies could not be looked at")
    assert json.loads((tmp_path / "out" / "check.sarif").read_text())["version"] == "2.1.0"


def test_a_base_without_a_snapshot_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    """One says what to compare with, the other on what: neither means anything alone."""
    assert run(["policies", "report", "policies", "--base", "main"]) == 64
    assert "go together" in capsys.readouterr().err
