"""What a rule asks for that does not exist: fields, values and documents. In Rego it is silent, and finds nobody."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Final, get_args

from reconciler.policies.problems import Problem
from reconciler.policies.syntax import Module, Node, calls, nodes, path_of, place, references, text
from reconciler.policies.world_fields import Shape, View, as_far_as

_EQUAL: Final = frozenset({("equal",), ("eq",), ("neq",)})
_IN: Final = ("internal", "member_2")
_GET: Final = ("object", "get")
_ROSTER: Final = ("data", "roster", "workers")
_TOP: Final = {"roster": ("meta", "workers"), "waivers": ("items", "meta")}
"""What a cycle puts beside the policies."""


def silent_names(modules: Sequence[Module], seen: Sequence[View]) -> Iterator[Problem]:
    """Yield each field, value or document that no world has, and each walk over all workers."""
    for view in seen:
        yield from _unknown_fields(view)
        yield from _unknown_values(view)
    packages = _packages(modules)
    for module in modules:
        yield from _unknown_documents(module, packages)
        yield from _whole_roster(module)


def _unknown_fields(view: View) -> Iterator[Problem]:
    for shape, field, node in view.fields():
        if shape.keyed and field not in shape.known:
            yield _no_field(view, node, as_far_as(path_of(node), field), shape, field)
    for parts in calls(view.rule):
        if path_of(parts[0]) == _GET:
            got, name = view.holds(parts[1]), text(parts[2])
            if got and name is not None and name not in got.known:
                yield _no_field(view, parts[2], name, got, name)


def _no_field(view: View, node: Node, told: str, shape: Shape, field: str) -> Problem:
    near = get_close_matches(field, shape.known, n=1)
    advice = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(shape.known)}"
    return _problem(view.module, node, f"{told}: {shape.noun} has no such field, so the rule would be silent", advice)


def _unknown_values(view: View) -> Iterator[Problem]:
    """Yield each text that a field is compared with and never is: its values are a closed set."""
    for parts in calls(view.rule):
        operator, operands = path_of(parts[0]), parts[1:]
        if operator in _EQUAL:
            literals: Sequence[Node] = operands
        elif operator == _IN and operands[1].get("type") in {"set", "array"}:
            literals = operands[1]["value"]
        else:
            continue
        for operand in operands:
            found = view.field(operand) if operand.get("type") == "ref" else None
            allowed = _allowed(*found) if found else ()
            for literal in literals if allowed else ():
                yield from _not_among(view, literal, ".".join(path_of(operand)), allowed)


def _allowed(shape: Shape, field: str) -> tuple[str, ...]:
    """Return the values of a closed set, or nothing where any text will do."""
    annotation = shape.model.model_fields[field].annotation if field in shape.known else None
    members = getattr(annotation, "__members__", None)
    if members is not None:
        return tuple(str(one.value) for one in members.values())
    return tuple(one for one in get_args(annotation) if isinstance(one, str))


def _not_among(view: View, literal: Node, name: str, allowed: Sequence[str]) -> Iterator[Problem]:
    if literal.get("type") not in {"string", "number", "boolean"} or literal["value"] in allowed:
        return
    near = get_close_matches(str(literal["value"]), allowed, n=1)
    advice = f"did you mean {near[0]!r}?" if near else f"it is one of {', '.join(allowed)}"
    told = f"{name} is never {literal['value']!r}, so the rule would be silent"
    yield _problem(view.module, literal, told, advice)


_Packages = dict[tuple[str, ...], set[str]]


def _packages(modules: Sequence[Module]) -> _Packages:
    """Return the names of the rules of every package."""
    found: _Packages = {}
    for module in modules:
        names = {str(rule["head"].get("name") or rule["head"]["ref"][0]["value"]) for rule in module.rules}
        found.setdefault(tuple(module.package.split(".")), set()).update(names)
    return found


def _unknown_documents(module: Module, packages: _Packages) -> Iterator[Problem]:
    for path, node in references(module.tree):
        whole = module.whole(path)
        if whole[:1] != ("data",):
            continue
        depth, known = _known(whole[1:], packages)
        if known:
            near = get_close_matches("".join(whole[depth + 1 : depth + 2]), known, n=1)
            advice = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
            yield _problem(module, node, f"{'.'.join(whole)} does not exist, so the rule would be silent", advice)


def _known(path: tuple[str, ...], packages: _Packages) -> tuple[int, Sequence[str]]:
    """Return how far a document exists and the names that are there instead of the next one; none where it exists."""
    if not path or path[0] not in {"access", *_TOP}:
        return 0, ["access", *_TOP]
    if path[0] in _TOP:
        known = _TOP[path[0]]
        return 1, () if len(path) == 1 or path[1] in known else known
    if path[:2] == ("access", "config") or any(one[: len(path)] == path for one in packages):
        return 1, ()
    package = max((one for one in packages if path[: len(one)] == one), key=len, default=("access",))
    names = packages.get(package, set())
    below = {one[len(package)] for one in packages if len(one) > len(package) and one[: len(package)] == package}
    return len(package), () if path[len(package)] in names else sorted(names | below)


def _whole_roster(module: Module) -> Iterator[Problem]:
    """Yield each use of all workers at once: a leavers' pass does not hand them all out, and a replay knows few."""
    found = [(one["path"], _ALL) for one in module.imports if path_of(one["path"])[:2] == _ROSTER[:2]]
    for rule in module.rules:
        found += _rosters(rule)
    for node, told in found:
        yield Problem(
            path=module.path,
            line=place(node)[0],
            column=place(node)[1],
            code="all_workers",
            message=f"{told}, whom not every cycle hands out",
            advice="refer to one: data.roster.workers[input.unit.worker_id], or an id that the unit or a worker names",
        )


_ALL: Final = "goes through all workers"


def _rosters(rule: Node) -> Iterator[tuple[Node, str]]:
    """Yield each reference to the roster that is not by an id which something else gives, and what it does."""
    indices: list[tuple[Node, Node]] = []
    for path, node in references(rule):
        parts, depth = node["value"], len(path)
        if path in {_ROSTER[:2], _ROSTER} and len(parts) == depth:
            yield node, _ALL
        elif path == _ROSTER:
            indices.append((node, parts[depth]))
        elif path[: len(_ROSTER)] == _ROSTER:
            yield node, f"asks for one worker by name, {path[len(_ROSTER)]!r}"
    given = _given(rule, {id(index) for _, index in indices})
    yield from ((node, _ALL) for node, index in indices if index.get("type") == "var" and index["value"] not in given)


def _given(rule: Node, asked: set[int]) -> set[str]:
    """Return the variables that a rule has from elsewhere than the places asked about, its head, and bare `some`."""
    declared = (node["symbols"] for node in nodes(rule) if isinstance(node.get("symbols"), list))
    left_out = asked | {id(one) for symbols in declared for one in symbols}
    parts = [rule["head"].get("args", []), *(node["body"] for node in nodes(rule) if "body" in node)]
    return {str(one["value"]) for one in nodes(parts) if one.get("type") == "var" and id(one) not in left_out}


def _problem(module: Module, node: Node, message: str, advice: str) -> Problem:
    line, column = place(node)
    return Problem(path=module.path, line=line, column=column, code="undefined_field", message=message, advice=advice)
