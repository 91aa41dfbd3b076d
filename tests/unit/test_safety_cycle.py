"""Safety of a whole cycle, on fakes: what it says of itself, what it remembers, and what it leaves alone."""

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from inventory.model import ArtefactKind, PrincipalKind, ProviderInventory, ProviderName, ScopeId
from inventory.provider import Interest
from inventory.roster.gate import STALE
from inventory.roster.model import RosterProblem
from reconciler.adapters.embedded_rego import EmbeddedRego
from reconciler.attestation import Attester
from reconciler.core.grounds import NO_GROUNDS, Grounds
from reconciler.core.guard import Limits
from reconciler.core.model import Approval, CycleId, HoldCode, Mode
from reconciler.core.record import CycleOutcome, CycleRecord, LeaverState, Reverted
from reconciler.cycle import run_cycle
from tests import builders
from tests.builders import NOW, PROVIDER
from tests.fakes.house import PEOPLE, POLICIES, Feed, House, person, provider_of
from tests.fakes.world import FakeProvider, Watcher


class Doubled(FakeProvider):
    """Lists everybody of its first scope twice: in another scope under the same ids, or twice in one listing."""

    def __init__(self, *args: Any, second: ScopeId | None) -> None:
        super().__init__(*args)
        self.second = second

    def collect(self, interest: Interest) -> tuple[ProviderInventory, ...]:
        (first,) = super().collect(interest)
        if self.second is None:
            return (replace(first, principals=(*first.principals, *first.principals)),)
        moved = tuple(replace(one, scope=self.second) for one in first.principals)
        return (first, replace(first, scope=self.second, principals=moved, items=()))


@pytest.fixture(scope="module")
def rego() -> Iterator[EmbeddedRego]:
    """Run the rules themselves, in one process for all tests that need them."""
    engine = EmbeddedRego(deadline_seconds=20)
    yield engine
    engine.close()


@pytest.fixture
def house(tmp_path: Path) -> House:
    """Return a house with one provider."""
    return House(tmp_path)


def test_the_leaver_alone_is_touched(house: House) -> None:
    """The stage works: after observing once, the leaver's key goes and nothing else."""
    house.observe_first()
    assert house.run().outcome is CycleOutcome.COMPLETE
    assert [one for _, one in house.providers[PROVIDER].effects] == ["lea/access_key/1"]


def test_what_was_given_back_is_told_once(house: House) -> None:
    """The cycle after an undo states that it began and was confirmed; the one after that does not again."""
    house.observe_first()
    house.run()
    (entry,) = house.journal.entries()
    house.clock.sleep(60)
    house.journal.record_undo_intent(entry.intent.action.action_id, house.clock.now())
    house.journal.record_undo(entry.intent.action.action_id, "given back", house.clock.now())
    house.clock.sleep(60)
    told = [house.run(mode=Mode.OBSERVE).reverted]
    house.clock.sleep(60)
    told.append(house.run(mode=Mode.OBSERVE).reverted)
    assert told == [Reverted(begun=1, confirmed=1), Reverted()]


def test_a_key_that_a_leaver_planted_on_others_keeps_no_access(tmp_path: Path, rego: EmbeddedRego) -> None:
    """The leaver's own copy goes; the planted one is for a human until it is gone, and no cycle says clean before."""
    people = [person("lea", "L1"), person("eve", "E2")]
    copies = [builders.credential(one, ArtefactKind.SSH_KEY, fingerprint="SHA256:lea") for one in ("lea", "eve")]
    provider = FakeProvider(PROVIDER, copies, people)
    house = House(tmp_path, provider)
    house.feed = Feed(roster=builders.roster(builders.leaver("L1"), builders.worker("E2")))
    house.engine = rego
    house.observe_first()
    told = [house.run(), house.run()]
    assert provider.effects == [("revoke", copies[0].access_id)]
    for record in told:
        assert record.plan is not None
        assert [(one.access_id, one.code) for one in record.plan.reviews] == [
            (copies[1].access_id, "leaver_key_elsewhere")
        ]
        assert [(one.state, one.remaining) for one in record.leavers] == [(LeaverState.VIOLATION, 1)]
    provider.apply("revoke", copies[1].access_id)
    assert [one.state for one in house.run().leavers] == [LeaverState.CLEAN]


@pytest.mark.parametrize(
    "tags",
    [
        pytest.param({"kind": PrincipalKind.SERVICE}, id="service"),
        pytest.param(
            {"kind": PrincipalKind.SERVICE, "employee_ids": (), "owner_hints": ("E2",)}, id="owned by another"
        ),
        pytest.param({"kind": PrincipalKind.UNKNOWN, "employee_ids": ()}, id="unknown"),
        pytest.param({"employee_ids": ("E2",)}, id="somebody else"),
    ],
)
def test_a_leaver_who_changes_its_own_tags_is_neither_hidden_nor_taken_for_clean(
    tmp_path: Path, rego: EmbeddedRego, tags: dict[str, Any]
) -> None:
    """Who was a person and calls itself something else goes to a human, every cycle, and is acted upon in none."""
    key = builders.credential("lea")
    provider = FakeProvider(PROVIDER, [key], [person("lea", "L1")])
    house = House(tmp_path, provider)
    house.engine = rego
    house.feed = Feed(roster=builders.roster(builders.worker("L1"), builders.worker("E2")))
    house.observe_first()
    provider.principals = {who: replace(one, **tags) for who, one in provider.principals.items()}
    house.feed = Feed(roster=PEOPLE)
    for record in (house.run(), house.run()):
        assert record.plan is not None
        assert (record.plan.actions, provider.effects) == ((), [])
        assert "drift_leaver" in {one.code for one in record.plan.reviews}
        assert [one.state for one in record.leavers] != [LeaverState.CLEAN]


@pytest.mark.parametrize("name", ["lea", "LEA"])
def test_whom_the_revoker_writes_as_is_spared(house: House, name: str) -> None:
    """The principal that a revoker named as its own keeps everything, even when its worker has left."""
    house.observe_first()
    house.own_names = frozenset({(PROVIDER, name)})
    record = house.run()
    assert record.plan is not None
    assert record.plan.actions == ()
    assert {one.code for one in record.plan.withheld} == {"own_principal"}
    assert house.providers[PROVIDER].effects == []


def test_a_plan_spares_whom_the_revoker_writes_as_once_a_cycle_has_asked(house: House) -> None:
    """Until then the plan says that it does not know; from then on its digest is that of the acting cycle."""
    told = []
    for _ in range(2):
        seen = replace(house.house(Mode.OBSERVE), observer=(watcher := Watcher()))
        plan = run_cycle(seen, house.rules(Mode.OBSERVE)).record.plan
        unknown = [step.message for step in watcher.steps if "is not known until a cycle may act" in step.message]
        house.own_names = frozenset({(PROVIDER, "lea")})
        acting = house.run()
        house.own_names = frozenset()
        assert plan is not None
        assert acting.plan is not None
        told.append((plan.digest == acting.plan.digest, len(unknown)))
    assert told == [(False, 1), (True, 0)]
    assert house.providers[PROVIDER].effects == []


def test_a_principal_that_a_revoker_has_given_up_is_like_any_other(house: House) -> None:
    """What a revoker said before spares nobody in a cycle that acts."""
    house.observe_first()
    house.own_names = frozenset({(PROVIDER, "lea")})
    house.run()
    house.own_names = frozenset()
    house.run()
    assert [one for _, one in house.providers[PROVIDER].effects] == ["lea/access_key/1"]


def test_a_name_of_another_provider_spares_nobody(house: House) -> None:
    """What a revoker is called at one provider says nothing of another one."""
    house.observe_first()
    house.own_names = frozenset({(ProviderName("corp-ldap"), "lea")})
    house.run()
    assert len(house.providers[PROVIDER].effects) == 1


def test_a_stale_roster_completes_nothing(house: House) -> None:
    """A cycle on a roster that may not be acted upon is not complete, even when it found nothing to do."""
    house.feed.roster = builders.roster(builders.worker("E2"), builders.worker("E3"))
    house.feed.held = (RosterProblem(line=0, column=0, code=STALE, message="the feed is 900 h old"),)
    record = house.run(mode=Mode.OBSERVE)
    assert record.plan is not None
    assert record.plan.actions == ()
    assert record.outcome is not CycleOutcome.COMPLETE


def test_a_rehearsal_is_remembered_as_nothing(house: House) -> None:
    """Deciding as of another instant sets no baseline: neither of the roster, nor of what has observed a cycle."""
    record = house.run(mode=Mode.OBSERVE, decide_at=NOW - timedelta(days=400))
    assert house.journal.last_roster() is None
    assert not house.journal.observed("policy", POLICIES.digest)
    assert not house.journal.observed("version", "1")
    assert any(error.startswith("Rehearsal:") for error in record.errors)


@pytest.mark.parametrize("second", [None, ScopeId("999999999999")], ids=["twice in one listing", "in two scopes"])
def test_a_doubled_principal_stops_nobody_else(tmp_path: Path, second: ScopeId | None) -> None:
    """One provider that lists a principal twice leaves that principal undecided; the others' leavers still lose."""
    other = ProviderName("corp-ldap")
    doubled = Doubled(PROVIDER, [builders.credential("lea")], [person("lea", "L1")], second=second)
    house = House(tmp_path, doubled, provider_of(other))
    house.observe_first()
    record = house.run()
    assert record.outcome is CycleOutcome.PARTIAL
    assert doubled.effects == []
    assert len(house.providers[other].effects) == 1


def test_a_new_scope_observes_first(house: House) -> None:
    """An account that appears within a known provider is new: its first plan is held."""
    house.providers[PROVIDER].items.clear()
    house.observe_first()

    class Moved(FakeProvider):
        def collect(self, interest: Interest) -> tuple[ProviderInventory, ...]:
            (found,) = super().collect(interest)
            return (replace(found, scope=ScopeId("777777777777")),)

    scope = ScopeId("777777777777")
    lea = replace(person("lea", "L1"), scope=scope)
    house.providers[PROVIDER] = Moved(PROVIDER, [builders.credential("lea", scope=scope)], [lea])
    record = house.run()
    assert record.outcome is CycleOutcome.HELD
    assert {reason.code for reason in record.guard.hold_reasons} == {HoldCode.NEW_PROVIDER}


def test_a_cycle_closed_later_claims_only_what_is_known(house: House) -> None:
    """The record of an interrupted cycle does not borrow the settings and version of the process that closes it."""
    house.journal.take_over(NOW)
    house.journal.begin_cycle(CycleId("00000000-0000-4000-8000-0000000000aa"), Mode.ENFORCE, NOW)
    house.version = "2"
    seen: list[CycleRecord] = []
    attest = house.attester.attest

    class Keeping(Attester):
        def attest(self, record: CycleRecord, journal: Any, grounds: Grounds = NO_GROUNDS) -> Any:
            seen.append(record)
            return attest(record, journal, grounds)

    house.attester = Keeping(
        store=house.attester.store,
        log=house.attester.log,
        signer=house.attester.signer,
        instance_id="test",
        random_bytes=os.urandom,
    )
    house.run(mode=Mode.OBSERVE)
    closed, own = seen
    assert (closed.outcome, own.version) == (CycleOutcome.FAILED, "2")
    assert closed.version != "2"
    assert closed.config_digest == ""


def test_a_plan_that_two_must_approve_waits_for_both(house: House) -> None:
    """One approval leaves it held with zero acts; the second account's releases it, once, and both are on record."""
    house.observe_first()
    house.journal.approvals_needed = 2
    limits = Limits(max_principals=0, approvals_needed=2)
    held = house.run(limits=limits)
    assert (held.outcome, held.results) == (CycleOutcome.HELD, ())
    assert held.plan is not None
    word = Approval(
        plan_digest=held.plan.digest,
        approved_by="ann",
        approved_at=NOW,
        expires_at=NOW + timedelta(hours=1),
        lifts=(HoldCode.CAP_COUNT,),
        uid=1001,
        login="ann",
    )
    house.journal.record_approval(word)
    assert house.run(limits=limits).outcome is CycleOutcome.HELD
    house.journal.record_approval(replace(word, uid=1002, login="bob"))
    done = house.run(limits=limits)
    assert (done.outcome, len(done.results)) == (CycleOutcome.COMPLETE, 1)
    assert done.guard.approval is not None
    assert [one.uid for one in (done.guard.approval, *done.guard.approval.beside)] == [1001, 1002]
    assert not house.journal.pending_approvals(NOW)
