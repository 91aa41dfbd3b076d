"""A repository of policies with pull requests, and what GitHub Actions puts around a step."""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconciler.policies.pseudonyms import pseudonymise, pseudonyms
from reconciler.policies.recording import to_bytes
from tests.fakes.github_comments import NUMBER, REPOSITORY
from tests.peers import ROOT
from tests.recordings import recording
from tests.small_policies import small_policies

ACTION = ROOT / "deploy" / "github-action"
SNAPSHOT = "access-snapshot.json"
FORK = "somebody/policies"


def git(folder: Path, *arguments: str) -> str:
    """Run git under an identity of the test's own."""
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false")
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()


class Upstream:
    """The repository on GitHub: `main` with policies and a snapshot under pseudonyms, and pull requests onto it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        small_policies(folder)
        original = recording()
        hidden = pseudonymise(original, pseudonyms(original, b"k" * 32))
        (folder / SNAPSHOT).write_bytes(to_bytes(hidden))
        git(folder, "init", "-q", "-b", "main")
        self._commit("Policies")

    def pull_request(self, branch: str, files: Mapping[str, str]) -> None:
        """Open a pull request that writes files, by their paths."""
        git(self.folder, "checkout", "-q", "-b", branch, "main")
        for name, content in files.items():
            file = self.folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
        self._commit(branch)
        git(self.folder, "checkout", "-q", "main")

    def text(self, name: str) -> str:
        """Return a file of `main`."""
        return (self.folder / name).read_text()

    def _commit(self, message: str) -> None:
        git(self.folder, "add", "-A")
        git(self.folder, "commit", "-q", "-m", message)


@dataclass(frozen=True, slots=True)
class Job:
    """A checkout of what GitHub makes of a pull request, and the environment of a step there."""

    workspace: Path
    environment: dict[str, str]

    def told(self, name: str) -> dict[str, str]:
        """Return what a step wrote into the file of outputs."""
        lines = Path(self.environment[name]).read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)

    def summary(self) -> str:
        """Return what a step wrote into the job summary."""
        return Path(self.environment["GITHUB_STEP_SUMMARY"]).read_text()


def check_out(upstream: Upstream, branch: str, folder: Path, *, depth: int = 2, fork: bool = False) -> Job:
    """Check out the merge of a pull request as actions/checkout does, in as many commits as `fetch-depth` says."""
    head = git(upstream.folder, "rev-parse", branch)
    base = git(upstream.folder, "rev-parse", "main")
    tree = git(upstream.folder, "merge-tree", "--write-tree", "main", branch)
    merge = git(upstream.folder, "commit-tree", tree, "-p", base, "-p", head, "-m", "Merge")
    git(upstream.folder, "update-ref", f"refs/pull/{branch}/merge", merge)
    workspace, temporary = folder / "workspace", folder / "temp"
    workspace.mkdir(parents=True)
    temporary.mkdir()
    git(workspace, "init", "-q")
    git(workspace, "fetch", "-q", f"--depth={depth}", upstream.folder.as_uri(), f"refs/pull/{branch}/merge")
    git(workspace, "checkout", "-q", "--detach", "FETCH_HEAD")
    event = {
        "pull_request": {
            "number": NUMBER,
            "head": {"sha": head, "repo": {"full_name": FORK if fork else REPOSITORY}},
            "base": {"sha": base, "repo": {"full_name": REPOSITORY}},
        }
    }
    return Job(workspace, _environment(temporary, event, merge))


def _environment(temporary: Path, event: dict[str, Any], commit: str) -> dict[str, str]:
    (temporary / "event.json").write_text(json.dumps(event))
    programs = temporary / "access-reconciler" / "bin"
    programs.mkdir(parents=True)
    (programs / "python").write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} "$@"\n')
    (programs / "python").chmod(0o755)
    files = {name: str(temporary / name) for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    for file in files.values():
        Path(file).touch()
    return {
        **files,
        "GITHUB_ACTION_PATH": str(ACTION),
        "GITHUB_EVENT_PATH": str(temporary / "event.json"),
        "GITHUB_REPOSITORY": REPOSITORY,
        "GITHUB_RUN_ID": "4711",
        "GITHUB_SERVER_URL": "https://github.example",
        "GITHUB_SHA": commit,
        "RUNNER_TEMP": str(temporary),
        "PATH": f"{Path(shutil.which('opa') or '/usr/bin/opa').parent}:/usr/bin:/bin",
        "HOME": str(temporary),
        "INPUT_FOLDER": "policies",
        "INPUT_SNAPSHOT": SNAPSHOT,
        "INPUT_ARTIFACT": "policies-report",
    }
