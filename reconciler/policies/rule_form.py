"""Rules about rules: what OPA accepts and would be silent, forged or unreadable here.

Each looks at one module, or at all modules of one rule's folder, and names the line.
"""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Final

from reconciler.adapters.policy_files import DRIVER
from reconciler.core.builtins import FORBIDDEN_BUILTINS
from reconciler.core.canonical import Json
from reconciler.core.metadata import RULES
from reconciler.core.model import Effect, Rule, Severity
from reconciler.policies.problems import Problem
from reconciler.policies.syntax import Module, Node, calls, fields, literals, nodes, path_of, place, references, text

_CONFIG: Final = ("data", "access", "config")
_INPUT: Final = ("unit", "now_ns")
_EFFECTS: Final = tuple(effect.value for effect in Effect)
_SEVERITIES: Final = tuple(severity.value for severity in Severity)


def rule_of(path: str) -> str:
    """Return the rule in whose folder a module lies, or nothing."""
    parts = path.removeprefix(RULES).split("/")
    return parts[0] if path.startswith(RULES) and len(parts) > 1 else ""


def module_problems(module: Module, config: Mapping[str, Json] | None) -> Iterator[Problem]:
    """Yield what is wrong with a module by itself; `config` is `data.access.config`, None where it cannot be read."""
    yield from _banned(module)
    if config is not None:
        yield from _missing_thresholds(module, config)
    yield from _granting_defaults(module)
    if module.path != DRIVER:
        yield from _replacing(module)
    if rule_of(module.path):
        yield from _unknown_levels(module)
        yield from _foreign(module)


def rule_problems(rule: Rule | None, name: str, modules: Sequence[Module]) -> Iterator[Problem]:
    """Yield what is wrong with the modules of one rule together; `rule` is what it declares, if that can be read."""
    first = modules[0]
    ids = [(module, one) for module in modules for one in module.named("id")]
    findings = [(module, one) for module in modules for one in module.named("finding")]
    if not ids:
        yield _at(first, None, "rule_form", "the rule has no `id`: the driver would skip it", f'add: id := "{name}"')
    for module, one in ids:
        if text(one["head"].get("value")) != name:
            yield _at(module, one, "rule_form", "`id` is not the name of the folder", f'write: id := "{name}"')
        elif not all(expression.get("generated") for expression in one.get("body", ())):
            told = "`id` has a condition: where it does not hold, the driver would skip the rule"
            yield _at(module, one, "rule_form", told, f'write: id := "{name}"')
    if not findings:
        yield _at(first, None, "rule_form", "the rule has no `finding`: it would find nothing", _WRITE_A_SET)
    for module, one in findings:
        if not _is_set(one):
            yield _at(module, one, "rule_form", "`finding` is no set: where it is undefined nobody knows", _WRITE_A_SET)
    yield from _unread(modules)
    yield from _undeclared(rule, modules) if rule else ()


_WRITE_A_SET: Final = "write: finding contains {…} if {…}"


def _is_set(rule: Node) -> bool:
    head = rule["head"]
    return "key" in head and "value" not in head and "args" not in head and len(head.get("ref", ())) == 1


def _unread(modules: Sequence[Module]) -> Iterator[Problem]:
    """Yield each name that nothing of the rule refers to: only `finding` is asked for, so it decides nothing."""
    heads = {id(part) for module in modules for one in module.rules for part in one["head"].get("ref", ())}
    read = {
        str(node["value"])
        for module in modules
        for node in nodes(module.tree.get("rules", []))
        if node.get("type") in {"var", "string"} and id(node) not in heads
    }
    told: set[str] = set()
    for module in modules:
        for one in module.rules:
            name = str(one["head"]["ref"][0]["value"]) if "ref" in one["head"] else ""
            if name and name not in {"id", "finding", *read, *told}:
                told.add(name)
                message = f"nothing asks for `{name}`: the driver reads `id` and `finding` alone"
                yield _at(module, one, "rule_form", message, "write it as a condition of `finding`, or take it out")


def _granting_defaults(module: Module) -> Iterator[Problem]:
    for one in module.rules:
        if one.get("default") and one["head"].get("value", {}).get("value") is True:
            name = one["head"]["ref"][0]["value"]
            told = f"`default {name} := true` holds wherever something is unknown"
            yield _at(module, one, "rule_form", told, "write what must be so as a condition, and leave the default out")


def _replacing(module: Module) -> Iterator[Problem]:
    for node in nodes(module.tree.get("rules", [])):
        for one in node.get("with", ()) if isinstance(node.get("with"), list) else ():
            name = ".".join(path_of(one["target"]))
            told = f"puts something else in place of {name}: a decision rests on what was asked"
            yield _at(module, one["target"], "rule_form", told, "take the `with` out: it is for tests")


def _undeclared(rule: Rule, modules: Sequence[Module]) -> Iterator[Problem]:
    known = {code for code, _ in rule.codes}
    for module in modules:
        for value in fields(module.tree.get("rules", []), "code"):
            for literal in literals(value, module):
                if text(literal) not in known:
                    told = f"code {text(literal)!r} is not declared"
                    yield _at(module, literal, "undeclared_code", told, DECLARE)


def never_given(rule: Rule, modules: Sequence[Module]) -> Iterator[str]:
    """Yield each declared code that stands in none of the rule's texts, where codes are not put together from parts."""
    trees = [module.tree.get("rules", []) for module in modules]
    texts = {told for node in nodes(trees) if (told := text(node)) is not None}
    if any(path_of(parts[0]) in _JOINING for value in fields(trees, "code") for parts in calls(value)):
        return
    yield from (code for code, _ in rule.codes if code not in texts)


_JOINING: Final = frozenset({("concat",), ("sprintf",), ("replace",)})
DECLARE: Final = "add it to `codes` in the METADATA, or correct it"


def _banned(module: Module) -> Iterator[Problem]:
    for path, node in references(module.tree):
        name = ".".join(module.whole(path)).removeprefix("data.")
        if name in FORBIDDEN_BUILTINS or name in _TALKATIVE:
            yield _at(module, node, "banned_builtin", f"calls {name}, which no policy may", banned_advice(name))


_TALKATIVE: Final = frozenset({"print", "trace"})


def banned_advice(name: str) -> str:
    """Return what to write instead of a forbidden builtin."""
    if name == "time.now_ns":
        return "use input.now_ns: a decision can then be made again"
    if name in _TALKATIVE:
        return "take the call out: it would write what it sees of people into the engine's log"
    return "take the call out: a decision rests on its input and data alone"


def _unknown_levels(module: Module) -> Iterator[Problem]:
    for name, code, known in (("effect", "effect", _EFFECTS), ("severity", "rule_form", _SEVERITIES)):
        for value in fields(module.tree.get("rules", []), name):
            for literal in literals(value, module):
                told = text(literal)
                if told not in known:
                    yield _at(module, literal, code, f"{name} {told!r} is unknown", f"write one of {', '.join(known)}")


def _foreign(module: Module) -> Iterator[Problem]:
    for path, node in references(module.tree):
        if path[:3] == ("data", "access", "driver"):
            yield _at(module, node, "rule_form", "a rule refers to the driver that asks it", "take the reference out")
        if path[:1] == ("input",) and len(path) > 1 and path[1] not in _INPUT:
            near = get_close_matches(path[1], _INPUT, n=1)
            advice = f"write input.{near[0]}" if near else "a rule sees input.unit and input.now_ns"
            yield _at(module, node, "undefined_field", f"input.{path[1]} does not exist", advice)


def _missing_thresholds(module: Module, config: Mapping[str, Json]) -> Iterator[Problem]:
    """Yield each reference to a threshold that no data.json gives: the rule would never fire, without an error."""
    named = {
        str(rule["head"]["name"]): module.whole(path_of(rule["head"].get("value")))
        for rule in module.rules
        if "name" in rule["head"]
    }
    for part in (*module.rules, *module.imports):
        held = named | _assigned(part, module)
        for path, node in references(part):
            whole = (*held[path[0]], *path[1:]) if path and path[0] in held else module.whole(path)
            if whole[:3] == _CONFIG and not _given(whole[3:], config):
                name = ".".join(whole[3:])
                yield _at(
                    *(module, node, "undefined_field", f"threshold {name} is not given: the rule would be silent"),
                    f"add {name} to access/config/data.json",
                )


def _assigned(rule: Node, module: Module) -> dict[str, tuple[str, ...]]:
    """Return what the variables of a rule stand for where one is a reference and no more."""
    given = ((parts[1], parts[2]) for parts in calls(rule) if path_of(parts[0]) in {("assign",), ("eq",)})
    return {str(name["value"]): module.whole(path_of(value)) for name, value in given if name.get("type") == "var"}


def _given(path: Sequence[str], config: Mapping[str, Json]) -> bool:
    found: Json = dict(config)
    for part in path:
        if not isinstance(found, dict):
            return True
        if part not in found:
            return False
        found = found[part]
    return True


def _at(module: Module, node: Node | None, code: str, message: str, advice: str) -> Problem:
    line, column = (1, 1) if node is None else _start(node)
    return Problem(path=module.path, line=line, column=column, code=code, message=message, advice=advice)


def _start(node: Node) -> tuple[int, int]:
    return place(node if "location" in node else node.get("head", {}))
