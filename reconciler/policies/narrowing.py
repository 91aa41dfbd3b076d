"""Which rules of a revision may answer otherwise than in the revision before: only those need be asked about everybody.

A rule answers the same about the same unit where its own text is the same and so is everything that it can reach from
there: modules, thresholds, other rules. What a module reaches is read from the tree that OPA compiled, in which imports
are resolved; a reference whose end is worked out at run time reaches everything below its constant beginning. Whatever
cannot be told this way means that every rule is asked.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from reconciler.adapters.opa_replies import package_path
from reconciler.core.canonical import Json, dumps, sha256_hex
from reconciler.core.metadata import package_of, policy_digest
from reconciler.core.model import PolicySet
from reconciler.policies.syntax import nodes, path_of

Room = tuple[str, ...]
"""A package from `data` on; all packages of one rule are one room."""

RULE_BY_RULE: Final = frozenset({"62966f680b949cee58667c95c6cf856582c707500c85501fb61822e846fefc0c"})
"""SHA-256 of the drivers that ask each rule by itself, so that what one finds does not depend on another."""
_DATA: Final = ("data",)
_DRIVER: Final = ("data", "access", "driver")
_RULES: Final = ("data", "access", "rules")
_DOCUMENTS: Final = frozenset({"config", "lib"})
"""Where data below `access` can lie and be no rule."""
_NO_CODE: Final = frozenset({"package", "annotations", "comments"})
"""Parts of a tree that decide nothing."""
_LOOKS_AT_COMMENTS: Final = "rego.metadata"
"""OPA answers it from comments, also from those of other modules, when it compiles."""


def part_to_ask(base: PolicySet, head: PolicySet, trees: Mapping[str, Json]) -> PolicySet | None:
    """Return `head` with the rules alone that may answer otherwise than in `base`, and what they stand on.

    None where all of them have to be asked. `trees` are the compiled modules of `head` by their paths.
    """
    known = _Known.of(base, head, trees)
    if known is None:
        return None
    asked = {room for room in known.rules if known.changed & known.reached_from([room])}
    needed = known.reached_from([*asked, *(room for room in known.after if not _is_rule(room) and room != _DRIVER)])
    kept = {room for room in known.rules if room in needed}
    if kept == set(known.rules):
        return None
    modules = tuple(one for one in head.modules if not _is_rule(_room(*one)) or _room(*one) in kept)
    ids = {room[-1] for room in kept}
    return replace(
        head,
        modules=modules,
        rules=tuple(rule for rule in head.rules if rule.rule_id in ids),
        digest=policy_digest(modules, head.data),
    )


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of two revisions."""

    after: Mapping[Room, frozenset[tuple[str, str]]]
    """The modules of the second revision, path and text, by their rooms."""
    changed: frozenset[Room]
    """Rooms whose modules differ, or that look at data which differs."""
    reaches: Mapping[Room, frozenset[Room]]
    """Which rooms each room refers to, itself among them."""

    @classmethod
    def of(cls, base: PolicySet, head: PolicySet, trees: Mapping[str, Json]) -> "_Known | None":
        """Lay two revisions out; None where they cannot be told apart by their rooms."""
        before, after = _rooms(base), _rooms(head)
        documents = [json.loads(one.data) for one in (base, head)]
        if not _asked_rule_by_rule(before, after, documents) or not _all_there(head, trees):
            return None
        if any(_LOOKS_AT_COMMENTS in source for _, source in head.modules):
            return None
        references = {
            room: {path for name, _ in modules for path in _references(trees[name])} for room, modules in after.items()
        }
        everywhere = before.keys() | after.keys()
        changed = {room for room in everywhere if before.get(room) != after.get(room)}
        changed |= {room for room, paths in references.items() if any(_differs(path, documents) for path in paths)}
        reaches = {
            room: frozenset(other for other in everywhere if any(_touches(path, other) for path in paths)) | {room}
            for room, paths in references.items()
        }
        return cls(after, frozenset(changed), reaches)

    @property
    def rules(self) -> tuple[Room, ...]:
        """Return the rooms of the second revision's rules."""
        return tuple(room for room in self.after if _is_rule(room))

    def reached_from(self, rooms: Iterable[Room]) -> set[Room]:
        """Return these rooms and all that they reach, through whatever others."""
        found: set[Room] = set()
        left = list(rooms)
        while left:
            room = left.pop()
            if room not in found:
                found.add(room)
                left.extend(self.reaches.get(room, ()))
        return found


def _rooms(policies: PolicySet) -> dict[Room, frozenset[tuple[str, str]]]:
    found: dict[Room, set[tuple[str, str]]] = {}
    for path, source in policies.modules:
        found.setdefault(_room(path, source), set()).add((path, source))
    return {room: frozenset(modules) for room, modules in found.items()}


def _room(path: str, source: str) -> Room:
    package = ("data", *package_of(path, source).split("."))
    return package[: len(_RULES) + 1] if package[: len(_RULES)] == _RULES else package


def _is_rule(room: Room) -> bool:
    return room[: len(_RULES)] == _RULES and len(room) > len(_RULES)


def _asked_rule_by_rule(
    before: Mapping[Room, frozenset[tuple[str, str]]],
    after: Mapping[Room, frozenset[tuple[str, str]]],
    documents: Iterable[Json],
) -> bool:
    """Say whether both revisions ask rule by rule, and nothing but modules makes a rule or says what is shared."""
    drivers = [{sha256_hex(source.encode()) for _, source in rooms.get(_DRIVER, ())} for rooms in (before, after)]
    if any(len(one) != 1 or not one <= RULE_BY_RULE for one in drivers):
        return False
    if _RULES in before or _RULES in after:
        return False
    access = [one.get("access") if isinstance(one, dict) else None for one in documents]
    return all(isinstance(one, dict) and one.keys() <= _DOCUMENTS for one in access)


def _all_there(head: PolicySet, trees: Mapping[str, Json]) -> bool:
    """Say whether each module has a tree, of its own package."""
    packages = {path: ["data", *package_of(path, source).split(".")] for path, source in head.modules}
    return packages == {path: package_path(tree) for path, tree in trees.items()}


def _references(tree: Json) -> set[Room]:
    """Return the constant beginning of every reference to data in a module."""
    body = [part for name, part in tree.items() if name not in _NO_CODE] if isinstance(tree, dict) else []
    paths = {path_of(node) for node in nodes(body) if node.get("type") == "ref"}
    return {path for path in paths if path[:1] == _DATA}


def _at(document: object, path: Iterable[str]) -> list[object]:
    """Return what lies at a path of a document, or the leaf that it ends at; nothing where there is nothing."""
    for part in path:
        if not isinstance(document, dict):
            break
        if part not in document:
            return []
        document = document[part]
    return [document]


def _differs(path: Room, documents: list[Json]) -> bool:
    """Say whether data that a reference reaches may differ; that of the waivers always may."""
    if path == _DATA or path[1] == "waivers":
        return True
    before, after = (dumps(_at(one, path[1:])) for one in documents)
    return before != after


def _touches(path: Room, room: Room) -> bool:
    shorter = min(len(path), len(room))
    return path[:shorter] == room[:shorter]
