"""The syntax tree of a Rego module, as `opa parse` prints it: references, calls, heads, and where they stand."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Node = Mapping[str, Any]
"""A piece of the tree."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """A module that parses."""

    path: str
    tree: Node

    @property
    def rules(self) -> tuple[Node, ...]:
        """Return the rules as they are written, the branches of an `else` among them."""
        return tuple(branch for rule in self.tree.get("rules", ()) for branch in _branches(rule))

    @property
    def imports(self) -> tuple[Node, ...]:
        """Return what the module imports."""
        return tuple(self.tree.get("imports", ()))

    @property
    def package(self) -> str:
        """Return the package in dotted form, without `data`."""
        return ".".join(str(part["value"]) for part in self.tree["package"]["path"][1:])

    def resolve(self, called: tuple[str, ...]) -> tuple[str, str] | None:
        """Return package and name of a function that is called here, or None for a builtin."""
        if len(called) == 1 and self.named(called[0]):
            return self.package, called[0]
        if called[:1] == ("data",) and len(called) > 2:  # noqa: PLR2004 - data, a package, and a name in it
            return ".".join(called[1:-1]), called[-1]
        if len(called) == 2:  # noqa: PLR2004 - an imported package and a name in it
            for one in self.imports:
                path = path_of(one["path"])
                if one.get("alias", path[-1]) == called[0]:
                    return ".".join(path[1:]), called[1]
        return None

    def whole(self, path: tuple[str, ...]) -> tuple[str, ...]:
        """Return a path from the top, where its first name is an import."""
        for one in self.imports:
            imported = path_of(one["path"])
            if path[:1] == (one.get("alias", imported[-1]),):
                return (*imported, *path[1:])
        return path

    def named(self, name: str) -> tuple[Node, ...]:
        """Return the rules of one name."""
        return tuple(rule for rule in self.rules if rule["head"].get("name") == name)


def _branches(rule: Node) -> Iterator[Node]:
    yield rule
    if "else" in rule:
        yield from _branches(rule["else"])


def nodes(tree: object) -> Iterator[Node]:
    """Yield every object of a tree, outermost first."""
    if isinstance(tree, dict):
        yield tree
        for value in tree.values():
            yield from nodes(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from nodes(value)


def place(node: Node) -> tuple[int, int]:
    """Return row and column of a piece of the tree, each from 1."""
    location = node.get("location") or {}
    return int(location.get("row", 1)), int(location.get("col", 1))


def path_of(term: object) -> tuple[str, ...]:
    """Return the constant beginning of a reference (`data.access.config`), empty for anything else."""
    if not isinstance(term, dict):
        return ()
    if term.get("type") == "var":
        return (str(term["value"]),)
    if term.get("type") != "ref":
        return ()
    first, *rest = term["value"]
    found = [str(first.get("value"))]
    for part in rest:
        if part.get("type") != "string":
            break
        found.append(str(part["value"]))
    return tuple(found)


def references(tree: object) -> Iterator[tuple[tuple[str, ...], Node]]:
    """Yield the constant beginning of every reference, and the reference."""
    for node in nodes(tree):
        if node.get("type") == "ref":
            yield path_of(node), node


def call_of(node: Node) -> Sequence[Node]:
    """Return operator and operands of a call, whether it is a term or a whole expression; nothing for anything else."""
    parts = node.get("value") if node.get("type") == "call" else node.get("terms")
    return [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []


def calls(rule: object) -> Iterator[Sequence[Node]]:
    """Yield operator and operands of every call in a rule."""
    for node in nodes(rule):
        parts = call_of(node)
        if parts:
            yield parts


def text(term: object) -> str | None:
    """Return the text of a literal, or None."""
    if isinstance(term, dict) and term.get("type") == "string":
        return str(term["value"])
    return None


def fields(tree: object, name: str) -> Iterator[Node]:
    """Yield the value that each object literal gives to a field of this name."""
    for node in nodes(tree):
        if node.get("type") == "object":
            for key, value in node["value"]:
                if text(key) == name:
                    yield value


def literals(term: Node, module: Module, seen: frozenset[str] = frozenset()) -> Iterator[Node]:
    """Yield the text literals that a term may stand for: itself, or what a rule or function of the module returns."""
    if text(term) is not None:
        yield term
        return
    called = path_of(term["value"][0]) if term.get("type") == "call" else path_of(term)
    if len(called) != 1 or called[0] in seen:
        return
    for rule in module.named(called[0]):
        value = rule["head"].get("value")
        if isinstance(value, dict):
            yield from literals(value, module, seen | {called[0]})
