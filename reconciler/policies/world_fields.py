"""What the names in a rule hold, access items and workers above all, and the fields of them that a rule asks for.

OPA's own check loses sight of an item as soon as a variable holds it, and knows a worker only where METADATA names the
schema. Here a variable holds one where it is bound by going through the place of all of them or by an index into it; so
does the parameter of a function that is called with one, and a rule whose value is one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel

from reconciler.core.schemas import AccessDocument, CorrelationDocument, PrincipalDocument, WorkerDocument
from reconciler.policies.syntax import Module, Node, call_of, calls, nodes, path_of, references


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A thing of the world that rules look at."""

    noun: str
    model: type[BaseModel]
    place: tuple[str, ...]
    keyed: bool
    """Whether the place holds many of them, each by an id."""

    @property
    def known(self) -> tuple[str, ...]:
        """Return the names of its fields."""
        return tuple(self.model.model_fields)


ITEM: Final = Shape(noun="an access item", model=AccessDocument, place=("input", "unit", "access"), keyed=True)
WORKER: Final = Shape(noun="a worker", model=WorkerDocument, place=("data", "roster", "workers"), keyed=True)
SHAPES: Final = (
    ITEM,
    WORKER,
    Shape(noun="a principal", model=PrincipalDocument, place=("input", "unit", "principal"), keyed=False),
    Shape(noun="a correlation", model=CorrelationDocument, place=("input", "unit", "correlation"), keyed=False),
)
_MEMBERS: Final[dict[tuple[str, ...], int]] = {("internal", "member_2"): 1, ("internal", "member_3"): 2}
"""`some x in …` and `some k, x in …` as OPA's tree has them, and which operand is the value."""


def as_far_as(path: tuple[str, ...], field: str) -> str:
    """Return a reference up to a field as people read it; where its constant beginning ends, an index follows."""
    told = path[: path.index(field) + 1] if field in path else (*path, "…", field)
    return ".".join(told).replace(".….", "[…].")


_Parameters = Mapping[tuple[str, str, int], Shape]
"""By package, function, and the position of a parameter."""
_Names = Mapping[tuple[str, str], Shape]
"""By package and rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One rule, and what its names hold."""

    module: Module
    rule: Node
    held: Mapping[str, Shape]
    """By variable."""
    named: _Names

    def field(self, ref: Node) -> tuple[Shape, str] | None:
        """Return the thing that a reference goes into and the field that it asks for; None for any other reference."""
        path, parts = path_of(ref), ref["value"]
        for shape in SHAPES:
            depth = len(shape.place) + shape.keyed
            if path[: len(shape.place)] == shape.place and len(parts) > depth and parts[depth].get("type") == "string":
                return shape, str(parts[depth]["value"])
        if len(path) > 1 and path[0] in self.held:
            return self.held[path[0]], path[1]
        for end in range(1, len(path)):
            known = self._of_name(path[:end])
            if known is not None:
                return known, path[end]
        return None

    def holds(self, term: object) -> Shape | None:
        """Return the thing that a whole term is, or None."""
        if not isinstance(term, dict) or term.get("type") not in {"var", "ref"}:
            return None
        path = path_of(term)
        if len(path) == 1 and path[0] in self.held:
            return self.held[path[0]]
        for shape in SHAPES:
            depth = len(shape.place) + shape.keyed
            if term["type"] == "ref" and path[: len(shape.place)] == shape.place and len(term["value"]) == depth:
                return shape
        return self._of_name(path)

    def worker(self, ref: Node) -> tuple[str, ...]:
        """Return how a reference names a worker that it goes into, without a variable; nothing where it does not."""
        path, parts, depth = path_of(ref), ref["value"], len(WORKER.place)
        if path[:depth] == WORKER.place and len(parts) > depth:
            index = ".".join(path_of(parts[depth])) or str(parts[depth].get("value"))
            return (*WORKER.place, f"[{index}]")
        return next((path[:end] for end in range(1, len(path) + 1) if self._of_name(path[:end]) is WORKER), ())

    def _of_name(self, path: tuple[str, ...]) -> Shape | None:
        name = self.module.resolve(path)
        return self.named.get(name) if name else None

    def fields(self) -> Iterator[tuple[Shape, str, Node]]:
        """Yield every field that the rule asks for by a reference, with the reference."""
        for _, node in references(self.rule):
            found = self.field(node)
            if found:
                yield (*found, node)


def views(modules: Sequence[Module]) -> tuple[View, ...]:
    """Return every rule of the modules with what its names hold, following calls until nothing new is found."""
    parameters: _Parameters = {}
    named: _Names = {}
    while True:
        found = tuple(_view(module, rule, parameters, named) for module in modules for rule in module.rules)
        more = dict(parameters) | {place: shape for view in found for place, shape in _handed_on(view)}
        names = dict(named) | {name: shape for view in found for name, shape in _values(view)}
        if (more, names) == (parameters, named):
            return found
        parameters, named = more, names


def _view(module: Module, rule: Node, parameters: _Parameters, named: _Names) -> View:
    name = str(rule["head"].get("name", ""))
    held = {
        str(argument["value"]): parameters[module.package, name, position]
        for position, argument in enumerate(rule["head"].get("args", ()))
        if argument.get("type") == "var" and (module.package, name, position) in parameters
    }
    for shape in SHAPES:
        held |= dict.fromkeys(_bound(rule, shape), shape) if shape.keyed else {}
    view = View(module=module, rule=rule, held=held, named=named)
    return View(module=module, rule=rule, held=held | dict(_assigned(view)), named=named)


def _bound(rule: Node, shape: Shape) -> Iterator[str]:
    """Yield the variables of a rule that are bound by going through the place of all things of a shape."""
    for node in nodes(rule):
        parts = call_of(node)
        member = _MEMBERS.get(path_of(parts[0])) if parts else None
        if member and path_of(parts[-1]) == shape.place and parts[member].get("type") == "var":
            yield str(parts[member]["value"])
        domain, value = node.get("domain"), node.get("value")
        if domain is not None and path_of(domain) == shape.place and isinstance(value, dict):
            yield from [str(value["value"])] if value.get("type") == "var" else ()


def _assigned(view: View) -> Iterator[tuple[str, Shape]]:
    """Yield the variables that a whole thing is assigned to."""
    for parts in calls(view.rule):
        if path_of(parts[0]) in {("assign",), ("eq",)} and parts[1].get("type") == "var":
            shape = view.holds(parts[2])
            if shape:
                yield str(parts[1]["value"]), shape


def _handed_on(view: View) -> Iterator[tuple[tuple[str, str, int], Shape]]:
    """Yield the functions that a rule calls with a whole thing, and at which position."""
    for parts in calls(view.rule):
        called = view.module.resolve(path_of(parts[0]))
        for position, operand in enumerate(parts[1:]):
            shape = view.holds(operand) if called else None
            if called and shape:
                yield (*called, position), shape


def _values(view: View) -> Iterator[tuple[tuple[str, str], Shape]]:
    head = view.rule["head"]
    shape = view.holds(head.get("value")) if "name" in head and "args" not in head else None
    if shape:
        yield (view.module.package, str(head["name"])), shape
