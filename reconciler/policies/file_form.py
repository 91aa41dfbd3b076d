"""What is wrong with the files of a policy folder before anybody reads them as Rego.

That is: what would be passed over, what a reader cannot see, and tests that test nothing.
"""

import os
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from reconciler.adapters.policy_sources import TEST_SUFFIX, PolicySources
from reconciler.core.metadata import RULES
from reconciler.policies.problems import Problem

_LOOKS_READ: Final = (".rego", ".yaml", ".yml", ".json")
_TEST: Final = re.compile(r"^test_\w*")
_PLANNED: Final = re.compile(r"^todo_test_\w*")
_PACKAGE: Final = re.compile(r"^package\s+(\S+)")


def file_problems(folder: Path, sources: PolicySources) -> Iterator[Problem]:
    """Yield each file or folder that would be passed over, and each character that a reader does not see."""
    yield from _passed_over(folder)
    yield from _empty_rules(folder, sources)
    yield from _misnamed(folder)
    for path, source in (*sources.rego, *sources.data):
        yield from _unseen(path, source)
        yield from _unmerged(path, source)


def _passed_over(folder: Path) -> Iterator[Problem]:
    for place, below, files in os.walk(folder / "access"):
        here = Path(place)
        for name in sorted(below):
            if (here / name).is_symlink():
                yield _place(folder, here / name, "is a link: nothing in it is read", "put the folder itself there")
        for name in sorted(files):
            if name.endswith(".rego") or name == "data.json" or not name.lower().endswith(_LOOKS_READ):
                continue
            advice = "name it `….rego`, or `data.json` for thresholds, or move it out of access/"
            yield _place(
                folder, here / name, "is not read: rules end in `.rego`, thresholds are in `data.json`", advice
            )
    for file in sorted((folder / "access" / "config").rglob("*.rego")):
        told = "writes into the thresholds, data.access.config, which data.json alone gives"
        yield _place(
            folder, file, told, "give the threshold in access/config/data.json, or move the module to access/lib"
        )


def _misnamed(folder: Path) -> Iterator[Problem]:
    """Yield each rule's folder of which no package can have the name."""
    for place in sorted((folder / RULES).iterdir()) if (folder / RULES).is_dir() else ():
        if place.is_dir() and not place.is_symlink() and not is_rule_name(place.name):
            told = "is no name that a rule can have"
            advice = "name folder, files, package and id alike in snake_case, such as old_key; not a word of Rego's own"
            yield _place(folder, place, told, f"{advice}, and without _test at the end")


def is_rule_name(name: str) -> bool:
    """Say whether a folder's name can be that of a rule: its package has it, and `…_test` is that of a rule's tests."""
    return bool(_NAME.match(name)) and name not in _WORDS and not name.endswith("_test")


_NAME: Final = re.compile(r"^[A-Za-z_]\w*$", re.ASCII)
_WORDS: Final = frozenset(
    {"as", "contains", "default", "else", "every", "false", "if", "import", "in", "not", "null", "package", "some"}
    | {"true", "with"}
)
"""Rego's keywords (openpolicyagent.org, Policy Reference: Reserved Names)."""


def _empty_rules(folder: Path, sources: PolicySources) -> Iterator[Problem]:
    held = {path.removeprefix(RULES).split("/")[0] for path, _ in sources.modules}
    held |= {error.path.removeprefix(RULES).split("/")[0] for error in sources.unreadable}
    for place in sorted((folder / RULES).iterdir()) if (folder / RULES).is_dir() else ():
        if place.is_dir() and not place.is_symlink() and place.name not in held:
            yield _place(folder, place, "holds no rule", f"add {place.name}.rego to it, or remove the folder")


def _place(folder: Path, file: Path, message: str, advice: str) -> Problem:
    return Problem(path=file.relative_to(folder).as_posix(), line=1, code="place", message=message, advice=advice)


def _unseen(path: str, source: str) -> Iterator[Problem]:
    """Yield the first character of a file that shows otherwise than it reads, or not at all."""
    for number, line in enumerate(source.split("\n"), start=1):
        for column, char in enumerate(line, start=1):
            ends_line = char == "\r" and column == len(line)
            if char != "\t" and not ends_line and unicodedata.category(char) in {"Cc", "Cf", "Zl", "Zp"}:
                message = f"holds the character U+{ord(char):04X}, which nobody sees"
                advice = "take it out: a reviewer must see what the engine reads"
                yield Problem(path=path, line=number, column=column, code="unreadable", message=message, advice=advice)
                return


def _unmerged(path: str, source: str) -> Iterator[Problem]:
    """Yield the first mark that git leaves where a merge was not finished."""
    for number, line in enumerate(source.split("\n"), start=1):
        if line.startswith(("<<<<<<< ", ">>>>>>> ")):
            told, advice = "holds a merge that was not finished", "choose one of the two texts, and take the marks out"
            yield Problem(path=path, line=number, code="syntax", message=told, advice=advice)
            return


def test_problems(sources: PolicySources) -> Iterator[Problem]:
    """Yield each test module of a rule that tests nothing of it, or stands in another package."""
    for path, source in sources.tests:
        rule, *below = path.removeprefix(RULES).split("/")
        if path.startswith(RULES) and not below:
            told = "a test lies beside its rule, in access/rules/<rule>/"
            yield _test(path, 1, told, "move it into the folder of its rule", code="place")
        elif path.startswith(RULES) and is_rule_name(rule):
            yield from _of_test(path, source.split("\n"), rule)


def _of_test(path: str, lines: list[str], rule: str) -> Iterator[Problem]:
    wanted = f"access.rules.{rule}_test"
    for number, line in enumerate(lines, start=1):
        package = _PACKAGE.match(line)
        if package and package.group(1) != wanted:
            message = f"package {package.group(1)} is not that of the tests of rule {rule}"
            yield _test(path, number, message, f"write: package {wanted}", code="place")
        if _PLANNED.match(line):
            yield _test(path, number, "a test that is only planned tests nothing", "write it, or take it out")
    if not any(_TEST.match(line) for line in lines):
        advice = "write one: test_finds_it if {…}; every test's name begins with test_"
        yield _test(path, 1, f"rule {rule} has no test in its test module", advice)
    elif not any(f"access.rules.{rule}" in line for line in lines if not line.startswith(("package ", "#"))):
        yield _test(
            path, 1, f"the tests never ask rule {rule}", f"import data.access.rules.{rule} and hold its findings"
        )


def _test(path: str, line: int, message: str, advice: str, *, code: str = "no_test") -> Problem:
    return Problem(path=path, line=line, code=code, message=message, advice=advice)


def rule_is_tested(rule: str, sources: PolicySources) -> bool:
    """Say whether a rule has a test module beside it."""
    return any(path.startswith(f"{RULES}{rule}/") and path.endswith(TEST_SUFFIX) for path, _ in sources.tests)
