"""Merkle roots and proofs against the known answers of the Certificate Transparency test tree."""

import pytest

from reconciler.core import merkle

# The eight leaves and the roots of their prefixes that the Certificate Transparency implementations test against.
LEAVES = tuple(
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
)
ROOTS = (
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)


@pytest.mark.parametrize("size", range(9))
def test_root_of_every_prefix_is_the_known_one(size: int) -> None:
    """The roots of the standard tree come out for every size, none and odd ones included."""
    assert merkle.root(LEAVES[:size]).hex() == ROOTS[size]


def test_known_inclusion_proof() -> None:
    """The proof of the first leaf in the tree of eight is the three right-hand subtrees, lowest first."""
    proof = merkle.inclusion_proof(LEAVES, 0)
    assert [node.hex() for node in proof] == [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ]


def test_a_leaf_is_not_a_node() -> None:
    """A leaf made of two hashes never has the hash of the node above them: second preimages are shut out."""
    left, right = merkle.leaf_hash(b"a"), merkle.leaf_hash(b"b")
    assert merkle.root((b"a", b"b")) != merkle.leaf_hash(left + right)


@pytest.mark.parametrize("index", [-1, 3])
def test_no_proof_for_a_leaf_that_is_not_there(index: int) -> None:
    """Asking for a proof outside the tree is an error, and no proof verifies there."""
    leaves = (b"a", b"b", b"c")
    with pytest.raises(IndexError, match="not in a tree of 3"):
        merkle.inclusion_proof(leaves, index)
    assert not merkle.verify_inclusion(b"a", index, 3, merkle.inclusion_proof(leaves, 0), merkle.root(leaves))
