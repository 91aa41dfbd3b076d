"""The statement of a cycle: its form, its numbers, and what it refuses to say."""

import json
from copy import deepcopy
from dataclasses import replace
from datetime import timedelta
from importlib import resources
from typing import Any

import jsonschema
import pytest

from inventory import errors as inventory_errors
from inventory.errors import ProviderError
from inventory.model import ArtefactKind, Coverage, ReadState
from inventory.roster.model import WorkerId
from reconciler.core import errors, merkle
from reconciler.core.canonical import dumps, sha256_hex
from reconciler.core.errors import EvidenceError, NotifyError, UndoRefused, WrongUsage
from reconciler.core.leaves import leaves_of
from reconciler.core.model import (
    ActionId,
    Approval,
    Effect,
    HoldCode,
    HoldReason,
    Mode,
    OutcomeState,
    PlanDigest,
    VerificationState,
    Withheld,
)
from reconciler.core.predicate import ERROR_CODES
from reconciler.core.record import CycleOutcome, CycleRecord, LeaverState, LeaverVerdict, Reverted
from reconciler.core.statement import Link, build_statement
from reconciler.observation import RosterRefused
from tests.builders import NOW, action, credential, finding, grant, principal
from tests.record_builders import (
    action_result,
    cycle_id,
    cycle_record,
    guard_facts,
    inventory_facts,
    plan,
    roster_facts,
    statement_facts,
)


def statement(record: CycleRecord, **changes: Any) -> dict[str, Any]:
    """Return the statement of a record as a document."""
    document: dict[str, Any] = json.loads(build_statement(record, statement_facts(record, **changes)))
    return document


def predicate(record: CycleRecord, **changes: Any) -> dict[str, Any]:
    """Return the predicate of a record's statement."""
    told: dict[str, Any] = statement(record, **changes)["predicate"]
    return told


def failed_record() -> CycleRecord:
    """Return a cycle that could not even read its roster."""
    return cycle_record(
        outcome=CycleOutcome.FAILED,
        roster=None,
        policy=None,
        engine=None,
        inventories=(),
        snapshot_digest="",
        findings=(),
        evaluated=0,
        plan=None,
        results=(),
        leavers=(),
        errors=("PolicyError: the engine did not answer", "the disk of alice is full"),
    )


def held_record() -> CycleRecord:
    """Return a cycle whose plan the guard held."""
    reason = HoldReason(code=HoldCode.CAP_COUNT, message="40 principals of corp-aws", provider=None)
    return cycle_record(outcome=CycleOutcome.HELD, results=(), guard=guard_facts(hold_reasons=(reason,)))


def closed(schema: Any) -> Any:
    """Return a schema that allows no field which it does not describe."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {name: closed(part) for name, part in schema.items()}
    if "properties" in schema:
        strict["additionalProperties"] = False
    return strict


@pytest.mark.parametrize(
    "record",
    [
        cycle_record(),
        failed_record(),
        held_record(),
        cycle_record(mode=Mode.OBSERVE, results=()),
        cycle_record(
            guard=guard_facts(
                approval=Approval(
                    plan_digest=PlanDigest("sha256:" + "e" * 64), approved_by="carol", approved_at=NOW, expires_at=NOW
                )
            )
        ),
        cycle_record(
            outcome=CycleOutcome.PARTIAL,
            inventories=(
                inventory_facts(
                    complete=False,
                    coverage=(Coverage(kind=ArtefactKind.SESSION, state=ReadState.DENIED, as_of=NOW, reason="403"),),
                ),
            ),
        ),
    ],
    ids=["complete", "failed", "held", "observed", "approved", "partial"],
)
def test_the_published_schema_describes_every_field(record: CycleRecord) -> None:
    """Each kind of cycle gives a statement that its JSON Schema accepts, with no field left undescribed."""
    schema = json.loads((resources.files("reconciler") / "schemas" / "statement.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    link = Link(sequence=6, cycle_id=cycle_id(6), digest="sha256:" + "1" * 64)
    later = replace(record, sequence=7)
    for document in (statement(record), statement(later, previous=link)):
        jsonschema.Draft202012Validator(closed(schema)).validate(document)


def test_the_schema_refuses_a_changed_statement() -> None:
    """A negative count, a missing section and a digest of the wrong length are not statements."""
    schema = json.loads((resources.files("reconciler") / "schemas" / "statement.schema.json").read_text())
    validator = jsonschema.Draft202012Validator(schema)
    for path, value in ((("actions", "failed"), -1), (("decisions",), None), (("chainGenesis", "sha256"), "ab")):
        document = deepcopy(statement(cycle_record()))
        place = document["predicate"]
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value
        assert not validator.is_valid(document)


def test_bytes_are_canonical_and_repeatable() -> None:
    """The same record and facts give the same bytes, in the one form that RFC 8785 knows."""
    record = cycle_record()
    first = build_statement(record, statement_facts(record))
    assert first == build_statement(record, statement_facts(record))
    assert first == dumps(json.loads(first))
    assert b"." not in first.replace(b"Z", b"").split(b'"apiCalls":')[1][:3]


def test_subjects_are_the_digests_of_the_evidence_files() -> None:
    """Every evidence file is a subject by its SHA-256, under a name of its own."""
    record = cycle_record()
    facts = statement_facts(record)
    subjects = statement(record)["subject"]
    assert {one["name"]: one["digest"]["sha256"] for one in subjects} == {
        name: sha256_hex(content) for name, content in facts.documents.files
    }
    assert [one["name"] for one in subjects] == [
        "action-log",
        "cycle-log",
        "decision-log",
        "inventory-manifest",
        "leaver-log",
        "policy-bundle",
        "roster-facts",
    ]


def test_the_roots_are_over_the_lines_of_the_logs() -> None:
    """Anybody with a log file can compute the root that the statement tells."""
    record = cycle_record()
    files = dict(statement_facts(record).documents.files)
    told = predicate(record)
    for log, section in (("decision-log", "decisions"), ("action-log", "actions")):
        leaves = leaves_of(files[log])
        assert told[section]["merkleRoot"]["sha256"] == merkle.root(leaves).hex()
        assert told[section]["leafCount"] == len(leaves)


def test_decisions_are_counted_by_access_item() -> None:
    """Several findings on one item are one decision; planned, waived and reviewed ones are told apart."""
    doubled = finding(credential(), rule="stale_credential", code="unused")
    told = predicate(cycle_record(findings=(*cycle_record().findings, doubled)))["decisions"]
    counted = {name: told[name] for name in ("total", "revoke", "waived", "review", "keep", "undecided", "findings")}
    assert counted == {"total": 3, "revoke": 1, "waived": 1, "review": 1, "keep": 0, "undecided": 0, "findings": 4}
    assert told["byRule"] == {"leaver": 3, "stale_credential": 1}


def test_a_half_waived_item_is_in_review() -> None:
    """An item is waived only when every rule that asks for something is."""
    membership = grant()
    other = finding(membership, rule="stale_credential", code="unused")
    waived = Withheld(finding=finding(membership), code="waived", message="")
    held = Withheld(finding=other, code="not_whole", message="")
    record = cycle_record(
        findings=(finding(membership), other), plan=plan(actions=(), reviews=(), withheld=(waived, held)), results=()
    )
    told = predicate(record)["decisions"]
    assert (told["waived"], told["review"], told["withheld"]) == (0, 1, {"not_whole": 1, "waived": 1})


def test_an_item_contained_with_its_account_is_quarantined() -> None:
    """What a quarantine already covers is decided so, and asks nobody for a review."""
    held = Withheld(finding=finding(grant()), code="contained_with_account", message="")
    record = cycle_record(findings=(finding(grant()),), plan=plan(actions=(), reviews=(), withheld=(held,)), results=())
    assert predicate(record)["decisions"]["quarantine"] == 1


def test_findings_that_ask_for_nothing_are_kept() -> None:
    """A finding with effect keep counts as keep."""
    record = cycle_record(
        findings=(finding(grant(), effect=Effect.KEEP),), plan=plan(actions=(), reviews=(), withheld=()), results=()
    )
    assert predicate(record)["decisions"]["keep"] == 1


def test_without_a_plan_nothing_is_decided() -> None:
    """A cycle that failed after evaluation leaves its findings undecided."""
    record = cycle_record(outcome=CycleOutcome.FAILED, plan=None, results=())
    told = predicate(record)
    assert told["decisions"]["undecided"] == 3
    assert told["plan"]["digest"] is None


def test_actions_are_counted_by_how_they_ended() -> None:
    """Attempted, skipped and never reached add up to intended; only a removal made here can be verified gone."""
    items = [credential(access_id=f"key-{number}") for number in range(6)]
    actions = [action(principal(), item) for item in items]
    ends = [
        (OutcomeState.DONE, VerificationState.GONE),
        (OutcomeState.ALREADY_ABSENT, VerificationState.GONE),
        (OutcomeState.UNKNOWN, VerificationState.STILL_THERE),
        (OutcomeState.FAILED, None),
        (OutcomeState.SKIPPED, None),
    ]
    results = tuple(
        action_result(action=one, outcome=outcome, verification=seen)
        for one, (outcome, seen) in zip(actions, ends, strict=False)
    )
    record = cycle_record(
        outcome=CycleOutcome.PARTIAL,
        plan=plan(actions=tuple(actions)),
        results=results,
        reverted=Reverted(begun=2, confirmed=1),
    )
    told = predicate(record)["actions"]
    assert {name: value for name, value in told.items() if isinstance(value, int)} == {
        "intended": 6,
        "attempted": 4,
        "succeeded": 1,
        "alreadyGone": 1,
        "unknown": 1,
        "failed": 1,
        "skipped": 1,
        "notAttempted": 1,
        "verifiedGone": 1,
        "leafCount": 6,
    }
    assert told["reverted"] == {"begun": 2, "confirmed": 1}
    assert told["verification"] == {"gone": 2, "stillThere": 1, "unknown": 0, "none": 1}


def test_time_to_revoke_is_rounded_up_over_verified_removals() -> None:
    """Seconds from decision to verification, rounded up; the 95th of a hundred is the percentile by rank."""
    results = tuple(
        action_result(
            action=action(principal(), credential(access_id=f"key-{number}"), action_id=ActionId(f"a{number}")),
            decided_at=NOW,
            verified_at=NOW + timedelta(seconds=number, milliseconds=-500),
        )
        for number in range(1, 101)
    )
    record = cycle_record(results=results, plan=plan(actions=()))
    assert predicate(record)["slo"] == {"measured": 100, "maxTimeToRevokeSeconds": 100, "p95TimeToRevokeSeconds": 95}
    nothing = {"measured": 0, "maxTimeToRevokeSeconds": None, "p95TimeToRevokeSeconds": None}
    assert predicate(held_record())["slo"] == nothing


def test_errors_become_codes() -> None:
    """Error lines are counted by kind; what they say stays in the record."""
    told = predicate(failed_record())["errors"]
    assert told == {"count": 2, "codes": {"policy_engine": 1, "unclassified": 1}}
    partial = cycle_record(outcome=CycleOutcome.PARTIAL, errors=("corp-aws/123456789012: page 2 failed",))
    assert predicate(partial)["errors"]["codes"] == {"read_failed": 1}


def test_roster_problems_become_codes() -> None:
    """Problems of the feed are counted by code; anything that is not `line, column: code` is unclassified."""
    problems = ("line 3, column 2: bad_date", "line 9, column 2: bad_date", "Alice Example is listed twice")
    told = predicate(cycle_record(roster=roster_facts(problems=problems)))["roster"]
    assert told["problems"] == {"bad_date": 2, "unclassified": 1}


def test_missing_kinds_are_named_without_their_scope() -> None:
    """What stood in the way of a verdict is named by provider and kind; the scope may name a person."""
    verdicts = tuple(
        LeaverVerdict(
            worker_id=WorkerId(f"E{number}"),
            state=LeaverState.CANNOT_CONCLUDE,
            access_end_at=NOW,
            remaining=0,
            missing=(text,),
        )
        for number, text in enumerate(
            ("corp-ldap/ou=alice/dc=example/session: denied", "corp-ldap/dc=x/session: denied", "alice: lost")
        )
    )
    told = predicate(cycle_record(roster=roster_facts(leavers=3), leavers=verdicts))["leavers"]
    assert told["missing"] == ["corp-ldap/session: denied", "unclassified"]
    assert (told["total"], told["cannotConclude"], told["leafCount"]) == (3, 3, 3)


def test_a_leaver_without_a_verdict_is_refused() -> None:
    """A complete whole pass that judged fewer leavers than its roster has is a contradiction, and is not signed."""
    with pytest.raises(EvidenceError, match="2 leavers by the roster, 1 judged"):
        predicate(cycle_record(roster=roster_facts(leavers=2)))


def test_a_held_plan_says_what_held_it() -> None:
    """Codes of the hold reasons are there, and the plan's digest, which an approval would name."""
    told = predicate(held_record())
    assert told["plan"]["held"]
    assert told["plan"]["holdReasons"] == [{"code": "cap_count", "provider": None}]
    assert told["guardrails"]["tripped"]
    assert told["actions"]["notAttempted"] == 1


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (cycle_record(inventories=(inventory_facts(complete=False),)), "complete while a provider is not"),
        (cycle_record(inventories=()), "complete while a provider is not"),
        (cycle_record(roster=None), "complete while the roster is not fresh"),
        (cycle_record(roster=roster_facts(as_of=NOW - timedelta(days=2))), "complete while the roster is not fresh"),
        (cycle_record(roster=roster_facts(as_of=None)), "complete while the roster is not fresh"),
        (cycle_record(undecided=2), "2 principals are undecided"),
        (cycle_record(outcome=CycleOutcome.HELD), "outcome is held, yet 1 actions"),
        (cycle_record(mode=Mode.OBSERVE), "in observe mode"),
        (cycle_record(results=(action_result(), action_result())), "1 action leaves for 2 intended"),
    ],
)
def test_a_record_that_contradicts_itself_is_not_stated(record: CycleRecord, words: str) -> None:
    """Nobody signs a cycle that claims more than it saw or did."""
    with pytest.raises(EvidenceError, match=words):
        build_statement(record, statement_facts(record))


def test_a_statement_follows_an_earlier_one_only() -> None:
    """The previous sequence number is below one's own."""
    record = cycle_record(sequence=3)
    with pytest.raises(EvidenceError, match="cycle 3 cannot follow cycle 3"):
        build_statement(
            record,
            statement_facts(record, previous=Link(sequence=3, cycle_id=cycle_id(3), digest="sha256:" + "1" * 64)),
        )


def test_every_error_that_can_end_a_cycle_has_a_code() -> None:
    """What a statement cannot name it calls unclassified, so no kind of error of a cycle goes without a word."""
    never_in_a_cycle = {NotifyError, UndoRefused, WrongUsage}
    kinds = {one for module in (errors, inventory_errors) for one in vars(module).values() if isinstance(one, type)}
    named = {
        one.__name__ for one in kinds - never_in_a_cycle if issubclass(one, errors.ReconcilerError | ProviderError)
    }
    assert named | {RosterRefused.__name__} <= ERROR_CODES.keys() | {"ReconcilerError"}
