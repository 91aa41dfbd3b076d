"""What a restart makes of acts without a known end, and how a human gives one back."""

from datetime import datetime, timedelta

import pytest

from inventory.errors import Denied, Unavailable
from inventory.model import AccessItem, PrincipalId, ReadState
from reconciler.core.errors import UndoRefused
from reconciler.core.model import (
    Action,
    BeforeImage,
    CycleId,
    Effect,
    Mode,
    OutcomeState,
    Receipt,
    VerificationState,
)
from reconciler.core.record import CycleOutcome
from reconciler.ports import Intent, JournalEntry
from reconciler.recovery import interrupted_cycles, recover, results_of
from reconciler.rereading import Patience
from reconciler.undo import undo
from tests.builders import NOW, PROVIDER, action, credential, grant, principal
from tests.fakes.clock import FakeClock
from tests.fakes.journal import MemoryJournal
from tests.fakes.world import FakeProvider, Fault, plan_of

DONE, FAILED, LOST = OutcomeState.DONE, OutcomeState.FAILED, OutcomeState.UNKNOWN
GONE, THERE, UNKNOWN = VerificationState.GONE, VerificationState.STILL_THERE, VerificationState.UNKNOWN
CYCLE = CycleId("cycle-1")


class Aftermath:
    """A world and a journal as an interruption left them; an hour has passed."""

    def __init__(self, *items: AccessItem) -> None:
        self.clock = FakeClock(NOW + timedelta(hours=1))
        self.journal = MemoryJournal()
        self.journal.take_over(NOW)
        self.journal.begin_cycle(CYCLE, Mode.ENFORCE, NOW)
        self.provider = FakeProvider(PROVIDER, items, [principal(), principal("bob")])

    def intended(
        self,
        item: AccessItem,
        outcome: OutcomeState | None = None,
        effect: Effect = Effect.REVOKE,
        verification: VerificationState | None = None,
        *,
        restorable: bool = True,
    ) -> Action:
        """Put an intent, and what followed it, into the journal."""
        (act,) = plan_of(action(principal(item.principal_id), item, effect)).actions
        self.journal.record_intent(
            Intent(
                action=act,
                before=BeforeImage(restorable=restorable, document="{}"),
                cycle_id=CYCLE,
                epoch=self.journal.epoch,
                plan_digest=plan_of().digest,
                policy_digest="",
                recorded_at=NOW,
            )
        )
        if outcome is not None:
            self.journal.record_outcome(act.action_id, outcome, "as it was", NOW)
        if verification is not None:
            self.journal.record_verification(act.action_id, verification, NOW)
        return act

    def recover(self) -> list[tuple[OutcomeState, VerificationState | None]]:
        results = recover(self.journal, {PROVIDER: self.provider}, self.clock, Patience(window_seconds=10))
        return [(result.outcome, result.verification) for result in results]

    def entry(self, act: Action) -> JournalEntry:
        found = self.journal.entry(act.action_id)
        assert found is not None
        return found


@pytest.mark.parametrize(
    ("outcome", "there", "expected", "settled"),
    [
        (None, False, (DONE, GONE), True),
        (None, True, (FAILED, THERE), True),
        (DONE, False, (DONE, GONE), True),
        (DONE, True, (DONE, THERE), False),
        (LOST, False, (LOST, GONE), True),
        (LOST, True, (LOST, THERE), False),
    ],
)
def test_an_open_act_is_settled_by_reading(
    outcome: OutcomeState | None,
    there: bool,  # noqa: FBT001 - a column of the table above
    expected: tuple[OutcomeState, VerificationState],
    settled: bool,  # noqa: FBT001 - a column of the table above
) -> None:
    """Gone settles it; still there fails what has no outcome and leaves the rest open; nothing is ever called."""
    stage = Aftermath(*([credential()] if there else []))
    act = stage.intended(credential(), outcome)
    assert stage.recover() == [expected]
    entry = stage.entry(act)
    assert (entry.outcome, entry.verification) == expected
    assert (stage.journal.unsettled() == ()) is settled
    assert (stage.provider.calls, stage.clock.slept) == ([], [])


def test_interrupted_acts_say_so() -> None:
    """The outcome that recovery gives tells that no reply was ever recorded."""
    stage = Aftermath(credential())
    there, gone = stage.intended(credential()), stage.intended(grant())
    stage.recover()
    assert "still there at recovery" in stage.entry(there).outcome_detail
    assert "found gone at recovery" in stage.entry(gone).outcome_detail


@pytest.mark.parametrize("outcome", [None, DONE])
@pytest.mark.parametrize("trouble", ["unavailable", "denied", "partial"])
def test_what_cannot_be_read_stays_open(outcome: OutcomeState | None, trouble: str) -> None:
    """An unreadable world settles nothing: no outcome is invented, and the next recovery asks again."""
    stage = Aftermath()
    act = stage.intended(credential(), outcome)
    if trouble == "partial":
        stage.provider.states[credential().kind] = ReadState.PARTIAL
    else:
        stage.provider.fail("read", Unavailable("no answer") if trouble == "unavailable" else Denied("no right"))
    assert stage.recover() == [(outcome or LOST, UNKNOWN)]
    assert stage.entry(act).outcome is outcome
    assert len(stage.journal.unsettled()) == 1
    stage.provider.states.clear()
    assert stage.recover() == [(DONE, GONE)]
    assert stage.journal.unsettled() == ()


def test_a_provider_no_longer_configured_stays_open() -> None:
    """An act at a provider that left the configuration is unknown, and said so."""
    stage = Aftermath()
    stage.intended(credential())
    (result,) = recover(stage.journal, {}, stage.clock)
    assert (result.outcome, result.verification) == (LOST, UNKNOWN)
    assert "not configured" in result.detail
    assert len(stage.journal.unsettled()) == 1


def test_a_young_act_gets_the_rest_of_its_window() -> None:
    """Seconds after the act a stale read is not the last word; the wait ends with the act's own window."""
    stage = Aftermath(credential())
    act = stage.intended(credential())
    stage.clock.at = NOW + timedelta(seconds=4)
    stage.provider.stale.extend([stage.provider.reading(PrincipalId("alice"))] * 2)
    stage.provider.items.clear()
    assert stage.recover() == [(DONE, GONE)]
    stage.provider.items[act.item.access_id] = credential()
    other = Aftermath(credential())
    other.intended(credential())
    other.clock.at = NOW + timedelta(seconds=4)
    assert other.recover() == [(FAILED, THERE)]
    assert sum(other.clock.slept) == pytest.approx(6)


def test_one_read_settles_all_acts_on_a_principal() -> None:
    """Acts on one principal are settled together, other principals on their own."""
    stage = Aftermath(grant())
    stage.intended(credential())
    stage.intended(grant())
    stage.intended(credential("bob"))
    assert stage.recover() == [(DONE, GONE), (FAILED, THERE), (DONE, GONE)]
    assert stage.provider.reads == 2


def test_a_settled_journal_reads_nothing() -> None:
    """Recovering twice changes nothing and asks nobody."""
    stage = Aftermath()
    stage.intended(credential())
    stage.recover()
    assert stage.recover() == []
    assert stage.provider.reads == 1


def test_the_same_answer_is_recorded_once() -> None:
    """An act that stays open does not fill the journal with the same answer at every recovery."""
    stage = Aftermath(credential())
    stage.intended(credential(), DONE)
    stage.recover()
    recorded: list[VerificationState] = []
    stage.journal.record_verification = lambda *args: recorded.append(args[1])  # type: ignore[method-assign]  # counts what is written
    assert stage.recover() == [(DONE, THERE)]
    assert recorded == []


def test_an_interrupted_cycle_tells_all_its_acts() -> None:
    """What a cycle's acts came to is known from the journal alone: those settled before, at recovery, and not yet."""
    stage = Aftermath(credential("bob"))
    settled, gone = stage.intended(grant(), DONE, verification=GONE), stage.intended(credential())
    failed = stage.intended(credential("bob"))
    stage.recover()
    open_ = stage.intended(grant("bob"))
    results = results_of(stage.journal, CYCLE)
    assert [(one.action, one.outcome, one.verification) for one in results] == [
        (settled, DONE, GONE),
        (gone, DONE, GONE),
        (failed, FAILED, THERE),
        (open_, LOST, None),
    ]
    assert [one.effective_by for one in results] == [
        NOW + timedelta(seconds=300),
        stage.clock.now() + timedelta(seconds=300),
        None,
        None,
    ]
    assert results_of(stage.journal, CycleId("cycle-2")) == ()


def test_interrupted_cycles_are_those_without_an_end() -> None:
    """A cycle that began and never finished is named."""
    stage = Aftermath()
    stage.journal.begin_cycle(CycleId("cycle-2"), Mode.ENFORCE, NOW)
    stage.journal.finish_cycle(CYCLE, CycleOutcome.COMPLETE, "sha256:d", NOW)
    assert [entry.cycle_id for entry in interrupted_cycles(stage.journal)] == ["cycle-2"]


def _undo(stage: Aftermath, act: Action) -> str:
    return undo(stage.entry(act), stage.provider, stage.provider, stage.journal, stage.clock).detail


@pytest.mark.parametrize(("outcome", "verification"), [(DONE, GONE), (DONE, None), (LOST, GONE)])
def test_an_act_is_given_back(outcome: OutcomeState, verification: VerificationState | None) -> None:
    """An undo restores the item, sees it back, is recorded, and leaves nothing for recovery to settle."""
    stage = Aftermath(credential(enabled=False))
    act = stage.intended(credential(), outcome, Effect.QUARANTINE, verification)
    assert _undo(stage, act) == "given back"
    assert stage.provider.items[act.item.access_id] == credential()
    assert stage.entry(act).undone_at == stage.clock.now()
    assert stage.recover() == []


@pytest.mark.parametrize(
    ("outcome", "verification"),
    [(None, None), (FAILED, THERE), (OutcomeState.ALREADY_ABSENT, GONE), (OutcomeState.SKIPPED, None), (LOST, UNKNOWN)],
)
def test_what_took_nothing_cannot_be_undone(
    outcome: OutcomeState | None, verification: VerificationState | None
) -> None:
    """Only an act that is known to have taken something is undone."""
    stage = Aftermath(credential(enabled=False))
    act = stage.intended(credential(), outcome, Effect.QUARANTINE, verification)
    with pytest.raises(UndoRefused, match="took nothing away"):
        _undo(stage, act)
    assert stage.provider.effects == []


def test_what_cannot_be_restored_is_refused() -> None:
    """A before-image that is not restorable is refused before any call."""
    stage = Aftermath()
    act = stage.intended(credential(), DONE, verification=GONE, restorable=False)
    with pytest.raises(UndoRefused, match="cannot be given back"):
        _undo(stage, act)
    assert stage.provider.effects == []


def test_nothing_is_undone_twice() -> None:
    """A second undo of one act is refused before any call."""
    stage = Aftermath(credential(enabled=False))
    act = stage.intended(credential(), DONE, Effect.QUARANTINE)
    _undo(stage, act)
    with pytest.raises(UndoRefused, match="already"):
        _undo(stage, act)
    assert len(stage.provider.effects) == 1


def test_an_undo_that_shows_no_effect_is_not_recorded() -> None:
    """A provider's word is not enough: what reading does not show is not undone, and can be tried again."""
    stage = Aftermath(credential(enabled=False))
    act = stage.intended(credential(), DONE, Effect.QUARANTINE)
    stage.provider.fail("undo", Fault(ignored=True))
    with pytest.raises(Unavailable, match="does not show it") as unseen:
        _undo(stage, act)
    assert "undo again" in unseen.value.advice
    assert stage.entry(act).undone_at is None
    assert _undo(stage, act) == "given back"


def test_a_refused_undo_is_not_recorded() -> None:
    """What the provider refuses is raised as it is, and leaves no record of an undo."""
    stage = Aftermath(credential(enabled=False))
    act = stage.intended(credential(), DONE, Effect.QUARANTINE)
    stage.provider.fail("undo", Denied("no right"))
    with pytest.raises(Denied):
        _undo(stage, act)
    assert stage.entry(act).undone_at is None


def test_an_undo_cut_short_leaves_a_trace() -> None:
    """That it begins is on record before the call: whoever dies between the act and its record leaves it known."""
    stage = Aftermath(credential(enabled=False))
    act = stage.intended(credential(), DONE, Effect.QUARANTINE)
    began: list[datetime | None] = []

    class Dying(FakeProvider):
        def undo(self, action: Action, before: BeforeImage) -> Receipt:
            began.append(stage.entry(action).undo_begun_at)
            raise KeyboardInterrupt

    dying = Dying(PROVIDER, [], [])
    with pytest.raises(KeyboardInterrupt):
        undo(stage.entry(act), dying, stage.provider, stage.journal, stage.clock)
    assert began == [stage.clock.now()]
    assert (stage.entry(act).undo_begun_at, stage.entry(act).undone_at) == (stage.clock.now(), None)


def test_a_refused_undo_never_begins() -> None:
    """What may not be undone at all leaves no beginning on record."""
    stage = Aftermath()
    act = stage.intended(credential(), DONE, verification=GONE, restorable=False)
    with pytest.raises(UndoRefused):
        _undo(stage, act)
    assert stage.entry(act).undo_begun_at is None
