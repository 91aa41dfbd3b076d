"""The policies of this repository under OPA's own gates, and in step with types and pages."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from reconciler.adapters.embedded_rego import ALLOWED_BUILTINS
from reconciler.adapters.waiver_files import load_waivers
from reconciler.core.builtins import FORBIDDEN_BUILTINS
from reconciler.core.metadata import RULES
from reconciler.core.schemas import published_schemas
from scripts.rule_pages import CATALOGUE, catalogue, pages
from tests import peers
from tests.builders import NOW
from tests.policy.write_capabilities import written
from tests.worlds import POLICIES, starter

PAGES = POLICIES.parent / "docs" / "rules"


def opa(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `opa` from the root of the project."""
    command = [peers.require("opa"), *arguments]
    return subprocess.run(command, cwd=POLICIES.parent, capture_output=True, text=True, timeout=60, check=False)


def test_every_line_of_every_policy_is_tested() -> None:
    """`opa test` passes and covers 100 % of policies and their tests."""
    done = opa("test", "--bundle", "policies", "--coverage", "--threshold", "100")
    assert done.returncode == 0, opa("test", "--bundle", "policies").stdout + done.stderr
    assert json.loads(done.stdout)["coverage"] == 100


def test_policies_are_strict_and_fit_their_schemas() -> None:
    """`opa check --strict` with the published schemas finds no reference to a field that does not exist."""
    done = opa("check", "--strict", "--bundle", "policies", "--schema", "policies/schemas")
    assert done.returncode == 0, done.stderr


def test_the_schemas_really_bite(tmp_path: Path) -> None:
    """A misspelt field of input or config is an error, so that the check above means something."""
    for right, wrong in (("input.unit.candidates", "input.unit.candidate"), ("usual.account_effect)", "usual.effect)")):
        copy = tmp_path / wrong
        source = (POLICIES / "access/rules/leaver/leaver.rego").read_text()
        assert right in source
        for name, text in starter().modules:
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_text(text.replace(right, wrong) if "leaver" in name else text)
        done = opa("check", "--strict", "--schema", "policies/schemas", str(copy))
        assert done.returncode != 0
        assert "undefined ref" in done.stderr


def test_policies_are_formatted() -> None:
    """`opa fmt` would change nothing."""
    done = opa("fmt", "--fail", "--list", "policies")
    assert (done.returncode, done.stdout) == (0, "")


def test_policies_need_no_forbidden_builtin() -> None:
    """The policies compile where clock, network, environment and dice do not exist, and so does the embedded engine."""
    done = opa("check", "--bundle", "policies", "--capabilities", "policies/capabilities.json")
    assert done.returncode == 0, done.stderr
    assert not ALLOWED_BUILTINS & FORBIDDEN_BUILTINS


def test_the_capabilities_are_those_of_the_pinned_opa() -> None:
    """`policies/capabilities.json` is what tests/policy/write_capabilities.py writes from OPA's own list."""
    assert (POLICIES / "capabilities.json").read_text(encoding="utf-8") == written()


def test_everything_that_depends_on_more_than_its_input_is_forbidden() -> None:
    """What OPA calls nondeterministic, and all of network, dice, clock and environment, exists and is left out."""
    builtins = {one["name"]: one for one in json.loads(opa("capabilities", "--current").stdout)["builtins"]}
    assert set(builtins) >= FORBIDDEN_BUILTINS
    apart = ("http.", "net.", "rand.", "uuid.", "opa.", "time.now")
    doubtful = {name for name, one in builtins.items() if one.get("nondeterministic") or name.startswith(apart)}
    assert doubtful - FORBIDDEN_BUILTINS == set()
    left = {one["name"] for one in json.loads((POLICIES / "capabilities.json").read_text())["builtins"]}
    assert left == set(builtins) - FORBIDDEN_BUILTINS


def test_schemas_are_those_of_the_types() -> None:
    """`policies/schemas` is what tests/policy/write_schemas.py writes from the Python types."""
    held = {file.name: file.read_text() for file in (POLICIES / "schemas").iterdir()}
    assert held == published_schemas()


def codes_of(rule: str) -> set[str]:
    """Return every code that the METADATA of a rule declares."""
    source = dict(starter().modules)[f"{RULES}{rule}/{rule}.rego"]
    block = source.split("# METADATA\n")[1].split("\npackage ")[0]
    custom = yaml.safe_load("\n".join(line.removeprefix("#").removeprefix(" ") for line in block.splitlines()))[
        "custom"
    ]
    return {custom["code"], *custom.get("codes", [])}


@pytest.mark.parametrize("rule", [rule.rule_id for rule in starter().rules])
def test_every_code_is_declared_and_explained(rule: str) -> None:
    """A rule's page explains each code that its METADATA declares, and its module names no other."""
    declared = codes_of(rule)
    page = (PAGES / f"{rule}.md").read_text()
    assert [code for code in sorted(declared) if f"`{code}`" not in page] == []
    source = dict(starter().modules)[f"{RULES}{rule}/{rule}.rego"].split("\npackage ")[1]
    named = set(re.findall(rf'"({rule}(?:_[a-z_]+)?)"', source))
    assert named == declared


@pytest.mark.parametrize("name", pages())
def test_a_page_is_what_its_rule_says(name: str) -> None:
    """Each page is written from METADATA and thresholds: write them anew by `python scripts/rule_pages.py`."""
    assert (PAGES / name).read_text() == pages()[name]


def test_the_pages_are_those_of_the_rules() -> None:
    """No page is left of a rule that is gone, and the catalogue lists every rule."""
    assert {page.name for page in PAGES.iterdir()} == set(pages())
    assert CATALOGUE.read_text() == catalogue(CATALOGUE.read_text())


def test_every_code_says_when_it_is_given() -> None:
    """The METADATA of the rules that come with the product explains every code."""
    silent = [code for rule in starter().rules for code, when in rule.codes if not when]
    assert silent == []


def test_the_starter_waives_nothing() -> None:
    """The repository ships no waiver."""
    assert load_waivers(POLICIES, NOW) == ()
