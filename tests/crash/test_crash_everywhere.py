"""A process may die at any place, also while it recovers: the end is the same, and each effect is had once."""

from datetime import timedelta

import pytest

from inventory.errors import Unavailable
from inventory.model import AccessId, ArtefactKind, ProviderName
from reconciler.core.model import OutcomeState
from reconciler.recovery import interrupted_cycles
from tests.builders import NOW, PROVIDER, credential, grant, principal
from tests.crash.failpoints import Failpoints, check_end, die_at, live
from tests.fakes.clock import FakeClock
from tests.fakes.journal import MemoryJournal
from tests.fakes.world import Effected, FakeProvider, Fault
from tests.simulation.counts import COUNTS

LDAP = ProviderName("corp-ldap")
SINGLE = [("revoke", "alice/access_key/1"), ("revoke", "alice/group_membership/developers")]
FULL = [
    [("quarantine", "alice/account/1"), *SINGLE],
    [("revoke", "bob/access_key/1"), ("revoke", "carol/access_key/1")],
]


class World:
    """Providers, journal and clock that outlive every process."""

    def __init__(self, *, full: bool) -> None:
        self.clock = FakeClock(NOW)
        self.journal = MemoryJournal()
        account = [credential(kind=ArtefactKind.ACCOUNT)] if full else []
        self.providers = [FakeProvider(PROVIDER, [*account, credential(), grant()], [principal()])]
        self.effects: list[list[Effected]] = [[(verb, AccessId(item)) for verb, item in SINGLE]]
        if full:
            people = [principal(name, provider=LDAP) for name in ("bob", "carol")]
            keys = [credential(name, provider=LDAP) for name in ("bob", "carol")]
            self.providers.append(FakeProvider(LDAP, keys, people))
            self.effects = [[(verb, AccessId(item)) for verb, item in one] for one in FULL]
        for provider in self.providers:
            provider.intent_exists = lambda action_id: self.journal.entry(action_id) is not None

    def die_at(self, at: int) -> Failpoints:
        """Live a process that dies at its n-th place, and let some time pass."""
        passed = die_at(at, self.providers, self.journal, self.clock)
        self.clock.at += timedelta(minutes=5)
        return passed

    def live_on(self) -> None:
        """Restart until a process lives to its end, and check the end."""
        live(self.providers, self.journal, Failpoints(), self.clock)
        check_end(self.providers, self.journal, self.effects)


def places(*, full: bool) -> int:
    """Return how many places a process passes when nothing happens to it."""
    world = World(full=full)
    failpoints = Failpoints()
    live(world.providers, world.journal, failpoints, world.clock)
    check_end(world.providers, world.journal, world.effects)
    return len(failpoints.passed)


def test_dying_at_every_place_ends_the_same() -> None:
    """Two providers, three principals, five acts: death at each place, then a restart."""
    total = places(full=True)
    for at in range(1, total + 1):
        world = World(full=True)
        world.die_at(at)
        world.live_on()
        assert len(interrupted_cycles(world.journal)) <= 1
    COUNTS["failpoints of execution and recovery"] = total
    assert total >= 50


def test_dying_again_while_recovering_ends_the_same() -> None:
    """Death at each place, then death at each place of the process that recovers, then a restart."""
    pairs = 0
    for first in range(1, places(full=False) + 1):
        again = 1
        while True:
            world = World(full=False)
            world.die_at(first)
            died = world.die_at(again)
            world.live_on()
            if len(died.passed) < again:
                break
            pairs += 1
            again += 1
    COUNTS["crash pairs of execution and recovery"] = pairs
    assert pairs >= 300


def test_dying_for_good_at_one_place_does_not_act_twice() -> None:
    """A place that kills every restart stops progress, and still no effect is had twice."""
    for at in range(1, places(full=False) + 1):
        world = World(full=False)
        for _ in range(4):
            world.die_at(at)
        effects = world.providers[0].effects
        assert len(effects) == len(set(effects))
        world.live_on()


@pytest.mark.parametrize("applied", [True, False])
def test_a_lost_reply_and_a_death_together(applied: bool) -> None:  # noqa: FBT001 - both halves of the promise
    """The reply of a call is lost, with or without its effect, and the process dies anywhere: the end is the same."""
    for at in range(1, places(full=False) + 6):
        world = World(full=False)
        world.providers[0].fail("revoke", Fault(error=Unavailable("cut off"), applied=applied))
        world.die_at(at)
        for _ in range(3):
            live(world.providers, world.journal, Failpoints(), world.clock)
            world.clock.at += timedelta(minutes=5)
        effects = world.providers[0].effects
        assert sorted(effects) == sorted(world.effects[0])
        assert world.providers[0].items == {}
        assert all(entry.outcome is not None for entry in world.journal.entries())
        assert world.journal.unsettled() == ()


def test_no_call_is_made_before_its_intent() -> None:
    """Wherever a process dies, what the providers were called for stands in the journal."""
    for at in range(1, places(full=True) + 1):
        world = World(full=True)
        world.die_at(at)
        intended = {entry.intent.action.item.access_id for entry in world.journal.entries()}
        called = {access_id for provider in world.providers for _, access_id in provider.calls}
        assert called <= intended


def test_a_call_that_was_never_made_is_failed_and_made_by_the_next_cycle() -> None:
    """Death between intent and call: the first intent fails at recovery, the second one does the work."""
    world = World(full=False)
    probe = World(full=False)
    passed = probe.die_at(0).passed
    world.die_at(passed.index("before call") + 1)
    world.live_on()
    outcomes = [entry.outcome for entry in world.journal.entries()]
    assert outcomes == [OutcomeState.FAILED, OutcomeState.DONE, OutcomeState.DONE]
    assert len(interrupted_cycles(world.journal)) == 1
