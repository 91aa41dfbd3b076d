"""What is wrong with what policy files declare, before any engine sees them: places, METADATA, thresholds, schemas."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeVar

from reconciler.adapters.policy_files import load_policies, policy_data
from reconciler.adapters.policy_sources import PolicySources, policy_text
from reconciler.core.canonical import Json
from reconciler.core.errors import PolicyError, PolicyFileError
from reconciler.core.metadata import package_of, rules_of
from reconciler.core.model import PolicySet, Rule
from reconciler.core.schemas import published_schemas
from reconciler.policies.control_ids import unknown_control
from reconciler.policies.file_form import file_problems, is_rule_name, rule_is_tested, test_problems
from reconciler.policies.problems import Level, Problem, from_error
from reconciler.policies.rule_form import rule_of

INPUT_SCHEMA: Final = 'schema["rule_input.schema"]'
_NAMES_IT: Final = re.compile(rf"^#\s+-\s+input:\s*{re.escape(INPUT_SCHEMA)}\s*$", re.MULTILINE)
_MOVE: Final = "name the package after the folder, or move the file there"
_DESCRIBE: Final = "write the METADATA block right above the package line; docs/policies.md lists its fields"
_FIELD: Final = "give it in the METADATA block above the package line; docs/policies.md says what each field holds"
_UNKNOWN_FIELD: Final = "correct its name, or take it out; docs/policies.md says which fields there are"
_YAML: Final = "correct the METADATA: the fields below `custom:` stand deeper by two blanks, a text with `: ` in quotes"
_ONE_BLOCK: Final = "leave one of them, and take the other out"
_TEST_NAME: Final = "name the file of a test {}_test.rego: anything else is taken for a part of the rule"
_SAVE: Final = "save it in this folder as plain UTF-8 text of less than a megabyte, or take it out"

_T = TypeVar("_T")


class Declared:
    """What a folder declares, gathered leniently: whatever is refused becomes a problem and the rest is read."""

    def __init__(self, folder: Path, sources: PolicySources) -> None:
        self.problems = [from_error(error, "unreadable", _SAVE) for error in sources.unreadable]
        self.problems += file_problems(folder, sources)
        self.problems += test_problems(sources)
        self._sources = sources
        self.by_rule: dict[str, list[tuple[str, str]]] = defaultdict(list)
        self._place_modules()
        self.rules: tuple[Rule, ...] = tuple(self._rules())
        self._compare_codes()
        self._compare_titles()
        self._look_at_controls()
        self.config: Mapping[str, Json] | None = self._config(folder)
        self.policies: PolicySet | None = self._load(folder)
        self.problems += schema_files(folder)

    def _try(self, act: Callable[[], _T], code: str, advice: str = "") -> _T | None:
        try:
            return act()
        except PolicyFileError as error:
            self.problems.append(from_error(error, code, advice or _described(error)))
            return None

    def _place_modules(self) -> None:
        for path, source in self._sources.modules:
            if rule_of(path) and not is_rule_name(rule_of(path)):
                continue
            advice = _to_be_placed(path, source)
            placed = self._try(lambda path=path, source=source: package_of(path, source), "place", advice)  # type: ignore[misc]  # bound early
            rule = rule_of(path)
            if placed is not None and rule:
                self.by_rule[rule].append((path, source))

    def _rules(self) -> Iterator[Rule]:
        for name, modules in sorted(self.by_rule.items()):
            found = self._try(lambda modules=modules: rules_of(modules), "metadata", "")  # type: ignore[misc]  # bound early
            yield from found or ()
            if not rule_is_tested(name, self._sources):
                advice = f"add {name}_test.rego beside it: package access.rules.{name}_test"
                self._say(modules, "no_test", f"rule {name} has no tests", advice)
            if not any(_NAMES_IT.search(source) for _, source in modules):
                message = f"rule {name} names no schema of its input: a misspelt field would be silent"
                self._say(
                    modules,
                    "no_schema",
                    message,
                    f"add to its METADATA, below `schemas:`, the line `- input: {INPUT_SCHEMA}`",
                )

    def _say(self, modules: Sequence[tuple[str, str]], code: str, message: str, advice: str) -> None:
        self.problems.append(Problem(path=modules[0][0], line=1, code=code, message=message, advice=advice))

    def _compare_codes(self) -> None:
        owners: dict[str, str] = {}
        for rule in self.rules:
            for code, _ in rule.codes:
                owner = owners.setdefault(code, self._owner(code))
                if owner != rule.rule_id:
                    modules = self.by_rule[rule.rule_id]
                    path, line = line_of(code, modules)
                    self.problems.append(
                        Problem(
                            path=path,
                            line=line,
                            code="duplicate_code",
                            message=f"code {code!r} belongs to rule {owner}",
                            advice=f"name it otherwise, such as {rule.rule_id}_{code}: waivers and reports go by code",
                        )
                    )

    def _owner(self, code: str) -> str:
        """Return whose a code is of the rules that declare it: it begins with the name of its own."""
        having = [rule.rule_id for rule in self.rules if code in dict(rule.codes)]
        return next((name for name in having if code == name or code.startswith(f"{name}_")), having[0])

    def _compare_titles(self) -> None:
        having: dict[str, list[str]] = defaultdict(list)
        for rule in self.rules:
            having[rule.title.casefold()].append(rule.rule_id)
        for rule in self.rules:
            others = [name for name in having[rule.title.casefold()] if name != rule.rule_id]
            if others:
                path, line = line_of(rule.title, self.by_rule[rule.rule_id])
                told = f"title {rule.title!r} is that of rule {', '.join(others)} too"
                advice = "say in it what this rule alone asks for: the catalogue shows it"
                self.problems.append(Problem(path=path, line=line, code="metadata", message=told, advice=advice))

    def _look_at_controls(self) -> None:
        for rule in self.rules:
            for control in rule.controls:
                advice = unknown_control(control)
                if advice:
                    path, line = line_of(control, self.by_rule[rule.rule_id])
                    told = f"control {control!r} is not as its framework numbers them"
                    self.problems.append(Problem(path=path, line=line, code="metadata", message=told, advice=advice))

    def _config(self, folder: Path) -> Mapping[str, Json] | None:
        """Return the thresholds, or None where there are none: then nothing more is said of those that are missing."""
        document = self._try(lambda: policy_data(folder), "config", "correct the file: thresholds are one JSON object")
        access = (document or {}).get("access")
        config = access.get("config") if isinstance(access, dict) else None
        return config if isinstance(config, dict) else None

    def _refused(self, error: PolicyFileError) -> Problem:
        if not error.path.endswith("data.json"):
            return from_error(error, "metadata")
        source = dict(self._sources.data).get(error.path, "")
        advice = "correct it; docs/policies.md and schemas/config.schema.json say which thresholds there are"
        line = error.line if error.line > 1 else _line_of_threshold(error.problem, source)
        return replace(from_error(error, "config", advice), line=line)

    def _load(self, folder: Path) -> PolicySet | None:
        """Read the folder as the daemon would: whatever it refuses and nothing above has named is a problem too."""
        try:
            return load_policies(folder)
        except PolicyFileError as error:
            named = {(one.path, one.line, one.message) for one in self.problems}
            within = any(error.path.startswith(f"{one.path}/") for one in self.problems if one.code == "place")
            if (error.path, error.line, error.problem) not in named and not within:
                self.problems.append(self._refused(error))
        except PolicyError as error:
            self.problems.append(
                Problem(
                    path=".", line=1, code="place", message=str(error), advice=error.advice or "add what is missing"
                )
            )
        return None


def _described(error: PolicyFileError) -> str:
    """Return what to do about a refusal of METADATA, by how it is worded."""
    if error.problem.startswith("is no YAML"):
        return _YAML
    if error.problem.startswith("unknown field"):
        return _UNKNOWN_FIELD
    if "twice" in error.problem or "another file too" in error.problem or "second METADATA" in error.problem:
        return _ONE_BLOCK
    return _FIELD if "field " in error.problem else _DESCRIBE


def _to_be_placed(path: str, source: str) -> str:
    """Return what to do with a module that lies in the wrong place: what is a test by its package is named as one."""
    tested = _OF_A_TEST.search(source)
    return _TEST_NAME.format(tested.group(1)) if tested and rule_of(path) else _MOVE


_OF_A_TEST: Final = re.compile(r"^package\s+access\.rules\.(\w+)_test\s*$", re.MULTILINE)


def line_of(text: str, modules: Sequence[tuple[str, str]]) -> tuple[str, int]:
    """Return where a code or control is declared: the first comment that holds it as a word."""
    whole = re.compile(rf"(?<![\w-]){re.escape(text)}(?![\w-])")
    for path, source in modules:
        for number, line in enumerate(source.splitlines(), start=1):
            if line.startswith("#") and whole.search(line):
                return path, number
    return modules[0][0], 1


def _line_of_threshold(told: str, source: str) -> int:
    """Return the line of the threshold that a refusal begins with (`leaver.grace_days: …`), as far as it is there."""
    line = found = 0
    for part in told.partition(": ")[0].split("."):
        place = source.find(f'"{part}"', found)
        if place < 0:
            break
        found, line = place, source.count("\n", 0, place)
    return line + 1


def schema_files(folder: Path) -> Iterator[Problem]:
    """Yield each schema beside the policies that is not this version's: editors would go by it."""
    for name, text in published_schemas().items():
        file = folder / "schemas" / name
        if file.exists() and policy_text(folder, file) != text:
            yield Problem(
                path=f"schemas/{name}",
                line=1,
                code="schema_file",
                level=Level.WARNING,
                message="is not the schema of this version",
                advice="copy it from a folder that `access-reconciler init` makes; the check itself used the right one",
            )
