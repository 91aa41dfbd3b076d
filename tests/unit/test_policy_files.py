"""Policy folders and waivers read from disk: whole and right, or refused by file."""

import json
import shutil
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import jsonschema
import pytest
import yaml

from reconciler.adapters.policy_files import load_policies
from reconciler.adapters.waiver_files import load_waivers
from reconciler.core.errors import PolicyError
from reconciler.core.metadata import policy_digest
from reconciler.core.schemas import published_schemas
from tests.builders import NOW, credential, finding
from tests.worlds import POLICIES, rule_source


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give each test a copy of the policies to spoil."""
    copy = tmp_path / "policies"
    shutil.copytree(POLICIES, copy)
    return copy


def test_the_starter_policies(folder: Path) -> None:
    """Rules, sources without tests, thresholds and a digest that can be computed from them."""
    policies = load_policies(folder)
    rules = [rule.rule_id for rule in policies.rules]
    assert rules == sorted(folder.name for folder in (POLICIES / "access/rules").iterdir())
    assert {"contractor_ended", "leaver", "orphan", "stale_credential"} <= set(rules)
    assert not [name for name, _ in policies.modules if "test" in name]
    assert json.loads(policies.data)["access"]["config"]["leaver"]["account_effect"] == "quarantine"
    assert policies.digest == policy_digest(policies.modules, policies.data)
    assert policies.git_commit == ""


def test_only_what_decides_is_in_the_digest(folder: Path) -> None:
    """A test or a page changes nothing; a threshold or a comment in a rule does."""
    before = load_policies(folder).digest
    (folder / "access/rules/leaver/more_test.rego").write_text("package access.rules.leaver_test\n")
    (folder / "waivers/README.md").write_text("other words\n")
    assert load_policies(folder).digest == before
    config = folder / "access/config/data.json"
    config.write_text(config.read_text().replace("90", "91"))
    changed = load_policies(folder).digest
    assert changed != before
    driver = folder / "access/driver.rego"
    driver.write_text(driver.read_text() + "# more\n")
    assert load_policies(folder).digest not in {before, changed}


def spoil_config(change: Callable[[dict[str, object]], object]) -> Callable[[Path], None]:
    """Make a change to data.json."""

    def spoil(folder: Path) -> None:
        file = folder / "access/config/data.json"
        config = json.loads(file.read_text())
        change(config)
        file.write_text(json.dumps(config))

    return spoil


def others(sections: dict[str, object]) -> Callable[[Path], None]:
    """Give a provider instance thresholds of its own."""
    return spoil_config(lambda config: config.update(providers={"corp-aws": sections}))


def write(name: str, text: str) -> Callable[[Path], None]:
    """Write a file."""

    def spoil(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)

    return spoil


def remove(*names: str) -> Callable[[Path], None]:
    """Remove files or folders."""

    def spoil(folder: Path) -> None:
        for name in names:
            shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()

    return spoil


def link_outside(folder: Path) -> None:
    """Put a link to a file elsewhere where a rule would be."""
    (folder.parent / "elsewhere.rego").write_text(rule_source("out", ""))
    (folder / "access/rules/out").mkdir()
    (folder / "access/rules/out/out.rego").symlink_to(folder.parent / "elsewhere.rego")


def leave_bytes(folder: Path) -> None:
    """Put bytes that are no text where a helper is."""
    (folder / "access/lib/lib.rego").write_bytes(b"\xff\xfe")


SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (remove("."), "no such folder"),
    "no driver": (remove("access/driver.rego"), "access/driver.rego is missing"),
    "no rule": (remove("access/rules"), "no rule"),
    "no thresholds": (remove("access/config"), "thresholds"),
    "a module elsewhere": (write("extra/x.rego", "package extra\n"), "extra/x.rego:1: .*below access"),
    "a link outside": (link_outside, "access/rules/out/out.rego:1: .*leads out"),
    "bytes": (leave_bytes, "access/lib/lib.rego:1: .*UTF-8"),
    "too large": (write("access/lib/lib.rego", "#" * 1_000_001), "access/lib/lib.rego:1: .*larger"),
    "no JSON": (write("access/config/data.json", "{\n1"), "access/config/data.json:2"),
    "no object": (write("access/config/data.json", "[]"), "access/config/data.json:1: .*object"),
    "a key twice": (write("access/config/data.json", '{"a": 1, "a": 2}'), "twice"),
    "nested": (write("access/config/data.json", '{"a":' * 100_000), "access/config/data.json"),
    "said twice": (write("access/data.json", '{"config": {}}'), "data.json"),
    "no schema": (spoil_config(lambda config: config.pop("schema")), "data.json:1: schema"),
    "a section missing": (spoil_config(lambda config: config.pop("orphan")), "'orphan'"),
    "a section null": (spoil_config(lambda config: config.update(orphan=None)), "orphan: .*dictionary"),
    "an effect nobody knows": (
        spoil_config(lambda config: config.update(orphan={"effect": "erase"})),
        "orphan.effect: .*'keep', 'review', 'quarantine' or 'revoke'",
    ),
    "a key misspelt": (
        spoil_config(lambda config: config.update(orphan={"effect": "keep", "efect": "keep"})),
        "orphan.efect: there is no such threshold; did you mean 'effect'",
    ),
    "a key nobody knows": (
        spoil_config(lambda config: config.update(orphan={"effect": "keep", "colour": "red"})),
        "orphan.colour: there is no such threshold; known are effect",
    ),
    "a key missing": (spoil_config(lambda config: config.update(leaver_due={})), "leaver_due.days_ahead: .*required"),
    "another provider's null": (others({"orphan": {"effect": None}}), "providers.corp-aws.orphan.effect: "),
    "another provider's misspelt key": (
        others({"dormant": {"max_idle_day": 3}}),
        "providers.corp-aws.dormant.max_idle_day: .*did you mean 'max_idle_days'",
    ),
    "another provider's misspelt section": (others({"orphans": {"effect": "keep"}}), "no section 'orphans'"),
    "another provider's own key": (
        lambda folder: (
            spoil_config(lambda config: config.update(mine={"limit": 3}))(folder),
            others({"mine": {"limits": 4}})(folder),
        ),
        "section 'mine' has no 'limits'",
    ),
    "zero days": (
        spoil_config(
            lambda config: config.update(stale_credential={"effect": "keep", "max_idle_days": 0, "kinds": ["password"]})
        ),
        "max_idle_days",
    ),
}


@pytest.mark.parametrize(("spoil", "says"), SPOILT.values(), ids=list(SPOILT))
def test_a_spoilt_folder_is_refused(folder: Path, spoil: Callable[[Path], object], says: str) -> None:
    """Nothing is loaded from a folder with anything wrong in it, and the error says where."""
    spoil(folder)
    with pytest.raises(PolicyError, match=says):
        load_policies(folder)


def test_a_section_of_ones_own(folder: Path) -> None:
    """Thresholds of further rules are data like the others."""
    spoil_config(lambda config: config.update(mine={"limit": 3}))(folder)
    others({"mine": {"limit": 4}, "orphan": {"effect": "keep"}})(folder)
    config = json.loads(load_policies(folder).data)["access"]["config"]
    assert (config["mine"], config["providers"]["corp-aws"]["mine"]) == ({"limit": 3}, {"limit": 4})


def test_the_commit_is_told_only_when_it_is_what_is_read(folder: Path) -> None:
    """A clean checkout names its commit; one change on top, and no commit is claimed."""
    git = shutil.which("git")
    if git is None:
        pytest.skip("git is not installed")

    def run(*arguments: str) -> str:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"]
        command = [git or "git", "-C", str(folder), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    run("init", "--quiet")
    run("add", ".")
    run("commit", "--quiet", "--message", "policies")
    assert load_policies(folder).git_commit == run("rev-parse", "HEAD")
    (folder / "access/rules/leaver/new.rego").write_text("package access.rules.leaver\n")
    assert load_policies(folder).git_commit == ""


WAIVER = {
    "id": "W1",
    "rule": "leaver",
    "provider": "corp-aws",
    "principal_id": "alice",
    "reason": "Swap on the 20th.",
    "owner": "payments",
    "approved_by": "ciso",
    "expires_at": "2026-03-20T18:00:00+01:00",
}


def write_waivers(folder: Path, *entries: dict[str, str]) -> None:
    """Write one file of waivers."""
    (folder / "waivers/some.yaml").write_text(yaml.safe_dump({"waivers": [dict(entry) for entry in entries]}))


def test_a_waiver_covers_what_it_names_until_it_expires(folder: Path) -> None:
    """Another principal, another rule or another instant is not covered."""
    write_waivers(folder, WAIVER)
    (waiver,) = load_waivers(folder, NOW)
    key = finding(credential("alice"))
    assert waiver.covers(key, NOW)
    assert not waiver.covers(finding(credential("bob")), NOW)
    assert not waiver.covers(finding(credential("alice"), rule="orphan"), NOW)
    assert not waiver.covers(key, waiver.expires_at)
    assert waiver.covers(key, waiver.expires_at - timedelta(microseconds=1))


def test_an_expired_waiver_is_still_counted(folder: Path) -> None:
    """It waives nothing and stays in the record."""
    write_waivers(folder, WAIVER | {"expires_at": "2026-01-01T00:00:00Z"})
    (waiver,) = load_waivers(folder, NOW)
    assert not waiver.covers(finding(credential("alice")), NOW)


def test_the_example_of_the_readme_is_a_waiver(folder: Path) -> None:
    """What the page shows can be copied, and fits the published schema."""
    example = (POLICIES / "waivers/README.md").read_text().split("```yaml\n")[1].split("```")[0]
    (folder / "waivers/example.yaml").write_text(example)
    assert [waiver.waiver_id for waiver in load_waivers(folder, NOW)] == ["W-2026-014"]
    text = yaml.load(example, Loader=yaml.BaseLoader)  # noqa: S506 - knows text, lists and mappings only
    jsonschema.validate(text, json.loads(published_schemas()["waivers.schema.json"]))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"approved_by": "payments"}, "somebody else"),
        ({"approved_by": " PAYMENTS "}, "somebody else"),
        ({"expires_at": "2026-06-01T00:00:00Z"}, "90 days"),
        ({"expires_at": "2026-03-20"}, "zone"),
        ({"expires_at": "soon"}, "expires_at"),
        ({"reason": " "}, "reason"),
        ({"owner": None}, "owner"),
        ({"id": None}, "id"),
        ({"rule": None}, "rule"),
        ({"provider": None}, "provider"),
        ({"principal_id": None}, "names an access_id"),
        ({"colour": "red"}, "colour"),
    ],
    ids=str,
)
def test_a_malformed_waiver_is_refused(folder: Path, changes: dict[str, str | None], says: str) -> None:
    """Nothing is waived by a waiver that is not whole; the error names the file."""
    merged = WAIVER | {key: value for key, value in changes.items() if value is not None}
    write_waivers(folder, {key: value for key, value in merged.items() if changes.get(key, value) is not None})
    with pytest.raises(PolicyError, match=says) as caught:
        load_waivers(folder, NOW)
    assert str(caught.value).startswith("waivers/some.yaml:")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- a",
        "waivers: none",
        "other: []",
        "waivers: [a: b",
        "waivers: &x [*x]",
        "waivers: !!python/object/apply:os.system [true]",
        "[" * 5_000,
        "waivers: []\nwaivers: []",
    ],
    ids=range(9),
)
def test_a_waiver_file_that_is_none_is_refused(folder: Path, text: str) -> None:
    """Broken, doubled, aliased or hostile YAML names its file and runs nothing."""
    (folder / "waivers/some.yaml").write_text(text)
    with pytest.raises(PolicyError, match=r"waivers/some\.yaml"):
        load_waivers(folder, NOW)


def test_one_id_for_one_waiver(folder: Path) -> None:
    """Two waivers of one id, in one file or two, are refused."""
    write_waivers(folder, WAIVER, WAIVER)
    with pytest.raises(PolicyError, match="twice"):
        load_waivers(folder, NOW)


def test_no_waivers_are_none(tmp_path: Path) -> None:
    """A policy folder without waivers waives nothing."""
    assert load_waivers(tmp_path, NOW) == ()
