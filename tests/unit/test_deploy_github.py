"""What deploy/github-action, the workflows and the pre-commit hooks promise, as far as no GitHub is needed for it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import policies_review
import pytest
import yaml

from reconciler.cli.main import load
from tests.architecture import tree

FOLDER = "deploy/github-action"
ACTION: dict[str, Any] = yaml.safe_load(tree.text(f"{FOLDER}/action.yml"))
STEPS: list[dict[str, Any]] = ACTION["runs"]["steps"]
WORKFLOWS = (".github/workflows/policies.yml", f"{FOLDER}/example/policies.yml")
PINNED = re.compile(r"uses: (?:\./\S+|[\w.-]+/[\w./-]+@[0-9a-f]{40} # (?:v\d+\.\d+\.\d+|pin it))")
"""By commit, with the version for whoever reads it."""


def test_the_action_is_made_of_documented_keys() -> None:
    """Keys are those of GitHub's metadata syntax for composite actions; each input has a default that is text."""
    assert set(ACTION) <= {"name", "author", "description", "inputs", "outputs", "runs", "branding"}
    assert ACTION["runs"]["using"] == "composite"
    assert set(ACTION["runs"]) == {"using", "steps"}
    for one in ACTION["inputs"].values():
        assert set(one) == {"description", "default"}
        assert isinstance(one["default"], str)
    for one in ACTION["outputs"].values():
        assert set(one) == {"description", "value"}
    known = {"name", "id", "if", "uses", "with", "run", "shell", "env", "working-directory", "continue-on-error"}
    for step in STEPS:
        assert set(step) <= known
        assert ("run" in step) != ("uses" in step)
        assert ("run" in step) == ("shell" in step)
    ids = [step["id"] for step in STEPS if "id" in step]
    assert len(ids) == len(set(ids))


def test_nothing_is_written_into_a_shell() -> None:
    """An expression in a line of shell would run whatever a branch is named; all inputs come through `env`."""
    lines = [step["run"] for step in STEPS if "run" in step]
    assert len(lines) == 3
    assert [line for line in lines if "${{" in line] == []


def expressions(value: object) -> Iterator[str]:
    """Yield what every expression of a document refers to."""
    if isinstance(value, dict):
        for one in value.values():
            yield from expressions(one)
    elif isinstance(value, list):
        for one in value:
            yield from expressions(one)
    else:
        for inside in re.findall(r"\$\{\{(.*?)\}\}", str(value)):
            yield from re.findall(r"[a-z]+(?:\.[\w-]+)+", inside)


def test_every_reference_leads_to_something() -> None:
    """Each input is used, none is used that is not there, and the outputs of a step are those that it writes."""
    named = set(expressions({"outputs": ACTION["outputs"], "steps": STEPS}))
    assert {one.split(".")[1] for one in named if one.startswith("inputs.")} == set(ACTION["inputs"])
    result = policies_review.Result(code=0, document=None, text="")
    written = {f"steps.review.outputs.{name}" for name, _ in policies_review.outputs(result, Path("nowhere"))}
    written |= {"steps.comment.outputs.comment-url", "steps.python.outputs.python-path"}
    assert {one for one in named if one.startswith("steps.")} <= written
    assert {one for one in named if one.startswith("github.")} == set()
    read = set(
        re.findall(r"\"(INPUT_[A-Z_]+|COMMENT_[A-Z]+|GITHUB_TOKEN)\"", tree.text(f"{FOLDER}/policies_review.py"))
    )
    read |= set(re.findall(r"\"(COMMENT_[A-Z]+|GITHUB_TOKEN)\"", tree.text(f"{FOLDER}/policies_comment.py")))
    given = {name for step in STEPS for name in step.get("env", ()) if name != "PYTHON"}
    assert given == read


def test_the_token_is_seen_by_one_step_alone() -> None:
    """What looks at the pull request has no token; what has it only posts a file that is there."""
    seeing = [step["id"] for step in STEPS if "inputs.github-token" in set(expressions(step))]
    assert seeing == ["comment"]
    assert "subprocess" not in tree.text(f"{FOLDER}/policies_comment.py")
    assert "GITHUB_TOKEN" not in tree.text(f"{FOLDER}/policies_review.py")


@pytest.mark.parametrize("name", [f"{FOLDER}/action.yml", *WORKFLOWS])
def test_other_actions_are_pinned_by_commit(name: str) -> None:
    """A tag can be moved, a commit cannot."""
    used = [
        line.strip().removeprefix("- ") for line in tree.text(name).splitlines() if re.match(r"\s*(- )?uses:", line)
    ]
    assert used
    assert [line for line in used if not PINNED.fullmatch(line)] == []


@pytest.mark.parametrize("name", WORKFLOWS)
def test_the_workflows_give_no_more_than_is_needed(name: str) -> None:
    """No secret, no pull_request_target, no token in the checkout, and as many commits as comparing needs."""
    workflow = yaml.safe_load(tree.text(name))
    assert set(workflow[True]) == {"pull_request"}  # YAML 1.1 reads `on` as true
    assert workflow["permissions"] == {}
    (job,) = workflow["jobs"].values()
    assert job["permissions"] == {"contents": "read", "pull-requests": "write"}
    checkout, action = job["steps"]
    assert checkout["with"] == {"fetch-depth": 2, "persist-credentials": False}
    assert f"/{FOLDER.split('/')[1]}" in action["uses"]
    assert set(action.get("with", {})) <= set(ACTION["inputs"])
    assert "secrets." not in tree.text(name)


def test_the_hooks_run_commands_that_exist() -> None:
    """Each hook of pre-commit runs a command of ours on the default folder, where something of it is changed."""
    hooks = yaml.safe_load(tree.text(".pre-commit-hooks.yaml"))
    assert [hook["id"] for hook in hooks] == ["policies-check", "policies-test"]
    for hook in hooks:
        program, group, command = hook["entry"].split()
        assert (program, hook["args"], hook["pass_filenames"]) == ("access-reconciler", ["policies"], False)
        assert command in load(group).commands
        assert re.search(hook["files"], "policies/access/rules/leaver/leaver.rego")
        assert not re.search(hook["files"], "docs/policies.md")


def test_the_page_tells_of_every_input_output_and_exit_code() -> None:
    """docs/pull-requests.md has a row for each, with the default of the action, and no other."""
    rows = re.findall(r"^\| `([a-z-]+)` \| (.*?) \|", tree.text("docs/pull-requests.md"), re.MULTILINE)
    told = {name: default.strip("`") for name, default in rows}
    inputs = {name: one["default"] or "none" for name, one in ACTION["inputs"].items()}
    inputs["github-token"] = "the job's"
    assert {name: told.get(name) for name in inputs} == inputs
    assert set(ACTION["outputs"]) <= set(told)
    assert set(told) <= {*inputs, *ACTION["outputs"]}
    codes = re.findall(r"^\| (\d+) \|", tree.text("docs/pull-requests.md"), re.MULTILINE)
    assert codes == ["0", "1", "2", "3", "64"]
