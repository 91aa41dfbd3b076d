"""The roster page names every code that the source can give, every column and every setting, and no others."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import inventory.roster
from inventory.roster.csv_settings import Column, CsvRosterSettings
from inventory.roster.gate import MASS_TERMINATION, SHRUNKEN, STALE

PAGE = (Path(__file__).parents[2] / "docs" / "roster.md").read_text()
CODE = re.compile(r"[a-z]+(_[a-z]+)+|unreadable|quoting|mojibake")
RAISERS = {"FeedRefused", "NotADate", "note", "_reject"}
COMPUTED = {
    "status_blank",
    "status_unknown",
    "worker_type_unknown",
    STALE,
    SHRUNKEN,
    MASS_TERMINATION,
    "previous_refused",
}
"""Built from a column's name, held in a constant of the gate, or given by the command."""


def _codes(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _name(node.func) in RAISERS:
            yield from (text for argument in node.args[:4] for text in _texts(argument))
        elif isinstance(node, ast.keyword) and node.arg == "code":
            yield from _texts(node.value)
        elif isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple):
            yield from (text for element in node.value.elts[:1] for text in _texts(element))


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _texts(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and CODE.fullmatch(node.value):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from _texts(node.body)
        yield from _texts(node.orelse)


def _given() -> set[str]:
    folder = Path(next(iter(inventory.roster.__path__)))
    return {code for path in folder.glob("*.py") for code in _codes(ast.parse(path.read_text()))} | COMPUTED


def _first_cells(heading: str) -> set[str]:
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return {name for line in lines for name in re.findall(r"`(\w+)`", line.split(" | ")[0])}


def test_every_code_has_a_line_on_the_page() -> None:
    """Whoever meets a code finds it, and no code is documented that nothing gives."""
    documented = {
        code
        for heading in ("The file is refused", "The file is held", "A row is set aside")
        for code in _first_cells(heading)
    }
    assert documented | {"email_unusable"} == _given()
    assert "`email_unusable`" in PAGE


def test_every_column_is_on_the_page() -> None:
    """The table of columns is the canonical list."""
    assert _first_cells("Columns") == {column.value for column in Column}


def test_every_setting_is_on_the_page() -> None:
    """The table of settings is the settings class."""
    assert _first_cells("Settings") == set(CsvRosterSettings.model_fields)
