"""Public keys on principals that are not their holder's."""

from reconciler.core.keys import keys_elsewhere
from reconciler.core.memory import NOTHING, Memory, as_text, from_text, seen
from tests import builders
from tests.worlds import correlation

COPIES = tuple(builders.credential(name, fingerprint="SHA256:k") for name in ("ann", "bob"))
WORLD = builders.snapshot(builders.inventory(tuple(builders.principal(name) for name in ("ann", "bob")), COPIES))
ANNS = (builders.PROVIDER, "ann", COPIES[0].access_id)
BOBS = (builders.PROVIDER, "bob", COPIES[1].access_id)


def test_each_copy_names_the_other_workers_who_hold_the_key() -> None:
    """Where one public key stands with two workers, each copy is the other one's key too."""
    known = (correlation("ann", "E1"), correlation("bob", "E2"))
    assert keys_elsewhere(WORLD, known, NOTHING) == {ANNS: ("E2",), BOBS: ("E1",)}


def test_two_principals_of_one_worker_are_not_elsewhere() -> None:
    """A worker's second principal may hold the worker's key."""
    assert keys_elsewhere(WORLD, (correlation("ann", "E1"), correlation("bob", "E1")), NOTHING) == {}


def test_a_service_account_of_the_holder_is_elsewhere() -> None:
    """Who only owns a principal is not the principal: the key would outlive the owner there."""
    owned = correlation("bob", "E1", identity=False, rule="owner_tag", confidence=90)
    assert keys_elsewhere(WORLD, (correlation("ann", "E1"), owned), NOTHING) == {BOBS: ("E1",)}


def test_only_a_sure_identity_makes_a_holder() -> None:
    """A mere owner and a doubtful match say nothing of who has the private half."""
    doubtful = correlation("ann", "E1", confidence=89)
    owner = correlation("bob", "E2", identity=False)
    assert seen(WORLD, (doubtful, owner)) == NOTHING
    assert keys_elsewhere(WORLD, (doubtful, owner), NOTHING) == {}


def test_a_holder_of_before_still_holds_the_private_half() -> None:
    """Once the holder's own copy is gone, the others are known by what the journal kept, as text and back."""
    remembered = from_text(as_text(seen(WORLD, (correlation("ann", "E 1"),)).keys))
    assert remembered == {("SHA256:k", "E 1")}
    only_bobs = builders.snapshot(builders.inventory((builders.principal("bob"),), COPIES[1:]))
    assert keys_elsewhere(only_bobs, (correlation("bob", "E2"),), Memory(keys=remembered)) == {BOBS: ("E 1",)}
