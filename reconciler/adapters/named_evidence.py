"""The evidence files that statements name by digest, held against digest and Merkle root where they are still here."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from reconciler.adapters.attestation_document import StatementDocument, Subject
from reconciler.adapters.disclosures import CycleLeaves
from reconciler.adapters.evidence_store import disclosures_path, evidence_path
from reconciler.core import merkle
from reconciler.core.errors import EvidenceError
from reconciler.core.leaves import leaves_of


class NamedEvidence:
    """Checks the evidence files that statements name, each file once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._good: dict[str, bool] = {}
        self.absent = 0

    @property
    def checked(self) -> int:
        """Return how many files are here."""
        return len(self._good)

    def check(self, document: StatementDocument) -> Iterator[tuple[str, str]]:
        """Yield a code and a text for each subject of a statement whose file is here and is another one.

        Raises OSError when a file cannot be read.
        """
        for subject in document.subject:
            path = evidence_path(self._root, subject.digest.sha256)
            if not path.is_file():
                self.absent += 1
            elif not self._is_good(subject, path):
                yield "evidence_changed", f"the evidence {subject.name} is not what the statement signed: {path.name}"
            elif _tree_differs(subject, document, path):
                yield (
                    "merkle_root",
                    f"the records of {subject.name} do not have the Merkle root that the statement tells",
                )
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

    def _is_good(self, subject: Subject, path: Path) -> bool:
        digest = subject.digest.sha256
        if digest not in self._good:
            with path.open("rb") as source:
                self._good[digest] = hashlib.file_digest(source, "sha256").hexdigest() == digest
        return self._good[digest]


def _tree_differs(subject: Subject, document: StatementDocument, path: Path) -> bool:
    told = document.predicate
    tree = {"leaver-log": told.leavers, "decision-log": told.decisions, "action-log": told.actions}.get(subject.name)
    if tree is None:
        return False
    try:
        leaves = leaves_of(path.read_bytes())
    except EvidenceError:
        return True
    return len(leaves) != tree.leaf_count or merkle.root(leaves).hex() != tree.merkle_root.sha256
