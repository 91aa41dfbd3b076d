"""The evidence files that statements name by digest, held against digest and Merkle root where they are still here."""

import json
from collections.abc import Iterator, Mapping

from reconciler.adapters.attestation_document import Predicate, StatementDocument, Subject
from reconciler.adapters.disclosures import CycleLeaves
from reconciler.adapters.evidence_files import Entry, file_digest
from reconciler.adapters.evidence_store import disclosures_path, evidence_path
from reconciler.core.canonical import dumps, sha256_hex
from reconciler.core.errors import EvidenceError
from reconciler.core.leaves import leaves_of
from reconciler.core.merkle import Frontier, leaf_hash
from reconciler.core.running_log import LOGGED


class NamedEvidence:
    """Checks the evidence files that statements name, each file once."""

    def __init__(self, root: Entry) -> None:
        self._root = root
        self._good: dict[str, bool] = {}
        self._hashes: dict[str, tuple[bytes, ...]] = {}
        self.absent = 0

    @property
    def checked(self) -> int:
        """Return how many files are here."""
        return len(self._good)

    @property
    def hashes(self) -> Mapping[str, tuple[bytes, ...]]:
        """Return the leaf hashes of those files of the statement checked last that are here and are right."""
        return self._hashes

    def check(self, document: StatementDocument) -> Iterator[tuple[str, str]]:
        """Yield a code and a text for each subject of a statement whose file is here and is another one.

        Raises OSError when a file cannot be read.
        """
        self._hashes = {}
        here: set[str] = set()
        for subject in document.subject:
            path = evidence_path(self._root, subject.digest.sha256)
            if not path.is_file():
                self.absent += 1
                continue
            here.add(subject.name)
            content = path.read_bytes() if subject.name in LOGGED else None
            if not self._is_good(subject, path, content):
                yield "evidence_changed", f"the evidence {subject.name} is not what the statement signed: {path.name}"
            elif content is not None:
                yield from self._records(subject.name, content, document.predicate)
        if here.intersection(LOGGED) == self._hashes.keys():  # against changed leaves no line can be held
            yield from self._check_disclosures(document)

    def _check_disclosures(self, document: StatementDocument) -> Iterator[tuple[str, str]]:
        """Yield a problem for each line beside the leaves that none of them commits to."""
        told = document.predicate
        path = disclosures_path(self._root, told.sequence, told.cycle_id)
        if not path.is_file():
            return
        try:
            strays = CycleLeaves.open(self._root, document).lines.strays
        except EvidenceError as error:
            yield "disclosure_changed", f"its disclosures cannot be held against its leaves: {error}"
            return
        for number in strays:
            yield "disclosure_changed", f"line {number} of {path.name} has a digest that no leaf commits to"

    def _is_good(self, subject: Subject, path: Entry, content: bytes | None) -> bool:
        """Say whether a file has its digest; `content` is what is in memory of it anyway."""
        digest = subject.digest.sha256
        if content is not None:
            self._good[digest] = sha256_hex(content) == digest
        elif digest not in self._good:
            self._good[digest] = file_digest(path) == digest
        return self._good[digest]

    def _records(self, name: str, content: bytes, told: Predicate) -> Iterator[tuple[str, str]]:
        """Hold the records of a file against what the statement tells of them."""
        try:
            leaves = leaves_of(content)
        except EvidenceError:
            leaves = (content,)
        hashes = tuple(map(leaf_hash, leaves))
        tree = {"leaver-log": told.leavers, "decision-log": told.decisions, "action-log": told.actions}.get(name)
        root = Frontier().extended(hashes).root.hex()
        if tree is None and not _is_heartbeat(leaves, told):
            yield "heartbeat", f"the record of the cycle itself ({name}) is not what the statement tells of it"
        elif tree is not None and (len(leaves), root) != (tree.leaf_count, tree.merkle_root.sha256):
            yield "merkle_root", f"the records of {name} do not have the Merkle root that the statement tells"
        else:
            self._hashes[name] = hashes


def _is_heartbeat(leaves: tuple[bytes, ...], told: Predicate) -> bool:
    """Say whether there is one record, and it is of this cycle."""
    try:
        nonce = json.loads(leaves[0])["nonce"] if len(leaves) == 1 else None
    except (ValueError, KeyError, TypeError):
        return False
    expected = {
        "type": "cycle/1",
        "cycleId": told.cycle_id,
        "sequence": told.sequence,
        "mode": told.mode,
        "breadth": told.breadth,
        "outcome": told.outcome,
        "startedAt": told.started_at,
        "finishedAt": told.finished_at,
        "previousStatement": None if told.previous is None else told.previous.statement_digest.sha256,
        "nonce": nonce,
    }
    return isinstance(nonce, str) and leaves[0] == dumps(expected)
