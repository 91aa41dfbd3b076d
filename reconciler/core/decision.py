"""Whether an engine's answer can be believed: the fail-closed list, and the findings that remain.

Two kinds of doubt. An answer that rests on other documents, rules or requests than ours says that the engine is not the
one we loaded: the cycle fails (`PolicyError`). An answer that is wrong about its own units leaves those principals
undecided (`Undecided`), and a smaller request may tell which of them is at fault.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from reconciler.core.canonical import Json
from reconciler.core.errors import PolicyError, Undecided
from reconciler.core.schemas import DecisionDocument, FindingDocument
from reconciler.core.thresholds import CONFIG_SCHEMA

_ADVICE = "nothing is done on this answer; look at the policies and at the engine's log"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What every decision of a cycle must rest on."""

    roster: Mapping[str, Json]
    """`data.roster.meta` as it was sent."""
    waivers: Mapping[str, Json]
    """`data.waivers.meta` as it was sent."""
    rules: frozenset[str]


def check_decision(
    raw: Mapping[str, Json], request: Mapping[str, Json], expected: Expectation
) -> dict[str, tuple[FindingDocument, ...]]:
    """Return the findings of each unit, sorted; an empty tuple means evaluated and clean.

    Raises `Undecided` when the answer is malformed or does not cover what was asked, and `PolicyError` when it rests
    on something else than what was sent.
    """
    try:
        decision = DecisionDocument.model_validate(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"] if isinstance(part, int) or part.isidentifier())
        raise Undecided(f"the decision is malformed at {place}: {first['msg']}", advice=_ADVICE) from error
    _check_ground(decision, request, expected)
    asked = _asked(request)
    _check_coverage(decision, asked)
    return {key: _findings(found, asked[key], expected.rules) for key, found in decision.findings.items()}


def _check_ground(decision: DecisionDocument, request: Mapping[str, Json], expected: Expectation) -> None:
    echoes = (
        ("cycle", decision.cycle_id, request["cycle_id"]),
        ("request", decision.request_id, request["request_id"]),
        ("instant", decision.now_ns, request["now_ns"]),
        ("roster", decision.roster, dict(expected.roster)),
        ("set of waivers", decision.waivers, dict(expected.waivers)),
        ("config", decision.config, CONFIG_SCHEMA),
        ("set of rules", sorted(decision.rules), sorted(expected.rules)),
    )
    for name, actual, wanted in echoes:
        if actual != wanted:
            raise PolicyError(f"the decision rests on another {name} than the one sent", advice=_ADVICE)


def _asked(request: Mapping[str, Json]) -> dict[str, frozenset[str]]:
    units = request["units"]
    asked: dict[str, frozenset[str]] = {}
    for key, unit in units.items() if isinstance(units, dict) else ():
        access = unit["access"] if isinstance(unit, dict) else None
        asked[key] = frozenset(access) if isinstance(access, dict) else frozenset()
    return asked


def _check_coverage(decision: DecisionDocument, asked: Mapping[str, frozenset[str]]) -> None:
    if set(decision.findings) != set(asked):
        raise Undecided("the decision does not speak of the principals it was asked about", advice=_ADVICE)
    if decision.evaluated != {key: len(items) for key, items in asked.items()}:
        raise Undecided("the decision did not look at every access item it was asked about", advice=_ADVICE)


def _findings(
    found: list[FindingDocument], items: frozenset[str], rules: frozenset[str]
) -> tuple[FindingDocument, ...]:
    for finding in found:
        if finding.rule not in rules:
            raise Undecided("a finding names a rule that is not loaded", advice=_ADVICE)
        if finding.access_id not in items:
            raise Undecided(f"rule {finding.rule} speaks of an access item of somebody else", advice=_ADVICE)
    order = sorted(found, key=lambda one: (one.access_id, one.rule, one.code, one.effect.rank, one.reason))
    return tuple(order)
