"""Comparisons with what may be unknown. In Rego null is smaller than every number and text, so they hold for null.

`item.holders < 2` is true where nobody knows how many hold it: the rule would fire on what was not seen.
"""

from collections.abc import Iterator, Sequence
from types import NoneType
from typing import Final, get_args

from reconciler.core.schemas import AccessDocument, PrincipalDocument
from reconciler.policies.item_fields import calls, item_variables
from reconciler.policies.problems import Problem
from reconciler.policies.syntax import Module, Node, path_of, place

_ORDER: Final = frozenset({("lt",), ("lte",), ("gt",), ("gte",)})
_TYPES: Final = frozenset({("is_number",), ("is_string",)})
_PRINCIPAL: Final = ("input", "unit", "principal")


def _nullable(model: type[AccessDocument] | type[PrincipalDocument]) -> frozenset[str]:
    return frozenset(name for name, field in model.model_fields.items() if NoneType in get_args(field.annotation))


_ITEM_FIELDS: Final = _nullable(AccessDocument)
_PRINCIPAL_FIELDS: Final = _nullable(PrincipalDocument)


def unguarded(modules: Sequence[Module]) -> Iterator[Problem]:
    """Yield each comparison of size with a value that may be null, in a rule that does not ask about null."""
    for module, rule, items in item_variables(modules):
        asked = set(_asked(rule))
        for parts in calls(rule):
            if path_of(parts[0]) not in _ORDER:
                continue
            for operand in parts[1:]:
                path = path_of(operand)
                if _may_be_null(path, items) and path not in asked:
                    yield _problem(module, operand, ".".join(path))


def _may_be_null(path: tuple[str, ...], items: frozenset[str]) -> bool:
    if path[:3] == _PRINCIPAL:
        return len(path) > len(_PRINCIPAL) and path[3] in _PRINCIPAL_FIELDS
    return len(path) > 1 and path[0] in items and path[1] in _ITEM_FIELDS


def _asked(rule: Node) -> Iterator[tuple[str, ...]]:
    """Yield what a rule asks about: `x != null`, or of which type it is."""
    for parts in calls(rule):
        operator, operands = path_of(parts[0]), parts[1:]
        if operator in _TYPES or (operator == ("neq",) and any(one.get("type") == "null" for one in operands)):
            yield from (path_of(one) for one in operands)


def _problem(module: Module, operand: Node, name: str) -> Problem:
    line, column = place(operand)
    return Problem(
        path=module.path,
        line=line,
        column=column,
        code="unknown_value",
        message=f"{name} may be null, and null is smaller than everything: the rule would hold for what is unknown",
        advice=f"ask `{name} != null` first",
    )
