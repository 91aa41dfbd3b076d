"""Fields of access items that do not exist. OPA's own check loses sight of an item as soon as a variable holds it.

A variable is an item where it is bound by going through `input.unit.access`, and so is the parameter of a function that
is called with one.
"""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Final

from reconciler.core.schemas import AccessDocument
from reconciler.policies.problems import Problem
from reconciler.policies.syntax import Module, Node, nodes, path_of, place, references

_ACCESS: Final = ("input", "unit", "access")
_KNOWN: Final = tuple(AccessDocument.model_fields)
_MEMBERS: Final[dict[tuple[str, ...], int]] = {("internal", "member_2"): 1, ("internal", "member_3"): 2}
"""`some x in …` and `some k, x in …` as OPA's tree has them, and which operand is the value."""

_Function = tuple[str, str, int]
"""Package, name, and the position of a parameter."""


def unknown_fields(modules: Sequence[Module]) -> Iterator[Problem]:
    """Yield each reference to a field that no access item has: the rule would be silent, without an error."""
    for module, rule, items in item_variables(modules):
        for path, node in references(rule):
            if len(path) > 1 and path[0] in items and path[1] not in _KNOWN:
                near = get_close_matches(path[1], _KNOWN, n=1)
                line, column = place(node)
                yield Problem(
                    path=module.path,
                    line=line,
                    column=column,
                    code="undefined_field",
                    message=f"{path[0]}.{path[1]}: an access item has no such field, so the rule would be silent",
                    advice=f"did you mean {near[0]!r}?" if near else f"known are {', '.join(_KNOWN)}",
                )


def item_variables(modules: Sequence[Module]) -> Iterator[tuple[Module, Node, frozenset[str]]]:
    """Yield every rule with its module and the variables that hold an access item in it."""
    functions = _taking_items(modules)
    for module in modules:
        for rule in module.rules:
            yield module, rule, _items(module, rule, functions)


def _taking_items(modules: Sequence[Module]) -> frozenset[_Function]:
    """Return the parameters that are items, following calls until nothing new is found."""
    known: frozenset[_Function] = frozenset()
    while True:
        found = known | {
            (*called, position)
            for module in modules
            for rule in module.rules
            for called, position in _handed_on(module, rule, _items(module, rule, known))
        }
        if found == known:
            return known
        known = found


def _items(module: Module, rule: Node, functions: frozenset[_Function]) -> frozenset[str]:
    name = str(rule["head"].get("name", ""))
    parameters = {
        str(argument["value"])
        for position, argument in enumerate(rule["head"].get("args", ()))
        if argument.get("type") == "var" and (module.package, name, position) in functions
    }
    return frozenset(parameters | set(_bound(rule)))


def _bound(rule: Node) -> Iterator[str]:
    """Yield the variables of a rule that are bound by going through the access items."""
    for node in nodes(rule):
        parts = _call(node)
        member = _MEMBERS.get(path_of(parts[0])) if parts else None
        if member and path_of(parts[-1]) == _ACCESS and parts[member].get("type") == "var":
            yield str(parts[member]["value"])
        domain, value = node.get("domain"), node.get("value")
        if domain is not None and path_of(domain) == _ACCESS and isinstance(value, dict) and value.get("type") == "var":
            yield str(value["value"])


def _call(node: Node) -> Sequence[Node]:
    """Return operator and operands of a call, whether it is a term or a whole expression."""
    parts = node.get("value") if node.get("type") == "call" else node.get("terms")
    return [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []


def calls(rule: Node) -> Iterator[Sequence[Node]]:
    """Yield operator and operands of every call in a rule."""
    for node in nodes(rule):
        parts = _call(node)
        if parts:
            yield parts


def _handed_on(module: Module, rule: Node, items: frozenset[str]) -> Iterator[tuple[tuple[str, str], int]]:
    """Yield the functions that a rule calls with an item, and at which position."""
    for parts in calls(rule):
        called = module.resolve(path_of(parts[0]))
        for position, operand in enumerate(parts[1:]):
            if called and operand.get("type") == "var" and operand["value"] in items:
                yield called, position
