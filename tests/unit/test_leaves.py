"""The records under the Merkle roots: pseudonyms, nonces, order."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from reconciler.core.errors import EvidenceError
from reconciler.core.leaves import (
    Nonces,
    action_leaves,
    decision_leaves,
    decisions,
    leaf_file,
    leaver_leaves,
    leaves_of,
    reference,
)
from reconciler.core.model import ActionId, OutcomeState, VerificationState
from reconciler.core.record import CycleRecord
from tests.builders import NOW, action, grant, principal
from tests.record_builders import KEY, action_result, cycle_record, nonces


def decided(record: CycleRecord) -> tuple[bytes, ...]:
    """Return the decision leaves of a record, each committing to a line of its own."""
    digests = {decision.subject: f"{number:064x}" for number, decision in enumerate(decisions(record))}
    return decision_leaves(record, KEY, digests, Nonces(nonces()))


def left(record: CycleRecord) -> list[dict[str, object]]:
    """Return the leaver leaves of a record."""
    digests = {verdict.worker_id: "d" * 64 for verdict in record.leavers}
    return [json.loads(leaf) for leaf in leaver_leaves(record, KEY, digests, Nonces(nonces()))]


def test_references_do_not_link_across_cycles() -> None:
    """The same person has another pseudonym under another key, and the same one under the same key."""
    assert reference(KEY, "worker", "E1001") == reference(KEY, "worker", "E1001")
    assert reference(KEY, "worker", "E1001") != reference(b"j" * 32, "worker", "E1001")


def test_references_of_different_things_differ() -> None:
    """Neither the kind of an id nor the border between its parts can be mistaken."""
    references = {
        reference(KEY, "worker", "ab"),
        reference(KEY, "principal", "ab"),
        reference(KEY, "principal", "a", "b"),
        reference(KEY, "principal", "", "ab"),
    }
    assert len(references) == 4


def test_a_short_key_is_refused() -> None:
    """A key that could be guessed never makes a pseudonym."""
    with pytest.raises(EvidenceError, match="has 32 bytes"):
        reference(b"short", "worker", "E1001")


@pytest.mark.parametrize(
    "supply", [(), (b"short",), (b"n" * 16, b"n" * 16, b"n" * 16)], ids=["none", "short", "repeated"]
)
def test_every_leaf_needs_a_fresh_nonce(supply: tuple[bytes, ...]) -> None:
    """Missing, short and repeated nonces are refused."""
    many = cycle_record(results=(action_result(), action_result(action=action(principal(), grant(), action_id="b"))))
    with pytest.raises(EvidenceError, match="no fresh nonce"):
        action_leaves(many, KEY, Nonces(iter(supply)))


def test_leaves_do_not_follow_the_order_of_names() -> None:
    """Leaves come in the order of pseudonyms, whatever the order of findings was."""
    record = cycle_record()
    turned = replace(record, findings=record.findings[::-1])
    leaves = decided(record)
    assert leaves == decided(turned)
    access = [json.loads(leaf)["access"] for leaf in leaves]
    assert access == sorted(access)


def test_a_planned_action_without_result_has_a_leaf() -> None:
    """What the cycle intended and never came to is on record."""
    (leaf,) = action_leaves(cycle_record(results=()), KEY, Nonces(nonces()))
    assert json.loads(leaf)["outcome"] == "not_attempted"


def test_an_action_leaf_tells_how_it_ended_and_when() -> None:
    """Outcome, verification and their instants are what an auditor samples."""
    told = json.loads(action_leaves(cycle_record(), KEY, Nonces(nonces()))[0])
    assert (told["outcome"], told["verification"]) == ("done", "gone")
    assert told["verifiedAt"] == "2026-03-02T09:00:07.000000Z"
    assert told["worker"] == reference(KEY, "worker", "E1001")


def test_a_leaf_file_gives_its_leaves_back() -> None:
    """Writing and reading the lines is lossless; a torn file is refused."""
    leaves = decided(cycle_record())
    assert leaves_of(leaf_file(leaves)) == leaves
    assert leaves_of(leaf_file(())) == ()
    with pytest.raises(EvidenceError, match="has no end"):
        leaves_of(leaf_file(leaves)[:-1])


def test_a_leaver_leaf_tells_the_whole_story_of_a_leaver() -> None:
    """HR instant, decided, acted, verified and effective-by stand in it, under a pseudonym."""
    (told,) = left(cycle_record())
    assert told == {
        "type": "leaver/1",
        "cycleId": cycle_record().cycle_id,
        "worker": reference(KEY, "worker", "E1001"),
        "accessEndedAt": "2026-02-16T09:00:00.000000Z",
        "state": "clean",
        "decidedAt": "2026-03-02T09:00:03.000000Z",
        "actedAt": "2026-03-02T09:00:04.000000Z",
        "verifiedAt": "2026-03-02T09:00:07.000000Z",
        "effectiveBy": "2026-03-02T09:01:04.000000Z",
        "disclosure": "d" * 64,
        "nonce": "0" * 32,
    }


def test_a_leaver_is_decided_at_first_and_verified_at_last() -> None:
    """Of several acts the first decision and the last of each later instant count; a skipped act adds none."""
    late = action_result(
        action=action(principal(), grant(), action_id=ActionId("late")),
        decided_at=NOW + timedelta(seconds=2),
        acted_at=NOW + timedelta(seconds=9),
        verified_at=NOW + timedelta(seconds=20),
        effective_by=NOW + timedelta(seconds=30),
    )
    skipped = action_result(
        action=action(principal(), grant("ann"), action_id=ActionId("skipped")),
        outcome=OutcomeState.SKIPPED,
        verification=None,
        acted_at=None,
        verified_at=None,
        effective_by=None,
    )
    (told,) = left(cycle_record(results=(action_result(), late, skipped)))
    instants = [told[name] for name in ("decidedAt", "actedAt", "verifiedAt", "effectiveBy")]
    assert instants == [f"2026-03-02T09:0{at}.000000Z" for at in ("0:02", "0:09", "0:20", "1:04")]


def test_a_leaver_with_something_left_is_not_said_to_be_verified() -> None:
    """One act that is still there leaves out when it was verified, and when it was effective."""
    still = action_result(
        action=action(principal(), grant(), action_id=ActionId("still")), verification=VerificationState.STILL_THERE
    )
    (told,) = left(cycle_record(results=(action_result(), still)))
    assert "actedAt" in told
    assert not {"verifiedAt", "effectiveBy"} & told.keys()


def test_a_leaver_without_acts_has_its_hr_instant_alone() -> None:
    """Somebody whom nothing was taken from is in the population nevertheless."""
    (told,) = left(cycle_record(results=()))
    assert told["accessEndedAt"] == "2026-02-16T09:00:00.000000Z"
    assert not {"decidedAt", "actedAt", "verifiedAt", "effectiveBy"} & told.keys()
