"""What every journal promises: the one on SQL and the one in memory that other tests use."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from inventory.model import PrincipalId, ProviderName
from inventory.roster.model import AcceptedRoster
from reconciler.adapters.journal import SqlJournal
from reconciler.adapters.journal_database import sqlite_url
from reconciler.core.errors import ApprovalRefused, JournalError, LeaseLost
from reconciler.core.model import (
    Action,
    ActionId,
    Approval,
    BeforeImage,
    CycleId,
    Effect,
    HoldCode,
    HoldReason,
    Mode,
    OutcomeState,
    PlanDigest,
    Touch,
    VerificationState,
)
from reconciler.core.record import CycleOutcome, Reverted
from reconciler.ports import Intent, Journal, Uptime
from tests.builders import NOW, action, credential, grant, principal
from tests.fakes.journal import MemoryJournal
from tests.fakes.world import plan_of

CYCLE = CycleId("cycle-1")
LATER = NOW + timedelta(seconds=5)
DIGEST = PlanDigest("sha256:" + "c" * 64)


def empty_journal(kind: str, request: pytest.FixtureRequest, folder: Path) -> Journal:
    """Make a journal of a kind."""
    if kind == "memory":
        return MemoryJournal()
    if kind == "sqlite":
        return SqlJournal(sqlite_url(folder / "journal.db"))
    return SqlJournal(request.getfixturevalue("postgresql").journal_url())


@pytest.fixture(params=["sqlite", "postgresql", "memory"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Journal]:
    """Give each kind of journal, with a cycle begun under epoch 1."""
    made = empty_journal(request.param, request, tmp_path)
    made.take_over(NOW)
    made.begin_cycle(CYCLE, Mode.ENFORCE, NOW)
    yield made
    made.close()


def an_intent(act: Action | None = None, *, epoch: int = 1, cycle_id: CycleId = CYCLE) -> Intent:
    """Build an intent."""
    return Intent(
        action=act or action(principal(), credential()),
        before=BeforeImage(restorable=True, document='{"enabled":true}'),
        cycle_id=cycle_id,
        epoch=epoch,
        plan_digest=DIGEST,
        policy_digest="sha256:" + "b" * 64,
        recorded_at=NOW,
    )


def an_approval(**changes: object) -> Approval:
    """Build an approval that holds for an hour."""
    values = {"approved_by": "sam", "approved_at": NOW, "expires_at": NOW + timedelta(hours=1)} | changes
    values = {"lifts": (HoldCode.NEW_POLICY, HoldCode.CAP_COUNT)} | values
    return Approval(plan_digest=DIGEST, **values)  # type: ignore[arg-type]  # a builder takes whatever is asked


def test_sequences_are_gapless(journal: Journal) -> None:
    """Cycles are numbered 1, 2, 3, whatever was refused in between."""
    with pytest.raises(JournalError):
        journal.begin_cycle(CYCLE, Mode.ENFORCE, NOW)
    assert journal.begin_cycle(CycleId("cycle-2"), Mode.OBSERVE, LATER) == 2
    assert [(one.sequence, one.cycle_id, one.mode) for one in journal.cycles()] == [
        (1, CYCLE, Mode.ENFORCE),
        (2, "cycle-2", Mode.OBSERVE),
    ]


def test_a_cycle_ends_once(journal: Journal) -> None:
    """The end of a cycle is kept as given, and a second end is refused."""
    journal.finish_cycle(CYCLE, CycleOutcome.PARTIAL, "sha256:d", LATER)
    (entry,) = journal.cycles()
    assert (entry.outcome, entry.finished_at, entry.statement_digest) == (CycleOutcome.PARTIAL, LATER, "sha256:d")
    with pytest.raises(JournalError):
        journal.finish_cycle(CYCLE, CycleOutcome.COMPLETE, "sha256:e", LATER)


def test_a_cycle_that_never_began_cannot_end(journal: Journal) -> None:
    """An end refers to a beginning."""
    with pytest.raises(JournalError):
        journal.finish_cycle(CycleId("nowhere"), CycleOutcome.COMPLETE, "sha256:d", LATER)


def test_an_intent_comes_back_as_it_was(journal: Journal) -> None:
    """Intent, outcome, verification and undo are read back equal to what was written."""
    intent = an_intent(action(principal(), grant()))
    act = intent.action
    journal.record_intent(intent)
    journal.record_outcome(act.action_id, OutcomeState.DONE, "done", LATER)
    journal.record_verification(act.action_id, VerificationState.STILL_THERE, LATER)
    journal.record_verification(act.action_id, VerificationState.GONE, LATER + timedelta(seconds=1))
    journal.record_undo_intent(act.action_id, NOW)
    journal.record_undo_intent(act.action_id, LATER)
    journal.record_undo(act.action_id, "by sam", LATER + timedelta(seconds=2))
    entry = journal.entry(act.action_id)
    assert entry is not None
    assert entry.intent == intent
    assert (entry.outcome, entry.outcome_detail, entry.outcome_at) == (OutcomeState.DONE, "done", LATER)
    assert entry.verification is VerificationState.GONE
    assert entry.verified_at == LATER + timedelta(seconds=1)
    assert (entry.undo_begun_at, entry.undone_at) == (LATER, LATER + timedelta(seconds=2))
    assert journal.entries() == (entry,)


def test_one_outcome_an_intent(journal: Journal) -> None:
    """A second outcome, a second intent of one action, and an outcome without intent are refused."""
    intent = an_intent()
    journal.record_intent(intent)
    journal.record_outcome(intent.action.action_id, OutcomeState.DONE, "", LATER)
    with pytest.raises(JournalError):
        journal.record_outcome(intent.action.action_id, OutcomeState.FAILED, "", LATER)
    with pytest.raises(JournalError):
        journal.record_intent(intent)
    with pytest.raises(JournalError):
        journal.record_outcome(ActionId("unheard-of"), OutcomeState.DONE, "", LATER)
    assert [entry.outcome for entry in journal.entries()] == [OutcomeState.DONE]


def test_an_old_epoch_writes_no_intent(journal: Journal) -> None:
    """After a take-over the former holder's intents are refused and leave nothing behind."""
    assert journal.take_over(LATER) == 2
    with pytest.raises(LeaseLost):
        journal.record_intent(an_intent(epoch=1))
    with pytest.raises(LeaseLost):
        journal.record_intent(an_intent(epoch=3))
    assert journal.entries() == ()
    journal.record_intent(an_intent(epoch=2))
    assert len(journal.entries()) == 1


def test_an_intent_belongs_to_a_cycle(journal: Journal) -> None:
    """An intent of a cycle that never began is refused."""
    with pytest.raises(JournalError):
        journal.record_intent(an_intent(cycle_id=CycleId("nowhere")))


@pytest.mark.parametrize(
    ("outcome", "states", "undone", "open_"),
    [
        (None, (), False, True),
        (None, (VerificationState.GONE,), False, True),
        (OutcomeState.DONE, (), False, True),
        (OutcomeState.DONE, (VerificationState.STILL_THERE,), False, True),
        (OutcomeState.DONE, (VerificationState.UNKNOWN, VerificationState.GONE), False, False),
        (OutcomeState.DONE, (VerificationState.GONE, VerificationState.UNKNOWN), False, True),
        (OutcomeState.DONE, (), True, False),
        (OutcomeState.UNKNOWN, (), False, True),
        (OutcomeState.UNKNOWN, (VerificationState.GONE,), False, False),
        (OutcomeState.ALREADY_ABSENT, (), False, True),
        (OutcomeState.ALREADY_ABSENT, (VerificationState.GONE,), False, False),
        (OutcomeState.FAILED, (), False, False),
        (OutcomeState.FAILED, (VerificationState.STILL_THERE,), False, False),
    ],
)
def test_unsettled(
    journal: Journal,
    outcome: OutcomeState | None,
    states: tuple[VerificationState, ...],
    undone: bool,  # noqa: FBT001 - a column of the table above
    open_: bool,  # noqa: FBT001 - a column of the table above
) -> None:
    """An intent is open until its outcome is known and, where something may have been taken, shown to be gone."""
    intent = an_intent()
    journal.record_intent(intent)
    if outcome is not None:
        journal.record_outcome(intent.action.action_id, outcome, "", NOW)
    for state in states:
        journal.record_verification(intent.action.action_id, state, NOW)
    if undone:
        journal.record_undo(intent.action.action_id, "", NOW)
    assert bool(journal.unsettled()) is open_


def test_asking_after_every_step_hides_no_open_act(journal: Journal) -> None:
    """Whatever was settled when it was last asked: what opens behind it, or opens again, is found."""
    one = action(principal(), credential())
    acts = [an_intent(replace(one, action_id=ActionId(f"act-{number}-of-many"))) for number in range(4)]

    def open_ones() -> list[ActionId]:
        return [entry.intent.action.action_id for entry in journal.unsettled()]

    ids = [intent.action.action_id for intent in acts]
    assert open_ones() == []
    journal.record_intent(acts[0])
    journal.record_intent(acts[1])
    assert open_ones() == ids[:2]
    journal.record_outcome(ids[1], OutcomeState.FAILED, "", NOW)
    assert open_ones() == ids[:1]
    journal.record_outcome(ids[0], OutcomeState.DONE, "", NOW)
    journal.record_verification(ids[0], VerificationState.GONE, NOW)
    assert open_ones() == []
    journal.record_intent(acts[2])
    journal.record_intent(acts[3])
    journal.record_outcome(ids[3], OutcomeState.SKIPPED, "", NOW)
    assert open_ones() == ids[2:3]
    journal.record_undo(ids[2], "", NOW)
    assert open_ones() == []
    journal.record_verification(ids[0], VerificationState.STILL_THERE, LATER)
    assert open_ones() == ids[:1]


def test_an_undo_that_began_is_no_end(journal: Journal) -> None:
    """An act whose undo was begun and not confirmed stays what it was: open, with the beginning on record."""
    intent = an_intent()
    journal.record_intent(intent)
    journal.record_undo_intent(intent.action.action_id, LATER)
    (entry,) = journal.unsettled()
    assert (entry.undo_begun_at, entry.undone_at) == (LATER, None)


def test_an_undo_of_nothing_cannot_begin(journal: Journal) -> None:
    """The beginning of an undo refers to an act."""
    with pytest.raises(JournalError):
        journal.record_undo_intent(ActionId("nothing"), LATER)


def test_undos_are_counted_between_two_instants(journal: Journal) -> None:
    """Attempts and confirmations count after the first instant and up to the second, each attempt once."""
    intent = an_intent()
    act = intent.action.action_id
    journal.record_intent(intent)
    journal.record_undo_intent(act, NOW)
    journal.record_undo_intent(act, LATER)
    journal.record_undo(act, "", LATER + timedelta(seconds=1))
    assert journal.reverted(None, NOW) == Reverted(begun=1, confirmed=0)
    assert journal.reverted(NOW, LATER) == Reverted(begun=1, confirmed=0)
    assert journal.reverted(NOW, LATER + timedelta(seconds=1)) == Reverted(begun=1, confirmed=1)
    assert journal.reverted(None, LATER + timedelta(hours=1)) == Reverted(begun=2, confirmed=1)


def test_an_undo_is_recorded_once(journal: Journal) -> None:
    """A second undo of one act is refused."""
    intent = an_intent()
    journal.record_intent(intent)
    journal.record_undo(intent.action.action_id, "", NOW)
    with pytest.raises(JournalError):
        journal.record_undo(intent.action.action_id, "", NOW)


def test_entry_by_prefix(journal: Journal) -> None:
    """Eight characters or more name an action when only one begins with them; wildcards are ordinary characters."""
    for name in ("abcdef0011", "abcdef0022", "abcdef00_%", "ABCDEF0033"):
        journal.record_intent(an_intent(action(principal(), credential(), action_id=ActionId(name))))
    found = journal.entry(ActionId("abcdef001"))
    assert found is not None
    assert found.intent.action.action_id == "abcdef0011"
    assert journal.entry(ActionId("abcdef0")) is None
    assert journal.entry(ActionId("________")) is None
    assert journal.entry(ActionId("ABCDEF00")) is not None
    with pytest.raises(JournalError):
        journal.entry(ActionId("abcdef00"))


def test_entries_of_one_cycle(journal: Journal) -> None:
    """Entries are given in the order they were made, of one cycle when asked."""
    journal.begin_cycle(CycleId("cycle-2"), Mode.ENFORCE, NOW)
    for name, cycle_id in (("one", CYCLE), ("two", CycleId("cycle-2")), ("three", CYCLE)):
        act = action(principal(), credential(), action_id=ActionId(name))
        journal.record_intent(an_intent(act, cycle_id=cycle_id))
    assert [entry.intent.action.action_id for entry in journal.entries()] == ["one", "two", "three"]
    assert [entry.intent.action.action_id for entry in journal.entries(CYCLE)] == ["one", "three"]


def test_touched_since_counts_each_principal_and_effect_once(journal: Journal) -> None:
    """The window names provider, principal and effect once each, and starts with the instant asked for."""
    key, member = credential(), grant()
    for act in (action(principal(), key), action(principal(), member), action(principal(), key, Effect.QUARANTINE)):
        journal.record_intent(an_intent(act))
    alice = {"provider": ProviderName("corp-aws"), "principal_id": PrincipalId("alice")}
    expected = (Touch(effect=Effect.QUARANTINE, **alice), Touch(effect=Effect.REVOKE, **alice))  # type: ignore[arg-type]  # a shared part
    assert tuple(journal.touched_since(NOW)) == expected
    assert tuple(journal.touched_since(NOW + timedelta(microseconds=1))) == ()


def test_an_approval_is_used_once(journal: Journal) -> None:
    """An approval releases its digest once, also when it was given twice, and not after its expiry."""
    assert journal.approval_for(DIGEST, NOW) is None
    journal.record_approval(an_approval())
    journal.record_approval(an_approval(approved_by="kim"))
    assert journal.approval_for(DIGEST, NOW) == an_approval()
    assert journal.approval_for(PlanDigest("sha256:other"), NOW) is None
    assert journal.approval_for(DIGEST, NOW + timedelta(hours=1)) is None
    journal.use_approval(DIGEST, CYCLE, NOW)
    assert tuple(journal.pending_approvals(NOW)) == ()
    with pytest.raises(ApprovalRefused):
        journal.use_approval(DIGEST, CYCLE, NOW)


def test_an_expired_approval_cannot_be_used(journal: Journal) -> None:
    """Use is refused from the very instant of expiry."""
    journal.record_approval(an_approval(expires_at=LATER))
    with pytest.raises(ApprovalRefused):
        journal.use_approval(DIGEST, CYCLE, LATER)


def test_held_plans_are_found_by_digest(journal: Journal) -> None:
    """The latest held plan of a digest comes back equal, an approved one is not found."""
    plan = plan_of(action(principal(), credential()))
    holds = (HoldReason(code=HoldCode.CAP_COUNT, message="26 of 25", provider=ProviderName("corp-aws")),)
    journal.record_plan(plan, (), LATER)
    assert journal.held_plan(plan.digest) is None
    held = plan_of(action(principal(), credential()), cycle_id="cycle-2")
    journal.record_plan(held, holds, LATER)
    assert journal.held_plan(plan.digest) == (held, holds, LATER)
    with pytest.raises(JournalError):
        journal.record_plan(held, holds, LATER)


def test_touches_count_by_either_clock(journal: Journal) -> None:
    """Who was touched counts by the time of day, or by the uptime of the same start of the machine."""
    epoch = journal.take_over(NOW, Uptime(boot="one", seconds=1000.0))
    intent = an_intent(epoch=epoch)
    journal.record_intent(intent)
    action_ = intent.action
    touch = Touch(provider=action_.provider, principal_id=action_.principal.principal_id, effect=action_.effect)
    later = NOW + timedelta(days=400)
    assert tuple(journal.touched_since(later)) == ()
    assert tuple(journal.touched_since(later, Uptime(boot="one", seconds=1000.0))) == (touch,)
    assert tuple(journal.touched_since(later, Uptime(boot="one", seconds=1000.5))) == ()
    assert tuple(journal.touched_since(later, Uptime(boot="two", seconds=0.0))) == ()
    assert tuple(journal.touched_since(NOW, Uptime(boot="two", seconds=0.0))) == (touch,)


def test_the_last_roster_is_remembered(journal: Journal) -> None:
    """The roster remembered last is the one given back."""
    assert journal.last_roster() is None
    first = AcceptedRoster(digest="sha256:1", as_of=NOW, workers=3, open_workers=2)
    second = AcceptedRoster(digest="sha256:2", as_of=LATER, workers=4, open_workers=2)
    journal.remember_roster(first, NOW)
    journal.remember_roster(second, NOW)
    assert journal.last_roster() == second


def test_what_was_observed_stays_observed(journal: Journal) -> None:
    """A revision counts as observed from the first time on; remembering it again is harmless."""
    assert not journal.observed("policy", "sha256:1")
    journal.remember_observed("policy", "sha256:1", CYCLE, NOW)
    journal.remember_observed("policy", "sha256:1", CycleId("cycle-2"), LATER)
    assert journal.observed("policy", "sha256:1")
    assert not journal.observed("provider", "sha256:1")


def test_many_things_are_observed_at_once(journal: Journal) -> None:
    """All values of a kind come back, each once, also those that were known before; other kinds stay apart."""
    journal.remember_observed("person", "a", CYCLE, NOW)
    journal.remember_all_observed("person", ("a", "b", "b"), CycleId("cycle-2"), LATER)
    journal.remember_all_observed("person", (), CycleId("cycle-3"), LATER)
    assert journal.all_observed("person") == {"a", "b"}
    assert journal.all_observed("key") == frozenset()
