"""No condition of a rule is there for nothing: negate any one of them, and the policy tests fail."""

import base64
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
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


class Library:
    """A copy of the library in which one condition at a time is turned into its opposite."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "access"
        shutil.copytree(ACCESS, self.folder)

    def survives(self, module: str, condition: Condition) -> bool:
        """Say whether every policy test passes without this condition; what no longer compiles is an error."""
        file = self.folder / module
        source = file.read_text()
        file.write_text(condition.turned(source))
        tried = opa("test", str(self.folder))
        if tried.returncode == 1:
            compiled = opa("check", str(self.folder))
            assert compiled.returncode == 0, f"{module}:{condition.row}: {compiled.stderr}"
        file.write_text(source)
        return tried.returncode == 0


def test_a_condition_of_each_rule_is_missed(tmp_path: Path) -> None:
    """One condition of every module of the library, another one whenever the module changes: a test misses it."""
    library = Library(tmp_path)
    chosen = {
        module: min(found, key=lambda one: sha256(f"{one.text}{(ACCESS / module).read_text()}".encode()).digest())
        for module in MODULES
        if (found := conditions_of(module))
    }
    assert len(chosen) == len(MODULES) >= len(list((ACCESS / "rules").iterdir()))
    unseen = [f"{module}:{one.row}: {one.text}" for module, one in chosen.items() if library.survives(module, one)]
    assert unseen == []


@pytest.mark.proof
@pytest.mark.parametrize("module", MODULES)
def test_no_condition_can_be_negated_unseen(module: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each condition turned into its opposite still compiles, and at least one policy test fails."""
    library = Library(tmp_path)
    assert opa("test", str(library.folder)).returncode == 0
    found = conditions_of(module)
    unseen = [f"{module}:{one.row}: {one.text}" for one in found if library.survives(module, one)]
    with capsys.disabled():
        sys.stdout.write(f"\n{module}: {len(found)} mutants, {len(unseen)} survived\n")
    assert unseen == []


def test_every_kind_of_condition_is_found(tmp_path: Path) -> None:
    """Bodies of rules, branches, functions, comprehensions and `every` are gone into; assignments cannot be negated."""
    module = tmp_path / "kinds.rego"
    module.write_text(
        """package kinds

a if input.one

b := 1 if {
	not input.two
} else := 2 if {
	input.three == 3
}

c(x) if x in input.four

d := [1 | some y in input.five; y > 5]

e contains z if {
	some z in input.six
	every w in input.seven {
		w != 7
	}
	v := {k: 1 | some k in input.eight; k == 8}
	count(v) > 9
}
"""
    )
    parsed = opa("parse", "--format", "json", "--json-include", "locations", str(module))
    texts = {one.text for one in conditions(json.loads(parsed.stdout))}
    told = {"input.one", "not input.two", "input.three == 3", "x in input.four", "y > 5", "w != 7", "k == 8"}
    assert {one for one in texts if not one.startswith("every ")} == told | {"count(v) > 9"}
    assert any(one.startswith("every ") for one in texts)
