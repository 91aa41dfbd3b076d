"""Everything that can be wrong with a policy folder, found in one go and named by file and line."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from reconciler.adapters.opa_tool import Complaint, OpaTool, workspace
from reconciler.adapters.policy_sources import PolicySources, read_sources
from reconciler.adapters.regal import lint
from reconciler.adapters.waiver_files import MAX_WAIVER_DAYS, read_waivers
from reconciler.core.builtins import FORBIDDEN_BUILTINS
from reconciler.core.model import PolicySet, Rule, Waiver
from reconciler.policies.declared import Declared
from reconciler.policies.item_fields import unknown_fields
from reconciler.policies.null_order import unguarded
from reconciler.policies.probes import probe
from reconciler.policies.problems import Level, Problem, in_order
from reconciler.policies.rule_form import banned_advice, module_problems, rule_of, rule_problems
from reconciler.policies.syntax import Module
from reconciler.policies.waiving import waiver_problems


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


def check(folder: Path, tools: Tools, now: datetime, max_waiver_days: int = MAX_WAIVER_DAYS) -> CheckReport:
    """Check a policy folder. Raises `PolicyError` only where it cannot be checked at all: no folder, no OPA."""
    sources = read_sources(folder)
    declared = Declared(folder, sources)
    problems = list(declared.problems)
    waivers = read_waivers(folder, now, max_waiver_days)
    problems += waiver_problems(waivers, declared.rules, now)
    with workspace(tools.opa, sources, tools.capabilities) as opa:
        version = opa.version()
        problems += _compiled(opa, sources, declared)
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


def _compiled(opa: OpaTool, sources: PolicySources, declared: Declared) -> Iterator[Problem]:
    """Yield what OPA says of the texts, and what their syntax trees show."""
    refused = [_from_opa(one) for one in _first_causes(opa.check())]
    yield from refused
    modules = [
        Module(path=name, tree=tree) for name, tree in ((name, opa.parse(name)) for name, _ in sources.modules) if tree
    ]
    unread = {name for name, _ in sources.modules} - {module.path for module in modules}
    unread |= {problem.path for problem in refused}
    yield from _formatted(opa, [name for name, _ in sources.rego if name not in unread])
    yield from unknown_fields(modules)
    yield from unguarded(modules)
    by_rule: dict[str, list[Module]] = {}
    for module in modules:
        yield from module_problems(module, declared.config)
        by_rule.setdefault(rule_of(module.path), []).append(module)
    for rule, own in by_rule.items():
        if rule and len(own) == len(declared.by_rule[rule]):
            yield from rule_problems(rule, own)
    if not refused:
        yield from probe(opa, declared.rules)


def _first_causes(complaints: Sequence[Complaint]) -> Sequence[Complaint]:
    """Leave out what only follows: whatever calls a function that is refused itself is refused for that."""
    causes = [one for one in complaints if not one.message.startswith(f"{_UNDEFINED_FUNCTION}data.")]
    return causes or complaints


def _formatted(opa: OpaTool, names: Sequence[str]) -> Iterator[Problem]:
    for name in opa.unformatted(names):
        yield Problem(
            path=name,
            line=1,
            code="format",
            message="is not as `opa fmt` writes it",
            advice="run `opa fmt --write` on it",
        )


_BY_MESSAGE: Final = (
    ("keyword is required", "this is Rego v0: write `finding contains x if {…}` and `name := value if {…}`"),
    ("unused", "use it or take it out; a value that must only exist is written `_ = …`"),
    ("is unsafe", "bind it first: `some x in …` or `x := …`"),
    ("recursive", "a rule cannot rest on itself: take one of the references out"),
    ("shadows", "give it another name"),
    ("deprecated", "use the builtin that OPA's documentation names instead"),
    ("conflicting", "give one of the two another name"),
)
_UNDEFINED_FUNCTION: Final = "undefined function "
_OWN_SECTION: Final = "undefined ref: data.access.config."
_OWN_SECTION_ADVICE: Final = (
    "a section of your own is in no schema: take `data.access.config` out of `schemas:` in the METADATA; whether "
    "data.json gives the threshold is looked at all the same"
)


def _from_opa(complaint: Complaint) -> Problem:
    code, message, advice = _explained(complaint)
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
        name = message.removeprefix(_UNDEFINED_FUNCTION)
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
