"""No condition of a rule is there for nothing: negate any one of them, and the policy tests fail."""

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import peers
from tests.worlds import POLICIES

ACCESS = POLICIES / "access"
MODULES = sorted(
    file.relative_to(ACCESS).as_posix()
    for folder in ("lib", "rules")
    for file in (ACCESS / folder).rglob("*.rego")
    if not file.name.endswith("_test.rego")
)


def opa(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `opa`."""
    return subprocess.run([peers.require("opa"), *arguments], capture_output=True, text=True, timeout=60, check=False)


@dataclass(frozen=True)
class Condition:
    """An expression of a body, and where it stands in the source."""

    row: int
    column: int
    text: str
    negated: bool

    def turned(self, source: str) -> str:
        """Return the source with this one condition turned into its opposite."""
        lines = source.splitlines(keepends=True)
        start = sum(map(len, lines[: self.row - 1])) + self.column - 1
        assert source[start:].startswith(self.text)
        opposite = self.text.removeprefix("not ") if self.negated else f"not {self.text}"
        return source[:start] + opposite + source[start + len(self.text) :]


def conditions(node: Any) -> Iterator[Condition]:
    """Yield what a syntax tree asks in any body: of rules, of `else` branches and of comprehensions."""
    if isinstance(node, dict):
        for expression in node.get("body", ()):
            if asks(expression):
                place = expression["location"]
                text = base64.b64decode(place["text"]).decode()
                yield Condition(place["row"], place["col"], text, bool(expression.get("negated")))
    for below in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from conditions(below)


def asks(expression: dict[str, Any]) -> bool:
    """Say whether an expression can be negated: not an assignment, nor `some … in`, which give a name to something."""
    terms = expression["terms"]
    if expression.get("generated") or (isinstance(terms, dict) and "symbols" in terms):
        return False
    if not isinstance(terms, list):
        return True
    first = terms[0]["value"]
    return not (isinstance(first, list) and first[0]["value"] == "assign")


def conditions_of(module: str) -> list[Condition]:
    """Return the conditions of a module of the library."""
    parsed = opa("parse", "--format", "json", "--json-include", "locations", str(ACCESS / module))
    assert parsed.returncode == 0, parsed.stderr
    return sorted(set(conditions(json.loads(parsed.stdout))), key=lambda one: (one.row, one.column))


def test_each_rule_asks_something() -> None:
    """The walk finds the conditions that a reader counts, so that the proof below proves something."""
    found = conditions_of("rules/unowned_service_account/unowned_service_account.rego")
    assert [one.text for one in found] == [
        'input.unit.correlation.state == "orphan"',
        "input.unit.principal.kind in lib.machine_kinds",
    ]
    leaver = [one.text for one in conditions_of("rules/leaver/leaver.rego")]
    assert "not lib.lapsed(lib.worker)" in leaver
    assert "lib.left(data.roster.workers[holder])" in leaver
    assert 'doubt != "none"' in leaver


@pytest.mark.proof
@pytest.mark.parametrize("module", MODULES)
def test_no_condition_can_be_negated_unseen(module: str, tmp_path: Path) -> None:
    """Each condition turned into its opposite still compiles, and at least one policy test fails."""
    shutil.copytree(ACCESS, tmp_path / "access")
    tested = tmp_path / "access"
    file = tested / module
    source = file.read_text()
    assert opa("test", str(tested)).returncode == 0
    unseen = []
    for condition in conditions_of(module):
        file.write_text(condition.turned(source))
        compiled = opa("check", str(tested))
        assert compiled.returncode == 0, f"{module}:{condition.row}: {compiled.stderr}"
        if opa("test", str(tested)).returncode == 0:
            unseen.append(f"{module}:{condition.row}: {condition.text}")
    assert unseen == []
