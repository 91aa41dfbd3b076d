"""A valid signature is not enough: what a statement claims, and the evidence it names, must be right too."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.adapters.evidence_store import evidence_path
from reconciler.core.canonical import dumps, sha256_hex
from tests.record_builders import Chain, attested_chain, blamed, cycle_id, cycle_record, verified

CYCLES = 5


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """Attest five cycles once."""
    records = [cycle_record(sequence=number) for number in range(1, CYCLES + 1)]
    return attested_chain(tmp_path_factory.mktemp("original"), *records)


@pytest.fixture
def chain(original: Chain, tmp_path: Path) -> Chain:
    """Return a copy that may be damaged."""
    return original.copied(tmp_path / "state")


def resign(chain: Chain, sequence: int, change: Callable[[dict[str, object]], None]) -> None:
    """Write a changed statement with a valid signature: what a faulty program, not a thief, would do."""
    statement, bundle = chain.files(sequence)
    document = json.loads(statement.read_bytes())
    change(document)
    signed = chain.signer.sign(dumps(document))
    statement.write_bytes(signed.payload)
    bundle.write_bytes(signed.bundle)


def test_a_chain_that_begins_again_is_found(chain: Chain) -> None:
    """Only the first cycle may say that it follows nothing."""

    def forget(document: dict[str, object]) -> None:
        predicate = document["predicate"]
        assert isinstance(predicate, dict)
        predicate["previous"] = None

    resign(chain, 5, forget)
    assert blamed(verified(chain)) == {(cycle_id(5), "forked"), (cycle_id(5), "heartbeat")}


@pytest.mark.parametrize(
    ("path", "value", "code"),
    [
        (("_type",), "https://in-toto.io/Statement/v0.1", "statement_type"),
        (("predicateType",), "https://slsa.dev/provenance/v1", "predicate_type"),
        (("predicate", "chainGenesis", "sha256"), "0" * 64, "genesis"),
        (("predicate", "reconciler", "signingMode"), "keyless", "signing_mode"),
        (("predicate", "decisions", "keep"), 1, "counting"),
        (("predicate", "decisions", "leafCount"), 2, "counting"),
        (("predicate", "actions", "verifiedGone"), 2, "counting"),
        (("predicate", "actions", "intended"), 0, "counting"),
        (("predicate", "roster", "fresh"), False, "counting"),
        (("predicate", "inventory", "providers"), [], "counting"),
        (("predicate", "outcome"), "splendid", "statement_malformed"),
        (("predicate", "sequence"), "5", "statement_malformed"),
        (("predicate", "actions"), None, "statement_malformed"),
        (("subject",), [], "statement_malformed"),
    ],
)
def test_a_signed_statement_must_also_be_right(chain: Chain, path: tuple[str, ...], value: object, code: str) -> None:
    """A valid signature does not excuse a wrong type, a broken count or a missing field."""

    def change(document: dict[str, object]) -> None:
        place = document
        for step in path[:-1]:
            inner = place[step]
            assert isinstance(inner, dict)
            place = inner
        place[path[-1]] = value

    resign(chain, 5, change)
    assert (cycle_id(5), code) in blamed(verified(chain))


def test_a_statement_that_is_not_canonical_is_found(chain: Chain) -> None:
    """Other bytes for the same JSON are refused, however validly signed."""
    statement, bundle = chain.files(5)
    signed = chain.signer.sign(json.dumps(json.loads(statement.read_bytes())).encode())
    statement.write_bytes(signed.payload)
    bundle.write_bytes(signed.bundle)
    assert blamed(verified(chain)) == {(cycle_id(5), "statement_malformed")}


def test_a_signed_statement_that_is_no_json_is_found(chain: Chain) -> None:
    """A signature over anything but JSON proves no cycle."""
    statement, bundle = chain.files(5)
    signed = chain.signer.sign(b"[" * 50_000)
    statement.write_bytes(signed.payload)
    bundle.write_bytes(signed.bundle)
    assert blamed(verified(chain)) == {(cycle_id(5), "statement_malformed")}


def test_a_chain_that_begins_with_another_genesis_is_found(chain: Chain) -> None:
    """The first statement must commit to this installation and this key."""

    def rename(document: dict[str, object]) -> None:
        predicate = document["predicate"]
        assert isinstance(predicate, dict)
        predicate["reconciler"]["instanceId"] = "another"

    resign(chain, 1, rename)
    assert (cycle_id(1), "genesis") in blamed(verified(chain))


def test_two_subjects_of_one_name_are_found(chain: Chain) -> None:
    """A subject's name is unique: a reader looks files up by it."""

    def double(document: dict[str, object]) -> None:
        subjects = document["subject"]
        assert isinstance(subjects, list)
        subjects.append(subjects[0])

    resign(chain, 5, double)
    assert (cycle_id(5), "subjects") in blamed(verified(chain))


def test_changed_evidence_is_named(chain: Chain) -> None:
    """A changed evidence file fails each cycle that names it; a destroyed one is counted and no more."""
    statement = json.loads(chain.files(2)[0].read_bytes())
    digests = {one["name"]: one["digest"]["sha256"] for one in statement["subject"]}
    log = evidence_path(chain.store.root, digests["decision-log"])
    whole = log.read_bytes()
    log.write_bytes(whole.replace(b'"decision":"revoke"', b'"decision":"review"'))
    assert blamed(verified(chain)) == {(cycle_id(2), "evidence_changed")}
    log.unlink()
    report = verified(chain)
    assert report.verified
    assert report.evidence_absent == 1


@pytest.mark.parametrize("torn", [False, True])
def test_a_log_that_does_not_have_its_root_is_found(chain: Chain, *, torn: bool) -> None:
    """A log named by a validly signed statement must have the Merkle root that the statement tells."""
    log = b'{"decision":"keep"}' + (b"" if torn else b"\n")
    chain.store.put(log, kind="decision-log")

    def point_elsewhere(document: dict[str, object]) -> None:
        subjects = document["subject"]
        assert isinstance(subjects, list)
        next(one for one in subjects if one["name"] == "decision-log")["digest"]["sha256"] = sha256_hex(log)

    resign(chain, 5, point_elsewhere)
    assert blamed(verified(chain)) == {(cycle_id(5), "merkle_root")}
