"""What verification tells as wrong, and every code of it with its meaning; the pages are tested against this list."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

CODES: Final[Mapping[str, str]] = {
    "statement_missing": "a bundle is here without its statement",
    "bundle_missing": "a statement is here without its bundle: not signed yet, or removed",
    "bundle_malformed": "the bundle is none that can be read",
    "bundle_changed": "the bundle is not in the form in which it was written, or its log entry contradicts itself",
    "statement_changed": "the statement is not the one that was signed",
    "statement_malformed": "the statement is not canonical JSON, or lacks a field",
    "statement_type": "the statement is of another type",
    "predicate_type": "the predicate is of another type",
    "payload_type": "the envelope holds something else than an in-toto statement",
    "signing_mode": "the statement names another signing mode than the one that it was signed by",
    "wrong_key": "another key signed",
    "wrong_identity": "another identity signed, or another issuer vouches for it",
    "signature": "the signature or its proof does not hold",
    "subjects": "two subjects have one name",
    "counting": "numbers of the statement contradict one another",
    "misplaced": "the files are named after another cycle",
    "duplicate": "a sequence number or cycle id is there twice",
    "missing": "a cycle that the chain, the journal or a checkpoint knows is not here",
    "forked": "it does not follow the statement, or the log, that is here or was kept",
    "genesis": "the chain begins with another installation or signer",
    "truncated": "the end was cut off",
    "unexpected_file": "a file belongs to nothing",
    "evidence_changed": "an evidence file is not the one that the statement signed",
    "merkle_root": "records do not have the Merkle root that the statement tells",
    "not_as_recorded": "the journal knows another statement",
    "not_recorded": "the journal does not know the cycle",
    "nothing": "there is no attestation",
    "disclosure_changed": "a disclosed line has a digest that no leaf commits to",
    "disclosure_malformed": "a disclosed line cannot be read",
    "log_forked": "a part of the log does not begin where that of the cycle before ended",
    "log_root": "the root of the log does not follow from the hashes, nor from the records",
    "log_changed": "hashes of the log are not those of the records that are here",
    "log_leaves": "the cycle has more or fewer records than the log has of it",
    "log_truncated": "the hashes end before the cycle's last one",
    "log_missing": "there are no hashes",
    "log_key": "the statement names another log, or another key, than those before",
    "heartbeat": "the cycle has no record of itself, or one that says something else",
    "checkpoint_changed": "the checkpoint after the cycle is another one",
    "checkpoint_missing": "the checkpoint after the cycle is gone",
    "checkpoint_refused": "the checkpoint that was kept is none of this log, or cannot be placed",
    "pack_damaged": "a file does not have the checksum that the zip file tells",
    "pack_changed": "a file is not the one that the manifest tells",
    "pack_missing": "a file that every pack has, or that the manifest tells, is not here",
    "pack_unlisted": "the manifest does not tell of a file",
    "pack_malformed": "something of the pack cannot be read",
    "manifest_signature": "the manifest's signature does not hold, or is over another manifest",
    "manifest_changed": "the manifest does not have the expected digest, or is not here",
    "leaf": "a disclosed record is not in the signed tree, or is not what a leaf commits to",
    "sample": "a record that the seed draws is not disclosed",
    "population": "the population is not what the signed records say",
    "matrix": "the matrix is not what the signed records say",
    "table": "another table is not what the signed records say",
    "policy": "the policies laid out are not those that were signed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong, and with which cycle."""

    cycle_id: str
    """Empty where no cycle can be named."""
    code: str
    """One of `CODES`."""
    message: str

    def __post_init__(self) -> None:
        if self.code not in CODES:
            msg = f"{self.code!r} is no code of a problem: add it to problems.py and to the pages"
            raise ValueError(msg)
