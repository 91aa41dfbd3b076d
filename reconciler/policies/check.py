"""Everything that can be wrong with a policy folder, found in one go and named by file and line."""

import re
from collections.abc import Collection, Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import datetime
from difflib import get_close_matches
from itertools import zip_longest
from pathlib import Path
from typing import Final

from reconciler.adapters.opa_tool import Complaint, OpaTool, workspace
from reconciler.adapters.policy_sources import PolicySources, read_sources
from reconciler.adapters.regal import lint
from reconciler.adapters.waiver_files import MAX_WAIVER_DAYS, read_waivers
from reconciler.core.builtins import FORBIDDEN_BUILTINS
from reconciler.core.model import PolicySet, Rule, Waiver
from reconciler.core.schemas import published_schemas
from reconciler.policies.absent_worker import unsaid
from reconciler.policies.canary_check import canary_problems
from reconciler.policies.declared import Declared, line_of
from reconciler.policies.null_order import unguarded
from reconciler.policies.probes import probe
from reconciler.policies.problems import Level, Problem, in_order
from reconciler.policies.rule_form import banned_advice, module_problems, never_given, rule_of, rule_problems
from reconciler.policies.silent_names import silent_names
from reconciler.policies.syntax import Module
from reconciler.policies.waiving import waiver_problems
from reconciler.policies.world_fields import views


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What a check is made with."""

    opa: Path
    regal: Path | None
    capabilities: str
    """The builtins that policies may use, as a capabilities file of OPA."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What a check found."""

    folder: Path
    policies: PolicySet | None
    """None where the daemon would refuse them too."""
    rules: tuple[Rule, ...]
    waivers: tuple[Waiver, ...]
    modules: int
    tests: int
    opa_version: str
    regal: bool
    problems: tuple[Problem, ...]

    @property
    def refused(self) -> bool:
        """Say whether anything is wrong that is more than a warning."""
        return any(problem.level is Level.ERROR for problem in self.problems)


def check(
    folder: Path,
    tools: Tools,
    now: datetime,
    max_waiver_days: int = MAX_WAIVER_DAYS,
    providers: Collection[str] | None = None,
) -> CheckReport:
    """Check a policy folder; `providers` are those of the configuration, where there is one.

    Raises `PolicyError` only where it cannot be checked at all: no folder, no OPA.
    """
    sources = read_sources(folder)
    declared = Declared(folder, sources)
    problems = list(declared.problems)
    waivers = read_waivers(folder, now, max_waiver_days)
    problems += waiver_problems(waivers, declared.rules, now, providers)
    with workspace(tools.opa, sources, tools.capabilities) as opa:
        version = opa.version()
        problems += _compiled(opa, sources, declared, now)
    if tools.regal is not None:
        problems += _linted(tools.regal, folder)
    return CheckReport(
        folder=folder,
        policies=declared.policies,
        rules=declared.rules,
        waivers=waivers.as_set().whole,
        modules=len(sources.modules),
        tests=len(sources.tests),
        opa_version=version,
        regal=tools.regal is not None,
        problems=in_order(problems),
    )


def _compiled(opa: OpaTool, sources: PolicySources, declared: Declared, now: datetime) -> Iterator[Problem]:
    """Yield what OPA says of the texts, and what their syntax trees show."""
    complaints = opa.check()
    refused = [_from_opa(one) for one in _first_causes(complaints) if not _told_before(one, declared.problems)]
    parsed = [(name, opa.parse(name)) for name, _ in sources.modules]
    modules = [Module(path=name, tree=tree) for name, tree in parsed if not isinstance(tree, Complaint)]
    parsed += [(name, opa.parse(name)) for name, _ in sources.tests] if complaints else []
    told = {one.path for one in refused}
    broken = [one for name, one in parsed if isinstance(one, Complaint) and name not in told]
    refused += [_from_opa(one) for one in broken if not _told_before(one, declared.problems)]
    yield from refused
    unread = {name for name, tree in parsed if isinstance(tree, Complaint)} | {one.path for one in complaints}
    yield from _formatted(opa, [one for one in sources.rego if one[0] not in unread])
    deciding = [one for one in modules if not (rule_of(one.path) and one.package.endswith("_test"))]
    seen = list(_seen_in(deciding, declared, {(one.path, one.line) for one in refused}))
    yield from seen
    if not complaints:
        yield from _asked(opa, sources, declared, now, {(one.path, one.code) for one in seen})


def _asked(
    opa: OpaTool, sources: PolicySources, declared: Declared, now: datetime, known: AbstractSet[tuple[str, str]]
) -> Iterator[Problem]:
    """Yield what the answers of rules that compile show, leaving out what is known of a file by its code."""
    found = probe(opa, declared.rules, sources.modules)
    yield from (one for one in found if (one.path, one.code) not in known)
    if declared.policies is not None and not found:
        yield from canary_problems(opa, declared.policies, now, sources.modules)


def _seen_in(modules: Sequence[Module], declared: Declared, told: AbstractSet[tuple[str, int]]) -> Iterator[Problem]:
    """Yield what the syntax trees show, leaving out names on lines that OPA has told of."""
    seen = views(modules)
    yield from (one for one in silent_names(modules, seen) if (one.path, one.line) not in told)
    yield from unguarded(seen)
    yield from unsaid(seen)
    config = None if any(one.code == "config" for one in declared.problems) else declared.config
    by_rule: dict[str, list[Module]] = {}
    for module in modules:
        yield from module_problems(module, config)
        by_rule.setdefault(rule_of(module.path), []).append(module)
    rules = {rule.rule_id: rule for rule in declared.rules}
    for rule, own in by_rule.items():
        if rule and len(own) == len(declared.by_rule[rule]):
            yield from rule_problems(rules.get(rule), rule, own)
            yield from _idle_codes(rules[rule], own, declared) if rule in rules else ()


def _idle_codes(rule: Rule, modules: Sequence[Module], declared: Declared) -> Iterator[Problem]:
    for code in never_given(rule, modules):
        path, line = line_of(code, declared.by_rule[rule.rule_id])
        told, advice = f"code {code!r} is declared, and no finding has it", "give it, or take it out of the METADATA"
        yield Problem(path=path, line=line, code="undeclared_code", message=told, advice=advice)


def _told_before(complaint: Complaint, problems: Sequence[Problem]) -> bool:
    """Say whether something better is known: of the file that a complaint without a place names, of METADATA, a merge.

    A package that is declared twice is where a file lies in the wrong folder: OPA may name the one that lies right.
    """
    text = complaint.message
    if not complaint.path:
        return any(one.path in text for one in problems)
    if any(complaint.path.startswith(f"{one.path}/") for one in problems if one.code == "place"):
        return True
    own = [one for one in problems if one.path == complaint.path]
    if text.startswith(_REDECLARED):
        return any(one.code in {"place", "metadata"} for one in (*own, *_about(problems, text)))
    if text.startswith(("yaml: ", "invalid annotation scope")):
        return any(one.code == "metadata" for one in own)
    return any(one.code == "syntax" or (one.code == "unreadable" and one.line == complaint.line) for one in own)


_REDECLARED: Final = "package annotation redeclared"


def _about(problems: Sequence[Problem], text: str) -> Iterator[Problem]:
    return (one for one in problems if f" {one.path}:" in text)


def _first_causes(complaints: Sequence[Complaint]) -> Sequence[Complaint]:
    """Leave out what only follows: whatever calls a function that is refused itself is refused for that."""
    causes = [one for one in complaints if not one.message.startswith(f"{_UNDEFINED_FUNCTION}data.")]
    return causes or complaints


def _formatted(opa: OpaTool, files: Sequence[tuple[str, str]]) -> Iterator[Problem]:
    texts = dict(files)
    for name in opa.unformatted(list(texts)):
        pairs = enumerate(zip_longest(texts[name].split("\n"), opa.formatted(name).split("\n")), start=1)
        line = next((number for number, (is_so, ought) in pairs if is_so != ought), 1)
        windows = ", with line ends of Windows" if "\r\n" in texts[name] else ""
        yield Problem(
            path=name,
            line=line,
            code="format",
            message=f"is not as `opa fmt` writes it{windows}",
            advice="run `opa fmt --write` on it",
        )


_BY_MESSAGE: Final = (
    ("empty module", "write the rule, or remove the file"),
    ("keyword is required", "this is Rego v0: write `finding contains x if {…}` and `name := value if {…}`"),
    ("unused", "use it or take it out; a value that must only exist is written `_ = …`"),
    ("is unsafe", "bind it first: `some x in …` or `x := …`"),
    ("recursive", "a rule cannot rest on itself: take one of the references out"),
    ("shadows", "give it another name"),
    ("deprecated", "use the builtin that OPA's documentation names instead"),
    ("conflicting", "give one of the two another name"),
    ("annotation scope", "take `scope` out: the METADATA of a rule is that of its package"),
    ("package annotation redeclared", "keep one METADATA block for the package, and take the other out"),
    ("undefined schema", f"name one of {', '.join(sorted(published_schemas()))} without `.json`, as other rules do"),
    ("illegal token", 'Rego knows no such character outside of texts: write " for “ and ”, and ordinary blanks'),
)
_MADE_UP: Final = re.compile(r"\[__local\d+__\]")
"""A name that OPA gives where the policy has none."""
_UNDEFINED_FUNCTION: Final = "undefined function "
_OWN_SECTION: Final = "undefined ref: data.access.config."
_OWN_SECTION_ADVICE: Final = (
    "a section of your own is in no schema: take `data.access.config` out of `schemas:` in the METADATA; whether "
    "data.json gives the threshold is looked at all the same"
)


def _from_opa(complaint: Complaint) -> Problem:
    code, message, advice = _explained(replace(complaint, message=_MADE_UP.sub("[…]", complaint.message)))
    return Problem(
        path=complaint.path or ".",
        line=complaint.line,
        column=complaint.column,
        code=code,
        message=message,
        advice=advice,
    )


def _explained(complaint: Complaint) -> tuple[str, str, str]:
    message = complaint.message
    if message.startswith(_UNDEFINED_FUNCTION):
        name = message.removeprefix(_UNDEFINED_FUNCTION).removeprefix("data.")
        if name in FORBIDDEN_BUILTINS:
            return "banned_builtin", f"calls {name}, which no policy may", banned_advice(name)
        return "syntax", message, "see that it is spelt right and imported"
    if message.startswith("undefined ref"):
        near = [one for part in message.split(".") for one in get_close_matches(part, complaint.known, n=1)]
        if not near and message.startswith(_OWN_SECTION):
            return "undefined_field", message, _OWN_SECTION_ADVICE
        known = (
            f"did you mean {near[0]!r}?" if near else f"known are {', '.join(complaint.known) or 'those of schemas/'}"
        )
        return "undefined_field", f"{message}: there is no such field", known
    advice = next((advice for part, advice in _BY_MESSAGE if part in message), "correct it; `opa check` says the same")
    return "syntax", message, advice


def _linted(regal: Path, folder: Path) -> Iterator[Problem]:
    for one in lint(regal, folder):
        yield Problem(
            path=one.path,
            line=one.line,
            column=one.column,
            code="lint",
            level=Level.ERROR if one.error else Level.WARNING,
            message=f"{one.message} ({one.rule})",
            advice=f"see the page of {one.rule.rpartition('/')[2]} in Regal's documentation, or configure the rule",
        )
