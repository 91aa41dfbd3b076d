"""A tree that grows: its frontier, its roots of every size, and proofs that a longer one begins with a shorter one."""

import pytest

from reconciler.core import merkle
from tests.unit.test_merkle import LEAVES, ROOTS

HASHES = tuple(map(merkle.leaf_hash, LEAVES))
# Consistency proofs of the Certificate Transparency test tree: (first size, second size, hashes lowest first).
PROOFS = (
    (1, 1, ()),
    (
        1,
        8,
        (
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ),
    ),
    (
        6,
        8,
        (
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ),
    ),
    (
        2,
        5,
        (
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ),
    ),
)


@pytest.mark.parametrize(("first", "second", "proof"), PROOFS)
def test_known_consistency_proofs(first: int, second: int, proof: tuple[str, ...]) -> None:
    """The proofs that Certificate Transparency implementations test against come out, and verify."""
    made = merkle.Tree(HASHES).consistency_proof(first, second)
    assert tuple(node.hex() for node in made) == proof
    roots = [bytes.fromhex(ROOTS[size]) for size in (first, second)]
    assert merkle.verify_consistency(first, second, made, roots[0], roots[1])


@pytest.mark.parametrize("size", range(9))
def test_a_frontier_has_the_known_roots(size: int) -> None:
    """Leaf by leaf, or in two steps, a frontier comes to the root of the standard tree, with few hashes."""
    halves = merkle.Frontier().extended(HASHES[: size // 2]).extended(HASHES[size // 2 : size])
    assert halves == merkle.Frontier().extended(HASHES[:size])
    assert (halves.size, halves.root.hex()) == (size, ROOTS[size])
    assert len(halves.peaks) == size.bit_count()
    assert merkle.Tree(HASHES).root(size).hex() == ROOTS[size]


def test_every_tree_begins_with_none() -> None:
    """Of the empty tree nothing is to be shown; any other root for it is refused."""
    nothing, one = merkle.Frontier().root, merkle.Tree(HASHES).root(1)
    assert merkle.verify_consistency(0, 1, (), nothing, one)
    assert merkle.verify_consistency(0, 0, (), nothing, nothing)
    assert not merkle.verify_consistency(0, 1, (), one, one)
    assert not merkle.verify_consistency(0, 1, (one,), nothing, one)


@pytest.mark.parametrize(("first", "second"), [(2, 1), (-1, 1), (1, -1), (0, -1), (-2, -1)])
def test_a_shorter_tree_is_no_continuation(first: int, second: int) -> None:
    """No proof shows that a log grew backwards, and no such proof is made."""
    tree = merkle.Tree(HASHES)
    assert not merkle.verify_consistency(first, second, (), tree.root(2), tree.root(2))
    with pytest.raises(IndexError, match=r"there is no tree|does not begin"):
        tree.consistency_proof(first, second)


def test_what_is_not_in_the_tree_has_no_proof() -> None:
    """Sizes beyond the tree and leaves beyond a size are errors."""
    tree = merkle.Tree(HASHES)
    for ask in (
        lambda: tree.root(9),
        lambda: tree.consistency_proof(1, 9),
        lambda: tree.inclusion_proof(0, 9),
        lambda: tree.inclusion_proof(3, 3),
    ):
        with pytest.raises(IndexError):
            ask()
