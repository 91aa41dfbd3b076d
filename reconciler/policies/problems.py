"""What is wrong with a policy folder: one line each that says where, what, and what to do."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from reconciler.core.errors import PolicyFileError


class Level(StrEnum):
    """Whether a problem refuses the policies."""

    ERROR = "error"
    WARNING = "warning"


CODES: Final = {
    "place": "A module lies in the folder that its package names, and a rule in a folder of its own",
    "metadata": "A rule says what it is in one METADATA block above its package line",
    "duplicate_code": "A code belongs to one rule",
    "no_schema": "A rule names the schema of its input, so that a misspelt field is found",
    "rule_form": "A rule has `id`, the name of its folder, and `finding`, a set",
    "effect": "An effect is keep, review, quarantine or revoke",
    "undeclared_code": "A rule gives the codes that its METADATA declares, and no other",
    "undefined_field": "A rule refers to what exists: elsewhere it would be silent without an error",
    "all_workers": "A rule asks for workers one by one, by the ids that its unit names",
    "slow": "A rule answers soon, whatever it is asked about",
    "canary": "Whoever has left loses a key, and whoever stays keeps it",
    "unknown_value": "A rule copes with every value that may be unknown",
    "no_test": "A rule has tests",
    "banned_builtin": "A decision rests on its input and data alone",
    "syntax": "A module is Rego v1 that compiles",
    "format": "A module looks as `opa fmt` writes it",
    "config": "The thresholds are what the rules expect",
    "waiver": "A waiver is dated, owned, and approved by somebody else",
    "schema_file": "The schemas beside the policies are those of this version",
    "lint": "What Regal says",
    "unreadable": "Every file is text that can be read",
}
"""Each code of a problem, and the promise that the problem breaks."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Problem:
    """One thing that is wrong, and what to do about it."""

    path: str
    """Relative to the policy folder, with `/`."""
    line: int
    column: int = 1
    code: str
    level: Level = Level.ERROR
    message: str
    advice: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}; {self.advice}"


def from_error(error: PolicyFileError, code: str, advice: str = "") -> Problem:
    """Return the problem that a refusal names, with advice of its own where there is better."""
    return Problem(path=error.path, line=error.line, code=code, message=error.problem, advice=advice or error.advice)


def in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Return problems by place, each place and sentence once; lines and columns begin at 1."""
    found: dict[tuple[str, int, str], Problem] = {}
    for problem in sorted(replace(one, line=max(1, one.line), column=max(1, one.column)) for one in problems):
        found.setdefault((problem.path, problem.line, problem.message), problem)
    return tuple(found.values())
