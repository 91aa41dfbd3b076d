"""What a policy set declares of itself, read from its comments, and what it hashes to.

The METADATA block above the `package` line of a rule is the one declaration of its code, severity and needs. It is read
here and not by the engine, because one of the two engines cannot (`rego.metadata.*` is missing in regorus).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import yaml

from reconciler.core.canonical import digest_of, sha256_hex
from reconciler.core.errors import PolicyFileError
from reconciler.core.model import Need, Rule, Severity
from reconciler.core.plain_yaml import check_plain

RULES = "access/rules/"
"""Folder of the rules, relative to the policy root: one folder each, `access/rules/<rule>/<rule>.rego`."""

_PACKAGE = re.compile(r"^package\s+([A-Za-z_][\w.]*)\s*(?:#.*)?$")
_MARK = re.compile(r"^#\s*METADATA\s*$")
_INSTANT = re.compile(r"^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d:\d\d)$", re.ASCII)
"""RFC 3339, section 5.6; the seconds may be left out. Python reads more than that, such as numbered weeks."""
_SUCH_AS = ", such as 2026-03-20T18:00:00Z"
_NAME = re.compile(r"^[a-z][a-z0-9_]*$")
_REQUIRED = ("code", "severity", "needs", "controls", "remediation")
_OPTIONAL = ("codes", "effective_on", "notes")
_OPA_FIELDS = ("scope", "schemas", "related_resources", "authors", "organizations", "entrypoint")
"""Annotation fields that OPA defines and this project leaves alone (openpolicyagent.org, Policy Language: Metadata)."""


@dataclass(frozen=True, slots=True)
class Located:
    """A piece of YAML and the line of the file it stands on. Every scalar is text: no dates, no booleans."""

    value: "str | list[Located] | dict[str, Located]"
    line: int


def parse_yaml(text: str, path: str, *, first_line: int = 1) -> Located:
    """Return YAML as text, lists and mappings with their lines; `first_line` is where the text starts in the file.

    Raises `PolicyError` naming file and line for anything malformed, doubled, aliased, or beyond the bounds.
    """
    try:
        check_plain(text)
        node = yaml.compose(text, Loader=yaml.CBaseLoader)
    except yaml.MarkedYAMLError as error:
        line = first_line + (error.problem_mark.line if error.problem_mark else 0)
        raise refusal(path, line, f"is no YAML: {error.problem or 'it cannot be read'}") from error
    except yaml.YAMLError as error:
        raise refusal(path, first_line, "not YAML that can be read") from error
    if node is None:
        raise refusal(path, first_line, "nothing is declared here")
    return _located(node, path, first_line)


def _located(node: yaml.Node, path: str, first_line: int) -> Located:
    line = first_line + node.start_mark.line
    if isinstance(node, yaml.MappingNode):
        fields: dict[str, Located] = {}
        for key, value in node.value:
            name = str(key.value)
            if name in fields:
                raise refusal(path, first_line + key.start_mark.line, f"field {name!r} is given twice")
            fields[name] = _located(value, path, first_line)
        return Located(fields, line)
    if isinstance(node, yaml.SequenceNode):
        return Located([_located(entry, path, first_line) for entry in node.value], line)
    return Located(str(node.value), line)


def refusal(path: str, line: int, problem: str) -> PolicyFileError:
    """Return the error for a policy file, by path and line."""
    return PolicyFileError(path, line, problem, advice="correct the file; docs/policies.md describes its fields")


def package_of(path: str, source: str) -> str:
    """Return the package of a Rego module. Raises `PolicyError` when it has none or it is not the module's folder."""
    for number, line in enumerate(source.splitlines(), start=1):
        found = _PACKAGE.match(line)
        if found:
            _check_place(path, number, found.group(1))
            return found.group(1)
    raise refusal(path, 1, "no package is declared in the plain form, such as `package access.rules.leaver`")


def _check_place(path: str, line: int, package: str) -> None:
    folder = path.rpartition("/")[0].replace("/", ".")
    stem = path.removesuffix(".rego").replace("/", ".")
    if package not in {folder, stem}:
        raise refusal(path, line, f"package {package} does not belong in this folder: expected {folder}")
    if path.startswith(RULES) and path.count("/") != RULES.count("/") + 1:
        raise refusal(path, line, "a rule lies in access/rules/<rule>/, neither higher nor deeper")


def rules_of(modules: Iterable[tuple[str, str]]) -> tuple[Rule, ...]:
    """Return the rules that modules declare, sorted by id.

    Each folder under `access/rules/` is one rule and has one METADATA block above one of its package lines. Raises
    `PolicyError` naming file and line for everything missing, doubled or unknown.
    """
    rules: dict[str, Rule] = {}
    bare: dict[str, str] = {}
    for path, source in modules:
        package_of(path, source)
        if not path.startswith(RULES):
            continue
        rule_id = path.removeprefix(RULES).split("/")[0]
        block = _package_block(path, source)
        if block is None:
            bare.setdefault(rule_id, path)
            continue
        if rule_id in rules:
            raise refusal(path, block[1], f"rule {rule_id} has its METADATA in another file too")
        rules[rule_id] = _rule(rule_id, path, parse_yaml(block[0], path, first_line=block[1]))
    for rule_id in sorted(set(bare) - set(rules)):
        raise refusal(bare[rule_id], 1, f"rule {rule_id} has no METADATA above its package line")
    return tuple(rules[rule_id] for rule_id in sorted(rules))


def _package_block(path: str, source: str) -> tuple[str, int] | None:
    """Return the YAML of the METADATA block above the package line, and the line it starts on."""
    lines = source.splitlines()
    head = next(number for number, line in enumerate(lines) if _PACKAGE.match(line))
    marks = [number for number in range(head) if _MARK.match(lines[number])]
    if not marks:
        return None
    if len(marks) > 1:
        raise refusal(path, marks[1] + 1, "a second METADATA block stands above the package line")
    body = []
    for number in range(marks[0] + 1, head):
        if not lines[number].startswith("#"):
            raise refusal(path, number + 1, "the METADATA block is cut off from the package line")
        body.append(lines[number].removeprefix("#").removeprefix(" "))
    return "\n".join(body), marks[0] + 2


@dataclass(frozen=True, slots=True)
class Fields:
    """A mapping of a policy file whose fields are taken one by one, each refusal naming file and line."""

    path: str
    line: int
    given: Mapping[str, Located]

    @classmethod
    def of(cls, node: Located, path: str, known: Iterable[str]) -> "Fields":
        """Return the fields of a mapping; raises `PolicyError` for anything else and for a field not known."""
        if not isinstance(node.value, dict):
            raise refusal(path, node.line, "expected fields, one `name: value` a line")
        for name, entry in node.value.items():
            if name not in known:
                raise refusal(path, entry.line, f"unknown field {name!r}: known are {', '.join(sorted(known))}")
        return cls(path, node.line, node.value)

    def text(self, name: str) -> str:
        """Return a required text; raises `PolicyError` when it is missing, empty or no text."""
        found = self.given.get(name)
        if found is None:
            raise refusal(self.path, self.line, f"field {name!r} is missing")
        if not isinstance(found.value, str) or not found.value.strip():
            raise refusal(self.path, found.line, f"field {name!r} must be a text that is not empty")
        return found.value.strip()

    def optional_text(self, name: str) -> str | None:
        """Return a text, or None when the field is not there."""
        return self.text(name) if name in self.given else None

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a required list of texts; raises `PolicyError` for an empty one and for doubles."""
        found = self.given.get(name)
        if found is None:
            raise refusal(self.path, self.line, f"field {name!r} is missing")
        entries = [entry.value for entry in found.value] if isinstance(found.value, list) else []
        texts = tuple(entry.strip() for entry in entries if isinstance(entry, str) and entry.strip())
        if not texts or len(set(texts)) != len(entries):
            raise refusal(self.path, found.line, f"field {name!r} must be a list of different texts")
        return texts

    def instant(self, name: str) -> datetime:
        """Return a required RFC 3339 instant in UTC; a zone must be given."""
        text = self.text(name)
        line = self.given[name].line
        try:
            instant = datetime.fromisoformat(text)
            if instant.tzinfo is None:
                raise refusal(self.path, line, f"field {name!r} needs a time and a zone{_SUCH_AS}")
            if not _INSTANT.match(text):
                raise refusal(self.path, line, f"field {name!r} is no RFC 3339 instant{_SUCH_AS}")
            return instant.astimezone(UTC)
        except (ValueError, OverflowError) as error:
            raise refusal(self.path, line, f"field {name!r} is no RFC 3339 instant{_SUCH_AS}") from error

    def one_of(self, name: str, allowed: Iterable[str]) -> str:
        """Return a required text that is one of a closed set."""
        text = self.text(name)
        if text not in set(allowed):
            raise refusal(self.path, self.given[name].line, f"field {name!r} must be one of {', '.join(allowed)}")
        return text


def _rule(rule_id: str, path: str, node: Located) -> Rule:
    outer = Fields.of(node, path, {"title", "description", "custom", *_OPA_FIELDS})
    if "custom" not in outer.given:
        raise refusal(path, node.line, "field 'custom' is missing")
    custom = Fields.of(outer.given["custom"], path, {*_REQUIRED, *_OPTIONAL})
    if not _NAME.match(rule_id):
        raise refusal(path, node.line, f"a rule's folder is named in snake_case, not {rule_id!r}")
    codes = _codes(custom, path)
    return Rule(
        rule_id=rule_id,
        title=outer.text("title"),
        description=outer.text("description"),
        code=custom.text("code"),
        codes=codes,
        notes=custom.optional_text("notes") or "",
        severity=Severity(custom.one_of("severity", [level.value for level in Severity])),
        needs=Need(custom.one_of("needs", [need.value for need in Need])),
        controls=custom.texts("controls"),
        remediation=custom.text("remediation"),
        effective_on=custom.instant("effective_on") if "effective_on" in custom.given else None,
    )


def _codes(custom: Fields, path: str) -> tuple[tuple[str, str], ...]:
    """Return every code of a rule and when it is given, which `codes` says of all of them or of none."""
    main, given = custom.text("code"), custom.given.get("codes")
    if given is not None and isinstance(given.value, dict):
        told = Fields(path, given.line, given.value)
        codes = {code: told.text(code) for code in given.value}
        if main not in codes:
            raise refusal(path, given.line, f"'codes' says nothing of {main!r}, the main code")
    else:
        others = custom.texts("codes") if given is not None else ()
        if main in others:
            raise refusal(path, custom.given["code"].line, f"code {main!r} is given twice")
        codes = dict.fromkeys((main, *others), "")
    if any(not _NAME.match(code) for code in codes):
        raise refusal(path, custom.given["code"].line, "codes are different names in snake_case")
    return tuple(codes.items())


def policy_digest(modules: Iterable[tuple[str, str]], data: str) -> str:
    """Return the digest of a policy set: path and SHA-256 of each module, and of the canonical JSON of its data.

    It can be computed from the files and from what an engine gives back, and must be the same both times.
    """
    sources = {path: sha256_hex(source.encode()) for path, source in modules}
    return digest_of({"modules": sources, "data": sha256_hex(data.encode())})
