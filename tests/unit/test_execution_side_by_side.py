"""Who goes at the same time as whom: providers, principals of one provider, and the actions of one principal."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from inventory.model import ArtefactKind, ProviderName
from reconciler.core.errors import JournalError
from reconciler.core.model import Action, Effect, Receipt
from reconciler.execution import execute
from tests.builders import NOW, PROVIDER, action, credential, principal
from tests.fakes.stage import DONE, GONE, LDAP, Breaking, Stage, ends
from tests.fakes.world import FakeProvider, approve

ALICE = principal()
KEYS = tuple(action(ALICE, credential(access_id=f"alice/access_key/{number}")) for number in range(1, 4))
ACCOUNT = credential(kind=ArtefactKind.ACCOUNT)
REMOVAL = action(ALICE, ACCOUNT)


class Crowd:
    """Counts who revokes at one provider at once, and keeps everybody until as many as expected have met."""

    def __init__(self, provider: FakeProvider, expected: int) -> None:
        self.most = 0
        self.threads: set[str] = set()
        self._expected = expected
        self._inside = 0
        self._changed = threading.Condition()
        self._revoke, self._quarantine = provider.revoke, provider.quarantine
        provider.revoke = self.revoke  # type: ignore[method-assign]  # counts who is inside
        provider.quarantine = self.quarantine  # type: ignore[method-assign]  # counts who is inside

    def revoke(self, action: Action) -> Receipt:
        with self._counted():
            return self._revoke(action)

    def quarantine(self, action: Action) -> Receipt:
        with self._counted():
            return self._quarantine(action)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._changed:
            self._inside += 1
            self.most = max(self.most, self._inside)
            self.threads.add(threading.current_thread().name)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self.most >= self._expected, timeout=60)
            self._changed.wait_for(lambda: self.most > self._expected, timeout=0.1)  # one too many would come now
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1


def keyring(*items: Action) -> Stage:
    """Return a stage where alice has these items and no others."""
    stage = Stage()
    stage.aws.items = {one.item.access_id: one.item for one in items}
    return stage


def made(stage: Stage, provider: ProviderName = PROVIDER) -> list[str]:
    """Return the access items that were taken, in the order in which they were."""
    return [access_id for _, access_id in stage.providers[provider].effects]


def test_writes_that_collide_are_made_one_by_one() -> None:
    """Where writes to different principals collide, one is under way at a time, whatever the bound; elsewhere not."""
    stage = Stage("alice", "bob")
    ldap = stage.add(LDAP, "dora", "emil")
    plan = stage.plan(
        *(
            action(one, credential(one.principal_id, provider=one.provider))
            for provider in stage.providers.values()
            for one in provider.principals.values()
        )
    )
    alone, together = Crowd(stage.aws, expected=1), Crowd(ldap, expected=2)
    crew = stage.crew(max_parallel_principals=3, one_by_one=frozenset({PROVIDER}))
    assert ends(execute(approve(plan), crew)) == [(DONE, GONE)] * 4
    assert (alone.most, together.most) == (1, 2)


def test_the_actions_of_one_principal_go_side_by_side_within_their_bound() -> None:
    """As many actions of one principal as allowed are under way, and no more; one read before and one after serve."""
    stage = keyring(*KEYS)
    crowd = Crowd(stage.aws, expected=2)
    results = execute(approve(stage.plan(*KEYS)), stage.crew(max_parallel_actions=2))
    assert ends(results) == [(DONE, GONE)] * 3
    assert crowd.most == 2
    assert stage.aws.reads == 2


def test_actions_one_at_a_time_keep_the_order_of_the_plan() -> None:
    """Where one action at a time is allowed, the next begins after the one before has ended."""
    stage = keyring(*KEYS)
    crowd = Crowd(stage.aws, expected=1)
    results = execute(approve(stage.plan(*reversed(KEYS))), stage.crew(max_parallel_actions=1))
    assert ends(results) == [(DONE, GONE)] * 3
    assert crowd.most == 1
    assert made(stage) == [one.item.access_id for one in reversed(KEYS)]


def test_the_principal_itself_is_removed_alone_and_last() -> None:
    """Wherever the plan names it: the account goes when everything else of it has ended, and results keep the order."""
    stage = keyring(REMOVAL, *KEYS[:2])
    crowd = Crowd(stage.aws, expected=2)
    inside_at_removal: list[int] = []
    stage.aws.on_effect = lambda _, one: (
        inside_at_removal.append(len(stage.aws.effects)) if one == ACCOUNT.access_id else None
    )
    plan = stage.plan(KEYS[0], REMOVAL, KEYS[1])
    results = execute(approve(plan), stage.crew(max_parallel_actions=3))
    assert [result.action for result in results] == list(plan.actions)
    assert ends(results) == [(DONE, GONE)] * 3
    assert crowd.most == 2
    assert inside_at_removal == [2]
    assert made(stage)[-1] == ACCOUNT.access_id


def test_disabling_the_account_waits_for_nobody() -> None:
    """Quarantine of the account removes no principal: it is under way with the other actions."""
    stage = keyring(REMOVAL, KEYS[0])
    crowd = Crowd(stage.aws, expected=2)
    plan = stage.plan(action(ALICE, ACCOUNT, Effect.QUARANTINE), KEYS[0])
    assert ends(execute(approve(plan), stage.crew(max_parallel_actions=2))) == [(DONE, GONE)] * 2
    assert crowd.most == 2


def test_threads_are_named_after_what_they_do() -> None:
    """A dump of a hanging process tells at which provider, and at which step, each thread is."""
    stage = keyring(*KEYS[:2])
    crowd = Crowd(stage.aws, expected=2)
    ldap = stage.add(LDAP, "dora")
    alone = Crowd(ldap, expected=1)
    dora = next(iter(ldap.principals.values()))
    plan = stage.plan(*KEYS[:2], action(dora, credential("dora", provider=LDAP)))
    execute(approve(plan), stage.crew(max_parallel_actions=2))
    assert crowd.threads == {"wave_0", "wave_1"}
    assert alone.threads == {"act-corp-ldap_0"}


@pytest.mark.parametrize("verb", ["intent", "outcome"])
def test_a_wave_that_stops_ends_its_calls_first(verb: str) -> None:
    """When one action cannot be journalled, the other's call is ended and recorded before the error is raised."""
    stage = keyring(*KEYS[:2])
    stage.journal = Breaking(verb, 1, JournalError("disk full"))
    stage.epoch = stage.journal.take_over(NOW)
    with pytest.raises(JournalError, match="disk full"):
        execute(approve(stage.plan(*KEYS[:2])), stage.crew(max_parallel_actions=2))
    outcomes = sorted(str(entry.outcome) for entry in stage.journal.entries())
    assert outcomes == (["done"] if verb == "intent" else ["None", "done"])
    assert not [thread for thread in threading.enumerate() if thread.name.startswith(("act-", "wave"))]
