"""The rules against a naive second opinion in Python, on made-up worlds, in every engine."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inventory.model import AccessItem, ArtefactKind, Credential, Grant, Principal, PrincipalKind
from inventory.roster.model import EmploymentStatus, Worker, WorkerId
from reconciler.adapters.embedded_rego import EmbeddedRego
from reconciler.adapters.opa import ManagedOpa
from reconciler.core.document import EvaluationWorld, Unit, batches, unit_key, units
from reconciler.core.model import Correlation, CorrelationState
from reconciler.evaluation import evaluate
from reconciler.ports import PolicyEngine
from tests import peers
from tests.builders import NOW, credential, principal, roster
from tests.property.policy_worlds import DAY, POLICIES, world_of, worlds
from tests.worlds import correlation, world

JUDGED = {
    *("leaver", "contractor_ended", "owner_left", "orphan", "unowned_service_account", "stale_credential"),
}
"""The rules that the second opinion knows."""
IDLE_KINDS = {"access_key", "password", "service_credential", "signing_certificate", "ssh_key"}
MACHINES = {PrincipalKind.SERVICE, PrincipalKind.SHARED}


class Verdict(NamedTuple):
    """What matters of a finding."""

    access_id: str
    rule: str
    code: str
    effect: str


@pytest.fixture(scope="module", params=["regorus", "opa"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PolicyEngine]:
    """Give the property every engine."""
    made: PolicyEngine
    if request.param == "opa":
        made = ManagedOpa(Path(peers.require("opa")), directory=tmp_path_factory.mktemp("opa"))
    else:
        made = EmbeddedRego(deadline_seconds=20)
    yield made
    made.close()


def left(person: Worker) -> bool:
    """Say whether access has ended."""
    return person.access_end_at is not None and person.access_end_at <= NOW


def lapsed(person: Worker) -> bool:
    """Say whether nothing but the end of a contract says that somebody has left."""
    return person.status is not EmploymentStatus.TERMINATED and person.access_end_rule.startswith("contract_end")


def owned(owner: Principal, match: Correlation) -> bool:
    """Say whether the worker only answers for the principal."""
    if owner.kind in MACHINES:
        return True
    return not match.identity and owner.kind in {PrincipalKind.HUMAN, PrincipalKind.EXTERNAL}


def is_account(item: AccessItem) -> bool:
    """Say whether the item is the account itself."""
    return item.kind is ArtefactKind.ACCOUNT


def spokesmen(items: list[AccessItem]) -> list[AccessItem]:
    """Return the items on which a finding about the whole principal stands."""
    accounts = [item for item in items if isinstance(item, Credential) and is_account(item)]
    if accounts:
        return [account for account in accounts if account.enabled is not False]
    return sorted(items, key=lambda item: item.access_id)[:1]


def leaver_code(owner: Principal, item: AccessItem, person: Worker) -> str:
    """Decide a leaver's item from top to bottom."""
    member = isinstance(item, Grant) and item.kind is ArtefactKind.GROUP_MEMBERSHIP
    reasons = (
        ("leaver_break_glass", owner.kind is PrincipalKind.BREAK_GLASS),
        ("leaver_unknown_kind", owner.kind is PrincipalKind.UNKNOWN),
        ("leaver_possible_rehire", bool(person.possible_rehire_of)),
        ("leaver_shared_credential", isinstance(item, Credential) and item.shared),
        ("leaver_last_member", member and isinstance(item, Grant) and item.holders == 1),
    )
    return next((code for code, holds in reasons if holds), "leaver")


def leaver_opinion(owner: Principal, item: AccessItem, match: Correlation, person: Worker) -> Verdict | None:
    """Say what the rules about those who have left should find on one item."""
    if isinstance(item, Grant) and not item.direct:
        return None
    if is_account(item) and isinstance(item, Credential) and item.enabled is False:
        return None
    if owned(owner, match):
        secret = isinstance(item, Credential) and not is_account(item)
        return Verdict(item.access_id, "owner_left", "owner_left_credential" if secret else "owner_left", "review")
    code = leaver_code(owner, item, person)
    effect = "review" if code != "leaver" else "quarantine" if is_account(item) else "revoke"
    if lapsed(person):
        code = "contractor_ended" if code == "leaver" else "contractor_ended_in_doubt"
        late = person.access_end_at is not None and NOW - person.access_end_at > 30 * DAY
        effect = "quarantine" if effect == "revoke" and not late else effect
        return Verdict(item.access_id, "contractor_ended", code, effect)
    return Verdict(item.access_id, "leaver", code, effect)


def idle_opinion(owner: Principal, item: AccessItem) -> Verdict | None:
    """Say what the stale credential rule should find on one item."""
    if not isinstance(item, Credential) or item.enabled is False or item.kind.value not in IDLE_KINDS:
        return None
    since = item.last_used_at or item.created_at
    if owner.kind is PrincipalKind.BREAK_GLASS or since is None or NOW - since <= 90 * DAY:
        return None
    code = "stale_credential" if item.last_used_at else "stale_credential_never_used"
    return Verdict(item.access_id, "stale_credential", code, "review")


def orphan_code(owner: Principal) -> tuple[str, str] | None:
    """Say which rule finds a principal of nobody, with which code."""
    if owner.kind is PrincipalKind.BREAK_GLASS:
        return None
    if owner.kind in MACHINES:
        code = "unowned_service_account"
        return code, f"{code}_privileged" if owner.privileged else code
    return "orphan", "orphan_unknown_kind" if owner.kind is PrincipalKind.UNKNOWN else "orphan"


def foreign_opinion(sample: EvaluationWorld, item: AccessItem, own: WorkerId | None) -> Verdict | None:
    """Say whether the leaver rule should find that an item is the public key of somebody else who has left."""
    if not isinstance(item, Credential) or not item.fingerprint:
        return None
    owners = {one.principal_id: one.worker_id for one in sample.correlations if one.identity}
    holders = {
        owners.get(one.principal_id)
        for one in sample.snapshot.items()
        if isinstance(one, Credential) and one.fingerprint == item.fingerprint
    }
    gone = {person.worker_id for person in sample.roster.workers if left(person)} - {own}
    return Verdict(item.access_id, "leaver", "leaver_key_elsewhere", "review") if holders & gone else None


def opinion(sample: EvaluationWorld) -> set[Verdict]:
    """Decide a whole world, item by item."""
    people = {person.worker_id: person for person in sample.roster.workers}
    found: list[Verdict | None] = []
    for owner, match in zip(sample.snapshot.principals(), sample.correlations, strict=True):
        items = [item for item in sample.snapshot.items() if item.principal_id == owner.principal_id]
        found += [idle_opinion(owner, item) for item in items]
        found += [foreign_opinion(sample, item, match.worker_id if match.identity else None) for item in items]
        if match.worker_id is not None and left(people[match.worker_id]):
            found += [leaver_opinion(owner, item, match, people[match.worker_id]) for item in items]
        if match.rule == "display_name" and match.worker_id is not None and not left(people[match.worker_id]):
            found += [Verdict(item.access_id, "orphan", "orphan_name_only", "review") for item in spokesmen(items)]
        doubtful = match.worker_id is None and any(left(people[candidate.worker_id]) for candidate in match.candidates)
        if doubtful:
            machine = owner.kind in MACHINES
            verdict = ("owner_left", "owner_left_of_several") if machine else ("leaver", "leaver_ambiguous")
            found += [Verdict(item.access_id, *verdict, "review") for item in spokesmen(items)]
        nobodys = orphan_code(owner)
        if match.state is CorrelationState.ORPHAN and nobodys is not None:
            found += [Verdict(item.access_id, *nobodys, "review") for item in spokesmen(items)]
    return {verdict for verdict in found if verdict is not None}


FEW = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
MANY = settings(FEW, max_examples=500)
"""For `make proof`: some minutes."""


def agree_with_a_naive_reader(engine: PolicyEngine, sample: EvaluationWorld) -> None:
    """Hold every finding of the judged rules against the second opinion."""
    result = evaluate(engine, sample)
    verdicts = [Verdict(one.access_id, one.rule, one.code, one.effect.value) for one in result.findings]
    assert {one for one in verdicts if one.rule in JUDGED} == opinion(sample)
    assert len(verdicts) == len(set(verdicts))
    assert (result.unknown, result.evaluated) == ((), len(list(sample.snapshot.items())))


@FEW
@given(sample=worlds())
def test_rules_decide_as_a_naive_reader_would(engine: PolicyEngine, sample: EvaluationWorld) -> None:
    """Engine and second opinion agree on every item, and everybody was decided on."""
    agree_with_a_naive_reader(engine, sample)


@pytest.mark.proof
@pytest.mark.timeout(900)
@MANY
@given(sample=worlds())
def test_rules_decide_as_a_naive_reader_would_on_many_worlds(engine: PolicyEngine, sample: EvaluationWorld) -> None:
    """They agree on hundreds of worlds too."""
    agree_with_a_naive_reader(engine, sample)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PolicyEngine, PolicyEngine]]:
    """Give a property both engines at once."""
    opa = ManagedOpa(Path(peers.require("opa")), directory=tmp_path_factory.mktemp("both"))
    regorus = EmbeddedRego(deadline_seconds=20)
    yield opa, regorus
    opa.close()
    regorus.close()


def decide_alike(engines: tuple[PolicyEngine, PolicyEngine], sample: EvaluationWorld) -> None:
    """Hold all that one engine says against all that the other says."""
    first, second = (evaluate(one, sample) for one in engines)
    assert first.findings == second.findings
    everything = len(list(sample.snapshot.items()))
    assert (first.unknown, first.evaluated) == (second.unknown, second.evaluated) == ((), everything)


def test_the_worlds_reach_every_code_of_every_rule(both: tuple[PolicyEngine, PolicyEngine]) -> None:
    """No rule of the library agrees with another opinion for having nothing to say."""
    found = {(one.rule, one.code) for seed in range(80) for one in evaluate(both[0], world_of(seed)).findings}
    assert found == {(rule.rule_id, code) for rule in POLICIES.rules for code, _ in rule.codes}


@FEW
@given(sample=worlds())
def test_both_engines_decide_alike(both: tuple[PolicyEngine, PolicyEngine], sample: EvaluationWorld) -> None:
    """The whole library gives the same findings, reasons included, in OPA and in the in-process engine."""
    decide_alike(both, sample)


@pytest.mark.proof
@pytest.mark.timeout(900)
@MANY
@given(sample=worlds())
def test_both_engines_decide_alike_on_many_worlds(
    both: tuple[PolicyEngine, PolicyEngine], sample: EvaluationWorld
) -> None:
    """They give the same findings on hundreds of worlds too."""
    decide_alike(both, sample)


@given(st.lists(st.tuples(*[st.text("a|%2C57", max_size=4)] * 3), unique=True, max_size=20))
def test_different_principals_have_different_keys(places: list[tuple[str, str, str]]) -> None:
    """Whatever ids hold, no two principals share the name of a unit."""
    assert len({unit_key(*place) for place in places}) == len(places)


@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.integers(0, 7), max_size=12), limit=st.integers(1, 9))
def test_batches_keep_everything_once_and_in_order(sizes: list[int], limit: int) -> None:
    """No principal is lost, doubled or split, and only a lone one exceeds the limit."""
    names = [f"p{number:02}" for number in range(len(sizes))]
    people = tuple(principal(name) for name in names)
    items = tuple(
        credential(name, access_id=f"{name}/{number}")
        for name, count in zip(names, sizes, strict=True)
        for number in range(count)
    )
    sample = world(people, items, tuple(correlation(name) for name in names), roster(), policies=POLICIES)
    ready = [unit for unit in units(sample) if isinstance(unit, Unit)]
    made = list(batches(ready, limit))
    assert [unit.key for batch in made for unit in batch] == [unit.key for unit in ready]
    assert len(ready) == len(names)
    assert all(len(batch) == 1 or sum(max(1, len(unit.items)) for unit in batch) <= limit for batch in made)
