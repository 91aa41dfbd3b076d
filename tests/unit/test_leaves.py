"""The records under the Merkle roots: pseudonyms, nonces, order."""

import json
from dataclasses import replace

import pytest

from reconciler.core.errors import EvidenceError
from reconciler.core.leaves import action_leaves, decision_leaves, leaf_file, leaves_of, reference
from tests.record_builders import KEY, cycle_record, nonces


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
    with pytest.raises(EvidenceError, match="no fresh nonce"):
        decision_leaves(cycle_record(), KEY, supply)


def test_leaves_do_not_follow_the_order_of_names() -> None:
    """Leaves come in the order of pseudonyms, whatever the order of findings was."""
    record = cycle_record()
    turned = replace(record, findings=record.findings[::-1])
    leaves = decision_leaves(record, KEY, nonces())
    assert leaves == decision_leaves(turned, KEY, nonces())
    access = [json.loads(leaf)["access"] for leaf in leaves]
    assert access == sorted(access)


def test_a_planned_action_without_result_has_a_leaf() -> None:
    """What the cycle intended and never came to is on record."""
    (leaf,) = action_leaves(cycle_record(results=()), KEY, nonces())
    assert json.loads(leaf)["outcome"] == "not_attempted"


def test_an_action_leaf_tells_how_it_ended_and_when() -> None:
    """Outcome, verification and their instants are what an auditor samples."""
    told = json.loads(action_leaves(cycle_record(), KEY, nonces())[0])
    assert (told["outcome"], told["verification"]) == ("done", "gone")
    assert told["verifiedAt"] == "2026-03-02T09:00:07.000000Z"
    assert told["worker"] == reference(KEY, "worker", "E1001")


def test_a_leaf_file_gives_its_leaves_back() -> None:
    """Writing and reading the lines is lossless; a torn file is refused."""
    leaves = decision_leaves(cycle_record(), KEY, nonces())
    assert leaves_of(leaf_file(leaves)) == leaves
    assert leaves_of(leaf_file(())) == ()
    with pytest.raises(EvidenceError, match="has no end"):
        leaves_of(leaf_file(leaves)[:-1])
