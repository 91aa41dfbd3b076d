"""A rule that takes effect later: told and counted everywhere, done and asked nowhere."""

from dataclasses import replace
from datetime import timedelta

import pytest

from reconciler.attestation import Attested
from reconciler.cli.documents import cycle_document
from reconciler.cli.record_view import show_record
from reconciler.core.leaves import decisions
from reconciler.core.model import Effect
from reconciler.core.predicate import decision_counts
from reconciler.core.record import CycleRecord, WillApply
from tests.builders import NOW, credential, finding
from tests.output_schemas import problems
from tests.plan_builders import plan_for
from tests.record_builders import cycle_record

SOON = NOW + timedelta(days=60)
KEY, OTHER = credential(), credential(access_id="alice/access_key/2")


def coming(**changes: object) -> CycleRecord:
    """Build the record of a cycle in which one rule finds two keys too early: it would revoke one and review one."""
    findings = (
        finding(KEY, rule="idle", code="idle", applies_from=SOON),
        finding(OTHER, rule="idle", code="idle", effect=Effect.REVIEW, applies_from=SOON),
    )
    plan = plan_for((KEY, OTHER), findings=findings)
    return replace(cycle_record(findings=findings, plan=plan, results=()), **changes)  # type: ignore[arg-type]  # tests name real fields


def attested(record: CycleRecord) -> Attested:
    """Build what a command is handed of a cycle."""
    return Attested(record=record, statement_digest="sha256:" + "0" * 64, path="state/1.json")


def test_nothing_is_planned_or_asked_of_a_rule_before_its_day() -> None:
    """What it would take and what it would ask are both withheld, with the day."""
    plan = coming().plan
    assert plan is not None
    assert (plan.actions, plan.reviews) == ((), ())
    assert {(one.code, one.message) for one in plan.withheld} == {
        ("not_in_effect", "will apply from 2026-05-01 09:00 UTC, when the rule takes effect")
    }
    assert len(plan.withheld) == 2


def test_another_rule_on_the_same_item_counts_all_the_same() -> None:
    """A finding that is in effect is planned, whatever an early one asks for the item."""
    early = finding(KEY, rule="idle", code="idle", effect=Effect.KEEP, applies_from=SOON)
    plan = plan_for((KEY,), findings=(early, finding(KEY)))
    assert [(one.rule, one.effect) for one in plan.actions] == [("leaver", Effect.REVOKE)]
    assert plan.withheld == ()


def test_the_attestation_counts_it_as_kept_and_says_why() -> None:
    """An early finding decides nothing: the item is kept, under the code that every statement counts."""
    record = coming()
    assert {(one.state, one.withheld) for one in decisions(record)} == {("keep", ("not_in_effect",))}
    counts = decision_counts(record)
    assert (counts["keep"], counts["withheld"], counts["byRule"]) == (2, {"not_in_effect": 2}, {"idle": 2})


def test_it_is_counted_by_rule_and_effect() -> None:
    """The record says how much will be asked, from when, and on how many principals."""
    assert coming().will_apply == (
        WillApply(
            rule="idle",
            effective_on=SOON,
            findings=2,
            principals=1,
            by_effect=((Effect.REVIEW, 1), (Effect.REVOKE, 1)),
        ),
    )
    assert cycle_record().will_apply == ()


def test_the_document_shows_it_and_fits_its_schema() -> None:
    """`plan --output json` has the counts, and each finding its day."""
    document = cycle_document(attested(coming()), verified=True)
    assert document["will_apply"] == [
        {
            "rule": "idle",
            "effective_on": "2026-05-01T09:00:00.000000Z",
            "findings": 2,
            "principals": 1,
            "by_effect": {"review": 1, "revoke": 1},
        }
    ]
    findings = document["findings"]
    assert isinstance(findings, list)
    assert {one["applies_from"] for one in findings if isinstance(one, dict)} == {"2026-05-01T09:00:00.000000Z"}
    assert problems("cycle", document) == []


def test_people_get_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """The table counts instead of listing what nobody has to do anything about yet."""
    show_record(attested(coming()), verified=True)
    out = capsys.readouterr().out
    assert (
        "will apply: rule idle from 2026-05-01 09:00 UTC, 2 findings on 1 principals (review 1, revoke 1); "
        "nothing is done about them before" in out
    )
    assert "For a human" not in out
