"""The running log: one RFC 6962 tree over the records of all cycles, and the place of each cycle in it.

A cycle's records follow those of the cycle before: first what the cycle was, then its leavers, decisions and actions.
Every statement tells the tree before and after its own records, so that who holds two statements, or two checkpoints,
can see whether anything between them was left out, put in or changed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from reconciler.core.canonical import Json, sha256_hex
from reconciler.core.checkpoint import Checkpoint
from reconciler.core.leaves import leaves_of
from reconciler.core.merkle import Frontier, leaf_hash

LOGGED = ("cycle-log", "leaver-log", "decision-log", "action-log")
"""The evidence files whose lines are leaves of the running log, in the order in which they stand there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogHead:
    """A state of the log: its number of leaves, and the root over them in hex."""

    size: int
    root: str


Hashes = Callable[[int, int], Sequence[bytes]]
"""Gives the leaf hashes that the log keeps from one index up to another; fewer when it ends before."""
EMPTY = LogHead(size=0, root=sha256_hex(b""))


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSection:
    """What a statement says of the log."""

    origin: str
    verifier_key: str
    """The key of the log's checkpoints, as C2SP notes write it."""
    before: LogHead
    after: LogHead

    def json(self) -> Json:
        """Return the section as it stands in a predicate."""
        return {
            "origin": self.origin,
            "verifierKey": self.verifier_key,
            "treeSizeBefore": self.before.size,
            "treeSizeAfter": self.after.size,
            "rootBefore": {"sha256": self.before.root},
            "rootAfter": {"sha256": self.after.root},
        }

    @property
    def checkpoint(self) -> Checkpoint:
        """Return what the checkpoint after this cycle says."""
        return Checkpoint(origin=self.origin, size=self.after.size, root=bytes.fromhex(self.after.root))


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    """The leaves of one cycle, laid out at the end of the log, before anything is written."""

    section: LogSection
    hashes: tuple[bytes, ...]
    frontier: Frontier
    """Of the log with these leaves."""


def logged(files: Mapping[str, bytes]) -> tuple[bytes, ...]:
    """Return the leaves that a cycle's evidence files add to the log. Raises `EvidenceError` for a torn file."""
    return tuple(leaf for name in LOGGED if name in files for leaf in leaves_of(files[name]))


def head_of(frontier: Frontier) -> LogHead:
    """Return the state of the log that a frontier is of."""
    return LogHead(size=frontier.size, root=frontier.root.hex())


def extension(frontier: Frontier, leaves: Sequence[bytes], *, origin: str, verifier_key: str) -> Extension:
    """Lay leaves out at the end of a log."""
    hashes = tuple(map(leaf_hash, leaves))
    longer = frontier.extended(hashes)
    section = LogSection(origin=origin, verifier_key=verifier_key, before=head_of(frontier), after=head_of(longer))
    return Extension(section=section, hashes=hashes, frontier=longer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The part of the log that a cycle claims for its leaves."""

    section: LogSection
    counts: tuple[tuple[str, int], ...]
    """Each of its files that adds leaves, in the order of `LOGGED`, and how many."""
    continues: bool = True
    """Whether the statement before it is the one that was followed last; the first of a chain continues nothing."""


class LogReplay:
    """Follows the log from cycle to cycle: over the hashes that it keeps, and over the leaves that still exist."""

    def __init__(self, kept: Hashes | None) -> None:
        """`kept` is None where only statements and leaves are at hand."""
        self._kept = kept
        self._last: LogHead | None = EMPTY
        self._frontier: Frontier | None = Frontier()

    @property
    def frontier(self) -> Frontier | None:
        """Return the tree up to the cycle followed last; None when its root could not be recomputed."""
        return self._frontier

    def follow(self, place: Place, files: Mapping[str, tuple[bytes, ...]]) -> Iterator[tuple[str, str]]:
        """Yield a code and a text for each thing that is wrong with a cycle's part of the log.

        `files` holds the leaf hashes of each of its files that still exists and is the one that was signed.
        """
        section = place.section
        last, self._last = self._last if place.continues else None, section.after
        at_hand, self._frontier = self._up_to(section.before), None
        if last is not None and last != section.before:
            yield "log_forked", "its part of the log does not begin where that of the cycle before ended"
        elif _sizes_differ(place, files):
            yield "log_leaves", "its files have another number of leaves than the log has of it"
        else:
            kept = None if self._kept is None else tuple(self._kept(section.before.size, section.after.size))
            candidates = (kept, _whole(place, files))
            self._frontier = _grown(at_hand, candidates, section.after)
            known = at_hand is not None and any(hashes is not None for hashes in candidates)
            yield from _differences(place, kept, files, root_differs=known and self._frontier is None)

    def _up_to(self, before: LogHead) -> Frontier | None:
        """Return the tree where a cycle begins, over cycles of which only hashes are left; None when not known."""
        reached = self._frontier
        if reached is not None and self._kept is not None and reached.size < before.size:
            reached = reached.extended(self._kept(reached.size, before.size))
        return reached if reached is not None and reached.size == before.size else None


def _sizes_differ(place: Place, files: Mapping[str, tuple[bytes, ...]]) -> bool:
    told = dict(place.counts)
    size = place.section.after.size - place.section.before.size
    return sum(told.values()) != size or any(len(hashes) != told.get(name) for name, hashes in files.items())


def _whole(place: Place, files: Mapping[str, tuple[bytes, ...]]) -> tuple[bytes, ...] | None:
    """Return all leaf hashes of a cycle from its files; None when one of them is gone."""
    if any(name not in files for name, _ in place.counts):
        return None
    return tuple(one for name, _ in place.counts for one in files[name])


def _grown(
    at_hand: Frontier | None, candidates: tuple[tuple[bytes, ...] | None, ...], after: LogHead
) -> Frontier | None:
    """Return the tree after a cycle, by those hashes that give the root that its statement tells."""
    if at_hand is not None:
        for hashes in candidates:
            if hashes is not None and head_of(grown := at_hand.extended(hashes)) == after:
                return grown
    return None


def _differences(
    place: Place, kept: tuple[bytes, ...] | None, files: Mapping[str, tuple[bytes, ...]], *, root_differs: bool
) -> Iterator[tuple[str, str]]:
    if kept is not None and len(kept) < place.section.after.size - place.section.before.size:
        yield "log_truncated", "the log ends before the last of its leaves"
    elif kept is not None and (changed := _elsewhere(place, kept, files)):
        yield "log_changed", f"the hashes that the log keeps of {', '.join(changed)} are not those of its lines"
    elif root_differs:
        yield "log_root", "the root over the log up to its last leaf is not the one that it tells"


def _elsewhere(place: Place, kept: tuple[bytes, ...], files: Mapping[str, tuple[bytes, ...]]) -> tuple[str, ...]:
    """Return the files whose leaves are not where the log has them."""
    changed, at = [], 0
    for name, count in place.counts:
        if name in files and files[name] != kept[at : at + count]:
            changed.append(name)
        at += count
    return tuple(changed)
