"""A life of the simulated company, drawn by hypothesis: after each step, whatever it was, every invariant holds."""

import shutil
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from inventory.errors import ProviderError
from reconciler.core.errors import LeaseLost, ReconcilerError
from reconciler.core.model import Approval, HoldCode, Mode, OutcomeState, VerificationState
from reconciler.core.record import CycleOutcome
from reconciler.ports import PolicyEngine
from reconciler.undo import undo
from tests.simulation.company import AWS, BREAK_GLASS, LDAP, STARTER, STRICT, Company
from tests.simulation.counts import COUNTS
from tests.simulation.interruptions import Paused, live_and_die
from tests.simulation.invariants import History, check_every_step, check_i06_truth, check_i17_chain
from tests.simulation.office import FAST, LIMITS, Office
from tests.simulation.people import ZONES, Person
from tests.simulation.vendor import Vendor, lost_reply, no_effect

CALM_CYCLES = 8
"""So many cycles without faults, a day's caps and approvals included, take everything from every leaver."""
DAMAGES = ("stale", "future", "shrunken", "empty", "no header", "everybody left", "torn")
SOMEBODY = st.integers(min_value=0, max_value=40)
PLACE = st.integers(min_value=1, max_value=140)


class CompanyLife(RuleBasedStateMachine):
    """One history. Subclasses choose the policy engine."""

    @staticmethod
    def engine() -> PolicyEngine | None:
        """Return the engine of the next process; None takes the naive one."""
        return None

    @initialize()
    def found(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="life-", dir=FAST))
        self.company = Company(self.folder)
        self.history = History(company=self.company, limits=LIMITS)
        self.latest = self.company.clock.now()
        self.version = 1
        self.started = 0
        self.office = self._start()
        self._cycle(Mode.OBSERVE)

    # People.

    @rule(kind=st.sampled_from(("employee", "contractor")))
    def joiner(self, kind: str) -> None:
        self.company.join(kind=kind)
        self.company.publish()

    @rule(who=SOMEBODY)
    def mover(self, who: int) -> None:
        self.company.move(self._person(who))

    @rule(who=SOMEBODY)
    def leaver_at_once(self, who: int) -> None:
        self._person(who).last.end_now(self.company.clock.now())
        self.company.publish()

    @rule(who=SOMEBODY, days=st.integers(min_value=0, max_value=2), zone=st.sampled_from(ZONES))
    def leaver_by_date(self, who: int, days: int, zone: str) -> None:
        day = self.company.clock.now().date() + timedelta(days=days)
        self._person(who).last.end_after(day, zone)
        self.company.publish()

    @rule(who=SOMEBODY)
    def row_goes_missing(self, who: int) -> None:
        self._person(who).listed = False
        self.company.publish()

    @rule(who=SOMEBODY)
    def leave_of_absence(self, who: int) -> None:
        last = self._person(who).last
        if last.ends_at is None:
            last.status = "leave"
            self.company.publish()

    @rule(who=SOMEBODY, new_id=st.booleans())
    def rehire(self, who: int, new_id: bool) -> None:  # noqa: FBT001 - hypothesis draws it
        person = self._person(who)
        person.listed = True
        self.company.hr.rehire(person, new_id=new_id)
        self.company.publish()

    @rule(who=SOMEBODY)
    def contractor_becomes_employee(self, who: int) -> None:
        person = self._person(who)
        person.last.kind = "contractor"
        person.last.end_now(self.company.clock.now())
        self.company.hr.rehire(person, new_id=True)
        self.company.publish()

    @rule(who=SOMEBODY)
    def rename(self, who: int) -> None:
        self.company.rename(self._person(who))
        self.company.publish()

    @rule(who=SOMEBODY)
    def address_is_handed_on(self, who: int) -> None:
        person = self._person(who)
        if person.left(self.company.clock.now()):
            self.company.join(email=person.email)
            self.company.publish()

    @rule(who=SOMEBODY)
    def moved_date_between_plan_and_act(self, who: int) -> None:
        person = self._person(who)
        person.listed = True
        person.last.end_now(self.company.clock.now())
        self.company.publish()

        def back() -> None:
            person.last.reopen()
            self.company.publish()

        self.company.vendors[AWS].on_list = back
        self._cycle(Mode.ENFORCE)

    @rule()
    def our_own_person_leaves(self) -> None:
        self.company.hr.people[0].last.end_now(self.company.clock.now())
        self.company.publish()

    @rule()
    def break_glass_is_used(self) -> None:
        vendor = self.company.vendors[AWS]
        used = vendor.principals[BREAK_GLASS]
        vendor.principals[BREAK_GLASS] = type(used)(
            **{name: getattr(used, name) for name in used.__dataclass_fields__}
            | {"last_used_at": self.company.clock.now()}
        )

    # Faults.

    @rule(damage=st.sampled_from(DAMAGES))
    def damaged_feed(self, damage: str) -> None:
        self.company.hr.publish_damaged(damage, self.company.clock.now())

    @rule(which=SOMEBODY, minutes=st.sampled_from((1, 30)), what=st.sampled_from(("outage", "denied", "nameless")))
    def vendor_fails(self, which: int, minutes: int, what: str) -> None:
        until = self.company.clock.monotonic_seconds() + 60 * minutes
        setattr(self._vendor(which).weather, f"{what}_until", until)

    @rule(which=SOMEBODY, what=st.sampled_from(("partial", "truncated", "doubled")))
    def listing_fails(self, which: int, what: str) -> None:
        setattr(self._vendor(which).weather, what, True)

    @rule(which=SOMEBODY, times=st.integers(min_value=1, max_value=6))
    def throttle(self, which: int, times: int) -> None:
        self._vendor(which).weather.throttles = times

    @rule(which=SOMEBODY, seconds=st.sampled_from((1.0, 15.0, 300.0)))
    def changes_show_late(self, which: int, seconds: float) -> None:
        self._vendor(which).weather.lag_seconds = seconds

    @rule(
        which=SOMEBODY, verb=st.sampled_from(("quarantine", "revoke")), fault=st.sampled_from((lost_reply, no_effect))
    )
    def answer_lies(self, which: int, verb: str, fault: Callable[[], object]) -> None:
        self._vendor(which).fail(verb, fault())  # type: ignore[arg-type]  # one of two makers of faults

    @rule(hours=st.sampled_from((-30, -1, 1, 30)))
    def clock_jumps(self, hours: int) -> None:
        self.company.clock.jump(timedelta(hours=hours))

    @rule(minutes=st.sampled_from((1, 10, 300)))
    def time_passes(self, minutes: int) -> None:
        self.company.clock.sleep(60.0 * minutes)

    # Operators.

    @rule()
    def policy_changes(self) -> None:
        self.company.policies = STRICT if self.company.policies is STARTER else STARTER

    @rule(who=SOMEBODY, hours=st.sampled_from((1, 24)))
    def waiver(self, who: int, hours: int) -> None:
        self.company.waive(self._person(who), hours)

    @precondition(lambda self: LDAP not in self.company.vendors)
    @rule()
    def new_provider(self) -> None:
        self.company.open(LDAP)

    @rule()
    def approval(self) -> None:
        self._approve()

    @rule(which=SOMEBODY, waived=st.booleans())
    def undo(self, which: int, waived: bool) -> None:  # noqa: FBT001 - hypothesis draws it
        done = [
            entry
            for entry in self.office.journal.entries()
            if entry.outcome is OutcomeState.DONE
            and entry.verification is VerificationState.GONE
            and entry.undone_at is None
            and entry.intent.before.restorable
        ]
        if not done:
            return
        entry = done[which % len(done)]
        vendor = self.company.vendors[entry.intent.action.provider]
        name = entry.intent.action.principal.principal_id
        if waived and name.startswith("u"):
            self.company.waive(self.company.hr.people[int(name[1:])], 24)
        try:
            undo(entry, vendor, vendor, self.office.journal, self.company.clock)
        except ProviderError:
            assert vendor.weather != type(vendor.weather)(), "refused in fine weather"

    # Processes.

    @rule(mode=st.sampled_from((Mode.ENFORCE, Mode.ENFORCE, Mode.QUARANTINE, Mode.OBSERVE)))
    def cycle(self, mode: Mode) -> None:
        self._cycle(mode)

    @rule()
    def engine_is_down(self) -> None:
        engine = self.office.engine
        if hasattr(engine, "down"):
            engine.down = True
            record = self._cycle(Mode.ENFORCE)
            engine.down = False
            assert record is CycleOutcome.FAILED

    @rule(upgraded=st.booleans())
    def restart(self, upgraded: bool) -> None:  # noqa: FBT001 - hypothesis draws it
        self.office.end()
        self.version += upgraded
        self.office = self._start()

    @rule(first=PLACE, again=st.none() | PLACE)
    def crash(self, first: int, again: int | None) -> None:
        died = 0
        for at in [first] if again is None else [first, again]:
            record = live_and_die(self.office, at)
            if record is None:
                died += 1
                self.office = self._start()
            else:
                self.history.records.append(record)
        COUNTS["crashes in recovery, by the machine"] += died == 2
        # A statement that a death kept from following its bundle is written by the next cycle: only then is it whole.
        self._cycle(Mode.ENFORCE)
        check_i17_chain(self.history)

    @rule()
    def second_daemon_stands_by(self) -> None:
        with pytest.raises(LeaseLost):
            Office(self.company)

    @rule(at=PLACE, minutes=st.sampled_from((0, 20)))
    def standstill(self, at: int, minutes: int) -> None:
        paused = Paused(self.office, at)
        self.company.clock.sleep(60.0 * minutes)
        taken_over = paused.place != ""
        self.office = self._start(lease=False)
        self._cycle(Mode.ENFORCE)
        before = len(self.office.journal.entries())
        paused.resume()
        if taken_over:
            COUNTS["standstills"] += 1
            assert isinstance(paused.error, ReconcilerError | None), repr(paused.error)
            assert len(self.office.journal.entries()) == before, f"an intent after the lease was lost: {paused.place}"
        self.office.end()
        self.office = self._start()
        # A statement that waited for the signature of one before it is signed by the next cycle.
        self._cycle(Mode.ENFORCE)
        check_i17_chain(self.history)

    @rule()
    def calm(self) -> None:
        self._calm()

    @invariant()
    def everything_holds(self) -> None:
        COUNTS["machine steps"] += 1
        if hasattr(self, "history"):
            self.latest = max(self.latest, self.company.clock.now())
            check_every_step(self.history)

    def teardown(self) -> None:
        if hasattr(self, "office"):
            self._calm()
            check_every_step(self.history)
            check_i17_chain(self.history)
            self.office.end()
            shutil.rmtree(self.folder)

    # What the rules are made of.

    def _start(self, *, lease: bool = True) -> Office:
        self.started += 1
        return Office(
            self.company, version=str(self.version), seed=self.started, lease=lease, engine=type(self).engine()
        )

    def _person(self, number: int) -> Person:
        people = self.company.hr.people
        return people[number % len(people)]

    def _vendor(self, number: int) -> Vendor:
        vendors = sorted(self.company.vendors.items())
        return vendors[number % len(vendors)][1]

    def _cycle(self, mode: Mode) -> CycleOutcome:
        COUNTS["cycles, by the machine"] += 1
        record = self.office.cycle(mode)
        self.history.records.append(record)
        check_i06_truth(self.history)
        return record.outcome

    def _approve(self) -> None:
        """Release the plan that the last cycle held, as somebody does who looked at a feed that is in order."""
        plan = self.history.records[-1].plan
        now, journal = self.company.clock.now(), self.office.journal
        held = None if plan is None else journal.held_plan(plan.digest)
        if held is None or plan is None or not self.company.hr.may_ground(now) or now >= held[2]:
            return
        standing = {reason.code for reason in held[1]} - {HoldCode.APPROVAL_MOVED}
        if all(code.releasable for code in standing):
            journal.record_approval(
                Approval(
                    plan_digest=plan.digest,
                    approved_by="somebody",
                    approved_at=now,
                    expires_at=held[2],
                    lifts=tuple(sorted(standing)),
                )
            )

    def _calm(self) -> None:
        """Let every fault cease: I-20, no leaver is lost; and I-15, then nothing is left to do."""
        for vendor in self.company.vendors.values():
            vendor.clear()
        if self.company.clock.now() < self.latest:  # put right: feeds older than the last accepted one stay held
            self.company.clock.jump(self.latest - self.company.clock.now())
        self.company.publish()
        for _ in range(CALM_CYCLES):
            self.company.clock.sleep(600.0)
            if self._cycle(Mode.ENFORCE) is CycleOutcome.HELD:
                self._approve()
            if self.history.records[-1].outcome is CycleOutcome.COMPLETE:
                break
        assert self.company.owed() == {}
        self.company.clock.sleep(600.0)
        self._cycle(Mode.ENFORCE)
        last = self.history.records[-1].plan
        assert last is not None
        assert last.actions == ()
