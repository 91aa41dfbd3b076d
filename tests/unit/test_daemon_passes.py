"""The two passes: a new leaver is dealt with at once and alone, and a whole pass gives way and then sees it all."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from inventory.collection import Source
from inventory.errors import Unavailable
from inventory.model import ArtefactKind, PrincipalId, ProviderInventory, ReadState
from inventory.provider import Interest
from inventory.roster.model import Roster, RosterProblem
from reconciler.core.errors import LeaseLost
from reconciler.core.guard import Limits
from reconciler.core.model import Mode, OutcomeState, VerificationState
from reconciler.core.record import Breadth, CycleOutcome
from reconciler.daemon.health import CycleEnd
from reconciler.daemon.passes import Passes, Workshop
from tests import builders
from tests.builders import NOW, PROVIDER
from tests.fakes.engine import FakeEngine, found
from tests.fakes.house import House, person
from tests.fakes.world import FakeProvider, Fault

STAYING = builders.roster(
    builders.worker("L1"), builders.worker("L2"), builders.worker("E2"), digest="sha256:" + "1" * 64
)
ONE_LEFT = builders.roster(
    builders.leaver("L1"), builders.worker("L2"), builders.worker("E2"), digest="sha256:" + "2" * 64
)
TWO_LEFT = builders.roster(
    builders.leaver("L1"), builders.leaver("L2"), builders.worker("E2"), digest="sha256:" + "3" * 64
)


class Slow(FakeProvider):
    """A provider whose listing stops where the test wants it to, as a long one does."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]  # handed on as they are
        self.listed: Callable[[], None] = lambda: None
        self.collected = 0

    def collect(self, interest: Interest) -> tuple[ProviderInventory, ...]:
        """List everybody as they are now, then wait."""
        found = super().collect(interest)
        self.collected += 1
        self.listed()
        return found


class Daemon:
    """Passes over a house, as the loop runs them; what is read in the background is waited for."""

    def __init__(self, folder: Path) -> None:
        people = [person("lea", "L1"), person("leo", "L2"), person("eve", "E2")]
        self.provider = Slow(PROVIDER, [builders.credential(one) for one in ("lea", "leo", "eve")], people)
        self.built = House(folder, self.provider)
        self.built.feed.roster = STAYING
        self.engine = FakeEngine(self._decide)
        self.built.engine = self.engine
        self.provider.intent_exists = lambda action_id: self.built.journal.entry(action_id) is not None
        self.limits = Limits()
        self.mode = Mode.ENFORCE
        self.opened = 0
        self.lost = False
        self.old_secrets = False
        self._read = threading.Event()
        self.passes = Passes(self, self._read.set)

    def _decide(self, _: str, unit: dict[str, Any]) -> list[dict[str, Any]]:
        """Find the access of whoever has left by the roster of the moment."""
        left = {one.worker_id for one in self.built.feed.roster.workers if one.access_end_at is not None}
        return [found(access_id) for access_id in unit["access"]] if unit["worker_id"] in left else []

    @contextmanager
    def open(self) -> Iterator[Workshop]:
        """Build a workshop."""
        self.opened += 1
        self.old_secrets = False
        house = self.built.house(self.mode)
        quick = {
            name: Source(provider=name, provider_type="aws_iam", collector=self.provider) for name in house.sources
        }
        yield Workshop(
            house=house, rules=self.built.rules(self.mode, limits=self.limits, parallel_actions=1), quick=quick
        )

    def outdated(self) -> bool:
        """Say whether a secret was exchanged."""
        return self.old_secrets

    def check(self) -> None:
        """Raise where the lease is lost."""
        if self.lost:
            raise LeaseLost("somebody else writes")

    def begin(self) -> None:
        """Begin to read everything."""
        self._read.clear()
        self.passes.begin_reading()

    def end(self) -> CycleEnd:
        """Wait for the reading and decide upon it."""
        assert self._read.wait(20)
        return self.passes.whole_pass()

    def whole(self) -> CycleEnd:
        """Run one whole pass."""
        self.begin()
        return self.end()

    def hear(self, roster: Roster) -> CycleEnd | None:
        """Let HR say something else, and deal with new leavers."""
        self.built.feed.roster = roster
        return self.passes.leavers_pass()

    @property
    def revoked(self) -> list[str]:
        """Return what was really taken away, in order."""
        return [access_id for verb, access_id in self.provider.effects if verb == "revoke"]


@pytest.fixture
def daemon(tmp_path: Path) -> Daemon:
    """Return a daemon that has seen everything once, when nobody had left."""
    made = Daemon(tmp_path)
    assert made.whole().outcome is CycleOutcome.COMPLETE
    return made


def test_a_new_leaver_is_dealt_with_without_listing_anything(daemon: Daemon) -> None:
    """The leaver's access is gone, nobody else's, and no provider was listed for it."""
    listed = daemon.provider.collected
    end = daemon.hear(ONE_LEFT)
    assert end is not None
    assert (end.breadth, end.outcome) == (Breadth.LEAVERS, CycleOutcome.PARTIAL)
    assert daemon.revoked == ["lea/access_key/1"]
    assert daemon.provider.collected == listed
    (entry,) = daemon.built.journal.entries()
    assert (entry.outcome, entry.verification) == (OutcomeState.DONE, VerificationState.GONE)


def test_nothing_happens_before_the_first_whole_pass(tmp_path: Path) -> None:
    """As long as nothing is known of who owns what, a leaver waits for the whole pass."""
    made = Daemon(tmp_path)
    assert made.hear(ONE_LEFT) is None
    made.whole()  # what is new observes first
    made.whole()
    assert made.revoked == ["lea/access_key/1"]


def test_a_leaver_is_dealt_with_once(daemon: Daemon) -> None:
    """The same roster again, or another one with the same leaver, gives no second pass."""
    assert daemon.hear(ONE_LEFT) is not None
    assert daemon.hear(ONE_LEFT) is None
    assert daemon.hear(replace(ONE_LEFT, digest="sha256:" + "4" * 64)) is None
    second = daemon.hear(TWO_LEFT)
    assert second is not None
    assert daemon.revoked == ["lea/access_key/1", "leo/access_key/1"]


def test_who_came_back_and_leaves_again_is_new(daemon: Daemon) -> None:
    """A worker who is no leaver any more is forgotten as one."""
    daemon.hear(ONE_LEFT)
    assert daemon.hear(STAYING) is None
    key = builders.credential("lea", access_id="lea/access_key/2")
    daemon.provider.items[key.access_id] = key
    assert daemon.hear(replace(ONE_LEFT, digest="sha256:" + "5" * 64)) is not None
    assert daemon.revoked == ["lea/access_key/1", "lea/access_key/2"]


def test_what_is_newer_than_the_last_listing_is_found(daemon: Daemon) -> None:
    """The leaver's principals are read live: a key made since everything was listed goes too."""
    key = builders.credential("lea", access_id="lea/access_key/9")
    daemon.provider.items[key.access_id] = key
    daemon.hear(ONE_LEFT)
    assert sorted(daemon.revoked) == ["lea/access_key/1", "lea/access_key/9"]


def test_a_leaver_who_cannot_be_read_keeps_everything_until_the_whole_pass(daemon: Daemon) -> None:
    """No reading, no act; the whole pass that follows finds and takes it."""
    daemon.provider.faults["read"].append(Fault(error=Unavailable("no answer")))
    end = daemon.hear(ONE_LEFT)
    assert end is not None
    assert end.outcome is CycleOutcome.PARTIAL
    assert daemon.revoked == []
    daemon.whole()
    assert daemon.revoked == ["lea/access_key/1"]


def test_an_artefact_kind_that_failed_half_way_is_no_ground(daemon: Daemon) -> None:
    """A leaver whose reading is partial is left alone: what is not whole grounds nothing."""
    daemon.provider.principals[PrincipalId("lea")] = replace(
        person("lea", "L1"), read=replace(person("lea", "L1").read, partial=(ArtefactKind.SSH_KEY,))
    )
    daemon.provider.states[ArtefactKind.SSH_KEY] = ReadState.PARTIAL
    assert daemon.hear(ONE_LEFT) is not None
    assert daemon.revoked == []


def test_a_doubtful_roster_wakes_no_leavers_pass(daemon: Daemon) -> None:
    """Held feeds are left to the whole pass, which says why it holds."""
    daemon.built.feed.held = (RosterProblem(line=0, column=0, code="roster_shrunken", message="too small"),)
    assert daemon.hear(ONE_LEFT) is None
    assert daemon.revoked == []


def test_the_caps_are_those_of_whole_providers(daemon: Daemon) -> None:
    """Few principals are read, yet the percentage is of all, and what the window holds already counts."""
    daemon.limits = Limits(max_principals=1)
    daemon.old_secrets = True  # opens another workshop, under the new limits
    assert daemon.hear(ONE_LEFT) is not None
    held = daemon.hear(TWO_LEFT)
    assert held is not None
    assert (held.outcome, daemon.revoked) == (CycleOutcome.HELD, ["lea/access_key/1"])


def test_an_observing_daemon_has_no_leavers_pass(tmp_path: Path) -> None:
    """Where nothing may be done there is nothing to be quick about."""
    made = Daemon(tmp_path)
    made.mode = Mode.OBSERVE
    made.whole()
    assert made.hear(ONE_LEFT) is None


def test_a_leaver_during_a_reading_does_not_wait_for_it(daemon: Daemon) -> None:
    """While everything is being listed, the leaver goes; the listing, which still has it, plans nothing twice."""
    going_on, may_end = threading.Event(), threading.Event()

    def hold() -> None:
        going_on.set()
        assert may_end.wait(20)

    daemon.provider.listed = hold
    daemon.begin()
    assert going_on.wait(20)
    assert daemon.hear(ONE_LEFT) is not None
    assert daemon.revoked == ["lea/access_key/1"]
    may_end.set()
    end = daemon.end()
    assert (end.breadth, end.outcome) == (Breadth.WHOLE, CycleOutcome.COMPLETE)
    assert daemon.revoked == ["lea/access_key/1"]
    assert len(daemon.built.journal.entries()) == 1


def test_a_whole_pass_gives_way_and_is_decided_again(daemon: Daemon) -> None:
    """A leaver who comes in while a whole pass decides goes first; the pass is attested as given way, then done."""
    daemon.begin()
    daemon.passes.waiting = lambda: True
    daemon.built.feed.roster = ONE_LEFT
    gave_way = daemon.end()
    assert (gave_way.gave_way, gave_way.outcome, daemon.revoked) == (True, CycleOutcome.PARTIAL, [])
    assert daemon.passes.leavers_pass() is not None
    daemon.passes.waiting = lambda: False
    listed = daemon.provider.collected
    end = daemon.passes.whole_pass()
    assert (end.gave_way, end.outcome) == (False, CycleOutcome.COMPLETE)
    assert daemon.provider.collected == listed
    assert [entry.outcome for entry in daemon.built.journal.cycles()][-3:] == [
        CycleOutcome.PARTIAL,
        CycleOutcome.PARTIAL,
        CycleOutcome.COMPLETE,
    ]


def test_a_leaver_who_comes_while_everything_is_read_is_read_live(daemon: Daemon) -> None:
    """Whoever is of interest only since is read again before the whole pass decides, and goes with it."""
    listed = {
        one.principal_id: replace(one, read=replace(one.read, live=False))
        for one in daemon.provider.principals.values()
    }
    whole = daemon.provider.principals
    daemon.provider.principals = listed
    daemon.begin()
    assert daemon._read.wait(20)
    daemon.provider.principals = whole
    daemon.built.feed.roster = ONE_LEFT
    daemon.end()
    assert daemon.revoked == ["lea/access_key/1"]


def test_the_loss_of_the_lease_stops_both_passes(daemon: Daemon) -> None:
    """Whoever is no longer the writer neither plans nor acts."""
    daemon.lost = True
    with pytest.raises(LeaseLost):
        daemon.hear(ONE_LEFT)
    with pytest.raises(LeaseLost):
        daemon.begin()
    assert daemon.revoked == []


def test_a_reading_that_breaks_is_the_failure_of_its_pass_alone(daemon: Daemon) -> None:
    """What the reading thread met is raised by the pass that decides; the next one begins afresh."""
    whole = daemon.built.feed.load
    daemon.built.feed.load = lambda _: 1 / 0  # type: ignore[method-assign,assignment,return-value]  # a defect
    daemon.begin()
    with pytest.raises(ZeroDivisionError):
        daemon.end()
    daemon.built.feed.load = whole  # type: ignore[method-assign]  # and the next reading is whole again
    assert daemon.whole().outcome is CycleOutcome.COMPLETE


def test_another_secret_opens_another_workshop(daemon: Daemon) -> None:
    """Rotated secrets are used from the next reading on; without one, what is open is kept."""
    assert daemon.opened == 1
    daemon.whole()
    assert daemon.opened == 1
    daemon.old_secrets = True
    daemon.whole()
    assert daemon.opened == 2


def test_who_leaves_next_is_told_by_the_whole_pass(daemon: Daemon) -> None:
    """Known ahead are the worker, the instant, and how much is known to go then; the loop is told when to wake."""
    coming = replace(builders.worker("L1"), access_end_at=NOW.replace(year=NOW.year + 1))
    daemon.built.feed.roster = builders.roster(coming, builders.worker("E2"), digest="sha256:" + "6" * 64)
    assert daemon.passes.next_end() == coming.access_end_at
    with capture_logs() as logged:
        assert daemon.whole().next_instant == coming.access_end_at
    (told,) = [entry for entry in logged if entry["event"] == "leavers.armed"]
    assert (told["worker"], told["count"], told["principals"], told["items"]) == ("L1", 1, 1, 1)


def test_a_whole_pass_does_not_give_way_for_ever(daemon: Daemon) -> None:
    """Even when somebody always waits whom nobody deals with, the whole pass comes to its end, and deals with them."""
    daemon.begin()
    daemon.passes.waiting = lambda: True
    daemon.built.feed.roster = ONE_LEFT
    ends = [daemon.end().gave_way]
    while ends[-1]:
        daemon.built.clock.sleep(1)
        ends.append(daemon.passes.whole_pass().gave_way)
    assert len(ends) == 11
    assert daemon.revoked == ["lea/access_key/1"]


def test_an_observing_pass_gives_way_to_nobody(tmp_path: Path) -> None:
    """Where no leavers' pass would run there is nobody to give way to."""
    made = Daemon(tmp_path)
    made.mode = Mode.OBSERVE
    made.whole()
    made.passes.waiting = lambda: True
    made.built.feed.roster = ONE_LEFT
    assert not made.whole().gave_way


def test_a_pass_that_breaks_after_its_record_bars_no_later_one(daemon: Daemon) -> None:
    """What fails between the record and its telling ends this pass alone: the next one reads anew, and acts."""

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    daemon.begin()
    daemon.passes.tell = broken
    with pytest.raises(ZeroDivisionError):
        daemon.end()
    daemon.passes.tell = lambda *_: None
    assert not daemon.passes.reading
    daemon.built.feed.roster = ONE_LEFT
    assert daemon.whole().outcome is CycleOutcome.COMPLETE
    assert daemon.revoked == ["lea/access_key/1"]


def test_a_refused_kind_after_a_leavers_pass_calls_nobody_clean(daemon: Daemon) -> None:
    """A leaver who was acted upon is read again; what that reading is refused leaves the whole pass partial."""
    daemon.begin()
    assert daemon._read.wait(20)
    assert daemon.hear(ONE_LEFT) is not None
    daemon.provider.states[ArtefactKind.SSH_KEY] = ReadState.DENIED
    end = daemon.passes.whole_pass()
    assert (end.breadth, end.outcome) == (Breadth.WHOLE, CycleOutcome.PARTIAL)
