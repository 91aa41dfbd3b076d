"""RFC 6962 Merkle trees over SHA-256: a root for all records of a cycle, and proofs for one of them.

A tree lets a sampled record be shown without the others, and lets a record's text be destroyed while every proof still
holds. Leaves and inner nodes are hashed with different first bytes (RFC 6962 section 2.1, unchanged in RFC 9162).

>>> leaves = (b"a", b"b", b"c")
>>> verify_inclusion(b"c", 2, 3, inclusion_proof(leaves, 2), root(leaves))
True
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence

_LEAF = b"\x00"
_NODE = b"\x01"


def leaf_hash(leaf: bytes) -> bytes:
    """Return the hash of one leaf: SHA-256 over 0x00 and the bytes."""
    return hashlib.sha256(_LEAF + leaf).digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """Return the Merkle tree hash of the leaves; that of none is SHA-256 of nothing."""
    return _subtree([leaf_hash(leaf) for leaf in leaves])


def inclusion_proof(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """Return the hashes that lead from one leaf to the root, lowest first.

    Raises IndexError for a leaf that is not there.
    """
    if not 0 <= index < len(leaves):
        msg = f"leaf {index} is not in a tree of {len(leaves)}"
        raise IndexError(msg)
    hashes = [leaf_hash(leaf) for leaf in leaves]
    path: list[bytes] = []
    while len(hashes) > 1:
        split = _split(len(hashes))
        if index < split:
            path.append(_subtree(hashes[split:]))
            hashes = hashes[:split]
        else:
            path.append(_subtree(hashes[:split]))
            hashes = hashes[split:]
            index -= split
    return tuple(reversed(path))


def inclusion_proofs(leaves: Sequence[bytes], indices: Iterable[int]) -> Iterator[tuple[bytes, ...]]:
    """Yield the inclusion proof of each of several leaves, hashing the tree once.

    Raises IndexError for a leaf that is not there.
    """
    levels = [[leaf_hash(leaf) for leaf in leaves]]
    while len(levels[-1]) > 1:
        levels.append(_above(levels[-1]))
    for index in indices:
        if not 0 <= index < len(leaves):
            msg = f"leaf {index} is not in a tree of {len(leaves)}"
            raise IndexError(msg)
        beside = ((level, (index >> height) ^ 1) for height, level in enumerate(levels))
        yield tuple(level[sibling] for level, sibling in beside if sibling < len(level))


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], expected_root: bytes) -> bool:
    """Say whether the proof shows this leaf at this index of the tree of this size (RFC 9162 section 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    node, last = index, size - 1
    current = leaf_hash(leaf)
    for sibling in proof:
        if last == 0:
            return False
        if node & 1 or node == last:
            current = _node_hash(sibling, current)
            while node and not node & 1:
                node, last = node >> 1, last >> 1
        else:
            current = _node_hash(current, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and current == expected_root


def _node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(_NODE + left + right).digest()


def _split(count: int) -> int:
    """Return the largest power of two below a count of at least two."""
    return 1 << ((count - 1).bit_length() - 1)


def _subtree(hashes: Sequence[bytes]) -> bytes:
    """Fold leaf hashes level by level: an odd last node is carried up, which is the tree of RFC 6962."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    level = list(hashes)
    while len(level) > 1:
        level = _above(level)
    return level[0]


def _above(level: list[bytes]) -> list[bytes]:
    pairs = [_node_hash(level[at], level[at + 1]) for at in range(0, len(level) - 1, 2)]
    return pairs + level[len(pairs) * 2 :]
