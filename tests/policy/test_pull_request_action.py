"""The action of deploy/github-action on pull requests of a real repository: comment, exit code, outputs, remarks."""

import contextlib
import io
import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import policies_review
import pytest
import yaml

from tests import peers
from tests.fakes.github_comments import BOT, TOKEN, GithubComments
from tests.fakes.pull_requests import ACTION, SNAPSHOT, Job, Upstream, check_out, git
from tests.output_schemas import problems as schema_problems

ORPHAN = "policies/access/rules/orphan/orphan.rego"
CONFIG = "policies/access/config/data.json"
WAIVER = """waivers:
  - id: W-1
    rule: orphan
    worker_id: E1002
    reason: Nobody minds.
    owner: ana
    approved_by: ana@example.com
    expires_at: 2026-12-31T00:00:00Z
"""
"""Approved by its own owner."""
LIVE_SESSION = """# METADATA
# title: Nobody is signed in for ever
# description: A session without an end is ended.
# schemas:
#   - input: schema["rule_input.schema"]
# custom:
#   code: live_session
#   severity: medium
#   needs: item
#   controls: ["SOC2 CC6.1"]
#   remediation: End the session.
package access.rules.live_session

id := "live_session"

finding contains {
	"access_id": access_id,
	"code": "live_session",
	"severity": "medium",
	"effect": "revoke",
	"reason": "a session that never ends",
} if {
	some access_id, item in input.unit.access
	item.type == "session"
	item.expires_at == null
}
"""
LIVE_SESSION_TEST = """package access.rules.live_session_test

import data.access.lib_test as sample
import data.access.rules.live_session

test_a_session_without_an_end_is_found if {
	unit := sample.unit_of("E1", {"key": sample.item({}), "s": sample.session({})})
	{finding.access_id | some finding in live_session.finding with input as sample.given(unit)} == {"s"}
	ends := sample.changed(unit, "/access/s/expires_at", "2026-03-02T09:00:00.000000Z")
	count(live_session.finding) == 0 with input as sample.given(ends)
}
"""


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Upstream:
    """Make the repository with its pull requests."""
    peers.require("git")
    peers.require("opa")
    place = Upstream(tmp_path_factory.mktemp("github") / "policies")
    threshold = json.loads(place.text(CONFIG))
    threshold["orphan"]["effect"] = "quarantine"
    place.pull_request("threshold", {CONFIG: json.dumps(threshold, indent=2) + "\n"})
    rules = "policies/access/rules/live_session/live_session"
    place.pull_request("rule", {f"{rules}.rego": LIVE_SESSION, f"{rules}_test.rego": LIVE_SESSION_TEST})
    place.pull_request("broken", {ORPHAN: place.text(ORPHAN).replace("correlation.state ==", "correlation.sate ==")})
    place.pull_request("nothing", {"policies/waivers/README.md": "# Waivers\n", SNAPSHOT: "{}"})
    place.pull_request("waiver", {"policies/waivers/mine.yaml": WAIVER})
    until = f"{datetime.now(UTC) + timedelta(days=30):%Y-%m-%dT00:00:00Z}"
    approved = WAIVER.replace("ana@example.com", "ciso").replace("2026-12-31T00:00:00Z", until)
    place.pull_request("approved", {"policies/waivers/mine.yaml": approved})
    return place


@dataclass(frozen=True)
class Reviewed:
    """What the script did on one pull request."""

    job: Job
    code: int
    log: str

    @property
    def comment(self) -> str:
        return (self.job.workspace.parent / "temp" / "access-reconciler-report" / "comment.md").read_text()

    @property
    def document(self) -> dict[str, Any]:
        report = Path(self.job.told("GITHUB_OUTPUT")["report"]) / "report.json"
        document: dict[str, Any] = json.loads(report.read_text())
        return document


def reviewed(upstream: Upstream, branch: str, folder: Path, **inputs: str) -> Reviewed:
    """Check a pull request out and run the script there, in this process: importing takes longer than the review."""
    job = check_out(upstream, branch, folder)
    with contextlib.chdir(job.workspace), contextlib.redirect_stdout(io.StringIO()) as log:
        code = policies_review.main({**job.environment, **inputs})
    return Reviewed(job, code, log.getvalue())


def test_a_changed_threshold(upstream: Upstream, tmp_path: Path) -> None:
    """Accepted, with exit 3 where that is asked for; the comment says who is dealt with otherwise, by which rule."""
    done = reviewed(upstream, "threshold", tmp_path, INPUT_FAIL_ON_CHANGE="true")
    assert done.code == 3
    assert done.comment.startswith(
        "<!-- access-reconciler policies: policies -->\n\n## Policies accepted, decisions change"
    )
    base, head = git(upstream.folder, "rev-parse", "main"), git(upstream.folder, "rev-parse", "threshold")
    assert f"## Access decisions: {base[:12]} → policies" in done.comment
    assert "### Asked for otherwise: 1\n\n`orphan`: review → quarantine (1)" in done.comment
    assert re.search(
        r"\| corp-aws/p\d+-\w+ \| a\d+-\w+ \| account \| review \| quarantine \| `orphan` "
        r"\| nothing, withheld: `waived` \|",
        done.comment,
    )
    assert "> Decisions change, and `fail-on-change` is set: the job ends with 3." in done.comment
    assert f"Commit {head[:12]}, by [this run](https://github.example/corp/policies/actions/runs/4711)" in done.comment
    assert "artifact `policies-report`" in done.comment
    assert done.job.summary() == done.comment
    assert schema_problems("policies-report", done.document) == []
    outputs = done.job.told("GITHUB_OUTPUT")
    assert (outputs["verdict"], outputs["exit-code"], outputs["changes-effects"]) == ("accepted", "3", "true")
    assert json.loads(Path(outputs["sarif"]).read_text())["runs"][0]["results"] == []


def test_an_added_rule(upstream: Upstream, tmp_path: Path) -> None:
    """Who loses what, by which rule, and how many of each provider are touched beside the cap; the job passes."""
    done = reviewed(upstream, "rule", tmp_path)
    assert (done.code, done.log) == (0, "")
    assert "### Newly found: 1\n\n`live_session`: keep → revoke (1)" in done.comment
    assert "**1 access item of 1 worker newly lost. Within every cap.**" in done.comment
    assert re.search(r"\| session \| keep \| revoke \| `live_session` \| newly asked for \|", done.comment)
    assert "| after | revoke 1 | protected 3 | 0 | lets it pass |" in done.comment
    assert "| corp-aws | 5 | 0 | 1 | 0 | 25 | yes |" in done.comment
    (line,) = done.document["diff"]["lines"]
    assert (line["rule"], line["before"], line["after"], line["turn"]) == ("live_session", "keep", "revoke", "gained")
    assert line["worker_id"].startswith("w")


def test_a_broken_rule(upstream: Upstream, tmp_path: Path) -> None:
    """Refused with 2, by file and line, with what to do, in the comment and beside the line of the pull request."""
    done = reviewed(upstream, "broken", tmp_path)
    assert done.code == 2
    row = upstream.text(ORPHAN).splitlines().index('\tinput.unit.correlation.state == "orphan"') + 1
    assert "## Policies refused" in done.comment
    assert f"**{ORPHAN}:{row}** undefined ref: input.unit.correlation.sate: there is no such field" in done.comment
    assert "> These policies are refused: what follows is only what they would decide." in done.comment
    assert "### Not found any more: 1\n\n`orphan`: review → keep (1)" in done.comment
    assert f"::error file={ORPHAN},line={row}::undefined ref: input.unit.correlation.sate" in done.log
    assert "test_one_finding_for_a_principal_of_nobody" in done.log
    assert not done.document["check"]["accepted"]
    assert not done.document["test"]["accepted"]
    assert done.job.told("GITHUB_OUTPUT")["verdict"] == "refused"


@pytest.mark.proof
def test_a_waiver_that_its_owner_approved(upstream: Upstream, tmp_path: Path) -> None:
    """A waiver that waives nothing refuses the pull request, by its file and line."""
    done = reviewed(upstream, "waiver", tmp_path)
    assert done.code == 2
    assert "**policies/waivers/mine.yaml:2** a waiver is approved by somebody else than its owner" in done.comment
    assert "::error file=policies/waivers/mine.yaml,line=2::" in done.log
    assert done.document["test"]["accepted"]


def test_a_waiver_is_never_passed_over(upstream: Upstream, tmp_path: Path) -> None:
    """Under pseudonyms nobody sees whom a new waiver touches: the comment says so, and the job may fail for it."""
    done = reviewed(upstream, "approved", tmp_path, INPUT_FAIL_ON_CHANGE="true")
    assert done.code == 3
    assert "Not shown, for ids are pseudonyms here: whom 1 changed waiver would touch.**" in done.comment
    assert "No decision changes." not in done.comment
    assert re.search(r"\| W-1 \| added \| orphan \| \d{4}-\d\d-\d\d \| \*\*not shown\*\* \|", done.comment)
    assert done.job.told("GITHUB_OUTPUT")["changes-effects"] == "true"


def test_the_steps_as_the_runner_runs_them(upstream: Upstream, tmp_path: Path) -> None:
    """The action's own lines of shell, with nothing but their `env`: no decision changes, and one comment says so.

    The snapshot that the pull request brings along is not the one that it is measured on.
    """
    job = check_out(upstream, "nothing", tmp_path)
    inputs = {"folder": "policies", "snapshot": SNAPSHOT, "comment-author": BOT, "github-token": TOKEN}
    with GithubComments() as github:
        environment = {**job.environment, "GITHUB_API_URL": github.url}
        assert step("review", inputs, {}, job, environment).returncode == 0
        outputs = job.told("GITHUB_OUTPUT")
        assert outputs["changes-effects"] == "false"
        done = step("comment", inputs, outputs, job, environment)
        assert done.returncode == 0, done.stdout
        (comment,) = github.comments
    assert "\n\nNo decision changes.\n\n" in comment["body"]
    assert "> This pull request changes the snapshot itself" in comment["body"]
    assert job.told("GITHUB_OUTPUT")["comment-url"] == comment["html_url"]


def step(
    name: str, inputs: Mapping[str, str], outputs: Mapping[str, str], job: Job, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run one step of action.yml under bash, as a runner does, with defaults for the inputs that are not given."""
    action = yaml.safe_load((ACTION / "action.yml").read_text())
    known = {f"inputs.{key}": str(one["default"]) for key, one in action["inputs"].items()}
    known |= {f"inputs.{key}": value for key, value in inputs.items()}
    known |= {f"steps.review.outputs.{key}": value for key, value in outputs.items()}
    (found,) = [one for one in action["runs"]["steps"] if one.get("id") == name]
    given = {key: re.sub(r"\$\{\{ (\S+) \}\}", lambda one: known[one[1]], value) for key, value in found["env"].items()}
    bare = {key: value for key, value in environment.items() if not key.startswith("INPUT_")}
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", found["run"]],
        cwd=job.workspace,
        env={**bare, **given},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def test_a_checkout_that_is_too_shallow_says_how_deep(upstream: Upstream, tmp_path: Path) -> None:
    """Without what it is merged into nothing is compared: exit 1, and the comment says what the workflow lacks."""
    job = check_out(upstream, "rule", tmp_path, depth=1)
    with contextlib.chdir(job.workspace), contextlib.redirect_stdout(io.StringIO()) as log:
        assert policies_review.main(job.environment) == 1
    assert "fetch-depth: 2" in job.summary()
    assert log.getvalue().startswith("::error ::git rev-parse")
    assert job.told("GITHUB_OUTPUT")["verdict"] == "failed"


def test_a_folder_that_is_gone_is_said_in_the_comment(upstream: Upstream, tmp_path: Path) -> None:
    """Exit 64, and a comment of an earlier commit that called the policies accepted does not stay."""
    done = reviewed(upstream, "rule", tmp_path, INPUT_FOLDER="rules")
    assert done.code == 64
    assert "## Policies could not be looked at\n\nfolder: there is no 'rules' in the checkout" in done.comment
    assert done.job.told("GITHUB_OUTPUT")["verdict"] == "failed"


def test_a_snapshot_that_is_none_is_named(upstream: Upstream, tmp_path: Path) -> None:
    """The one that the base has is compared on, and named by its own name where it cannot be read."""
    job = check_out(upstream, "rule", tmp_path)
    with contextlib.chdir(job.workspace), contextlib.redirect_stdout(io.StringIO()):
        assert policies_review.main({**job.environment, "INPUT_SNAPSHOT": CONFIG}) == 1
    assert f"access-reconciler-base/{Path(CONFIG).name}: is no recorded snapshot: " in job.summary()


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"INPUT_FAIL_ON_CHANGE": "yes"}, "write true or false"),
        ({"INPUT_FAIL_ON_CHANGE": "true", "INPUT_SNAPSHOT": ""}, "fail-on-change needs a snapshot"),
    ],
)
def test_an_input_that_cannot_be_meant_is_refused(
    upstream: Upstream, inputs: dict[str, str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 64 and one line that names the input, before anything is looked at."""
    environment = {"INPUT_FOLDER": "policies", "INPUT_SNAPSHOT": SNAPSHOT, **inputs}
    with contextlib.chdir(upstream.folder):
        assert policies_review.main(environment) == 64
    assert said in capsys.readouterr().out


def test_what_to_compare_with(upstream: Upstream, tmp_path: Path) -> None:
    """The fork point for a given base; nothing, and why, where there is none, and for a folder that is new."""
    job = check_out(upstream, "rule", tmp_path, depth=5)
    given = {**job.environment, "INPUT_BASE": "HEAD^2"}
    main = git(upstream.folder, "rev-parse", "main")
    with contextlib.chdir(job.workspace):
        inputs = policies_review.read_inputs(given)
        found = policies_review.what_to_compare(inputs, given)
        assert found.base == git(upstream.folder, "rev-parse", "rule")
        git(job.workspace, "checkout", "-q", "HEAD^2")
        assert policies_review.what_to_compare(policies_review.read_inputs(job.environment), given).base == main
        Path("elsewhere").mkdir()
        new = policies_review.what_to_compare(replace(inputs, folder="elsewhere", base=""), given)
        assert (new.base, new.notes[0][:24]) == (None, "The policy folder is new")
        with pytest.raises(policies_review.Refusal, match="inventory export --pseudonymise"):
            policies_review.what_to_compare(replace(inputs, snapshot="gone.json", base=""), given)
        Path(job.environment["GITHUB_EVENT_PATH"]).write_text("{}")
        pushed = policies_review.what_to_compare(replace(inputs, base=""), given)
    assert (pushed.base, pushed.notes[0][:23]) == (None, "This is no pull request")


def test_nothing_of_an_earlier_report_is_left(upstream: Upstream, tmp_path: Path) -> None:
    """The action may run twice in one job: what another run wrote is not taken for this one's."""
    job = check_out(upstream, "rule", tmp_path)
    report = Path(job.environment["RUNNER_TEMP"]) / "access-reconciler-report"
    report.mkdir()
    (report / "report.json").write_text('{"verdict": "accepted", "changes_effects": false}')
    (report / "check.sarif").write_text("{}")
    with contextlib.chdir(job.workspace), contextlib.redirect_stdout(io.StringIO()):
        assert policies_review.main({**job.environment, "INPUT_FOLDER": "rules"}) == 64
    assert [one.name for one in report.iterdir()] == ["comment.md"]
    assert job.told("GITHUB_OUTPUT")["sarif"] == ""


def test_a_snapshot_that_the_pull_request_brings_is_told(upstream: Upstream, tmp_path: Path) -> None:
    """Where the base has none, the comment says whose measure it is; one from an artifact is nobody's change."""
    for name, notes in (("snapshot", 1), ("artifact", 0)):
        job = check_out(upstream, "rule", tmp_path / name)
        with contextlib.chdir(job.workspace):
            (job.workspace / "own.json").write_text((job.workspace / SNAPSHOT).read_text())
            if notes:
                git(job.workspace, "add", "own.json")
                git(job.workspace, "commit", "-q", "-m", "A snapshot")
            inputs = policies_review.read_inputs({**job.environment, "INPUT_SNAPSHOT": "own.json"})
            given = {**job.environment, "INPUT_BASE": "HEAD~1"} if notes else job.environment
            found = policies_review.what_to_compare(replace(inputs, base=given.get("INPUT_BASE", "")), given)
        assert len(found.notes) == notes
        assert found.snapshot == Path("own.json")


def test_a_snapshot_may_lie_beside_the_checkout(upstream: Upstream, tmp_path: Path) -> None:
    """Where an artifact was brought to: no commit has it, and it is compared on as it is."""
    job = check_out(upstream, "rule", tmp_path)
    (job.workspace / SNAPSHOT).rename(job.workspace.parent / "brought.json")
    with contextlib.chdir(job.workspace):
        for name in ("../brought.json", str(job.workspace.parent / "brought.json")):
            inputs = policies_review.read_inputs({**job.environment, "INPUT_SNAPSHOT": name})
            found = policies_review.what_to_compare(inputs, job.environment)
            assert (found.snapshot, found.notes) == (Path(name), ())


def test_a_git_that_does_not_answer_is_said(
    upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The comment is written all the same."""
    monkeypatch.setattr(policies_review, "_GIT_SECONDS", 0)
    done = reviewed(upstream, "rule", tmp_path)
    assert done.code == 1
    assert "no answer within 0 seconds" in done.comment


def test_an_annotation_ends_where_it_should() -> None:
    """What a policy says can neither end a workflow command nor begin another; what is not shown is counted."""
    problem = {"level": "error", "path": "a,b:c", "line": 3, "message": "100 %\n::set-output", "advice": "mend\rit"}
    document = {"check": {"problems": [problem] * 12}}
    lines = list(policies_review.annotations("policies", document))
    assert lines[0] == "::error file=policies/a%2Cb%3Ac,line=3::100 %25%0A::set-output; mend%0Dit"
    assert len(lines) == 11
    nowhere = {"check": {"problems": [problem | {"path": "."}]}}
    assert next(policies_review.annotations("policies", nowhere)).startswith("::error ::100 %25")
    assert lines[-1] == "::notice ::2 more are in the job summary and the report"
