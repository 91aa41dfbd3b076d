"""What the answers of a provider become, and how reading again tells what its word is worth."""

from dataclasses import replace
from datetime import timedelta

import pytest

from inventory.errors import (
    Denied,
    Misconfigured,
    ObjectChanged,
    ObjectMissing,
    ProviderError,
    Throttled,
    Unavailable,
    Unsupported,
)
from inventory.model import Principal, PrincipalId
from reconciler.core.model import Action, OutcomeState, Receipt
from tests.builders import NOW, action, credential, grant, principal
from tests.fakes.stage import (
    ABSENT,
    DONE,
    FAILED,
    GONE,
    LOST,
    THERE,
    UNKNOWN,
    Stage,
    ends,
)
from tests.fakes.world import Fault


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (Unavailable("no answer"), LOST),
        (ProviderError("who knows"), LOST),
        (Misconfigured("no such region"), FAILED),
        (Unsupported("no such call"), FAILED),
        (ObjectChanged("412"), FAILED),
        (Denied("no right"), FAILED),
        (ObjectMissing("404"), ABSENT),
    ],
)
def test_answers_become_outcomes(error: ProviderError, outcome: OutcomeState) -> None:
    """A positive refusal is failed, silence is unknown, missing is already absent; nothing is called twice."""
    stage = Stage()
    stage.aws.fail("revoke", error)
    (result,) = stage.run(stage.key())
    assert ends([result]) == [(outcome, THERE)]
    assert str(error) in result.detail
    assert len(stage.aws.calls) == 1
    assert [entry.outcome for entry in stage.journal.entries()] == [outcome]
    assert result.effective_by is None or outcome is not FAILED


def test_a_receipt_that_is_none_is_unknown() -> None:
    """A revoker may answer done or already absent; anything else is not believed, and reading tells."""
    stage = Stage()
    stage.aws.revoke = lambda action: Receipt(outcome=FAILED, detail="odd")  # type: ignore[method-assign]  # breaks its contract
    (result,) = stage.run(stage.key())
    assert ends([result]) == [(LOST, THERE)]
    assert result.detail == "the revoker answered failed: odd"


def test_a_conflict_says_changed() -> None:
    """A compare-and-set that found another state is named as such."""
    stage = Stage()
    stage.aws.fail("revoke", ObjectChanged("412"))
    assert stage.run(stage.key())[0].detail.startswith("changed: ")


def test_a_lost_reply_is_unknown_and_reading_tells() -> None:
    """A call that took effect though its answer was lost stays unknown, is verified gone, and is not made again."""
    stage = Stage()
    stage.aws.fail("revoke", Fault(error=Unavailable("cut off"), applied=True))
    results = stage.run(stage.key())
    assert ends(results) == [(LOST, GONE)]
    assert len(stage.aws.calls) == 1
    assert stage.journal.unsettled() == ()


def test_a_yes_that_did_nothing_is_not_believed() -> None:
    """A provider that says done while the item stays is reported still there, after the whole window."""
    stage = Stage()
    stage.aws.fail("revoke", Fault(ignored=True))
    results = stage.run(stage.key())
    assert ends(results) == [(DONE, THERE)]
    assert sum(stage.clock.slept) == pytest.approx(10)
    assert len(stage.journal.unsettled()) == 1


def test_a_stale_read_is_read_again() -> None:
    """A provider that shows the old state for a while is asked at growing intervals until it shows the new one."""
    stage = Stage()
    stage.aws.on_effect = lambda *_: stage.aws.stale.extend([before] * 3)
    before = stage.aws.reading(PrincipalId("alice"))
    assert ends(stage.run(stage.key())) == [(DONE, GONE)]
    assert stage.clock.slept == pytest.approx([0.2, 0.4, 0.8])


def test_a_world_that_cannot_be_read_after_the_act_is_unknown() -> None:
    """An act that nobody can see the result of is done by the provider's word, and unverified by ours."""
    stage = Stage()
    stage.aws.on_effect = lambda *_: stage.aws.fail("read", *([Unavailable("no answer")] * 50))
    (result,) = stage.run(stage.key())
    assert ends([result]) == [(DONE, UNKNOWN)]
    assert "no answer" in result.detail
    assert len(stage.journal.unsettled()) == 1


def test_a_refused_reader_is_not_asked_again() -> None:
    """Verification ends at once when our reader is refused."""
    stage = Stage()
    stage.aws.on_effect = lambda *_: stage.aws.fail("read", Denied("no right"))
    assert ends(stage.run(stage.key())) == [(DONE, UNKNOWN)]
    assert stage.clock.slept == []


@pytest.mark.parametrize(("asked", "waited"), [(None, 1.0), (2.5, 2.5), (30.0, 30.0), (-1.0, 0.0)])
def test_a_throttled_call_is_made_once_more(asked: float | None, waited: float) -> None:
    """A call refused for its rate was not made: after one wait, and a fresh read, it is made again."""
    stage = Stage()
    stage.aws.fail("revoke", Throttled("slow down", retry_after_seconds=asked))
    assert ends(stage.run(stage.key())) == [(DONE, GONE)]
    assert stage.clock.slept == [waited]
    assert (len(stage.aws.calls), stage.aws.reads) == (2, 3)
    assert len(stage.journal.entries()) == 1


def test_a_long_throttle_is_not_waited_for() -> None:
    """Beyond the bound the call has failed, positively."""
    stage = Stage()
    stage.aws.fail("revoke", Throttled("slow down", retry_after_seconds=30.1))
    assert ends(stage.run(stage.key())) == [(FAILED, THERE)]
    assert stage.clock.slept == []


@pytest.mark.parametrize(
    ("second", "outcome"),
    [(Throttled("again"), FAILED), (Unavailable("no answer"), LOST), (ObjectMissing("404"), ABSENT)],
)
def test_the_second_answer_counts(second: ProviderError, outcome: OutcomeState) -> None:
    """There is no third call."""
    stage = Stage()
    stage.aws.fail("revoke", Throttled("slow down"), second)
    (result,) = stage.run(stage.key())
    assert result.outcome is outcome
    assert len(stage.aws.calls) == 2


def test_a_world_that_moved_during_the_wait_is_left() -> None:
    """The wait ends with a fresh read: a changed item stays, an absent one is absent, an expired plan is over."""
    for change, outcome in (
        (lambda stage: stage.aws.items.update({credential().access_id: credential(shared=True)}), FAILED),
        (lambda stage: stage.aws.items.pop(credential().access_id), ABSENT),
        (lambda stage: setattr(stage.clock, "at", NOW + timedelta(hours=1)), FAILED),
    ):
        stage = Stage()
        stage.aws.fail("revoke", Throttled("slow down"))
        stage.clock.sleep = lambda _, stage=stage, change=change: change(stage)  # type: ignore[method-assign,misc]  # the wait is when it moves
        (result,) = stage.run(stage.key())
        assert result.outcome is outcome
        assert len(stage.aws.calls) == 1


def test_a_read_that_is_no_longer_fresh_is_made_anew_before_the_next_act() -> None:
    """An act that took its time is followed by another read, so that the next one stands on the world as it is."""
    stage = Stage()
    alice = principal(revision="1")
    stage.aws.principals[alice.principal_id] = alice
    seen: list[str] = []
    real = stage.aws.revoke

    def revoke(act: Action) -> object:
        seen.append(act.principal.revision)
        stage.clock.sleep(3)
        receipt = real(act)
        bumped: Principal = replace(alice, revision=str(int(act.principal.revision) + 1))
        stage.aws.principals[alice.principal_id] = bumped
        return receipt

    stage.aws.revoke = revoke  # type: ignore[method-assign,assignment]  # a provider that versions
    results = stage.run(action(alice, credential()), action(alice, grant()))
    assert ends(results) == [(DONE, GONE)] * 2
    assert seen == ["1", "2"]
    assert results[1].action.principal.revision == "1"
