"""Checks, tests and compares the policies of a pull request, and leaves the report where GitHub Actions looks for it.

Reads the inputs from the environment (`INPUT_…`), never from a shell, and needs no token. Writes the report's folder,
the job summary, annotations beside the changed lines, and the outputs of the step.

Exit codes: 0 the policies are fit to decide; 1 something could not be looked at; 2 they are refused; 3 they are fit,
decisions change, and `fail-on-change` is true; 64 an input is wrong.
"""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from reconciler.cli.main import run
from reconciler.policies.markup import cell, fitted

FAILED: Final = 1
CHANGED: Final = 3
USAGE: Final = 64
MOST_CHARACTERS: Final = 65_536
"""What a comment of GitHub holds."""
MOST_ANNOTATIONS: Final = 10
"""What GitHub shows of each level for one step."""
_GIT_SECONDS: Final = 60
_OF_A_MERGE: Final = 2
"""Parents: what a pull request is merged into, and its head."""


class Refusal(Exception):
    """The review cannot begin: what is wrong and what to do, in one line, and the exit code."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What the action was given."""

    folder: str
    snapshot: str
    base: str
    artifact: str
    fail_on_change: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What to compare with and on; without a base or a snapshot nothing is compared, and `notes` say why."""

    base: str | None = None
    snapshot: Path | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What the review came to."""

    code: int
    document: Mapping[str, Any] | None
    """As `policies report --output json` has it; None where not even that could be made."""
    text: str


def main(environment: Mapping[str, str]) -> int:
    """Review, write everything down, and return the exit code."""
    try:
        inputs = read_inputs(environment)
    except Refusal as refusal:
        print(_command("error", "", str(refusal)))
        return USAGE
    out = Path(environment["RUNNER_TEMP"]) / "access-reconciler-report"
    if out.exists():
        shutil.rmtree(out)  # of another policy folder in the same job, or of an earlier job on the same machine
    out.mkdir(parents=True)
    try:
        comparison = what_to_compare(inputs, environment)
        result = review(inputs, comparison, out)
    except Refusal as refusal:
        comparison = Comparison()
        result = Result(
            code=refusal.code, document=None, text=f"## Policies could not be looked at\n\n{cell(str(refusal))}\n"
        )
        print(_command("error", "", str(refusal)))
    comment = compose(inputs, comparison, result, environment)
    (out / "comment.md").write_text(comment, encoding="utf-8")
    for line in annotations(inputs.folder, result.document):
        print(line)
    _append(environment, "GITHUB_STEP_SUMMARY", comment)
    _append(environment, "GITHUB_OUTPUT", "".join(f"{name}={value}\n" for name, value in outputs(result, out)))
    return result.code


def read_inputs(environment: Mapping[str, str]) -> Inputs:
    """Return the inputs. Raises `Refusal` for one that cannot be meant."""
    told = environment.get("INPUT_FAIL_ON_CHANGE", "false")
    if told not in ("true", "false"):
        raise Refusal(f"fail-on-change is {told!r}: write true or false")
    inputs = Inputs(
        folder=environment.get("INPUT_FOLDER", "policies").rstrip("/"),
        snapshot=environment.get("INPUT_SNAPSHOT", ""),
        base=environment.get("INPUT_BASE", ""),
        artifact=environment.get("INPUT_ARTIFACT", ""),
        fail_on_change=told == "true",
    )
    if inputs.fail_on_change and not inputs.snapshot:
        raise Refusal("fail-on-change needs a snapshot: without one nobody can say what changes")
    return inputs


def what_to_compare(inputs: Inputs, environment: Mapping[str, str]) -> Comparison:
    """Return base and snapshot, the latter as the base has it: a pull request does not choose its own measure."""
    if not Path(inputs.folder).is_dir():
        raise Refusal(f"folder: there is no {inputs.folder!r} in the checkout: name the policy folder", USAGE)
    if not inputs.snapshot:
        return Comparison()
    base = _base(inputs, environment)
    if base is None:
        return Comparison(notes=("This is no pull request and no `base` was given, so nothing was compared.",))
    if not _exists(base, inputs.folder):
        return Comparison(notes=("The policy folder is new, so there is nothing to compare with.",))
    if not _exists(base, inputs.snapshot):
        if not Path(inputs.snapshot).is_file():
            raise Refusal(
                f"snapshot: there is no {inputs.snapshot!r}: record one with `inventory export --pseudonymise`"
            )
        own = ("This pull request brings the snapshot itself; the one that it is merged into has none.",)
        return Comparison(
            base=base, snapshot=Path(inputs.snapshot), notes=own if _exists("HEAD", inputs.snapshot) else ()
        )
    stored = _git("show", f"{base}:./{inputs.snapshot}")
    notes: tuple[str, ...] = ()
    file = Path(inputs.snapshot)
    if not file.is_file() or file.read_bytes() != stored:
        notes = ("This pull request changes the snapshot itself; it was compared on the one that it is merged into.",)
    kept = Path(environment["RUNNER_TEMP"]) / "access-reconciler-base" / file.name
    kept.parent.mkdir(exist_ok=True)
    kept.write_bytes(stored)
    return Comparison(base=base, snapshot=kept, notes=notes)


def _base(inputs: Inputs, environment: Mapping[str, str]) -> str | None:
    """Return the commit to compare with: as given, or what the pull request is merged into."""
    if inputs.base:
        return _fork_point(inputs.base)
    pull_request = read_event(environment).get("pull_request")
    if pull_request is None:
        return None
    head, *parents = _text("rev-list", "--parents", "-n", "1", "HEAD").split()
    if (
        len(parents) == _OF_A_MERGE and head != pull_request["head"]["sha"]
    ):  # the merge that GitHub makes of a pull request
        return parents[0]
    return _fork_point(str(pull_request["base"]["sha"]))


def _fork_point(revision: str) -> str:
    commit = _text("rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}")
    return _text("merge-base", commit, "HEAD")


def read_event(environment: Mapping[str, str]) -> Mapping[str, Any]:
    """Return what GitHub says of the event that started the workflow."""
    event: Mapping[str, Any] = json.loads(Path(environment["GITHUB_EVENT_PATH"]).read_text(encoding="utf-8"))
    return event


def _exists(base: str, path: str) -> bool:
    """Say whether a commit has a file or folder; what lies beside the checkout, such as an artifact, none has."""
    place = Path(os.path.normpath(Path.cwd() / path))
    if Path(path).is_absolute() or not place.is_relative_to(_text("rev-parse", "--show-toplevel")):
        return False
    return bool(_git("ls-tree", base, "--", f"./{path}"))


def _text(*arguments: str) -> str:
    return _git(*arguments).decode().strip()


def _git(*arguments: str) -> bytes:
    done = _asked_git(*arguments)
    if done.returncode != 0:
        said = " ".join(done.stderr.decode(errors="replace").split())[:200] or "nothing was found"
        raise Refusal(
            f"git {arguments[0]}: {said}: check out with `fetch-depth: 2`, or 0 where `base` is given or the "
            "checkout is not the merge of the pull request"
        )
    return done.stdout


def _asked_git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            ["git", "-c", "core.fsmonitor=false", *arguments], capture_output=True, check=False, timeout=_GIT_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise Refusal(f"git {arguments[0]}: no answer within {_GIT_SECONDS} seconds: run the job again") from None


def review(inputs: Inputs, comparison: Comparison, out: Path) -> Result:
    """Run `policies report`, and turn its verdict into an exit code. Raises `Refusal` where it makes no report."""
    arguments = ["policies", "report", f"--out={out}"]
    if comparison.base is not None:
        arguments += [f"--base={comparison.base}", f"--snapshot={comparison.snapshot}"]
    said = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        code = run([*arguments, "--", inputs.folder])
    if not (out / "report.json").is_file():
        raise Refusal(
            " ".join(said.getvalue().split()).removeprefix("error: ") or f"`policies report` ended with {code}"
        )
    document = json.loads((out / "report.json").read_text(encoding="utf-8"))
    if code == 0 and inputs.fail_on_change:
        code = {True: CHANGED, False: 0, None: FAILED}[document["changes_effects"]]
    return Result(code=code, document=document, text=(out / "report.md").read_text(encoding="utf-8"))


def compose(inputs: Inputs, comparison: Comparison, result: Result, environment: Mapping[str, str]) -> str:
    """Return the comment: a hidden mark to find it again, the report, and where it comes from."""
    server, repository, run_id = (
        environment.get(name, "") for name in ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")
    )
    commit = (
        read_event(environment).get("pull_request", {}).get("head", {}).get("sha", environment.get("GITHUB_SHA", ""))
    )
    kept = f"; the whole is in its artifact `{inputs.artifact}`" if inputs.artifact else ""
    notes = comparison.notes
    if result.code == CHANGED:
        notes = (*notes, "Decisions change, and `fail-on-change` is set: the job ends with 3.")
    parts = [f"<!-- access-reconciler policies: {quote(inputs.folder)} -->", result.text.rstrip("\n")]
    parts += [f"> {note}" for note in notes]
    parts.append(f"<sub>Commit {commit[:12]}, by [this run]({server}/{repository}/actions/runs/{run_id}){kept}.</sub>")
    return fitted("\n\n".join(parts) + "\n", MOST_CHARACTERS, "`report.json`")


def annotations(folder: str, document: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield a workflow command for each problem, which GitHub shows beside the line, and one that counts the rest."""
    left = {"error": MOST_ANNOTATIONS, "warning": MOST_ANNOTATIONS}
    more = 0
    for level, path, line, message in _remarks(document or {}):
        if left[level]:
            left[level] -= 1
            place = "" if path in ("", ".") else f"file={_property(f'{folder}/{path}')},line={line}"
            yield _command(level, place, message)
        else:
            more += 1
    if more:
        yield _command("notice", "", f"{more} more are in the job summary and the report")


def _remarks(document: Mapping[str, Any]) -> Iterator[tuple[str, str, int, str]]:
    for one in (document.get("check") or {}).get("problems", ()):
        yield one["level"], one["path"], one["line"], f"{one['message']}; {one['advice']}"
    tests = document.get("test") or {}
    for one in tests.get("failures", ()):
        yield "error", one["path"], one["line"], f"{one['name'] or 'the tests'}: {one['reason']}; {one['advice']}"
    for one in tests.get("uncovered", ()):
        yield "error", one["path"], one["first"], f"no test goes through lines {one['first']} to {one['last']}"
    for one in document.get("troubles", ()):
        yield "error", "", 1, f"{one['part']}: {one['message']}; {one['advice']}"


def outputs(result: Result, out: Path) -> Iterator[tuple[str, str]]:
    """Yield the outputs of the step."""
    document = result.document or {"verdict": "failed", "changes_effects": None}
    yield "verdict", str(document["verdict"])
    yield "exit-code", str(result.code)
    yield "changes-effects", {True: "true", False: "false", None: ""}[document["changes_effects"]]
    yield "report", str(out)
    yield "comment", str(out / "comment.md")
    yield "sarif", str(out / "check.sarif") if (out / "check.sarif").is_file() else ""


def _command(name: str, properties: str, message: str) -> str:
    """Return a workflow command; what it says cannot end it or begin another."""
    return f"::{name} {properties}::{_escaped(message)}"


def _property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _append(environment: Mapping[str, str], name: str, text: str) -> None:
    with Path(environment[name]).open("a", encoding="utf-8") as file:
        file.write(text)


if __name__ == "__main__":
    sys.exit(main(os.environ))
