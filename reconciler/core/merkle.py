"""RFC 6962 Merkle trees over SHA-256: roots, proofs for one record, and proofs that a log only ever grew.

A tree lets a sampled record be shown without the others, and lets a record's text be destroyed while every proof still
holds. Leaves and inner nodes are hashed with different first bytes (RFC 6962 section 2.1, unchanged in RFC 9162).

>>> leaves = (b"a", b"b", b"c")
>>> verify_inclusion(b"c", 2, 3, inclusion_proof(leaves, 2), root(leaves))
True
>>> tree = Tree([leaf_hash(leaf) for leaf in leaves])
>>> verify_consistency(2, 3, tree.consistency_proof(2, 3), tree.root(2), tree.root(3))
True
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

HASH_BYTES = 32
"""Length of every hash here: SHA-256."""
_LEAF = b"\x00"
_NODE = b"\x01"


def leaf_hash(leaf: bytes) -> bytes:
    """Return the hash of one leaf: SHA-256 over 0x00 and the bytes."""
    return hashlib.sha256(_LEAF + leaf).digest()


@dataclass(frozen=True, slots=True)
class Frontier:
    """What is needed of a tree to add leaves to it and to tell its root: no more hashes than its size has bits."""

    size: int = 0
    peaks: tuple[bytes, ...] = ()
    """Roots of the complete subtrees that the tree consists of, the largest first."""

    def extended(self, hashes: Iterable[bytes]) -> Self:
        """Return the frontier of the tree with these leaf hashes added."""
        size, peaks = self.size, list(self.peaks)
        for one in hashes:
            node, full = one, size
            while full & 1:
                node, full = _node_hash(peaks.pop(), node), full >> 1
            peaks.append(node)
            size += 1
        return type(self)(size, tuple(peaks))

    @property
    def root(self) -> bytes:
        """Return the Merkle tree hash; that of no leaves is SHA-256 of nothing."""
        if not self.peaks:
            return hashlib.sha256(b"").digest()
        *others, node = self.peaks
        for peak in reversed(others):
            node = _node_hash(peak, node)
        return node


class Tree:
    """All hashes of a tree, so that roots and proofs of any size up to its own take a few steps each."""

    def __init__(self, hashes: Iterable[bytes]) -> None:
        self._levels = [list(hashes)]
        while len(below := self._levels[-1]) > 1:
            self._levels.append([_node_hash(below[at], below[at + 1]) for at in range(0, len(below) - 1, 2)])

    @property
    def size(self) -> int:
        """Return how many leaves there are."""
        return len(self._levels[0])

    def root(self, size: int) -> bytes:
        """Return the root of the tree of the first leaves. Raises IndexError for more than there are."""
        self._holds(size)
        return self._over(0, size)

    def inclusion_proof(self, index: int, size: int) -> tuple[bytes, ...]:
        """Return the hashes that lead from a leaf to the root of the tree of this size, lowest first.

        Raises IndexError for a leaf, or a size, that is not there.
        """
        self._holds(size)
        if not 0 <= index < size:
            msg = f"leaf {index} is not in a tree of {size}"
            raise IndexError(msg)
        start, end, path = 0, size, list[bytes]()
        while end - start > 1:
            middle = start + _split(end - start)
            if index < middle:
                path.append(self._over(middle, end))
                end = middle
            else:
                path.append(self._over(start, middle))
                start = middle
        return tuple(reversed(path))

    def consistency_proof(self, first: int, second: int) -> tuple[bytes, ...]:
        """Return the hashes that show the tree of the second size to begin with that of the first, lowest first.

        Empty when both are the same, and for the empty tree, with which every tree begins. Raises IndexError for sizes
        that are not there, or not in this order.
        """
        self._holds(second)
        if not 0 <= first <= second:
            msg = f"a tree of {second} does not begin with one of {first}"
            raise IndexError(msg)
        if first == 0:
            return ()
        start, end, path = 0, second, list[bytes]()
        while first != end:
            middle = start + _split(end - start)
            if first <= middle:
                path.append(self._over(middle, end))
                end = middle
            else:
                path.append(self._over(start, middle))
                start = middle
        if start:
            path.append(self._over(start, end))
        return tuple(reversed(path))

    def _holds(self, size: int) -> None:
        if not 0 <= size <= self.size:
            msg = f"there is no tree of {size} leaves, only of up to {self.size}"
            raise IndexError(msg)

    def _over(self, start: int, end: int) -> bytes:
        """Return the root over a range that begins where one of its subtrees may begin."""
        peaks: list[bytes] = []
        while start < end:
            level = (end - start).bit_length() - 1
            peaks.append(self._levels[level][start >> level])
            start += 1 << level
        return Frontier(peaks=tuple(peaks)).root


def root(leaves: Sequence[bytes]) -> bytes:
    """Return the Merkle tree hash of the leaves; that of none is SHA-256 of nothing."""
    return Frontier().extended(map(leaf_hash, leaves)).root


def inclusion_proof(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """Return the hashes that lead from one leaf to the root, lowest first.

    Raises IndexError for a leaf that is not there.
    """
    return Tree(map(leaf_hash, leaves)).inclusion_proof(index, len(leaves))


def inclusion_proofs(leaves: Sequence[bytes], indices: Iterable[int]) -> Iterator[tuple[bytes, ...]]:
    """Yield the inclusion proof of each of several leaves, hashing the tree once.

    Raises IndexError for a leaf that is not there.
    """
    tree = Tree(map(leaf_hash, leaves))
    for index in indices:
        yield tree.inclusion_proof(index, tree.size)


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
            node, last = _up_to_a_right_one(node, last)
        else:
            current = _node_hash(current, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and current == expected_root


def verify_consistency(first: int, second: int, proof: Sequence[bytes], first_root: bytes, second_root: bytes) -> bool:
    """Say whether the proof shows that the second tree begins with the first one (RFC 9162 section 2.1.4.2)."""
    if first in {0, second}:
        begins = second_root if first == second else Frontier().root
        return first <= second and not proof and first_root == begins
    if not 0 < first < second or not proof:
        return False
    path = [first_root, *proof] if first & (first - 1) == 0 else list(proof)
    node, last = first - 1, second - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            old, new = _node_hash(sibling, old), _node_hash(sibling, new)
            node, last = _up_to_a_right_one(node, last)
        else:
            new = _node_hash(new, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and old == first_root and new == second_root


def _up_to_a_right_one(node: int, last: int) -> tuple[int, int]:
    """Climb as long as the node is a left one without a sibling."""
    while node and not node & 1:
        node, last = node >> 1, last >> 1
    return node, last


def _node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(_NODE + left + right).digest()


def _split(count: int) -> int:
    """Return the largest power of two below a count of at least two."""
    return 1 << ((count - 1).bit_length() - 1)
