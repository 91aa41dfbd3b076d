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


hashes = st.integers(1, 300).map(
    lambda size: [hashlib.sha256(bytes([size % 256, at % 256])).digest() for at in range(size)]
)


@given(hashes, st.data())
def test_a_frontier_is_the_whole_tree(leaves: list[bytes], data: st.DataObject) -> None:
    """Added in any two portions, leaves give the root of the whole tree, as the tree of all hashes does."""
    cut = data.draw(st.integers(0, len(leaves)))
    grown = merkle.Frontier().extended(leaves[:cut])
    tree = merkle.Tree(leaves)
    assert grown.root == tree.root(cut)
    assert grown.extended(leaves[cut:]).root == tree.root(len(leaves))


@given(hashes, st.data())
def test_growth_is_proven_and_nothing_else(leaves: list[bytes], data: st.DataObject) -> None:
    """The proof between two sizes verifies; with another root, size, hash, or a hash more or less it does not."""
    second = data.draw(st.integers(1, len(leaves)))
    first = data.draw(st.integers(1, second))
    tree = merkle.Tree(leaves)
    proof, roots = tree.consistency_proof(first, second), (tree.root(first), tree.root(second))
    assert merkle.verify_consistency(first, second, proof, *roots)
    other = bytes(32)
    assert not merkle.verify_consistency(first, second, proof, other, roots[1])
    assert not merkle.verify_consistency(first, second, proof, roots[0], other)
    assert not merkle.verify_consistency(first, second, (*proof, other), *roots)
    for at in range(len(proof)):
        assert not merkle.verify_consistency(first, second, (*proof[:at], *proof[at + 1 :]), *roots)
        assert not merkle.verify_consistency(first, second, (*proof[:at], other, *proof[at + 1 :]), *roots)


@given(hashes, st.data())
def test_a_rewritten_log_is_no_continuation(leaves: list[bytes], data: st.DataObject) -> None:
    """When a leaf that a first root covers is another one later, no proof of the later tree connects the two."""
    first = data.draw(st.integers(1, len(leaves)))
    changed = data.draw(st.integers(0, first - 1))
    rewritten = merkle.Tree([*leaves[:changed], bytes(32), *leaves[changed + 1 :]])
    proof = rewritten.consistency_proof(first, len(leaves))
    before, after = merkle.Tree(leaves).root(first), rewritten.root(len(leaves))
    assert not merkle.verify_consistency(first, len(leaves), proof, before, after)


@given(hashes, st.data())
def test_a_sample_is_proven_at_every_size(leaves: list[bytes], data: st.DataObject) -> None:
    """The tree of all hashes gives the inclusion proof of any leaf for any of its earlier sizes."""
    size = data.draw(st.integers(1, len(leaves)))
    index = data.draw(st.integers(0, size - 1))
    texts = [bytes([at % 256, at // 256]) for at in range(len(leaves))]
    tree = merkle.Tree(map(merkle.leaf_hash, texts))
    assert merkle.verify_inclusion(texts[index], index, size, tree.inclusion_proof(index, size), tree.root(size))
