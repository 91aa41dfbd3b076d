"""Made-up principals on which every rule is tried: each value that may be unknown is unknown, each kind occurs.

They are made from the published schema of a rule's input, so a field that is added is tried at once. A rule must give a
set of whole findings for each of them: an error would leave a real principal undecided.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from pydantic import ValidationError

from reconciler.adapters.opa_tool import Complaint, OpaTool, TookTooLong
from reconciler.core.metadata import RULES
from reconciler.core.model import Rule
from reconciler.core.schemas import FindingDocument, RuleInput, WorkerDocument
from reconciler.policies.problems import Problem
from reconciler.policies.rule_form import DECLARE

_LONG_AGO: Final = "2001-01-01T00:00:00.000000Z"
_FAR_AWAY: Final = "2101-01-01T00:00:00.000000Z"
_NOW_NS: Final = 1_772_442_000_000_000_000
"""2026-03-02T09:00:00Z: between the two."""
_EVERYBODY: Final = ("left", "stays", "unknown")
_SILENT: Final = (
    "ask `!= null` before you compute with a value that may be unknown (schemas/rule_input.schema.json says which may)"
)


@dataclass(frozen=True, slots=True)
class _Maker:
    """Makes values of a JSON Schema."""

    definitions: Mapping[str, Any]
    unknown: bool
    """Whether what may be null is null."""
    instant: str = _LONG_AGO
    yes: bool = False
    """What a truth value is where it is known; lists then have an entry."""

    def value(self, schema: Mapping[str, Any]) -> Any:  # noqa: ANN401 - any JSON
        """Return a value that the schema allows: null where that is allowed and asked for, else a plain one."""
        if "$ref" in schema:
            return self.value(self.definitions[schema["$ref"].rpartition("/")[2]])
        if "anyOf" in schema:
            nullable = any(one.get("type") == "null" for one in schema["anyOf"])
            return None if nullable and self.unknown else self.value(schema["anyOf"][0])
        if "enum" in schema:
            return schema["enum"][0]
        if schema["type"] == "object":
            return {name: self.value(one) for name, one in schema.get("properties", {}).items()}
        return self._plain(schema)

    def _plain(self, schema: Mapping[str, Any]) -> Any:  # noqa: ANN401 - any JSON
        if schema["type"] == "string":
            return self.instant if "pattern" in schema else "probe"
        if schema["type"] == "array":
            return [self.value(schema["items"])] if self.yes else []
        return {"integer": 1, "boolean": self.yes}[schema["type"]]


def probe_inputs() -> list[dict[str, Any]]:
    """Return inputs of a rule: every kind of principal and item, everything unknown or known, matched or not."""
    schema = RuleInput.model_json_schema(by_alias=True)
    definitions = schema["$defs"]
    unknown, known = _Maker(definitions, unknown=True), _Maker(definitions, unknown=False)
    coming = _Maker(definitions, unknown=False, instant=_FAR_AWAY)
    lively = _Maker(definitions, unknown=False, yes=True)
    makers = (unknown, known, coming, lively)
    return [{"unit": unit, "now_ns": _NOW_NS} for maker in makers for unit in _units(maker, definitions)]


def _units(maker: _Maker, definitions: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    access = dict(_items(maker, definitions))
    for kind in definitions["PrincipalKind"]["enum"]:
        for state, worker_id in (*(("matched", one) for one in _EVERYBODY), ("orphan", None), ("ambiguous", None)):
            unit = maker.value(definitions["UnitDocument"])
            unit["principal"]["kind"] = kind
            unit["correlation"]["state"] = state
            unit["worker_id"] = worker_id
            unit["candidates"] = [] if state == "orphan" else list(_EVERYBODY)
            unit["access"] = access
            yield unit


def _items(maker: _Maker, definitions: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    document = definitions["AccessDocument"]
    for kind in definitions["ArtefactKind"]["enum"]:
        for form in document["properties"]["type"]["enum"]:
            yield f"{form}/{kind}", maker.value(document) | {"type": form, "kind": kind}


def probe_workers() -> dict[str, Any]:
    """Return three made-up workers: who left long ago, who stays, and of whom nothing is known that may be unknown."""
    schema = WorkerDocument.model_json_schema(by_alias=True)
    known, unknown = (_Maker(schema.get("$defs", {}), unknown=one) for one in (False, True))
    return {"left": known.value(schema), "stays": unknown.value(schema), "unknown": unknown.value(schema)}


def probe(tool: OpaTool, rules: Sequence[Rule], modules: Sequence[tuple[str, str]]) -> tuple[Problem, ...]:
    """Ask every rule about the made-up principals and return what is wrong with its answers.

    Asked together first; where one fails or gives no answer in time, halves are asked until it stands alone. `modules`
    are looked up for the line that a problem is about.
    """
    if not rules:
        return ()
    limit = ALONE_SECONDS if len(rules) == 1 else TOGETHER_SECONDS
    document = {"inputs": probe_inputs(), "workers": probe_workers()}
    try:
        found, failed = tool.evaluate(findings_query([rule.rule_id for rule in rules]), document, limit)
    except TookTooLong:
        if len(rules) == 1:
            return (_too_slow(rules[0], modules),)
        return tuple(problem for rule in rules for problem in probe(tool, [rule], modules))
    if failed is None:
        return tuple(problem for rule in rules for problem in _judge(rule, found[rule.rule_id], modules))
    if len(rules) == 1:
        return (_failure(rules[0], failed),)
    half = len(rules) // 2
    return (*probe(tool, rules[:half], modules), *probe(tool, rules[half:], modules))


TOGETHER_SECONDS: Final = 30.0
"""For all rules together; those of this repository need less than one."""
ALONE_SECONDS: Final = 10.0
"""For one rule alone."""


def _too_slow(rule: Rule, modules: Sequence[tuple[str, str]]) -> Problem:
    message = (
        f"rule {rule.rule_id} gave no answer about {len(probe_inputs())} principals within {ALONE_SECONDS:.0f} seconds"
    )
    advice = "bound what it goes through: the items of one unit, never a range or all pairs of something"
    path, line = place_of(rule, modules, "finding")
    return Problem(path=path, line=line, code="slow", message=message, advice=advice)


def place_of(rule: Rule, modules: Sequence[tuple[str, str]], *words: str) -> tuple[str, int]:
    """Return the first line of a rule's modules, comments aside, with one of the words; the earlier word first."""
    for word in (*words, "finding"):
        for path, source in modules:
            if path.startswith(f"{RULES}{rule.rule_id}/"):
                for number, line in enumerate(source.splitlines(), start=1):
                    if word in line and not line.startswith("#"):
                        return path, number
    return rule_path(rule), 1


def findings_query(names: Sequence[str]) -> str:
    """Return a query for the findings of rules, by rule and input."""
    asked = ", ".join(f'"{name}": {_asked(name)}' for name in names)
    return f"{{{asked}}}"


def _asked(name: str) -> str:
    bound = "some one in input.inputs; workers := input.workers"  # not read again once `input` is another
    given = "with input as one with data.roster.workers as workers"
    return f"[found | {bound}; found := data.access.rules.{name}.finding {given}]"


def _failure(rule: Rule, failed: Complaint) -> Problem:
    path = failed.path or f"{RULES}{rule.rule_id}/{rule.rule_id}.rego"
    conflict = "conflicting values" in failed.message or "multiple outputs" in failed.message
    message = f"rule {rule.rule_id} fails where a value is unknown: {failed.message}"
    if conflict:
        message = f"rule {rule.rule_id} contradicts itself: {failed.message}"
    advice = "let one condition exclude the other, or write them as one with `else`" if conflict else _SILENT
    return Problem(
        path=path, line=failed.line, column=failed.column, code="unknown_value", message=message, advice=advice
    )


def _judge(rule: Rule, answers: Sequence[Any], modules: Sequence[tuple[str, str]]) -> Iterator[Problem]:
    """Yield each different thing that is wrong with what a rule answered, once."""
    known = {code for code, _ in rule.codes}
    told: set[str] = set()
    for answer in answers:
        for finding in answer if isinstance(answer, list) else ():
            for code, word, message, advice in _wrong(rule, finding, known):
                if message not in told:
                    told.add(message)
                    path, line = place_of(rule, modules, word)
                    yield Problem(path=path, line=line, code=code, message=message, advice=advice)


def rule_path(rule: Rule) -> str:
    """Return the module that a rule is found in, by its name."""
    return f"{RULES}{rule.rule_id}/{rule.rule_id}.rego"


def _wrong(rule: Rule, finding: object, known: set[str]) -> Iterator[tuple[str, str, str, str]]:
    """Yield code, a word on the line that it is about, message and advice."""
    name = rule.rule_id
    if isinstance(finding, dict) and "rule" in finding:
        yield (
            "rule_form",
            '"rule"',
            f"rule {name} says itself which rule it is",
            "leave `rule` out: the driver gives it",
        )
    try:
        told = FindingDocument.model_validate({**finding, "rule": name} if isinstance(finding, dict) else finding)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "finding"
        code = "effect" if field == "effect" else "rule_form"
        yield code, f'"{field}"', f"rule {name} gives a finding that is refused, {field}: {_refusal(first)}", _WHOLE
        return
    if told.code not in known:
        message = f"rule {name} gives code {json.dumps(told.code)}, which it does not declare"
        yield "undeclared_code", f'"{told.code}"', message, DECLARE
    if told.access_id not in _access_ids():
        advice = "take access_id from input.unit.access"
        yield "rule_form", '"access_id"', f"rule {name} speaks of an access item that is not of the unit", advice


def _refusal(error: Mapping[str, Any]) -> str:
    """Return what is refused, with the value where it is short: principals and items here are made up."""
    given = error.get("input")
    short = isinstance(given, str) and len(given) <= _SHORT
    return f"{error['msg']}, and it is {given!r}" if short else str(error["msg"])


_SHORT: Final = 40


@cache
def _access_ids() -> frozenset[str]:
    return frozenset(name for one in probe_inputs() for name in one["unit"]["access"])


_WHOLE: Final = "give access_id, code, severity, effect and reason, as schemas/finding.schema.json says"
