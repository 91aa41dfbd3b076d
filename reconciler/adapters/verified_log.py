"""Verifying the running log offline: over the hashes that it keeps, the records that still exist, and its checkpoints.

What is recomputed is more than what is compared: from hashes or records follow the roots that statements tell, without
them only that each statement begins where the one before ended. The report says which of the two it was.
"""

from collections.abc import Collection, Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from reconciler.adapters.attestation_document import StatementDocument
from reconciler.adapters.attestation_names import STATEMENT_SUFFIX, parse_name
from reconciler.adapters.evidence_files import Entry
from reconciler.adapters.evidence_store import attestation_stem
from reconciler.adapters.log_files import CHECKPOINT_SUFFIX, CHECKPOINTS, LEAF_HASHES, HashFile, checkpoint_path
from reconciler.core.checkpoint import Checkpoint, VerifierKey, read_checkpoint
from reconciler.core.errors import EvidenceError
from reconciler.core.merkle import HASH_BYTES, Frontier
from reconciler.core.running_log import LogReplay, LogSection

Found = tuple[str, str, str]
"""The cycle that is named (empty for none), a code, and a text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogState:
    """What was found of the log at its end."""

    section: LogSection
    """As the last statement that could be read tells it."""
    recomputed: bool
    """Whether the root follows from hashes or records that are here, all the way from the first."""


class VerifiedLog:
    """Follows the log through attestations in their order."""

    def __init__(self, root: Entry, source: HashFile | None, expected: bytes | None, *, demanded: bool) -> None:
        self._root = root
        self._demanded = demanded
        self._source = source
        self._expected = expected
        self._replay = LogReplay(None if source is None else source.hashes)
        self._followed: str | None = ""
        """Digest of the statement followed last, empty before the first; None when that one could not be read."""
        self._section: LogSection | None = None
        self._kept: Checkpoint | None = None
        self._placed = False

    @classmethod
    @contextmanager
    def opened(cls, root: Entry, expected: bytes | None, *, demanded: bool) -> Iterator[Self]:
        """Open the log under a root, if its hashes are here, which they must be where they are `demanded`.

        `expected` is a checkpoint that an auditor kept.
        """
        path = root / LEAF_HASHES
        if not path.is_file():
            yield cls(root, None, expected, demanded=demanded)
            return
        with HashFile.open(path) as source:
            yield cls(root, source, expected, demanded=demanded)

    @property
    def state(self) -> LogState | None:
        """Return what was found; None where no statement could be read."""
        if self._section is None:
            return None
        reached = self._replay.frontier
        return LogState(
            section=self._section, recomputed=reached is not None and reached.size == self._section.after.size
        )

    def skip(self) -> None:
        """Go past an attestation that could not be read."""
        self._followed = None

    def follow(
        self, document: StatementDocument, digest: str, hashes: Mapping[str, tuple[bytes, ...]]
    ) -> Iterator[tuple[str, str]]:
        """Yield a code and a text for each thing that is wrong with the part of the log that a statement tells.

        `hashes` are those of its records that are here.
        """
        previous = document.predicate.previous
        before = "" if previous is None else "sha256:" + previous.statement_digest.sha256
        place = document.place(continues=before == self._followed)
        if self._source is not None and self._source.size < place.section.after.size * HASH_BYTES:
            self._source.look_again()
        self._followed = digest
        yield from self._same_key(place.section)
        yield from self._replay.follow(place, hashes)
        if "cycle-log" not in dict(place.counts):
            yield "heartbeat", "it has no record of the cycle itself (cycle-log)"
        stem = attestation_stem(document.predicate.sequence, document.predicate.cycle_id)
        yield from self._checkpoint(stem, place.section)
        if self._kept is not None and self._kept.size == place.section.after.size:
            self._placed = True
            if self._kept != place.section.checkpoint:
                yield "forked", "the log up to it is not the one of the checkpoint that was kept"

    def end(self, known: Container[tuple[int, str]], later: Collection[tuple[int, str]] = ()) -> Iterator[Found]:
        """Yield what is wrong with the whole: its end, a checkpoint that was kept, and what no attestation goes with.

        `known` are the sequence numbers and cycle ids of the attestations that were followed, `later` those of others
        that have come since: what the log has more is theirs.
        """
        yield from self._strays(known, later)
        if self._section is None:
            return
        if self._source is None and self._demanded:
            yield "", "log_missing", f"{LEAF_HASHES}, the hashes of all records, is missing"
        after = self._section.after
        told = self._followed is not None and not later
        if self._source is not None and told and self._source.size > after.size * HASH_BYTES:
            more = self._source.size // HASH_BYTES - after.size
            yield "", "truncated", f"the log has {more} records more than the statements tell: later ones were removed"
        if self._expected is not None and not self._placed:
            yield from self._against_kept(after.size)

    def _same_key(self, section: LogSection) -> Iterator[tuple[str, str]]:
        first, self._section = self._section, section
        if first is None:
            yield from self._read_expected(section)
        elif (first.origin, first.verifier_key) != (section.origin, section.verifier_key):
            yield "log_key", "it names another log, or another key of it, than the one before"

    def _read_expected(self, section: LogSection) -> Iterator[tuple[str, str]]:
        if self._expected is None:
            return
        try:
            self._kept = read_checkpoint(self._expected, VerifierKey.parse(section.verifier_key))
        except EvidenceError as error:
            self._placed = True
            yield "checkpoint_refused", f"the checkpoint that was kept is none of the log that it names: {error}"

    def _checkpoint(self, stem: str, section: LogSection) -> Iterator[tuple[str, str]]:
        path = checkpoint_path(self._root, stem)
        if not path.is_file():
            if path.parent.is_dir():
                yield "checkpoint_missing", f"{path.name}, the checkpoint after it, is missing"
            return
        try:
            found = read_checkpoint(path.read_bytes(), VerifierKey.parse(section.verifier_key))
        except EvidenceError as error:
            yield "checkpoint_changed", f"the checkpoint after it was changed: {error}"
            return
        if found != section.checkpoint:
            yield "checkpoint_changed", "the checkpoint after it is of another state of the log than it tells"

    def _strays(self, known: Container[tuple[int, str]], later: Container[tuple[int, str]]) -> Iterator[Found]:
        folder = self._root / CHECKPOINTS
        for path in sorted(folder.iterdir(), key=lambda one: one.name) if folder.is_dir() else ():
            name = parse_name(path.name.removesuffix(CHECKPOINT_SUFFIX) + STATEMENT_SUFFIX)
            if name is None or not path.name.endswith(CHECKPOINT_SUFFIX) or not path.is_file():
                yield "", "unexpected_file", f"{CHECKPOINTS}/{path.name} is no checkpoint"
            elif name[:2] not in known and name[:2] not in later:
                text = f"cycle {name[0]} ({name[1]}): its attestation is missing; the checkpoint after it is here"
                yield name[1], "missing", text

    def _against_kept(self, size: int) -> Iterator[Found]:
        """Place a kept checkpoint that is of no state after one of these cycles."""
        kept = self._kept
        if kept is None:
            return
        if kept.size > size:
            text = f"the checkpoint that was kept is of {kept.size} records, the log has {size}: its end was cut off"
            yield "", "truncated", text
        elif self._source is None:
            yield "", "checkpoint_refused", "no cycle here ends where the checkpoint that was kept does"
        elif Frontier().extended(self._source.hashes(0, kept.size)).root != kept.root:
            yield "", "forked", f"the first {kept.size} records are not those of the checkpoint that was kept"
