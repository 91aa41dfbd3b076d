"""The locks, looked at without a network: `scripts/check-locks` compares them with what the index offers."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.architecture import tree

LOCKS = ("runtime", "verify", "build", "demo", "dev", "otel", "ldap")
PINNED = re.compile(
    r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^ ;]+)[^\n]*((?:\n    --hash=sha256:[0-9a-f]{64}(?: \\)?)+)$", re.MULTILINE
)


def locked(name: str) -> dict[str, set[str]]:
    """Return the versions that a lock holds of each package."""
    versions: dict[str, set[str]] = {}
    for package, version, _ in PINNED.findall(tree.text(f"requirements/{name}.txt")):
        versions.setdefault(canonicalize_name(package), set()).add(version)
    return versions


@pytest.mark.parametrize("name", LOCKS)
def test_every_line_is_pinned_and_hashed(name: str) -> None:
    """A lock holds nothing but exact versions with hashes: no option, no address, no range."""
    lock = tree.text(f"requirements/{name}.txt")
    assert PINNED.sub("", lock).strip() == ""
    assert locked(name)


def test_the_locks_agree() -> None:
    """A package has the same version in every lock, so what is tested is what runs."""
    everything = locked("dev") | locked("ldap")
    for name in LOCKS:
        differing = {package for package, versions in locked(name).items() if versions != everything[package]}
        assert differing == set(), name


def test_the_locks_answer_the_project() -> None:
    """Each requirement of the project is in the lock made for it, at a version that it accepts."""
    document = tomllib.loads(tree.text("pyproject.toml"))
    project, groups = document["project"], document["dependency-groups"]
    extras = project["optional-dependencies"]
    runtime = project["dependencies"] + extras["daemon"]
    asked = {
        "runtime": runtime,
        "verify": project["dependencies"] + extras["verify"],
        "demo": runtime + extras["demo"],
        "otel": runtime + extras["otel"],
        "ldap": extras["ldap"],
        "build": groups["build"],
    }
    unmet = [
        f"{name}: {line}"
        for name, lines in asked.items()
        for line in lines
        for requirement in [Requirement(line)]
        if not any(
            requirement.specifier.contains(v) for v in locked(name).get(canonicalize_name(requirement.name), set())
        )
    ]
    assert unmet == []
