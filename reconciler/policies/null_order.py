"""Comparisons with what may be unknown. In Rego null is smaller than every number and text, so they hold for null.

`item.holders < 2` is true where nobody knows how many hold it: the rule would fire on what was not seen.
"""

from collections.abc import Iterator, Sequence
from types import NoneType
from typing import Final, get_args

from reconciler.policies.problems import Problem
from reconciler.policies.syntax import Module, Node, calls, path_of, place
from reconciler.policies.world_fields import View, as_far_as

_ORDER: Final = frozenset({("lt",), ("lte",), ("gt",), ("gte",)})
_TYPES: Final = frozenset({("is_number",), ("is_string",)})


def unguarded(seen: Sequence[View]) -> Iterator[Problem]:
    """Yield each comparison of size with a value that may be null, in a rule that does not ask about null."""
    for view in seen:
        asked = set(_asked(view.rule))
        for parts in calls(view.rule):
            if path_of(parts[0]) not in _ORDER:
                continue
            for operand in parts[1:]:
                path, field = path_of(operand), _may_be_null(view, operand)
                if field and path not in asked:
                    yield _problem(view.module, operand, as_far_as(path, field))


def _may_be_null(view: View, operand: Node) -> str | None:
    """Return the field of the world that an operand is where that may be null."""
    found = view.field(operand) if operand.get("type") == "ref" else None
    if found is None or found[1] not in found[0].known:
        return None
    return found[1] if NoneType in get_args(found[0].model.model_fields[found[1]].annotation) else None


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
