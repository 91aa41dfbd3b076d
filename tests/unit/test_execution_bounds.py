"""The bounds of an execution to the instant: how old a read may be, how long a plan lives, what counts as a failure."""

from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from inventory.errors import Denied, Misconfigured, ObjectMissing, ProviderError, Throttled, Unavailable
from inventory.model import PrincipalId, ProviderName
from reconciler.core.model import ActionResult, OutcomeState, Receipt
from reconciler.execution import execute
from reconciler.principal_walk import Brake, PrincipalWalk, Seen, Tools
from reconciler.rereading import Patience, Rereader
from tests.builders import PROVIDER, credential
from tests.fakes.stage import ABSENT, DONE, FAILED, GONE, LDAP, LOST, SKIPPED, Stage, ends
from tests.fakes.world import Fault, approve

ALICE = PrincipalId("alice")
LIFETIME = 900.0
"""Seconds that a plan lives by default."""


def read_ago(stage: Stage, seconds: float) -> Seen:
    """Return alice as she is now, by a read that began some time ago."""
    return Seen(reading=stage.aws.reading(ALICE), began_seconds=stage.clock.monotonic_seconds() - seconds)


@pytest.mark.parametrize(("age", "reads"), [(0.0, 1), (1.9, 1), (2.0, 1), (2.1, 2), (60.0, 2)])
def test_a_read_serves_for_two_seconds(age: float, reads: int) -> None:
    """A principal that was read no more than two seconds ago is only read to verify; an older read is made anew."""
    stage = Stage()
    crew = stage.crew(seen={(PROVIDER, ALICE): read_ago(stage, age)})
    assert ends(execute(approve(stage.plan(stage.key())), crew)) == [(DONE, GONE)]
    assert stage.aws.reads == reads


def test_what_was_seen_decides() -> None:
    """An item that the planner's own read, a moment ago, did not show needs no call."""
    stage = Stage()
    plan = stage.plan(stage.key())
    del stage.aws.items[credential().access_id]
    crew = stage.crew(seen={(PROVIDER, ALICE): read_ago(stage, 0)})
    assert ends(execute(approve(plan), crew)) == [(ABSENT, GONE)]
    assert (stage.aws.reads, stage.aws.calls) == (1, [])


@pytest.mark.parametrize("other", [(PROVIDER, PrincipalId("bob")), (LDAP, ALICE)])
def test_a_read_of_somebody_else_serves_nobody(other: tuple[ProviderName, PrincipalId]) -> None:
    """A moment-old read stands for its own principal at its own provider only."""
    stage = Stage()
    crew = stage.crew(seen={other: read_ago(stage, 0)})
    assert ends(execute(approve(stage.plan(stage.key())), crew)) == [(DONE, GONE)]
    assert stage.aws.reads == 2


@pytest.mark.parametrize(("lasts", "reads"), [(2.0, 2), (2.1, 3)])
def test_a_read_is_as_old_as_its_beginning(lasts: float, reads: int) -> None:
    """What changed while a slow read was under way may be missing from it: its age counts from where it began."""
    stage = Stage()
    real = stage.aws.read_principal
    stage.aws.read_principal = lambda principal: (stage.clock.sleep(lasts), real(principal))[1]  # type: ignore[method-assign,func-returns-value]  # a read that takes its time
    assert ends(stage.run()) == [(DONE, GONE)] * 2
    assert stage.aws.reads == reads


@pytest.mark.parametrize(
    ("waited", "jumped", "passed", "second"),
    [
        (0, 0, LIFETIME - 1, DONE),
        (0, 0, LIFETIME, SKIPPED),
        (0, LIFETIME - 1, 0, DONE),
        (0, LIFETIME, 0, SKIPPED),
        (0, -60, LIFETIME - 1, DONE),
        (0, -60, LIFETIME, SKIPPED),
        (300, 0, LIFETIME - 301, DONE),
        (300, 0, LIFETIME - 300, SKIPPED),
        (300, -60, LIFETIME - 301, DONE),
        (300, -60, LIFETIME - 300, SKIPPED),
    ],
)
def test_a_plan_lives_to_its_instant_by_both_clocks(
    waited: float, jumped: float, passed: float, second: OutcomeState
) -> None:
    """An act may begin until the instant of expiry by the wall clock or by the monotonic one, whichever is first."""
    stage = Stage()
    approved = approve(stage.plan())
    assert (approved.expires_at - approved.plan.created_at).total_seconds() == LIFETIME
    stage.clock.sleep(waited)

    def dawdle(*_: object) -> None:
        stage.aws.on_effect = lambda *_: None
        stage.clock.jump(timedelta(seconds=jumped))
        stage.clock.sleep(passed)

    stage.aws.on_effect = dawdle
    first, later = execute(approved, stage.crew())
    assert (first.outcome, later.outcome) == (DONE, second)
    assert second is DONE or later.detail == "the plan has expired"


@pytest.mark.parametrize(
    ("change", "outcome", "detail"),
    [
        ("shared", FAILED, "Throttled: not called again: the access item has changed since it was planned"),
        ("expired", FAILED, "Throttled: not called again: the plan has expired"),
        ("expired and shared", FAILED, "Throttled: not called again: the plan has expired"),
        ("gone", ABSENT, "the access item does not exist"),
        ("expired and gone", ABSENT, "the access item does not exist"),
    ],
)
def test_why_a_throttled_call_was_not_made_again_is_told(change: str, outcome: OutcomeState, detail: str) -> None:
    """After the wait there is no second call on another world or past the expiry, and the result says which it was."""
    stage = Stage()
    stage.aws.fail("revoke", Throttled("slow down"))
    approved = approve(stage.plan(stage.key()))

    def wait(seconds: float) -> None:
        if "shared" in change:
            stage.aws.items[credential().access_id] = credential(enabled=False)
        if "gone" in change:
            stage.aws.items.clear()
        if "expired" in change:
            stage.clock.at = approved.expires_at

    stage.clock.sleep = wait  # type: ignore[method-assign]  # the wait is when it happens
    (result,) = execute(approved, stage.crew(verification=Patience(window_seconds=0)))
    assert (result.outcome, result.detail) == (outcome, detail)
    assert [(entry.outcome, entry.outcome_detail) for entry in stage.journal.entries()] == [(outcome, detail)]
    assert len(stage.aws.calls) == 1


@pytest.mark.parametrize(
    ("second", "outcome", "detail"),
    [
        (ObjectMissing("404"), ABSENT, "ObjectMissing: 404"),
        (Throttled("again"), FAILED, "Throttled: again"),
        (Unavailable("cut off"), LOST, "Unavailable: cut off"),
    ],
)
def test_the_second_answer_is_told(second: ProviderError, outcome: OutcomeState, detail: str) -> None:
    """What became of a throttled call is said in the words of its second answer."""
    stage = Stage()
    stage.aws.fail("revoke", Throttled("slow down"), second)
    (result,) = stage.run(stage.key())
    assert (result.outcome, result.detail) == (outcome, detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What goes wrong on the way of one action: how each verb answers, one call after the other."""

    read: tuple[Fault | Exception, ...] = ()
    before_image: tuple[Fault | Exception, ...] = ()
    revoke: tuple[Fault | Exception, ...] = ()
    odd: bool = False
    """The revoker answers what no revoker may."""
    meanwhile: str = ""
    """What happens to the item during the wait of a throttled call: it is `gone` or has `moved`."""


def walked(case: Case, brake: Brake) -> ActionResult:
    """Take alice's key under a brake."""
    stage = Stage()
    for verb in ("read", "before_image", "revoke"):
        stage.aws.fail(verb, *getattr(case, verb))
    if case.odd:
        stage.aws.revoke = lambda action: Receipt(outcome=FAILED)  # type: ignore[method-assign]  # breaks its contract
    approved = approve(stage.plan(stage.key()))

    def wait(seconds: float) -> None:
        stage.aws.items = {} if case.meanwhile == "gone" else dict(stage.aws.items)
        if case.meanwhile == "moved":
            stage.aws.items[credential().access_id] = credential(enabled=False)

    stage.clock.sleep = wait  # type: ignore[method-assign]  # the wait is when it happens
    tools = Tools(
        plan=approved.plan,
        expires_at=approved.expires_at,
        ends_at_seconds=stage.clock.monotonic_seconds() + LIFETIME,
        journal=stage.journal,
        clock=stage.clock,
        epoch=stage.epoch,
        revoker=stage.aws,
        collector=stage.aws,
        still_planned=stage.why,
        rereader=Rereader(collector=stage.aws, clock=stage.clock, patience=Patience(window_seconds=0)),
        brake=brake,
    )
    (result,) = PrincipalWalk(tools, approved.plan.actions).run()
    return result


def after(failures: int, step: str) -> Brake:
    """Return a brake that has seen so many failures of a step in a row."""
    brake = Brake()
    for _ in range(failures):
        brake.failed(PROVIDER, step)
    return brake


SLOW, NONE = Throttled("slow down"), Unavailable("no answer")


@pytest.mark.parametrize(
    "case",
    [
        Case(read=(NONE,)),
        Case(before_image=(NONE,)),
        Case(revoke=(NONE,)),
        Case(revoke=(Misconfigured("no region"),)),
        Case(odd=True),
        Case(revoke=(Throttled("slow down", retry_after_seconds=31),)),
        Case(revoke=(SLOW, SLOW)),
        Case(revoke=(SLOW,), read=(Fault(), NONE)),
        Case(revoke=(SLOW,), meanwhile="moved"),
    ],
    ids=str,
)
def test_each_failure_of_an_act_counts_once(case: Case) -> None:
    """After one failure before it the provider is still asked, after two it is left alone: one action counts as one."""
    second, third = after(1, "act"), after(2, "act")
    assert walked(case, second).outcome in {FAILED, LOST, SKIPPED}
    assert second.why(PROVIDER) == ""
    walked(case, third)
    assert third.why(PROVIDER) == "3 failures in a row (act)"
    assert third.why(LDAP) == ""


@pytest.mark.parametrize(
    "case",
    [
        Case(),
        Case(revoke=(ObjectMissing("404"),)),
        Case(revoke=(SLOW,)),
        Case(revoke=(SLOW, ObjectMissing("404"))),
        Case(revoke=(SLOW,), meanwhile="gone"),
    ],
    ids=str,
)
def test_each_answer_ends_the_row_of_failures(case: Case) -> None:
    """A provider that did what was asked, or had nothing left to do, starts with a clean slate."""
    brake = after(2, "act")
    assert walked(case, brake).outcome in {DONE, ABSENT}
    brake.failed(PROVIDER, "act")
    brake.failed(PROVIDER, "act")
    assert brake.why(PROVIDER) == ""
    brake.failed(PROVIDER, "act")
    assert brake.why(PROVIDER) == "3 failures in a row (act)"


def test_what_needed_no_call_says_nothing_of_acting() -> None:
    """An item that went before anything was called neither ends nor lengthens the row of failures."""
    gone = Case(before_image=(ObjectMissing("gone"),))
    brake = after(1, "act")
    assert walked(gone, brake).outcome is ABSENT
    brake.failed(PROVIDER, "act")
    assert brake.why(PROVIDER) == ""
    assert walked(gone, brake).outcome is ABSENT
    brake.failed(PROVIDER, "act")
    assert brake.why(PROVIDER) == "3 failures in a row (act)"


def test_each_principal_that_stays_counts_once_as_unverified() -> None:
    """A yes that did nothing counts as one unverified principal; a proven removal ends the row."""
    nothing = Case(revoke=(Fault(ignored=True),))
    second, third, cleared = (after(number, "verify") for number in (1, 2, 2))
    walked(nothing, second)
    walked(nothing, third)
    assert (second.why(PROVIDER), third.why(PROVIDER)) == ("", "3 failures in a row (verify)")
    walked(Case(), cleared)
    walked(nothing, cleared)
    assert cleared.why(PROVIDER) == ""


@pytest.mark.parametrize(
    "case",
    [
        Case(read=(Denied("expired token"),)),
        Case(before_image=(Denied("expired token"),)),
        Case(revoke=(Denied("expired token"),)),
        Case(revoke=(SLOW, Denied("expired token"))),
    ],
    ids=str,
)
def test_a_refusal_of_our_identity_stops_the_provider_by_name(case: Case) -> None:
    """Wherever on the way we are refused, this provider and no other is left alone, for a reason that says so."""
    brake = Brake()
    walked(case, brake)
    assert brake.why(PROVIDER) == "the provider refused our identity: Denied: expired token"
    assert brake.why(LDAP) == ""


@pytest.mark.parametrize("why", ["everything was stopped", "refused elsewhere"])
def test_a_brake_holds_what_has_not_begun(why: str) -> None:
    """Under a brake nothing is read or called, and the result tells the brake's own reason."""
    brake = Brake()
    if why == "refused elsewhere":
        brake.stop(PROVIDER, why)
    else:
        brake.halt(KeyError("defect"))
    result = walked(Case(read=(KeyError("read"),)), brake)
    assert (result.outcome, result.detail) == (SKIPPED, why)
    assert replace(result, detail="", outcome=DONE) == ActionResult(
        action=result.action, outcome=DONE, decided_at=result.decided_at
    )


def test_a_refused_act_says_nothing_of_reading_again() -> None:
    """Where every call was refused nothing could be gone: a row of unverified principals stays as it is."""
    refused = Case(revoke=(Misconfigured("no region"),))
    brake = after(2, "verify")
    walked(refused, brake)
    assert brake.why(PROVIDER) == ""
    brake.failed(PROVIDER, "verify")
    assert brake.why(PROVIDER) == "3 failures in a row (verify)"
