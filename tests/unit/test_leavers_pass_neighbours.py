"""What a leavers' pass has to know of principals and workers beside the leavers themselves."""

from dataclasses import replace

from inventory.model import Coverage, PrincipalReading, ReadState
from inventory.roster.model import WorkerId
from reconciler.core.document import workers_named
from reconciler.core.memory import Memory, seen
from reconciler.core.standing import narrow, standing_of
from tests import builders
from tests.worlds import company, correlation

LEFT, STAYS = WorkerId("E1001"), WorkerId("E1002")


def test_who_holds_the_same_object_stands_beside_the_leaver() -> None:
    """One secret of two principals, told by its address, brings the other holder along; what is not shared does not."""
    team = (("secret", "team"),)
    people = tuple(builders.principal(name) for name in ("ann", "bot", "cid"))
    items = (
        builders.credential("ann", address=team),
        builders.credential("bot", address=team),
        builders.credential("cid"),
    )
    whole = builders.snapshot(builders.inventory(people, items))
    standing = standing_of(whole, (correlation("ann", "E1"),), (), 1)
    covered = tuple(Coverage(kind=item.kind, state=ReadState.COMPLETE) for item in items[:1])
    reading = PrincipalReading(principal=people[0], items=items[:1], coverage=covered)
    beside = narrow(standing, {(builders.PROVIDER, people[0].principal_id): reading}, builders.NOW)
    assert sorted(one.principal_id for one in beside.principals()) == ["ann", "bot"]
    assert sorted((item.principal_id, item.live) for item in beside.items()) == [("ann", True), ("bot", False)]


def test_a_pass_hands_out_whoever_a_key_or_a_memory_names() -> None:
    """Rules may look up the holder of a unit's public key, and whom its principal was before."""
    sample = company()
    bob = next(one for one in sample.snapshot.principals() if one.principal_id == "bob")
    asked = replace(sample, asked=frozenset({(builders.PROVIDER, bob.principal_id)}))
    persons = seen(sample.snapshot, (correlation("bob", "E1001"),)).persons
    assert workers_named(asked) == frozenset({STAYS})
    assert workers_named(replace(asked, memory=Memory(persons=persons))) == frozenset({LEFT, STAYS})
    key = builders.credential("bob", access_id="bob/ssh", fingerprint="SHA256:k")
    inventory = sample.snapshot.inventories[0]
    planted = builders.snapshot(replace(inventory, items=(*inventory.items, key)))
    held = Memory(keys=frozenset({("SHA256:k", sample.roster.workers[0].worker_id)}))
    assert workers_named(replace(asked, snapshot=planted, memory=held)) == frozenset({LEFT, STAYS})
