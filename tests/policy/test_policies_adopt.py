"""`policies adopt`, `bundle` and `revisions` with the real git and OPA: what comes into force, and what never does."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.adapters.policy_files import load_policies
from reconciler.adapters.regal import find_regal
from reconciler.cli import policies_adopt
from reconciler.cli.main import run
from reconciler.policies.revisions import git_folder
from tests import output_schemas, peers
from tests.diagnostics import diagnostics
from tests.small_policies import small_policies
from tests.worlds import POLICIES

REGAL_REPORT = Path(__file__).parent.parent / "regal_report.json"
RULE = Path("access") / "rules" / "leaver" / "leaver.rego"


class Installation:
    """A configuration, and a repository whose policy folder is not the one that is followed."""

    def __init__(self, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.root = root
        self.capsys = capsys
        self.followed = Path(shutil.copytree(POLICIES, root / "followed"))
        (root / "repo").mkdir()
        self.repo = small_policies(root / "repo")
        self.config = root / "access-reconciler.yaml"
        self.configure()
        self.git("init", "--quiet", "--initial-branch=main")
        self.first = self.commit()

    def configure(self, **adoption: Any) -> None:
        """Write the configuration; revisions of the small repository are believed where the test is not about that."""
        settings = {"roster": {"path": "roster.csv"}, "policies": "followed", "adoption": adoption}
        self.config.write_text(json.dumps(settings))

    def git(self, *arguments: str) -> str:
        """Run git in the repository."""
        who = ("-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false")
        done = subprocess.run(
            [peers.require("git"), *who, *arguments], cwd=self.repo.parent, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def commit(self) -> str:
        """Commit everything, and return the commit."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "policies")
        return self.git("rev-parse", "HEAD")

    def threshold(self, days: int) -> str:
        """Change a threshold, and return the digest of the revision that makes."""
        path = self.repo / "access" / "config" / "data.json"
        data = json.loads(path.read_text())
        data["leaver"]["grace_days"] = days
        path.write_text(json.dumps(data))
        return load_policies(self.repo).digest

    def adopt(self, source: str, *more: str, code: int = 0) -> dict[str, Any]:
        """Adopt, and return the document, which is as its schema says."""
        given = ["policies", "adopt", source, "--config", str(self.config), "--output", "json", *more]
        assert run(given) == code, self.capsys.readouterr().err
        document: dict[str, Any] = json.loads(self.capsys.readouterr().out)
        assert output_schemas.problems("policies-adopt", document) == []
        return document

    def revisions(self) -> dict[str, Any]:
        """Return what stands, as its schema says."""
        assert run(["policies", "revisions", "--config", str(self.config), "--output", "json"]) == 0
        document: dict[str, Any] = json.loads(self.capsys.readouterr().out)
        assert output_schemas.problems("policies-revisions", document) == []
        return document


@pytest.fixture
def place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Installation]:
    """An installation that has adopted nothing yet, and examines nothing unless a test says so."""
    made = Installation(tmp_path, capsys)
    made.configure(examine=False)
    with diagnostics():
        yield made


def test_a_linter_on_the_path_refuses_no_revision(place: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Regal helps whoever writes a rule; which version of it lies on a host decides nothing there."""
    program = place.repo.parent / "regal"
    program.write_text(f"#!/bin/sh\ncat {REGAL_REPORT}\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    place.configure()
    assert find_regal() == program
    assert place.adopt(f"{place.repo}@main")["pinned"]


def test_a_git_revision_is_adopted_checked_and_tested(place: Installation) -> None:
    """The real check and test let the good one pass; a commit that breaks a rule is refused, and the good one stays."""
    place.configure()
    good = place.adopt(f"{place.repo}@main")
    assert (good["git_commit"], good["pinned"], good["key_id"]) == (place.first, True, "")
    rule = place.repo / RULE
    rule.write_text(rule.read_text() + "\nbroken := input.unit.nothing_like_it\n")
    place.commit()
    refused = place.adopt(f"{place.repo}@main", code=2)
    assert "access/rules/leaver/leaver.rego:" in refused["reason"]
    assert refused["in_force"] == good["digest"]
    standing = place.revisions()
    assert standing["in_force"]["digest"] == good["digest"]
    assert [(one["accepted"], bool(one["reasons"])) for one in standing["attempts"]] == [(False, True), (True, False)]


def test_going_back_is_adopting_the_older_one(place: Installation) -> None:
    """The older revision is adopted by its commit, and what was in force before is remembered."""
    first = place.adopt(f"{place.repo.parent}@main")["digest"]
    place.threshold(3)
    place.commit()
    second = place.adopt(f"{place.repo.parent}@main")["digest"]
    assert second != first
    assert place.adopt(f"{place.repo}@{place.first}")["digest"] == first
    assert place.revisions()["before"] == second


def test_a_folder_with_changes_is_told_of(place: Installation) -> None:
    """A dirty tree is adopted by its digest, with a warning; a clean one by its commit; the followed one unpinned."""
    clean = place.adopt(str(place.repo))
    assert (clean["git_commit"], clean["warnings"]) == (place.first, [])
    digest = place.threshold(4)
    dirty = place.adopt(str(place.repo))
    assert (dirty["digest"], dirty["git_commit"], dirty["pinned"]) == (digest, "", True)
    assert "holds changes that no commit does" in dirty["warnings"][0]
    assert place.adopt(str(place.followed))["pinned"] is False


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("{repo}@no-such-revision", "git does not know it"),
        ("{repo}@--upload-pack=x", "git does not know it"),
        ("{root}/nowhere", "no such folder"),
        ("{root}/nowhere@main", "git does not know it"),
    ],
)
def test_a_source_that_there_is_not(source: str, told: str, place: Installation) -> None:
    """An unknown revision or folder is named, and changes nothing."""
    named = source.format(repo=place.repo, root=place.root)
    assert run(["policies", "adopt", named, "--config", str(place.config)]) == 1
    assert told in place.capsys.readouterr().err
    assert place.revisions() == {"in_force": None, "before": None, "attempts": []}


def test_without_git_a_revision_cannot_be_had(place: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without git says so; folders are adopted there as anywhere."""
    monkeypatch.setenv("PATH", "/nonexistent")
    assert run(["policies", "adopt", f"{place.repo}@main", "--config", str(place.config)]) == 1
    assert "git is not installed" in place.capsys.readouterr().err
    adopted = place.adopt(str(place.repo))
    assert (adopted["git_commit"], adopted["warnings"]) == ("", [])


@pytest.mark.parametrize("ruin", ["half", "link", "no_driver"])
def test_a_folder_that_is_no_policy_folder(ruin: str, place: Installation) -> None:
    """Half a folder, or one that links out of itself, never comes into force."""
    rule = place.repo / RULE
    if ruin == "half":
        rule.write_text(rule.read_text()[:100])
    elif ruin == "link":
        rule.rename(place.root / "outside.rego")
        rule.symlink_to(place.root / "outside.rego")
    else:
        (place.repo / "access" / "driver.rego").unlink()
    assert run(["policies", "adopt", str(place.repo), "--config", str(place.config)]) in {1, 2}
    assert place.revisions()["in_force"] is None


def test_a_link_in_git_is_a_text(place: Installation) -> None:
    """A link that was committed leads nowhere when the revision is taken out: it is the text of its target."""
    (place.repo / "waivers" / "x.yaml").symlink_to("/etc/passwd")
    place.commit()
    with git_folder("main", place.repo) as (found, _):
        link = found / "waivers" / "x.yaml"
        assert not link.is_symlink()
        assert link.read_text() == "/etc/passwd"


def test_a_signed_bundle_is_adopted_by_its_key(place: Installation) -> None:
    """A bundle that was made here is adopted with the id of its key; with another key it is refused by name."""
    key, public = place.root / "key.pem", place.root / "key.pub"
    openssl = peers.require("openssl")
    subprocess.run([openssl, "ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", key], check=True)
    subprocess.run([openssl, "ec", "-in", key, "-pubout", "-out", public], check=True, capture_output=True)
    bundle = str(place.root / "policies.tar.gz")
    made = ["--signing-key", str(key), "--key-id", "policies-1", "--folder", str(place.repo), "--output", "json"]
    assert run(["policies", "bundle", bundle, *made, "--config", str(place.config)]) == 0
    document = json.loads(place.capsys.readouterr().out)
    assert output_schemas.problems("policies-bundle", document) == []
    assert (document["git_commit"], document["key_id"]) == (place.first, "policies-1")
    place.configure(examine=False, verification_key="key.pub", verification_key_id="policies-1")
    adopted = place.adopt(bundle)
    assert (adopted["key_id"], adopted["digest"]) == ("policies-1", load_policies(place.repo).digest)
    place.configure(examine=False, verification_key="key.pub")
    assert "names the key policies-1" in place.adopt(bundle, code=2)["reason"]
    assert run(["policies", "adopt", str(place.root / "gone.tar.gz"), "--config", str(place.config)]) == 2
    place.configure(examine=False)
    assert run(["policies", "adopt", bundle, "--config", str(place.config)]) == 1
    assert "no key to verify the bundle by" in place.capsys.readouterr().err
    assert place.revisions()["in_force"]["digest"] == adopted["digest"]


def digests(answers: list[str]) -> Callable[..., str]:
    """Return a difference that gives one digest after the other."""
    return lambda *_: answers.pop(0)


def test_adopted_by_the_digest_of_its_difference(place: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """The difference is worked out again; another one than was looked at is refused, and remembered as tried."""
    looked_at, other = "sha256:" + "a" * 64, "sha256:" + "b" * 64
    monkeypatch.setattr(policies_adopt, "_digest", digests([looked_at, other]))
    given = ("--diff-digest", looked_at, "--snapshot", "snapshot.json")
    assert place.adopt(str(place.repo), *given)["diff_digest"] == looked_at
    place.threshold(9)
    refused = place.adopt(str(place.repo), *given, code=2)
    assert f"the difference is {other}, not {looked_at}" in refused["reason"]
    assert run(["policies", "adopt", str(place.repo), "--config", str(place.config), *given[:2]]) == 1
    assert "--diff-digest and --snapshot go together" in place.capsys.readouterr().err


def test_people_are_told(place: Installation) -> None:
    """Without JSON the same is said in words."""
    given = ["--config", str(place.config)]
    assert run(["policies", "revisions", *given]) == 0
    assert "nothing was adopted yet" in place.capsys.readouterr().out
    assert run(["policies", "adopt", str(place.repo), *given]) == 0
    assert "the first of which observes" in place.capsys.readouterr().out
    (place.repo / "access" / "driver.rego").unlink()
    assert run(["policies", "adopt", f"{place.repo}@main", *given]) == 0
    assert run(["policies", "revisions", *given]) == 0
    assert "stays until another one is adopted" in place.capsys.readouterr().out
