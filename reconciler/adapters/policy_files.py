"""Reads a policy folder and its waivers: Rego modules, thresholds, and dated permissions to ignore a finding.

Everything here comes from a repository that people edit, so everything is checked when it is read and every refusal
names file and line. Test modules (`*_test.rego`) never reach an engine that decides.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from inventory.provider import Clock
from reconciler.adapters.policy_sources import (
    TEST_SUFFIX,
    Stamps,
    check_folder,
    data_files,
    module_files,
    policy_stamps,
    policy_text,
)
from reconciler.adapters.waiver_files import MAX_WAIVER_DAYS, read_waivers
from reconciler.adapters.waiver_memory import WaiverMemory
from reconciler.core.canonical import Json, dumps
from reconciler.core.errors import PolicyError
from reconciler.core.metadata import package_of, policy_digest, refusal, rules_of
from reconciler.core.model import PolicySet, Rule
from reconciler.core.thresholds import config_problem
from reconciler.core.waivers import WaiverSet

DRIVER = "access/driver.rego"
GIT_SECONDS = 60.0

_LONGEST_GIT_SECONDS = 10


class PolicyFolder:
    """A policy folder that is looked at often: what has not changed is not read again."""

    def __init__(
        self,
        path: Path,
        clock: Clock,
        max_waiver_days: int = MAX_WAIVER_DAYS,
        memory: WaiverMemory | None = None,
    ) -> None:
        self._path = path
        self._memory = memory
        self._max_waiver_days = max_waiver_days
        self._clock = clock
        self._known: tuple[Stamps, float, PolicySet] | None = None

    def policies(self) -> PolicySet:
        """Return the policies as they lie there now; raises as `load_policies` does.

        The git commit beside them is asked for once a minute: it changes without the files.
        """
        stamps, now = policy_stamps(self._path), self._clock.monotonic_seconds()
        if self._known is None or self._known[0] != stamps or now - self._known[1] > GIT_SECONDS:
            self._known = stamps, now, load_policies(self._path)
        return self._known[2]

    def waivers(self, now: datetime) -> WaiverSet:
        """Return the waivers as they lie there now, those that are refused by their reasons."""
        read = read_waivers(self._path, now, self._max_waiver_days)
        return replace(read.as_set(), held=self._memory.held(read, now) if self._memory else ())


def load_policies(path: Path) -> PolicySet:
    """Return the policies of a folder: modules, rules, data and digest.

    Raises `PolicyError` naming the file when the folder is missing or empty, a module lies in the wrong place, a
    rule's METADATA is incomplete, or the thresholds are not what the rules expect.
    """
    check_folder(path)
    modules = tuple(_modules(path))
    if DRIVER not in {name for name, _ in modules}:
        raise PolicyError(f"{path}: {DRIVER} is missing", advice="a policy folder starts from the starter policies")
    for name, source in modules:
        package_of(name, source)
    rules = rules_of(modules)
    if not rules:
        raise PolicyError(f"{path}: no rule in access/rules", advice="nothing would ever be found: add a rule")
    document = policy_data(path)
    _check_config(document, rules)
    data = dumps(document).decode()
    return PolicySet(
        digest=policy_digest(modules, data),
        rules=rules,
        modules=modules,
        data=data,
        git_commit=_git_commit(path),
    )


def _modules(root: Path) -> Iterator[tuple[str, str]]:
    for file in module_files(root):
        name = file.relative_to(root).as_posix()
        if name.endswith(TEST_SUFFIX):
            continue
        if not name.startswith("access/"):
            raise refusal(name, 1, "policies lie below access/")
        yield name, policy_text(root, file)


def policy_data(root: Path) -> dict[str, Json]:
    """Return the data documents, each `data.json` at the path of its folder, as OPA places them.

    Raises `PolicyFileError` for a file that is no JSON object or contradicts another one.
    """
    document: dict[str, Json] = {}
    for file in data_files(root):
        name = file.relative_to(root).as_posix()
        place = document
        for part in file.relative_to(root).parts[:-1]:
            below = place.setdefault(part, {})
            if not isinstance(below, dict):
                raise refusal(name, 1, f"another data.json already says what {part!r} is")
            place = below
        content = _json_object(name, policy_text(root, file))
        if place.keys() & content.keys():
            raise refusal(name, 1, "a data.json in a folder below says the same")
        place.update(content)
    return document


def _json_object(name: str, text: str) -> dict[str, Json]:
    def unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
        if len({key for key, _ in pairs}) != len(pairs):
            raise refusal(name, 1, "a key is given twice")
        return dict(pairs)

    try:
        content = json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise refusal(name, error.lineno, f"is not JSON: {error.msg}") from error
    except RecursionError as error:
        raise refusal(name, 1, "is nested too deeply") from error
    except ValueError as error:
        raise refusal(name, 1, "holds a number of thousands of digits") from error
    if not isinstance(content, dict):
        raise refusal(name, 1, "must hold an object")
    try:
        dumps(content)
    except ValueError as error:
        raise refusal(name, 1, f"holds a value without a canonical form ({type(error).__name__})") from error
    return content


def _check_config(document: dict[str, Json], rules: tuple[Rule, ...]) -> None:
    """A threshold that is missing would make its rule silent: refuse instead."""
    name = "access/config/data.json"
    access = document.get("access")
    config = access.get("config") if isinstance(access, dict) else None
    if not isinstance(config, dict):
        raise refusal(name, 1, "the thresholds of the rules are missing")
    problem = config_problem(config, (rule.rule_id for rule in rules))
    if problem:
        raise refusal(name, 1, problem)


def _git_commit(path: Path) -> str:
    """Return the commit that the folder is exactly at, or nothing: no git, no repository, or changes on top."""
    git = shutil.which("git")
    if git is None:
        return ""
    base = [git, "-C", str(path), "-c", "core.fsmonitor=false", "--no-optional-locks"]
    changes = _answer([*base, "status", "--porcelain", "--untracked-files=all", "--ignored", "--", "."])
    commit = _answer([*base, "rev-parse", "--verify", "HEAD"])
    tracked = _answer([*base, "ls-files", "--", "."])
    return commit or "" if changes == "" and tracked else ""


def _answer(command: list[str]) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 - the path of git and fixed arguments
            command, capture_output=True, text=True, timeout=_LONGEST_GIT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
