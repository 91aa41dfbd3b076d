"""Whole worlds for tests of the evaluate stage, and policy sets with one thing changed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from inventory.model import AccessItem, ArtefactKind, Principal, PrincipalId, PrincipalKind
from inventory.roster.model import Roster, WorkerId
from reconciler.adapters.policy_files import load_policies
from reconciler.core.document import EvaluationWorld
from reconciler.core.metadata import policy_digest, rules_of
from reconciler.core.model import Correlation, CorrelationState, CycleId, Match, PolicySet
from tests.builders import NOW, PROVIDER, credential, grant, inventory, leaver, principal, roster, snapshot, worker

POLICIES = Path(__file__).resolve().parent.parent / "policies"


def starter() -> PolicySet:
    """Read the policies of this repository."""
    return load_policies(POLICIES)


def with_modules(policies: PolicySet, **sources: str | None) -> PolicySet:
    """Replace, add or (None) leave out modules; the keyword is the path with `__` for `/` and without `.rego`."""
    modules = dict(policies.modules)
    for name, source in sources.items():
        path = name.replace("__", "/") + ".rego"
        if source is None:
            del modules[path]
        else:
            modules[path] = source
    changed = tuple(sorted(modules.items()))
    return replace(policies, modules=changed, rules=rules_of(changed), digest=policy_digest(changed, policies.data))


def rule_source(name: str, body: str, **fields: str) -> str:
    """Write a rule with METADATA; `body` follows its id."""
    custom = {"code": name, "severity": "low", "needs": "item", "controls": "[SOC2 CC6.1]", "remediation": "Look."}
    lines = [f"#   {key}: {value}" for key, value in (custom | fields).items()]
    head = ["# METADATA", f"# title: {name}", "# description: For a test.", "# custom:", *lines]
    return "\n".join([*head, f"package access.rules.{name}", "", f'id := "{name}"', "", body, ""])


def emit(condition: str, **changes: str) -> str:
    """Write a rule body that emits one finding on each access item for which the condition holds."""
    fields = {
        "access_id": "access_id",
        "code": '"probe"',
        "severity": '"low"',
        "effect": '"review"',
        "reason": '"probe"',
    }
    head = ", ".join(f'"{key}": {value}' for key, value in (fields | changes).items())
    return f"finding contains {{{head}}} if {{\n\tsome access_id, item in input.unit.access\n\t{condition}\n}}"


def correlation(name: str, worker_id: str | None = None, **changes: Any) -> Correlation:
    """Match a principal to a worker by an employee id, or (None) to nobody."""
    values: dict[str, Any] = {
        "provider": PROVIDER,
        "principal_id": PrincipalId(name),
        "state": CorrelationState.ORPHAN,
    }
    if worker_id is not None:
        match = Match(worker_id=WorkerId(worker_id), rule="employee_id", confidence=98, identity=True)
        values |= {"state": CorrelationState.MATCHED, "worker_id": WorkerId(worker_id), "rule": "employee_id"}
        values |= {"confidence": 98, "identity": True, "candidates": (match,)}
    return Correlation(**(values | changes))


def world(
    principals: tuple[Principal, ...],
    items: tuple[AccessItem, ...],
    correlations: tuple[Correlation, ...],
    people: Roster,
    **changes: Any,
) -> EvaluationWorld:
    """Put a world together, under the policies of this repository unless told otherwise."""
    values: dict[str, Any] = {
        "cycle_id": CycleId("5e0c8f5e-7a55-4a52-9a6c-0d8e4b1f2a33"),
        "now": NOW,
        "snapshot": snapshot(inventory(principals, items)),
        "correlations": correlations,
        "roster": people,
        "waivers": (),
    }
    if "policies" not in changes:
        values["policies"] = starter()
    return EvaluationWorld(**(values | changes))


def company(**changes: Any) -> EvaluationWorld:
    """Build a small company: a leaver, somebody who stays, what the leaver owned, an orphan, and a doubtful match."""
    principals = (
        principal("alice"),
        principal("bob"),
        principal("backup", kind=PrincipalKind.SERVICE),
        principal("ghost"),
        principal("twin"),
    )
    items: tuple[AccessItem, ...] = (
        credential("alice", ArtefactKind.ACCOUNT),
        credential("alice"),
        grant("alice"),
        grant("alice", "admins", holders=1),
        credential("bob", ArtefactKind.ACCOUNT),
        credential("bob"),
        credential("backup"),
        credential("ghost", ArtefactKind.ACCOUNT),
        credential("twin", ArtefactKind.ACCOUNT),
        credential("twin"),
    )
    candidates = tuple(
        Match(worker_id=WorkerId(worker_id), rule="username", confidence=80, identity=True)
        for worker_id in ("E1001", "E1002")
    )
    correlations = (
        correlation("alice", "E1001"),
        correlation("bob", "E1002"),
        correlation("backup", "E1001", identity=False, rule="owner_tag", confidence=90),
        correlation("ghost"),
        correlation("twin", state=CorrelationState.AMBIGUOUS, candidates=candidates),
    )
    return world(principals, items, correlations, roster(leaver("E1001"), worker("E1002")), **changes)
