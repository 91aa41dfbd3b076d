"""The evaluate stage around any engine: what it asks, what it believes, and what it makes of failures."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from inventory.model import PrincipalId, ScopeId
from reconciler import evaluation as stage
from reconciler.core.document import EvaluationWorld
from reconciler.core.errors import PolicyError
from reconciler.core.model import CorrelationState, Effect, Need
from reconciler.evaluation import evaluate
from tests.builders import NOW, credential, principal, roster, worker
from tests.fakes.engine import FakeEngine, failing_on, found
from tests.worlds import company, correlation, starter, world


def crowd(count: int, **changes: Any) -> EvaluationWorld:
    """Build a world of leavers with one key each."""
    names = [f"p{number:04}" for number in range(count)]
    return world(
        tuple(principal(name) for name in names),
        tuple(credential(name) for name in names),
        tuple(correlation(name, f"L{name}") for name in names),
        roster(*(worker(f"L{name}") for name in names)),
        **changes,
    )


def test_findings_carry_everything_a_plan_needs() -> None:
    """A finding names its principal, item, worker and rule, with needs and controls of the rule's METADATA."""
    one = evaluate(FakeEngine(), crowd(1)).findings[0]
    assert (one.principal_id, one.access_id, one.worker_id) == ("p0000", "p0000/access_key/1", "Lp0000")
    assert (one.rule, one.effect, one.needs) == ("leaver", Effect.REVOKE, Need.ITEM)
    assert "SOC2 CC6.2" in one.controls


def test_many_principals_go_in_requests_of_500_items() -> None:
    """Large worlds are asked about in chunks, each principal in exactly one of them."""
    engine = FakeEngine()
    whole = evaluate(engine, crowd(1201))
    sizes = sorted(len(keys) for keys in engine.requests[1:])
    assert sizes == [201, 500, 500]
    asked = [key for keys in engine.requests[1:] for key in keys]
    assert len(asked) == len(set(asked)) == whole.evaluated == len(whole.findings) == 1201


def test_the_order_of_the_world_does_not_matter() -> None:
    """The same world read in another order gives the same evaluation."""
    straight = crowd(40)
    inventory = straight.snapshot.inventories[0]
    turned = replace(inventory, principals=inventory.principals[::-1], items=inventory.items[::-1])
    backwards = replace(
        straight,
        snapshot=replace(straight.snapshot, inventories=(turned,)),
        correlations=straight.correlations[::-1],
    )
    assert evaluate(FakeEngine(), straight) == evaluate(FakeEngine(), backwards)


@pytest.mark.parametrize("names", [("p0000",), ("p0499",), ("p0007", "p0008", "p0900")])
def test_principals_that_fail_are_found_by_halving(names: tuple[str, ...]) -> None:
    """Only the principals that a rule fails on are unknown; everybody else is decided."""
    engine = FakeEngine(failing_on(*names))
    found_ = evaluate(engine, crowd(1000))
    assert tuple(principal_id for _, principal_id in found_.unknown) == names
    assert found_.evaluated == len(found_.findings) == 1000 - len(names)
    assert len(engine.requests) < 3 + 2 * 10 * len(names) + 2
    assert all(name in " ".join(found_.problems) for name in names)


def test_halving_has_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """When a rule fails on everybody, requests stay unknown whole instead of being asked about one by one."""
    monkeypatch.setattr(stage, "HALVINGS", 20)
    engine = FakeEngine(failing_on(*(f"p{number:04}" for number in range(500))))
    found_ = evaluate(engine, crowd(500))
    assert len(found_.unknown) == 500
    assert found_.findings == ()
    assert len(engine.requests) <= 2 + 20


class GoesDown(FakeEngine):
    """Answers the canaries, and then nobody."""

    def evaluate(self, request: Any) -> Any:
        try:
            return super().evaluate(request)
        finally:
            self.down = True


def test_an_engine_that_goes_down_fails_the_cycle() -> None:
    """Three requests in a row without an answer end the cycle."""
    with pytest.raises(PolicyError, match="3 times in a row"):
        evaluate(GoesDown(), crowd(2500))


def test_one_silent_request_is_unknown() -> None:
    """A single request without an answer leaves its principals unknown and is not asked again."""
    engine = GoesDown()
    found_ = evaluate(engine, crowd(3))
    assert len(found_.unknown) == 3
    assert found_.evaluated == 0
    assert len(engine.requests) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"effect": "erase"},
        {"effect": None},
        {"severity": "awful"},
        {"access_id": "somebody/else"},
        {"rule": "no_such_rule"},
        {"reason": ""},
        {"reason": 7},
        {"code": "Not A Code"},
        {"more": 1},
    ],
    ids=str,
)
def test_a_malformed_finding_makes_its_principal_unknown(changes: dict[str, Any]) -> None:
    """Whatever is wrong with a finding, it is neither believed nor read as clean."""

    def decide(key: str, unit: dict[str, Any]) -> list[dict[str, Any]]:
        return [found(access_id) | changes for access_id in unit["access"]] if key.endswith("p0001") else []

    found_ = evaluate(FakeEngine(decide), crowd(3))
    assert [principal_id for _, principal_id in found_.unknown] == ["p0001"]
    assert found_.findings == ()


def test_other_policies_than_ours_fail_the_cycle() -> None:
    """An engine that holds another revision is not asked about anybody."""
    engine = FakeEngine()
    engine.revision = "sha256:" + "0" * 64
    with pytest.raises(PolicyError, match="holds policies"):
        evaluate(engine, crowd(1))
    assert engine.requests == []


def test_a_finding_of_a_rule_not_yet_in_effect_says_so() -> None:
    """Until `effective_on`, a finding says from when it counts, and what it will ask for; from then on it counts."""
    policies = starter()
    for ahead in (timedelta(microseconds=1), timedelta(0)):
        rules = tuple(replace(rule, effective_on=NOW + ahead) for rule in policies.rules)
        one = evaluate(FakeEngine(), crowd(1, policies=replace(policies, rules=rules))).findings[0]
        assert one.effect is Effect.REVOKE
        assert one.applies_from == (NOW + ahead if ahead else None)


def unknown_in(changed: EvaluationWorld) -> list[str]:
    """Return the principals that could not be decided on in a world."""
    result = evaluate(FakeEngine(), changed)
    assert len(result.problems) >= len(result.unknown)
    return [principal_id for _, principal_id in result.unknown]


def test_a_principal_without_an_honest_document_is_unknown() -> None:
    """Not correlated, correlated twice to nobody known, listed twice, doubled ids: unknown, never clean."""
    base = company()
    inventory = base.snapshot.inventories[0]

    def over(**changes: Any) -> EvaluationWorld:
        return replace(base, snapshot=replace(base.snapshot, inventories=(replace(inventory, **changes),)))

    assert unknown_in(base) == []
    assert unknown_in(replace(base, correlations=base.correlations[1:])) == ["alice"]
    stranger = (correlation("alice", "E9999"), *base.correlations[1:])
    assert unknown_in(replace(base, correlations=stranger)) == ["alice"]
    assert unknown_in(over(principals=(*inventory.principals, principal("bob")))) == ["bob"]
    assert unknown_in(over(items=(*inventory.items, credential("bob")))) == ["bob"]
    assert unknown_in(over(items=(*inventory.items, credential("nobody")))) == ["nobody"]
    assert unknown_in(over(items=(*inventory.items, credential("bob", access_id="x", scope=ScopeId("2"))))) == ["bob"]
    assert unknown_in(over(items=(*inventory.items, credential("bob", access_id="\ud800")))) == ["bob"]


def test_two_correlations_of_one_principal_are_a_defect() -> None:
    """Nobody can say which of the two counts: the cycle fails."""
    base = company()
    with pytest.raises(PolicyError, match="two correlations"):
        evaluate(FakeEngine(), replace(base, correlations=(*base.correlations, base.correlations[0])))


@pytest.mark.parametrize("reserved", ["canary:left", "canary:stays"])
def test_a_roster_cannot_pose_as_a_canary(reserved: str) -> None:
    """The ids of the made-up workers are refused in a roster."""
    base = company()
    posing = replace(base, roster=roster(*base.roster.workers, worker(reserved)))
    with pytest.raises(PolicyError, match="reserved"):
        evaluate(FakeEngine(), posing)


def test_a_doubtful_match_carries_no_worker() -> None:
    """A principal that several workers match is asked about with its candidates and without a worker."""
    engine = FakeEngine(lambda _, unit: [found(access_id) for access_id in unit["access"]])
    twins = [one for one in evaluate(engine, company()).findings if one.principal_id == PrincipalId("twin")]
    assert {one.worker_id for one in twins} == {None}
    assert correlation("twin", state=CorrelationState.AMBIGUOUS).worker_id is None
