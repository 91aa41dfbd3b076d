"""The size caps and the names that no module may have."""

import ast
from pathlib import PurePath

from tests.architecture import tree

MODULE_LINES = 400
FUNCTION_LINES = 50
FORBIDDEN_NAMES = {"base", "common", "core_utils", "helper", "helpers", "manager", "managers", "misc", "util", "utils"}


def test_modules_stay_under_the_cap() -> None:
    """No module, test modules included, is longer than 400 lines."""
    lengths = {name: tree.text(name).count("\n") for name in tree.sources(*tree.PACKAGES, "tests", "bench")}
    assert {name: length for name, length in lengths.items() if length > MODULE_LINES} == {}


def test_functions_stay_under_the_cap() -> None:
    """No function is longer than 50 lines."""
    found = {
        name: tree.long_functions(tree.text(name), FUNCTION_LINES) for name in tree.sources(*tree.PACKAGES, "tests")
    }
    assert {name: functions for name, functions in found.items() if functions} == {}


def test_a_function_over_the_cap_is_found() -> None:
    """The cap counts the body, so that one line more is reported."""
    source = "def long():\n" + "    x = 1\n" * 50
    assert tree.long_functions(source, 50) == ["1 long: 51 lines"]
    assert tree.long_functions(source, 51) == []


def test_no_module_has_a_name_that_says_nothing() -> None:
    """A module or folder is named after what it holds, never `utils` and the like."""
    parts = {
        name: set(PurePath(name).with_suffix("").parts) & FORBIDDEN_NAMES
        for name in tree.sources(*tree.PACKAGES, "tests")
    }
    assert {name: bad for name, bad in parts.items() if bad} == {}


def test_the_packages_import_nothing_when_opened() -> None:
    """`import inventory.model` runs `inventory/__init__.py`, so an import there would end the purity of the core."""
    for package in tree.PACKAGES:
        body = ast.parse(tree.text(f"{package}/__init__.py")).body
        assert [type(node).__name__ for node in body] == ["Expr"], package


def test_test_modules_have_unique_names() -> None:
    """Two test modules of one name would hide each other from whoever reads a report."""
    names = [PurePath(name).name for name in tree.sources("tests") if PurePath(name).name.startswith("test_")]
    assert sorted(names) == sorted(set(names))


def test_every_test_states_its_promise() -> None:
    """Each test function has a docstring whose first line is one sentence."""
    silent = []
    for name in tree.sources("tests"):
        for function in tree.test_functions(tree.text(name)):
            first = (ast.get_docstring(function) or "").split("\n\n")[0].strip()
            if not first.endswith("."):
                silent.append(f"{name}:{function.lineno} {function.name}")
    assert silent == []
