"""The records of the audit trail: one form, ids that stay, nothing personal, and the right OCSF numbers."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from inventory.model import ArtefactKind
from reconciler.core.audit import (
    MOST_PLACES,
    SCHEMA,
    AuditKind,
    AuditRecord,
    Step,
    act_ended,
    approval_given,
    given_back,
    inputs_refused,
    plan_made,
    policies_compared,
)
from reconciler.core.canonical import dumps
from reconciler.core.model import Action, Approval, Effect, HoldCode, HoldReason, OutcomeState
from reconciler.core.record import ChangeState, CycleOutcome
from reconciler.core.waivers import WaiverSet
from tests.audit_history import CANARY, acts, made_plan, second, telling_principal
from tests.builders import NOW, action, credential, grant, principal
from tests.record_builders import cycle_id, cycle_record, roster_facts
from tests.recordings import change

FIELDS = {"schema", "id", "kind", "at", "cycle_id", "subject", "facts", "ocsf"}
SUBJECT = {"provider", "scope", "principal_id", "access_id", "artefact", "worker_id"}


def step(act: Action) -> Step:
    """Build a step of an act."""
    return Step(action=act, cycle_id=cycle_id(1), at=NOW)


def kinds(records: tuple[AuditRecord, ...]) -> list[str]:
    """Return what records tell, in order."""
    return [record.kind.value for record in records]


def test_every_record_has_every_field() -> None:
    """Readers rely on one form: the same top-level fields in each record, the same subject fields in each subject."""
    records = (*plan_made(made_plan(), (), None), act_ended(step(acts()[0]), OutcomeState.DONE))
    for record in records:
        document = record.document()
        assert set(document) == FIELDS
        assert document["schema"] == SCHEMA
        if record.subject is not None:
            assert set(record.subject) == SUBJECT


def test_a_plan_tells_each_decision() -> None:
    """A plan gives one record of itself and one for each action, review and withheld finding, with what was asked."""
    records = plan_made(made_plan(), (), None)
    assert kinds(records) == ["plan", *["decision"] * 5]
    effects = [(record.facts["asked"], record.facts["effect"], record.facts["withheld"]) for record in records[1:]]
    assert effects == [
        ("revoke", "revoke", None),
        ("revoke", "revoke", None),
        ("quarantine", "quarantine", None),
        ("revoke", "review", None),
        ("revoke", "keep", "waived"),
    ]
    assert records[0].facts["held"] is False
    assert records[0].facts["decisions_as_in_cycle"] is None


def test_unchanged_decisions_are_not_repeated() -> None:
    """The next cycle's equal decisions are referred to; any change brings all of them again."""
    first = made_plan(1)
    assert kinds(plan_made(made_plan(2), (), first)) == ["plan"]
    assert plan_made(made_plan(2), (), first)[0].facts["decisions_as_in_cycle"] == first.cycle_id
    waived_no_more = replace(made_plan(2), withheld=())
    assert len(plan_made(waived_no_more, (), first)) == 5
    other_effect = replace(made_plan(2), actions=(replace(acts(2)[0], effect=Effect.QUARANTINE), *acts(2)[1:]))
    assert len(plan_made(other_effect, (), first)) == 6


def test_ids_are_the_facts_own() -> None:
    """The same fact has the same id each time, and no two facts of a history share one."""
    once, again = plan_made(made_plan(), (), None), plan_made(made_plan(), (), None)
    assert [one.record_id for one in once] == [one.record_id for one in again]
    later = plan_made(made_plan(2), (), None)
    steps = [act_ended(step(act), OutcomeState.DONE) for act in acts()] + [given_back(step(act)) for act in acts()]
    ids = [one.record_id for one in (*once, *later, *steps)]
    assert len(set(ids)) == len(ids)


def test_a_finding_made_twice_is_one_decision() -> None:
    """Two findings that say the same of one item give one record, so that ids stay unique."""
    twice = made_plan(withheld=made_plan().withheld * 2)
    assert len(plan_made(twice, (), None)) == len(plan_made(made_plan(), (), None))


def test_nothing_personal_and_no_free_text() -> None:
    """Names, e-mails, login names, labels, addresses, reasons, messages and who approved stay in the journal."""
    plan = made_plan()
    hold = HoldReason(code=HoldCode.ROSTER_STALE, message=CANARY)
    approval = Approval(plan_digest=plan.digest, approved_by=CANARY, approved_at=NOW, expires_at=second(60))
    records = [*plan_made(plan, (hold,), None), approval_given(1, approval)]
    records += [act_ended(step(act), OutcomeState.FAILED) for act in acts()]
    records += inputs_refused(
        cycle_record(errors=(f"RosterRefused: {CANARY}", f"{CANARY}: x", f"corp-aws/1: {CANARY}"))
    )
    assert telling_principal().emails[0].startswith(CANARY)
    assert CANARY.encode() not in b"".join(dumps(record.document()) for record in records)


def test_a_refused_roster_is_told() -> None:
    """A roster that nothing is decided on is told once, by the error that the cycle ended with."""
    record = cycle_record(
        outcome=CycleOutcome.FAILED, roster=None, plan=None, errors=("RosterRefused: line 3", "RosterRefused: line 4")
    )
    (told,) = inputs_refused(record)
    assert told.facts == {"input": "roster", "code": "RosterRefused"}
    assert told.cycle_id == record.cycle_id


@pytest.mark.parametrize("error", ["PolicyError: no decision", "Undecided: one unit"])
def test_refused_policies_are_told(error: str) -> None:
    """Policies that gave no usable decision are a refused input."""
    assert [one.facts["input"] for one in inputs_refused(cycle_record(errors=(error,)))] == ["policies"]


def test_refused_waivers_are_told_without_their_text() -> None:
    """However many waivers cannot be read, a cycle tells once that some could not."""
    refused = WaiverSet(refused=(f"waivers/{CANARY}.yaml:3: no reason", "waivers/b.yaml:1: no owner"))
    (told,) = inputs_refused(cycle_record(errors=refused.errors()))
    assert told.facts == {"input": "waivers", "code": "Waiver refused"}


def test_other_errors_are_no_refused_input() -> None:
    """An unreachable provider or a failed act is told elsewhere; a line without a code is no refusal either."""
    assert (
        inputs_refused(cycle_record(errors=("Unavailable: no reply", "RosterRefused", "corp-aws/1: timed out"))) == ()
    )


def test_compared_policies_are_told_in_numbers() -> None:
    """What a new revision changes is one record of digests and counts; whom it concerns is not in it."""
    (told,) = policies_compared(cycle_record(policy_change=change()))
    counts = {"gained": 1, "lost": 0, "changed": 0, "newly_lost": 1, "newly_kept": 0, "lost_otherwise": 0}
    revisions = {"before": "sha256:" + "b" * 64, "after": "sha256:" + "c" * 64}
    assert told.facts == {"state": "compared", **revisions, "counts": counts}
    assert "bob" not in json.dumps(told.document())
    assert policies_compared(cycle_record()) == ()
    failed = change(state=ChangeState.FAILED, before="", reason="principal 'bob'", difference=None)
    (told,) = policies_compared(cycle_record(policy_change=failed))
    assert told.facts == {"state": "failed", "before": None, "after": revisions["after"], "counts": None}
    assert "bob" not in json.dumps(told.document())


def test_rows_set_aside_are_told_by_place() -> None:
    """Rows of the roster that were not believed are told by line, column and code, in bounded number with the count."""
    problems = tuple(f"line {number}, column 2: bad_date" for number in range(MOST_PLACES + 5))
    (told,) = inputs_refused(cycle_record(roster=roster_facts(problems=problems)))
    places = told.facts["places"]
    assert isinstance(places, list)
    assert len(places) == MOST_PLACES
    assert told.facts["count"] == MOST_PLACES + 5


@pytest.mark.parametrize(
    ("code", "told"), [(HoldCode.ROSTER_STALE, 1), (HoldCode.ROSTER_SHRUNKEN, 1), (HoldCode.CAP_COUNT, 0)]
)
def test_a_roster_that_holds_the_plan_is_a_refused_input(code: HoldCode, told: int) -> None:
    """A stale or shrunken roster is told as refused; a plan held for its size is not."""
    records = plan_made(made_plan(), (HoldReason(code=code, message=""),), None)
    assert records[0].facts["hold_codes"] == [code.value]
    assert kinds(records).count(AuditKind.REFUSED_INPUT.value) == told


@pytest.mark.parametrize(
    ("kind", "effect", "taken", "returned"),
    [
        (ArtefactKind.ACCOUNT, Effect.QUARANTINE, 300105, 300102),
        (ArtefactKind.ACCOUNT, Effect.REVOKE, 300106, 300101),
        (ArtefactKind.MFA_DEVICE, Effect.REVOKE, 300111, 300110),
        (ArtefactKind.ACCESS_KEY, Effect.REVOKE, 300199, 300199),
        (ArtefactKind.ACCESS_KEY, Effect.QUARANTINE, 300199, 300199),
    ],
)
def test_ocsf_of_a_credential(kind: ArtefactKind, effect: Effect, taken: int, returned: int) -> None:
    """Class and activity of taking and giving back a credential are OCSF's own numbers."""
    act = action(principal(), credential(kind=kind), effect)
    for record, number in ((act_ended(step(act), OutcomeState.DONE), taken), (given_back(step(act)), returned)):
        assert record.ocsf is not None
        assert record.ocsf["type_uid"] == number
        assert record.ocsf["class_uid"] == number // 100
        assert record.ocsf["activity_id"] == number % 100
        assert record.ocsf["category_uid"] == 3
        assert record.ocsf["user"] == {"uid": "alice"}


@pytest.mark.parametrize(
    ("kind", "taken", "returned", "named"),
    [
        (ArtefactKind.GROUP_MEMBERSHIP, 300604, 300603, {"group": {"uid": "developers"}}),
        (ArtefactKind.ROLE_TRUST, 300502, 300501, {"privileges": ["developers"]}),
        (ArtefactKind.ATTACHED_POLICY, 300108, 300107, {"policy": {"uid": "developers"}}),
        (ArtefactKind.INLINE_POLICY, 300108, 300107, {"policy": {"uid": "developers"}}),
    ],
)
def test_ocsf_of_a_grant(kind: ArtefactKind, taken: int, returned: int, named: dict[str, object]) -> None:
    """A grant's event names the group, the privilege or the policy by its id, in the class that has a field for it."""
    act = action(principal(), grant(kind=kind))
    for record, number in ((act_ended(step(act), OutcomeState.DONE), taken), (given_back(step(act)), returned)):
        assert record.ocsf is not None
        assert record.ocsf["type_uid"] == number
        assert named.items() <= dict(record.ocsf).items()


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (OutcomeState.DONE, 1),
        (OutcomeState.ALREADY_ABSENT, 1),
        (OutcomeState.FAILED, 2),
        (OutcomeState.UNKNOWN, 0),
        (OutcomeState.SKIPPED, 99),
    ],
)
def test_ocsf_status(outcome: OutcomeState, status: int) -> None:
    """An outcome that is unknown is neither success nor failure in OCSF either."""
    record = act_ended(step(acts()[0]), outcome)
    assert record.ocsf is not None
    assert record.ocsf["status_id"] == status


def test_ocsf_time_is_the_records_own() -> None:
    """The event carries milliseconds since the epoch of the instant it happened, and the record's id."""
    record = replace(act_ended(step(acts()[0]), OutcomeState.DONE), at=NOW + timedelta(milliseconds=1))
    ocsf = record.document()["ocsf"]
    assert isinstance(ocsf, dict)
    assert ocsf["time"] == 1772442000001
    assert isinstance(ocsf["metadata"], dict)
    assert ocsf["metadata"]["uid"] == record.record_id
