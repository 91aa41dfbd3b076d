"""Past decisions made again by the stock opa: equal, different, not disclosed, and what is not what was signed."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from inventory.model import PrincipalId
from inventory.roster.model import WorkerId
from reconciler.adapters.opa import ManagedOpa
from reconciler.adapters.replay import Replay, ReplayReport
from reconciler.cli.attestation_trust import Place
from reconciler.cli.attestations import build_app
from reconciler.core.errors import EvidenceError, PolicyError
from reconciler.core.metadata import policy_digest
from reconciler.core.model import Waiver
from tests import peers
from tests.builders import NOW, PROVIDER, leaver, roster, worker
from tests.disclosed import Disclosing, altered, decided
from tests.output_schemas import problems
from tests.record_builders import cycle_id
from tests.worlds import company, emit, rule_source, starter, with_modules

COMPANY_DECISIONS = 7
WAIVER = Waiver(
    waiver_id="W-1",
    rule="probe",
    provider=PROVIDER,
    access_id=None,
    principal_id=PrincipalId("bob"),
    worker_id=None,
    reason="seen",
    owner="ann",
    approved_by="ben",
    expires_at=NOW + timedelta(days=9),
)


@pytest.fixture(scope="module", name="engine")
def _engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ManagedOpa]:
    made = ManagedOpa(Path(peers.require("opa")), directory=tmp_path_factory.mktemp("opa"), decide_timeout_seconds=20)
    yield made
    made.close()


@pytest.fixture(scope="module", name="opa")
def _opa() -> Path:
    return Path(peers.require("opa"))


@pytest.fixture(name="chain")
def _chain(tmp_path: Path, engine: ManagedOpa) -> Disclosing:
    """Give a chain of two cycles on the same policies."""
    made = Disclosing(tmp_path / "evidence")
    made.attest(decided(engine, 1))
    made.attest(decided(engine, 2))
    return made


def replayed(chain: Disclosing, opa: Path, root: Path | None = None) -> ReplayReport:
    """Replay every cycle of a chain."""
    with Replay(root or chain.root, opa) as replay:
        for document in chain.documents.values():
            replay.add(document)
        return replay.finish()


def changed_in(path: Path, before: bytes, after: bytes) -> None:
    """Change the first occurrence in a file."""
    content = path.read_bytes()
    assert before in content
    path.write_bytes(content.replace(before, after, 1))


def test_every_decision_comes_out_as_it_did(chain: Disclosing, opa: Path) -> None:
    """From the evidence alone, real opa finds the same on every access item of every cycle."""
    report = replayed(chain, opa)
    assert (report.cycles, report.decisions, report.equal) == (2, 2 * COMPANY_DECISIONS, 2 * COMPANY_DECISIONS)
    assert (report.different, report.not_disclosed, report.differences, report.problems) == (0, 0, (), ())


def test_a_rule_that_is_not_in_force_yet_is_replayed_as_it_was(engine: ManagedOpa, opa: Path, tmp_path: Path) -> None:
    """Asked to revoke, signed as asked: what comes of it before the rule's day is the planner's."""
    soon = f"{NOW + timedelta(days=30):%Y-%m-%d}"
    body = emit('input.unit.worker_id == "E1002"\n\titem.live', effect='"revoke"')
    source = rule_source("probe", body, effective_on=f'"{soon}T00:00:00Z"')
    world = company(policies=with_modules(starter(), access__rules__probe__probe=source), cycle_id=cycle_id(1))
    made = Disclosing(tmp_path / "evidence")
    made.attest(decided(engine, world=world))
    report = replayed(made, opa)
    assert report.equal == report.decisions > COMPANY_DECISIONS


def test_a_rule_may_look_at_managers_and_waivers(engine: ManagedOpa, opa: Path, tmp_path: Path) -> None:
    """What a rule reaches from its unit is disclosed with it: worker, the worker's manager, the waivers about them."""
    conditions = (
        "data.roster.workers[data.roster.workers[input.unit.worker_id].manager].access_end_at != null",
        'some waived in data.waivers.items\n\twaived.principal_id == "bob"',
    )
    source = rule_source("probe", emit("\n\t".join(conditions)))
    people = roster(leaver("E1001"), worker("E1002", manager_id=WorkerId("E1001")))
    policies = with_modules(starter(), access__rules__probe__probe=source)
    world = company(policies=policies, cycle_id=cycle_id(1))
    made = Disclosing(tmp_path / "evidence")
    made.attest(decided(engine, world=replace(world, roster=people, waivers=(WAIVER,))))
    report = replayed(made, opa)
    assert report.equal == report.decisions > COMPANY_DECISIONS


def test_swapped_policies_are_named(chain: Disclosing, opa: Path) -> None:
    """A policy bundle with one byte changed is not the one that was signed: it decides nothing."""
    changed_in(chain.evidence(1, "policy-bundle"), b"Leavers keep", b"Leavers kept")
    report = replayed(chain, opa)
    assert {(one.cycle_id, one.code) for one in report.problems} == {
        (cycle_id(1), "evidence_changed"),
        (cycle_id(2), "evidence_changed"),
    }
    assert "have another digest than the one that the statement signed" in report.problems[0].message
    assert (report.equal, report.not_disclosed) == (0, 2 * COMPANY_DECISIONS)


def test_policies_that_decide_otherwise_are_found(engine: ManagedOpa, opa: Path, tmp_path: Path) -> None:
    """A cycle that signed other policies than those that decided is convicted, item by item."""
    world = company(cycle_id=cycle_id(1))
    lenient = json.loads(starter().data)
    lenient["access"]["config"]["leaver"]["account_effect"] = "review"
    data = json.dumps(lenient)
    claimed = replace(starter(), data=data, digest=policy_digest(starter().modules, data))
    made = Disclosing(tmp_path / "evidence")
    made.attest(decided(engine, world=world, policy=claimed))
    report = replayed(made, opa)
    (difference,) = report.differences
    assert (difference.access_id, difference.cycle_id) == ("alice/account/1", cycle_id(1))
    assert difference.then == ("leaver leaver critical quarantine",)
    assert difference.now == ("leaver leaver critical review",)
    assert (report.equal, report.different) == (COMPANY_DECISIONS - 1, 1)


def test_a_changed_input_is_named(chain: Disclosing, opa: Path) -> None:
    """An input altered after the cycle has a digest that nothing commits to: named by line, and not replayed."""
    changed_in(chain.disclosures(1), b'"E1001"', b'"E1002"')
    report = replayed(chain, opa)
    assert report.problems
    assert {(one.cycle_id, one.code) for one in report.problems} == {(cycle_id(1), "disclosure_changed")}
    assert (
        f"of disclosures/000001-{cycle_id(1)}.jsonl has a digest that no leaf commits to" in report.problems[0].message
    )
    assert report.equal < 2 * COMPANY_DECISIONS
    assert report.equal + report.not_disclosed == 2 * COMPANY_DECISIONS


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"key": "corp-aws|123|somebody"}, "about another principal"),
        ({"findings": []}, "find something else than is on record"),
        ({"unit": {"principal": {}, "access": {}}}, "find something else than is on record"),
    ],
    ids=["another principal", "no findings", "no input"],
)
def test_a_cycle_that_lied_about_what_was_asked_is_convicted(
    engine: ManagedOpa, opa: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    """Lines that were signed and are untrue do not come out as they say."""
    cycle = decided(engine)
    made = Disclosing(tmp_path / "evidence")
    made.attest(replace(cycle, grounds=altered(cycle.grounds, **changes)))
    report = replayed(made, opa)
    assert report.different == COMPANY_DECISIONS
    assert report.problems == ()
    assert all(message in one.message for one in report.differences)


def test_a_line_that_says_nothing_that_can_be_read_is_named(engine: ManagedOpa, opa: Path, tmp_path: Path) -> None:
    """An evaluation without access items is malformed, though signed; its decisions are not replayed."""
    cycle = decided(engine)
    made = Disclosing(tmp_path / "evidence")
    made.attest(replace(cycle, grounds=altered(cycle.grounds, unit={})))
    report = replayed(made, opa)
    assert (report.equal, report.not_disclosed) == (0, COMPANY_DECISIONS)
    assert {one.code for one in report.problems} == {"disclosure_malformed"}


def test_a_leaf_that_tells_another_story_than_its_line_is_found(engine: ManagedOpa, opa: Path, tmp_path: Path) -> None:
    """The signed leaf itself is held against the policies, not only the line below it."""
    cycle = decided(engine)
    softened = tuple(replace(one, code="harmless") for one in cycle.record.findings)
    made = Disclosing(tmp_path / "evidence")
    made.attest(replace(cycle, record=replace(cycle.record, findings=softened)))
    report = replayed(made, opa)
    assert report.different == COMPANY_DECISIONS
    assert {one.message for one in report.differences} == {
        "the leaf that was signed says something else than the policies"
    }


def test_what_was_destroyed_is_counted(chain: Disclosing, opa: Path) -> None:
    """Decisions without their lines, and a cycle without its leaves, are not disclosed; the rest is replayed."""
    chain.disclosures(1).unlink()
    report = replayed(chain, opa)
    assert (report.equal, report.not_disclosed, report.problems) == (COMPANY_DECISIONS, COMPANY_DECISIONS, ())
    chain.evidence(2, "decision-log").unlink()
    assert replayed(chain, opa).not_disclosed == 2 * COMPANY_DECISIONS


def test_a_changed_log_is_named(chain: Disclosing, opa: Path) -> None:
    """Leaves that are not those that were signed are not replayed."""
    changed_in(chain.evidence(2, "decision-log"), b"decision/1", b"decision/2")
    report = replayed(chain, opa)
    assert [(one.cycle_id, one.code) for one in report.problems if "decision-log" in one.message] == [
        (cycle_id(2), "evidence_changed")
    ]
    assert report.equal == COMPANY_DECISIONS


def test_a_pack_that_shows_a_part_is_replayed_in_part(chain: Disclosing, opa: Path, tmp_path: Path) -> None:
    """Two leaves of one cycle: two equal, the rest not disclosed."""
    pack = chain.packed(tmp_path / "pack", {1: [("decision-log", 0), ("decision-log", 4)]})
    report = replayed(chain, opa, pack)
    assert (report.equal, report.different, report.not_disclosed) == (2, 0, 2 * COMPANY_DECISIONS - 2)
    assert report.problems == ()


def test_a_changed_pack_is_named(chain: Disclosing, opa: Path, tmp_path: Path) -> None:
    """A leaf of a pack that is not in the signed tree is not replayed, whatever its line says."""
    pack = chain.packed(tmp_path / "pack", {1: [("decision-log", 0), ("decision-log", 4)]})
    changed_in(pack / "decisions" / f"000001-{cycle_id(1)}.jsonl", b'"index":4', b'"index":3')
    report = replayed(chain, opa, pack)
    assert (report.equal, report.problems[0].code) == (1, "disclosure_changed")
    assert "leaf 3 of the decision-log is not in the tree that was signed" in report.problems[0].message


def test_one_principal_on_which_the_policies_fail_spoils_no_other(
    engine: ManagedOpa, opa: Path, tmp_path: Path
) -> None:
    """A batch is halved until the failing one stands alone; the others are compared."""
    world = company(cycle_id=cycle_id(1))
    source = rule_source(
        "probe", emit('input.unit.principal.kind == "service"\n\ttime.parse_rfc3339_ns(item.kind) > 0')
    )
    failing = with_modules(starter(), access__rules__probe__probe=source)
    made = Disclosing(tmp_path / "evidence")
    made.attest(decided(engine, world=world, policy=failing))
    report = replayed(made, opa)
    assert (report.equal, report.different) == (COMPANY_DECISIONS - 1, 1)
    assert report.differences[0].access_id == "backup/access_key/1"
    assert "opa could not decide" in report.differences[0].message


def test_policies_of_a_pack_reach_nothing_outside(engine: ManagedOpa, opa: Path, tmp_path: Path) -> None:
    """A pack's policies that call the network or the clock are not run: nothing is sent, nothing comes out equal."""
    body = emit('http.send({"method": "get", "url": "http://127.0.0.1:9/"}).status_code == 200')
    hostile = with_modules(starter(), access__rules__probe__probe=rule_source("probe", body))
    made = Disclosing(tmp_path / "evidence")
    made.attest(decided(engine, world=company(cycle_id=cycle_id(1)), policy=hostile))
    report = replayed(made, opa)
    assert report.different == COMPANY_DECISIONS
    assert all("http.send" in one.message for one in report.differences)


def test_a_binary_that_is_no_opa_is_refused(chain: Disclosing, tmp_path: Path) -> None:
    """Neither a missing nor another program is taken for one that decided."""
    with pytest.raises(PolicyError, match="cannot be run"):
        replayed(chain, tmp_path / "opa")
    with pytest.raises(PolicyError):
        replayed(chain, Path("/bin/true"))


def run(chain: Disclosing, *arguments: str) -> Result:
    """Run the command where the chain is the configured one."""
    place = Place(root=chain.root, trusted=lambda: chain.signer.verifying_key)
    result = CliRunner().invoke(build_app(lambda _: place), ["replay", *arguments])
    if isinstance(result.exception, EvidenceError):
        raise result.exception
    return result


def test_the_command_says_that_all_is_equal(chain: Disclosing, opa: Path) -> None:
    """Exit 0, in the published form, with the version of the opa that decided."""
    result = run(chain, "--opa", str(opa), "--output", "json")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert problems("attestations-replay", document) == []
    assert (document["equal"], document["decisions"]) == (2 * COMPANY_DECISIONS, 2 * COMPANY_DECISIONS)
    assert document["opa"][0].isdigit()


def test_the_command_tells_a_part_from_the_whole(chain: Disclosing, opa: Path) -> None:
    """Exit 3 where something was not disclosed, or the key came from the same folder; a single cycle can be chosen."""
    assert run(chain, "--opa", str(opa), "--dir", str(chain.root)).exit_code == 3
    chain.disclosures(1).unlink()
    result = run(chain, "--opa", str(opa))
    assert result.exit_code == 3
    assert f"{COMPANY_DECISIONS} equal, 0 different, {COMPANY_DECISIONS} not disclosed" in result.stdout
    assert run(chain, "--opa", str(opa), "--cycle", "2").exit_code == 0
    assert run(chain, "--opa", str(opa), "--cycle", cycle_id(1)).exit_code == 3
    with pytest.raises(EvidenceError, match="no attestation of cycle 9"):
        run(chain, "--opa", str(opa), "--cycle", "9")


def test_the_command_tells_differences_and_changes(chain: Disclosing, opa: Path) -> None:
    """Exit 1 where an input was altered or a statement is not signed as it must be, each with its cycle."""
    changed_in(chain.disclosures(1), b'"E1001"', b'"E1002"')
    result = run(chain, "--opa", str(opa), "--output", "json")
    assert result.exit_code == 1
    assert problems("attestations-replay", json.loads(result.stdout)) == []
    (statement,) = (chain.root / "attestations").glob("000002-*.statement.json")
    changed_in(statement, b"partial", b"partiaI")
    told = json.loads(run(chain, "--opa", str(opa), "--output", "json").stdout)
    assert {one["cycle_id"] for one in told["problems"]} == {cycle_id(1), cycle_id(2)}


def test_the_command_shows_what_differs(engine: ManagedOpa, opa: Path, tmp_path: Path) -> None:
    """Item, then and now are printed for people and in the published form."""
    cycle = decided(engine)
    made = Disclosing(tmp_path / "evidence")
    made.attest(replace(cycle, grounds=altered(cycle.grounds, findings=[])))
    result = run(made, "--opa", str(opa))
    assert result.exit_code == 1
    assert "alice/account/1: the policies find something else than is on record" in result.stdout
    assert "now:  leaver leaver critical quarantine" in result.stdout
    document = json.loads(run(made, "--opa", str(opa), "--output", "json").stdout)
    assert problems("attestations-replay", document) == []
    assert document["different"] == COMPANY_DECISIONS


def test_cycles_that_decided_nothing_are_not_called_equal(engine: ManagedOpa, opa: Path, tmp_path: Path) -> None:
    """Exit 3: nothing was disclosed, for there was nothing."""
    made = Disclosing(tmp_path / "evidence")
    made.attest(decided(engine, findings=()))
    result = run(made, "--opa", str(opa))
    assert (result.exit_code, "decided nothing" in result.stdout) == (3, True)
