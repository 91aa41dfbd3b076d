"""Two revisions decided side by side: each comes to what it comes to by itself, whatever was not asked twice."""

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from reconciler.adapters.embedded_rego import EmbeddedRego
from reconciler.adapters.opa import ManagedOpa
from reconciler.core.canonical import Json, dumps
from reconciler.core.document import Unit
from reconciler.core.errors import PolicyError
from reconciler.core.metadata import policy_digest
from reconciler.core.model import EngineInfo, PolicySet
from reconciler.policies.deciding import Made, Revision, decide, laid_out, world_of
from reconciler.policies.narrowing import part_to_ask
from reconciler.policies.side_by_side import Asked, CommonUnits, Part, decide_both
from tests import peers
from tests.recordings import recording
from tests.worlds import emit, rule_source, starter, with_modules

Trees = Callable[[PolicySet], dict[str, Json]]


@pytest.fixture(scope="module")
def engines() -> Iterator[list[EmbeddedRego]]:
    """Decide in this process: by the revision before, the one after, and a part of it."""
    made = [EmbeddedRego(deadline_seconds=20) for _ in range(3)]
    yield made
    for one in made:
        one.close()


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trees]:
    """Compile by the real OPA, each revision once."""
    known: dict[str, dict[str, Json]] = {}
    with closing(ManagedOpa(Path(peers.require("opa")), directory=tmp_path_factory.mktemp("opa"))) as engine:

        def compiled(policies: PolicySet) -> dict[str, Json]:
            if policies.digest not in known:
                engine.load(policies, {})
                known[policies.digest] = engine.trees()
            return known[policies.digest]

        yield compiled


def with_data(policies: PolicySet, change: Callable[[dict[str, dict[str, object]]], object]) -> PolicySet:
    """Return policies with other thresholds."""
    data = json.loads(policies.data)
    change(data["access"]["config"])
    text = dumps(data).decode()
    return replace(policies, data=text, digest=policy_digest(policies.modules, text))


def stricter(policies: PolicySet) -> PolicySet:
    """Ask for orphans to be quarantined."""
    return with_data(policies, lambda config: config["orphan"].update(effect="quarantine"))


def edited(name: str, policies: PolicySet | None = None) -> PolicySet:
    """Return policies with a comment at the end of a module."""
    policies = policies or starter()
    return with_modules(policies, **{name: dict(policies.modules)[name.replace("__", "/") + ".rego"] + "\n# More.\n"})


def asked(base: PolicySet, head: PolicySet, trees: Trees) -> list[str] | None:
    """Return which rules have to be asked about everybody."""
    part = part_to_ask(base, head, trees(head))
    return None if part is None else [rule.rule_id for rule in part.rules]


LEAVING = ["contractor_ended", "leaver", "leaver_due", "owner_left"]
PROBES = {
    "by_name": ("", 'data.access.config.orphan.effect == "quarantine"'),
    "by_import": ("import data.access.config as limits", 'limits.orphan.effect == "quarantine"'),
    "by_all": ("", 'config := data.access.config\n\tconfig.orphan.effect == "quarantine"'),
    "by_a_name_worked_out": ("", 'data.access.config[concat("", ["or", "phan"])].effect == "quarantine"'),
    "by_a_list": ("", 'object.get(data.access.config, ["orphan", "effect"], "") == "quarantine"'),
    "by_a_function": ("import data.access.lib.extra", "extra.strict(item)"),
    "by_another_rule": ("", 'some one in data.access.rules.orphan.finding\n\tone.effect == "quarantine"'),
    "by_two_rules": ("import data.access.rules.by_another_rule as other", "count(other.finding) > 0"),
    "by_waivers": ("", "not data.waivers.items.W1"),
    "not_by_another_threshold": ("", "data.access.config.dormant.effect"),
    "not_by_a_rule_that_is_the_same": ("", "count(data.access.rules.dormant.finding) == 0"),
    "not_by_the_roster": ("", "data.roster.meta.count > 0"),
}
"""Rules that come to the orphans' effect, each on its way, or do not; with what each imports."""
STRICT = (
    "package access.lib.extra\n\n"
    'strict(item) if {\n\titem.enabled\n\tdata.access.config.orphan.effect == "quarantine"\n}\n'
)


def probing(condition: str, imports: str = "", name: str = "probe", policies: PolicySet | None = None) -> PolicySet:
    """Return policies with one more rule."""
    source = rule_source(name, emit(condition))
    source = source.replace(f"package access.rules.{name}\n", f"package access.rules.{name}\n\n{imports}\n")
    return with_modules(policies or starter(), **{f"access__rules__{name}__{name}": source})


def on_all_ways() -> PolicySet:
    """Return policies with all of the probes."""
    policies = with_modules(starter(), access__lib__extra=STRICT)
    for name, (imports, condition) in PROBES.items():
        policies = probing(condition, imports, name, policies)
    return policies


def with_probe(value: object) -> PolicySet:
    """Return policies with rules that look at this one setting."""
    looking = probing(
        "data.access.config.probe.x == null", name="is_null", policies=probing("data.access.config.probe.x")
    )
    return with_data(looking, lambda config: config.update(probe={"x": value} if value != "" else {}))


REVISIONS: Mapping[str, tuple[PolicySet, PolicySet, list[str] | None]] = {
    "a threshold": (on_all_ways(), stricter(on_all_ways()), sorted(["orphan", *(n for n in PROBES if n[0] == "b")])),
    "a rule edited": (starter(), edited("access__rules__dormant__dormant"), ["dormant"]),
    "a rule added": (starter(), probing("item.enabled"), ["probe"]),
    "a rule gone": (probing("item.enabled"), starter(), []),
    "what all share": (starter(), edited("access__lib__lib"), None),
    "what some share": (starter(), edited("access__lib__leaving"), LEAVING),
    "an exception of one provider": (
        starter(),
        with_data(starter(), lambda config: config.update(providers={"corp-aws": {"dormant": {"max_idle_days": 1}}})),
        None,
    ),
    "a new rule that stands on another one": (
        starter(),
        probing("count(data.access.rules.orphan.finding) == 0"),
        ["orphan", "probe"],
    ),
    "a rule that looks at all others": (
        starter(),
        probing('some other in ["orphan", "dormant"]\n\tcount(data.access.rules[other].finding) > 9'),
        None,
    ),
    "a null for nothing": (with_probe(""), with_probe(None), ["is_null", "probe"]),
    "true for one": (with_probe(1), with_probe(value=True), ["is_null", "probe"]),
    "the driver": (starter(), edited("access__driver"), None),
    "another driver on both sides": (edited("access__driver"), stricter(edited("access__driver")), None),
}


@pytest.mark.parametrize("name", sorted(REVISIONS))
def test_only_what_may_differ_is_asked_and_decides_the_same(
    name: str, trees: Trees, engines: list[EmbeddedRego]
) -> None:
    """Which rules those are is known beforehand, and the second revision decides as it does by itself."""
    base, head, expected = REVISIONS[name]
    assert asked(base, head, trees) == expected
    policies = part_to_ask(base, head, trees(head))
    part = None if policies is None else Part(policies=policies, engine=engines[2])
    _, after = decide_both(recording(), of(base, engines[0]), of(head, engines[1]), part)
    assert after == decide(recording(), revision(head), engines[1])


def test_a_rule_that_looks_at_comments_may_always_differ(trees: Trees) -> None:
    """OPA answers `rego.metadata` from comments, also of other modules, when it compiles."""
    base = probing("count(rego.metadata.chain()) > 0")
    assert asked(base, stricter(base), trees) is None


def test_what_is_not_known_whole_is_asked_whole(trees: Trees) -> None:
    """A module's tree is missing or another module's, or something else may be a rule: nothing is left out."""
    base, head = starter(), stricter(starter())
    known = trees(head)
    names = sorted(known)
    assert part_to_ask(base, head, known) is not None
    assert part_to_ask(base, head, {name: known[name] for name in names[1:]}) is None
    assert part_to_ask(base, head, {**known, names[0]: None}) is None
    assert part_to_ask(base, head, {**known, names[0]: known[names[1]]}) is None
    above = with_modules(base, access__rules='package access.rules\n\nprobe.id := "probe"\n')
    assert part_to_ask(above, stricter(above), trees(stricter(above))) is None
    data = json.loads(head.data)
    data["access"]["rules"] = {"probe": {"id": "probe", "finding": []}}
    assert part_to_ask(base, replace(head, data=dumps(data).decode()), known) is None


@dataclass
class Counting:
    """An engine that counts about whom it is asked."""

    inner: EmbeddedRego
    units: list[str] = field(default_factory=list)

    def load(self, policies: PolicySet, documents: Mapping[str, Json]) -> EngineInfo:
        """Load."""
        return self.inner.load(policies, documents)

    def evaluate(self, request: Mapping[str, Json]) -> Mapping[str, Json]:
        """Count and decide."""
        units = request["units"]
        self.units.extend(units if isinstance(units, dict) else ())
        return self.inner.evaluate(request)

    def info(self) -> EngineInfo:
        """Tell what is loaded."""
        return self.inner.info()

    def close(self) -> None:
        """Leave the inner one open."""


def test_the_whole_revision_is_asked_about_the_canaries_alone(trees: Trees, engines: list[EmbeddedRego]) -> None:
    """The part is asked about everybody else, and a rule that is gone needs asking nobody."""
    whole, rest = Counting(engines[1]), Counting(engines[2])
    for head, principals in (
        (stricter(starter()), 5),
        (with_modules(starter(), access__rules__orphan__orphan=None), 0),
    ):
        policies = part_to_ask(starter(), head, trees(head))
        assert policies is not None
        decide_both(recording(), of(starter(), engines[0]), of(head, whole), Part(policies=policies, engine=rest))
        assert whole.units == ["canary|canary|canary:left", "canary|canary|canary:stays"]
        assert len(rest.units) == principals
        whole.units.clear()
        rest.units.clear()


def test_whom_a_rule_fails_on_the_whole_revision_is_asked_about_everybody(
    trees: Trees, engines: list[EmbeddedRego]
) -> None:
    """A rule that is the same may fail, and so may one that is not: each time it comes to what it comes to alone."""
    fails = 'access_id == "bob/s"\n\ttime.parse_rfc3339_ns(item.kind) > 0'
    failing, sound = probing(fails), starter()
    for base, head in ((failing, stricter(failing)), (sound, failing), (failing, sound)):
        policies = part_to_ask(base, head, trees(head))
        assert policies is not None
        whole = Counting(engines[1])
        part = Part(policies=policies, engine=engines[2])
        before, after = decide_both(recording(), of(base, engines[0]), of(head, whole), part)
        assert before.evaluation.unknown or after.evaluation.unknown
        assert (before, after) == tuple(
            decide(recording(), revision(one), engine) for one, engine in ((base, engines[0]), (head, engines[1]))
        )
        assert len(set(whole.units)) == 7


def test_who_cannot_be_asked_about_stays_so_without_asking_again(trees: Trees, engines: list[EmbeddedRego]) -> None:
    """A principal that was not correlated is unknown to both, whatever the rules are."""
    one = recording()
    one = replace(one, correlations=one.correlations[1:])
    head = stricter(starter())
    policies = part_to_ask(starter(), head, trees(head))
    assert policies is not None
    whole = Counting(engines[1])
    part = Part(policies=policies, engine=engines[2])
    _, after = decide_both(one, of(starter(), engines[0]), of(head, whole), part)
    assert len(after.evaluation.unknown) == 1
    assert after == decide(one, revision(head), engines[1])
    assert len(whole.units) == 2


def test_a_revision_that_takes_no_leavers_key_is_refused(trees: Trees, engines: list[EmbeddedRego]) -> None:
    """The canaries are asked of the whole revision, though nothing of it would have to be asked."""
    head = with_modules(starter(), access__rules__leaver__leaver=None, access__rules__leaver_due__leaver_due=None)
    policies = part_to_ask(starter(), head, trees(head))
    assert policies is not None
    assert policies.rules == ()
    part = Part(policies=policies, engine=engines[2])
    with pytest.raises(PolicyError, match="no rule asks to take the access key of a made-up worker who has left"):
        decide_both(recording(), of(starter(), engines[0]), of(head, engines[1]), part)


def test_both_revisions_are_asked_the_same_units(engines: list[EmbeddedRego]) -> None:
    """Made once and read at two paces, they lead to the decisions that each revision comes to by itself."""
    one = recording()
    first, second = (list(some) for some in CommonUnits(world_of(one, starter(), ())).for_two())
    assert first == second
    assert len(first) == 5
    made = Made(units=second, laid_out=laid_out(one), at_once=1)
    assert decide(one, revision(starter()), engines[0], made) == decide(one, revision(starter()), engines[0])


def test_two_threads_read_the_same_units_at_once() -> None:
    """Each gets everything, once and in order, whoever of them comes first."""
    shared = CommonUnits(world_of(recording(), starter(), ())).for_two()
    with ThreadPoolExecutor(max_workers=2) as pool:
        first, second = (one.result() for one in [pool.submit(list, some) for some in shared])
    assert first == second
    assert len({one.key for one in first if isinstance(one, Unit)}) == 5


def test_revisions_that_name_other_things_are_asked_each_their_own(trees: Trees, engines: list[EmbeddedRego]) -> None:
    """A unit tells of what the thresholds name: with another home domain it is another unit, of which all is asked."""
    head = with_data(starter(), lambda config: config["external_collaborator"].update(home_domains=["acme.example"]))
    policies = part_to_ask(starter(), head, trees(head))
    assert policies is not None
    whole = Counting(engines[1])
    part = Part(policies=policies, engine=engines[2])
    _, after = decide_both(recording(), of(starter(), engines[0]), of(head, whole), part)
    assert after == decide(recording(), revision(head), engines[1])
    assert len(whole.units) == 7


def of(policies: PolicySet, engine: Counting | EmbeddedRego) -> Asked:
    """Ask by these policies."""
    return Asked(revision=revision(policies), engine=engine)


def revision(policies: PolicySet) -> Revision:
    """Return a revision with the waivers of the recording."""
    return Revision(name=policies.digest, policies=policies, waivers=recording().waivers)
