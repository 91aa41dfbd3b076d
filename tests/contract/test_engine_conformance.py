"""One suite for every policy engine: the same decisions from the same facts, and the same refusal of every doubt."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.adapters.embedded_rego import EmbeddedRego
from reconciler.adapters.opa import ManagedOpa
from reconciler.core.canonical import Json
from reconciler.core.document import Unit, request, roster_document, units, waivers_document
from reconciler.core.errors import PolicyError, Undecided
from reconciler.core.model import EngineInfo, Evaluation, PolicySet
from reconciler.evaluation import evaluate
from reconciler.ports import PolicyEngine
from tests import peers
from tests.builders import NOW
from tests.worlds import company, emit, rule_source, starter, with_modules


def make_engine(name: str, directory: Path, deadline_seconds: float = 20.0) -> PolicyEngine:
    """Build one of the engines under test."""
    if name == "regorus":
        pytest.importorskip("regorus")
        return EmbeddedRego(deadline_seconds=deadline_seconds)
    return ManagedOpa(Path(peers.require("opa")), directory=directory, decide_timeout_seconds=deadline_seconds)


@pytest.fixture(scope="module", params=["regorus", "opa"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PolicyEngine]:
    """Give each test every engine; one process of each serves the module."""
    made = make_engine(request.param, tmp_path_factory.mktemp("engine"))
    yield made
    made.close()


def documents() -> dict[str, Json]:
    """Return the roster and waiver documents of the sample company."""
    sample = company()
    return {"roster": roster_document(sample.roster), "waivers": waivers_document((), NOW)}


def asked() -> dict[str, Json]:
    """Return a request for the whole sample company."""
    sample = company()
    return request(sample.cycle_id, "0", NOW, [unit for unit in units(sample) if isinstance(unit, Unit)])


def verdicts(evaluation: Evaluation) -> set[tuple[str, str, str]]:
    """Return what was found, without reasons."""
    return {(finding.access_id, finding.code, finding.effect.value) for finding in evaluation.findings}


COMPANY = {
    ("alice/account/1", "leaver", "quarantine"),
    ("alice/access_key/1", "leaver", "revoke"),
    ("alice/group_membership/developers", "leaver", "revoke"),
    ("alice/group_membership/admins", "leaver_last_member", "review"),
    ("backup/access_key/1", "owner_left_credential", "review"),
    ("ghost/account/1", "orphan", "review"),
    ("twin/account/1", "leaver_ambiguous", "review"),
}


def test_the_sample_company(engine: PolicyEngine) -> None:
    """Every engine finds exactly this in the sample company, and says which policies it used."""
    found = evaluate(engine, company())
    assert verdicts(found) == COMPANY
    assert (found.evaluated, found.unknown, found.problems) == (10, (), ())
    assert found.engine.revision == starter().digest
    assert found.engine.version


def test_loading_twice_gives_the_same(engine: PolicyEngine) -> None:
    """A second cycle over the same world, in the same engine, finds the same."""
    assert evaluate(engine, company()) == evaluate(engine, company())


def test_the_instant_is_exact(engine: PolicyEngine) -> None:
    """Nanoseconds beyond 2**53 come back as the integer that went in."""
    engine.load(starter(), documents())
    decision = engine.evaluate(asked() | {"now_ns": 1772442000000000001})
    assert decision["now_ns"] == 1772442000000000001


@pytest.mark.parametrize("missing", ["cycle_id", "request_id", "now_ns"])
def test_a_missing_part_of_the_request_is_undefined(engine: PolicyEngine, missing: str) -> None:
    """A request without one of its parts has no decision: never an empty one."""
    engine.load(starter(), documents())
    incomplete = {key: value for key, value in asked().items() if key != missing}
    with pytest.raises(Undecided):
        engine.evaluate(incomplete)


@pytest.mark.parametrize("missing", ["roster", "waivers"])
def test_a_missing_document_is_undefined(engine: PolicyEngine, missing: str) -> None:
    """Without roster or waivers there is no decision."""
    engine.load(starter(), documents() | {missing: {}})
    with pytest.raises(Undecided):
        engine.evaluate(asked())


def test_old_syntax_is_refused_by_name(engine: PolicyEngine) -> None:
    """Rego v0 is refused when it is loaded, naming the file, and is never rewritten."""
    source = rule_source("old", "finding[x] { x := 1 }")
    with pytest.raises(PolicyError, match=r"access/rules/old/old\.rego"):
        engine.load(with_modules(starter(), access__rules__old__old=source), documents())


@pytest.mark.parametrize("call", ["time.now_ns()", "http.send({})", "opa.runtime()", 'rand.intn("x", 2)'])
def test_forbidden_builtins_are_refused(engine: PolicyEngine, call: str) -> None:
    """A policy that reads the clock, the network, the environment or dice is refused when it is loaded."""
    source = rule_source("probe", emit(f"{call} != null"))
    with pytest.raises(PolicyError, match=call.partition("(")[0]):
        engine.load(with_modules(starter(), access__rules__probe__probe=source), documents())


POISON = {
    "builtin error": emit(
        'item.kind == "account"; endswith(access_id, "bob/account/1"); time.parse_rfc3339_ns("x") > 1'
    ),
    "conflict": emit('startswith(access_id, "bob/"); f(1) == 1') + "\n\nf(x) := x if x > 0\n\nf(x) := x + 1 if x > 0",
    "unknown effect": emit('startswith(access_id, "bob/")', effect='"erase"'),
    "unknown severity": emit('startswith(access_id, "bob/")', severity='"awful"'),
    "access item of somebody else": emit('startswith(access_id, "bob/")', access_id='"alice/access_key/1"'),
    "one field too many": emit('startswith(access_id, "bob/")', colour='"red"'),
    "effect that is no text": emit('startswith(access_id, "bob/")', effect="null"),
    "no object": 'finding contains 7 if "bob/account/1" in object.keys(input.unit.access)',
}


@pytest.mark.parametrize("body", POISON.values(), ids=list(POISON))
def test_a_rule_that_fails_on_one_principal(engine: PolicyEngine, body: str) -> None:
    """Whatever goes wrong on one principal makes that one unknown, and nobody else."""
    policies = with_modules(starter(), access__rules__probe__probe=rule_source("probe", body))
    found = evaluate(engine, company(policies=policies))
    assert [principal for _, principal in found.unknown] == ["bob"]
    assert verdicts(found) == COMPANY
    assert found.evaluated == 8
    assert any("bob" in problem for problem in found.problems)


def test_a_rule_cannot_speak_for_another(engine: PolicyEngine) -> None:
    """The name of the rule in a finding is the driver's, whatever the rule says."""
    policies = with_modules(
        starter(), access__rules__probe__probe=rule_source("probe", emit('item.kind == "account"', rule='"leaver"'))
    )
    found = evaluate(engine, company(policies=policies))
    assert {finding.rule for finding in found.findings if finding.code == "probe"} == {"probe"}


@pytest.mark.parametrize(
    "body",
    ["", 'finding := {"access_id": "x"}'],
    ids=["no finding", "one finding instead of a set"],
)
def test_policies_that_revoke_nothing_fail_the_cycle(engine: PolicyEngine, body: str) -> None:
    """When the made-up leaver keeps the key, the cycle fails instead of calling everybody clean."""
    policies = with_modules(starter(), access__rules__leaver__leaver=rule_source("leaver", body))
    with pytest.raises(PolicyError):
        evaluate(engine, company(policies=policies))


def test_a_rule_without_an_id_fails_the_cycle(engine: PolicyEngine) -> None:
    """A rule that the driver skips in silence shows in the set of rules."""
    source = rule_source("probe", emit("item.live")).replace('id := "probe"', "")
    with pytest.raises(PolicyError, match="set of rules"):
        evaluate(engine, company(policies=with_modules(starter(), access__rules__probe__probe=source)))


def test_a_rule_that_takes_from_everybody_fails_the_cycle(engine: PolicyEngine) -> None:
    """When the made-up worker who stays would lose the key, the cycle fails."""
    source = rule_source("probe", emit("item.live", effect='"quarantine"'))
    with pytest.raises(PolicyError, match="has not left"):
        evaluate(engine, company(policies=with_modules(starter(), access__rules__probe__probe=source)))


class Meddled:
    """An engine into which somebody loads other policies after the canaries."""

    def __init__(self, engine: PolicyEngine, other: PolicySet) -> None:
        self._engine, self._other, self._asked = engine, other, 0

    def load(self, policies: PolicySet, documents: Mapping[str, Json]) -> EngineInfo:
        self._documents = documents
        return self._engine.load(policies, documents)

    def evaluate(self, request: Mapping[str, Json]) -> Mapping[str, Json]:
        self._asked += 1
        if self._asked == 2:
            self._engine.load(self._other, self._documents)
        return self._engine.evaluate(request)

    def info(self) -> EngineInfo:
        return self._engine.info()

    def close(self) -> None:
        self._engine.close()


def test_policies_that_change_while_asked_fail_the_cycle(engine: PolicyEngine) -> None:
    """Two policy sets in one cycle are none, even when the same rules are loaded."""
    orphan = dict(starter().modules)["access/rules/orphan/orphan.rego"]
    other = with_modules(starter(), access__rules__orphan__orphan=orphan + "\n# another text\n")
    with pytest.raises(PolicyError, match="changed"):
        evaluate(Meddled(engine, other), company())


def test_an_engine_that_holds_something_else_fails_the_cycle(engine: PolicyEngine) -> None:
    """A policy digest that the engine cannot reproduce from what it holds stops everything."""
    lying = replace(starter(), digest="sha256:" + "0" * 64)
    with pytest.raises(PolicyError, match="policies"):
        evaluate(engine, company(policies=lying))


@pytest.mark.parametrize("name", ["regorus", "opa"])
def test_a_policy_that_does_not_end(name: str, tmp_path: Path) -> None:
    """A rule without end costs its deadline and leaves its principals unknown; the engine goes on."""
    endless = emit(
        'startswith(access_id, "bob/"); count([1 | some i in numbers.range(1, 9000); some j in numbers.range(1, 9000); '
        "i * j < 0]) > 0"
    )
    policies = with_modules(starter(), access__rules__probe__probe=rule_source("probe", endless))
    slow = make_engine(name, tmp_path, deadline_seconds=1.0)
    try:
        found = evaluate(slow, company(policies=policies))
        assert len(found.unknown) == 5
        assert found.findings == ()
        assert verdicts(evaluate(slow, company())) == COMPANY
    finally:
        slow.close()


ALLOWED = {
    "abs(-2)": "2",
    "ceil(1.2)": "2",
    "count({1, 2})": "2",
    "floor(1.8)": "1",
    "max([1, 3])": "3",
    "min({1, 3})": "1",
    "product([2, 3])": "6",
    "round(1.5)": "2",
    "sort({2, 1})": "[1, 2]",
    "sum([1, 2])": "3",
    "numbers.range(1, 3)": "[1, 2, 3]",
    'concat(",", ["a", "b"])': '"a,b"',
    'contains("abc", "b")': "true",
    'endswith("abc", "c")': "true",
    "format_int(15, 16)": '"f"',
    'indexof("abc", "c")': "2",
    'lower("Ä")': '"ä"',
    'replace("aba", "a", "c")': '"cbc"',
    'split("a,b", ",")': '["a", "b"]',
    'sprintf("%s-%d", ["a", 7])': '"a-7"',
    'startswith("abc", "a")': "true",
    'substring("abcd", 1, 2)': '"bc"',
    'trim("xax", "x")': '"a"',
    'trim_left("xa", "x")': '"a"',
    'trim_prefix("xxa", "x")': '"xa"',
    'trim_right("ax", "x")': '"a"',
    'trim_space(" a ")': '"a"',
    'trim_suffix("axx", "x")': '"ax"',
    'upper("ä")': '"Ä"',
    'to_number("7")': "7",
    'regex.match("^a+$", "aaa")': "true",
    "array.concat([1], [2])": "[1, 2]",
    "array.reverse([1, 2])": "[2, 1]",
    "array.slice([1, 2, 3], 1, 2)": "[2]",
    "intersection({{1, 2}, {2}})": "{2}",
    "union({{1}, {2}})": "{1, 2}",
    'object.filter({"a": 1, "b": 2}, ["a"])': '{"a": 1}',
    'object.get({"a": 1}, "b", 7)': "7",
    'object.keys({"a": 1})': '{"a"}',
    'object.remove({"a": 1, "b": 2}, ["a"])': '{"b": 2}',
    'object.union({"a": 1}, {"a": 2})': '{"a": 2}',
    "is_array([])": "true",
    "is_boolean(false)": "true",
    "is_null(null)": "true",
    "is_number(1)": "true",
    "is_object({})": "true",
    "is_set(set())": "true",
    'is_string("")': "true",
    "type_name({})": '"object"',
    'time.parse_rfc3339_ns("2026-03-02T09:00:00.000001Z")': "1772442000000001000",
}


def test_allowed_builtins_agree(engine: PolicyEngine) -> None:
    """Every builtin on the allow-list of the in-process engine gives the same everywhere."""
    from reconciler.adapters.embedded_rego import ALLOWED_BUILTINS  # noqa: PLC0415 - for this comparison alone

    assert {call.partition("(")[0] for call in ALLOWED} == ALLOWED_BUILTINS
    bodies = [
        emit(f'endswith(access_id, "bob/account/1"); {call} == {result}', code=f'"probe_{number}"')
        for number, (call, result) in enumerate(ALLOWED.items())
    ]
    source = rule_source("probe", "\n\n".join(bodies))
    found = evaluate(engine, company(policies=with_modules(starter(), access__rules__probe__probe=source)))
    probes = {finding.code for finding in found.findings if finding.rule == "probe"}
    missing = [call for number, call in enumerate(ALLOWED) if f"probe_{number}" not in probes]
    assert (missing, found.problems) == ([], ())
