"""What holds for every Merkle tree."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from reconciler.core import merkle

trees = st.lists(st.binary(max_size=8), min_size=1, max_size=40)


def textbook_root(leaves: list[bytes]) -> bytes:
    """Return the root by the recursive definition of RFC 6962 section 2.1."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + textbook_root(leaves[:split]) + textbook_root(leaves[split:])).digest()


@given(st.lists(st.binary(max_size=8), max_size=70))
def test_root_is_the_recursive_definition(leaves: list[bytes]) -> None:
    """Folding level by level gives the root that the RFC defines by recursion."""
    assert merkle.root(leaves) == textbook_root(leaves)


@given(trees, st.data())
def test_every_leaf_is_proven(leaves: list[bytes], data: st.DataObject) -> None:
    """The proof of each leaf verifies at its own index and size."""
    index = data.draw(st.integers(0, len(leaves) - 1))
    proof = merkle.inclusion_proof(leaves, index)
    assert merkle.verify_inclusion(leaves[index], index, len(leaves), proof, merkle.root(leaves))


@given(trees, st.binary(max_size=8), st.data())
def test_another_leaf_is_never_proven(leaves: list[bytes], other: bytes, data: st.DataObject) -> None:
    """No other bytes verify in a leaf's place."""
    index = data.draw(st.integers(0, len(leaves) - 1))
    if other == leaves[index]:
        other += b"!"
    proof = merkle.inclusion_proof(leaves, index)
    assert not merkle.verify_inclusion(other, index, len(leaves), proof, merkle.root(leaves))


@given(trees, st.data())
def test_a_changed_proof_is_refused(leaves: list[bytes], data: st.DataObject) -> None:
    """A proof with a step more, a step less or another hash does not verify."""
    index = data.draw(st.integers(0, len(leaves) - 1))
    proof = merkle.inclusion_proof(leaves, index)
    forged: list[tuple[bytes, ...]] = [proof[:-1], (*proof, b"\x00" * 32)] if proof else [(b"\x00" * 32,)]
    if proof:
        forged.append((bytes(32), *proof[1:]))
    for candidate in forged:
        assert not merkle.verify_inclusion(leaves[index], index, len(leaves), candidate, merkle.root(leaves))
