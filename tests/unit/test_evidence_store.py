"""The evidence store: by content, durable, checked, never replaced."""

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from reconciler.adapters.attestation_names import parse_name
from reconciler.adapters.durable_file import create_file
from reconciler.adapters.evidence_store import FileEvidenceStore, attestation_stem, evidence_path
from reconciler.core.canonical import sha256_hex
from reconciler.core.errors import EvidenceError
from reconciler.core.model import CycleId
from tests.record_builders import attested_chain, cycle_id, cycle_record, journal_of

if TYPE_CHECKING:
    from reconciler.evidence_ports import EvidenceStore


@pytest.fixture
def store(tmp_path: Path) -> FileEvidenceStore:
    """Return an empty store."""
    return FileEvidenceStore(tmp_path / "state")


def test_bytes_come_back_under_their_digest(store: FileEvidenceStore) -> None:
    """What is put is got by digest; putting it again changes nothing."""
    port: EvidenceStore = store
    digest = port.put(b"content", kind="decision-log")
    assert digest == "sha256:" + sha256_hex(b"content")
    assert port.put(b"content", kind="decision-log") == digest
    assert port.get(digest) == b"content"


def test_only_the_owner_may_read(store: FileEvidenceStore) -> None:
    """Folders are 0700 and files 0600, whatever the umask is."""
    store.put(b"content", kind="decision-log")
    for path in store.root.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_changed_bytes_are_found_when_read_and_when_put_again(store: FileEvidenceStore) -> None:
    """A file that is not what its digest says is an error with the path, and is not healed in silence."""
    digest = store.put(b"content", kind="decision-log")
    path = evidence_path(store.root, digest.removeprefix("sha256:"))
    path.write_bytes(b"Content")
    with pytest.raises(EvidenceError, match="is not what its digest says") as caught:
        store.get(digest)
    assert str(path) in caught.value.advice
    with pytest.raises(EvidenceError, match="is not what its digest says"):
        store.put(b"content", kind="decision-log")
    assert path.read_bytes() == b"Content"


def test_what_is_not_there_is_said_to_be_missing(store: FileEvidenceStore) -> None:
    """A missing file and a digest that is none are errors, not empty bytes."""
    with pytest.raises(EvidenceError, match="cannot read evidence sha256:0"):
        store.get("sha256:" + "0" * 64)
    for digest in ("../../etc/passwd", "sha256:" + "0" * 63, "sha256:" + "A" * 64):
        with pytest.raises(EvidenceError, match="is no evidence digest"):
            store.get(digest)


def test_a_full_disk_is_an_evidence_error_and_leaves_nothing(
    store: FileEvidenceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the disk refuses, nothing half-written has a name."""

    def refuse(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(EvidenceError, match="cannot store the decision-log: No space left on device"):
        store.put(b"content", kind="decision-log")
    assert [path for path in store.root.rglob("*") if path.is_file()] == []


def test_content_is_synced_before_it_has_its_name(store: FileEvidenceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is synced before it is linked, and its folder after: a power cut leaves it whole or absent."""
    events: list[str] = []
    fsync, link = os.fsync, os.link
    store.put(b"makes the folders", kind="decision-log")

    def note_sync(handle: int) -> None:
        events.append("sync folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "sync file")
        fsync(handle)

    def note_link(source: Path, target: Path) -> None:
        events.append("link")
        link(source, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "link", note_link)
    create_file(store.root / "one", b"content")
    assert events == ["sync file", "link", "sync folder"]


def test_an_attestation_is_stored_under_its_sequence_and_cycle(store: FileEvidenceStore) -> None:
    """The statement comes first and waits; its bundle lies beside it."""
    path = store.put_statement(7, cycle_id(7), b"{}")
    assert path == str(store.root / "attestations" / f"000007-{cycle_id(7)}.statement.json")
    assert Path(path).read_bytes() == b"{}"
    (waiting,) = store.waiting()
    assert (waiting.sequence, waiting.cycle_id, store.statement(waiting)) == (7, cycle_id(7), b"{}")
    store.put_bundle(waiting, b"[]")
    assert Path(store.bundle_path(7, cycle_id(7))).read_bytes() == b"[]"
    assert store.bundle_path(7, cycle_id(7)) == path.replace(".statement.", ".sigstore.")
    assert store.waiting() == ()
    with pytest.raises(EvidenceError, match="cannot store the signature"):
        store.put_bundle(waiting, b"another")


def test_a_sequence_number_is_attested_once(store: FileEvidenceStore) -> None:
    """Neither the same cycle nor another one takes a number that is taken, be it signed yet or not."""
    store.put_statement(1, cycle_id(1), b"{}")
    for cycle in (cycle_id(1), cycle_id(2)):
        with pytest.raises(EvidenceError, match="sequence 1 already has an attestation"):
            store.put_statement(1, cycle, b"{}")


def test_a_disk_that_refuses_an_attestation_is_an_evidence_error(
    store: FileEvidenceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cycle that could not be attested, or whose signature could not be stored, is named."""
    store.put_statement(1, cycle_id(1), b"{}")

    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(EvidenceError, match=f"cannot store the statement of cycle {cycle_id(2)}: Read-only"):
        store.put_statement(2, cycle_id(2), b"{}")
    with pytest.raises(EvidenceError, match=f"cannot store the signature of cycle {cycle_id(1)}: Read-only"):
        store.put_bundle(store.waiting()[0], b"[]")


@pytest.mark.parametrize(("sequence", "cycle"), [(0, "a"), (1, "../a"), (1, ""), (1, "a/b"), (1, "a\n")])
def test_names_stay_inside_the_folder(sequence: int, cycle: str) -> None:
    """No sequence or cycle id leads out of the attestation folder."""
    with pytest.raises(EvidenceError, match="no attestation can be named"):
        attestation_stem(sequence, cycle)


def test_only_its_own_names_are_recognised() -> None:
    """A file name is an attestation's only in the form in which it is written."""
    assert parse_name("000012-ab-1.sigstore.json") == (12, "ab-1", ".sigstore.json")
    assert parse_name("1234567-ab.statement.json") == (1_234_567, "ab", ".statement.json")
    for name in ("12-ab.sigstore.json", "0000012-ab.sigstore.json", "000012-ab.json", "000012-ab.sigstore.json.bak"):
        assert parse_name(name) is None


def test_the_head_is_the_last_attestation(tmp_path: Path) -> None:
    """The next statement follows the highest sequence number, by the digest of its statement."""
    empty = FileEvidenceStore(tmp_path / "empty")
    assert empty.head() is None
    chain = attested_chain(tmp_path / "state", cycle_record(), cycle_record(sequence=2))
    assert chain.store.head() == chain.links[1]
    assert chain.store.attested(1) == chain.links[0]
    assert chain.store.attested(3) is None


def test_a_chain_whose_tail_is_gone_is_not_continued(tmp_path: Path) -> None:
    """When the journal knows a later or another last attestation, asking for the head fails and names the cycle."""
    chain = attested_chain(tmp_path, cycle_record(), cycle_record(sequence=2))
    recorded = journal_of(chain)
    assert chain.store.head(recorded) == chain.links[1]
    statement, bundle = chain.files(2)
    whole = statement.read_bytes()
    statement.write_bytes(b"{}")
    with pytest.raises(EvidenceError, match=f"cycle 2 \\({cycle_id(2)}\\) is not the one in the journal"):
        chain.store.head(recorded)
    statement.unlink()
    bundle.unlink()
    with pytest.raises(EvidenceError, match=f"cycle 2 \\({cycle_id(2)}\\) is gone"):
        chain.store.head(recorded)
    assert b"chainGenesis" in whole


def test_a_disk_that_fails_while_looking_is_an_evidence_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unreadable last statement and a blocked key folder are named, never taken for absent."""
    chain = attested_chain(tmp_path, cycle_record())

    def refuse(_: Path) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(EvidenceError, match=f"cannot read 000001-{cycle_id(1)}.statement.json: Input/output error"):
        chain.store.head()


def test_destroying_a_key_makes_a_cycle_anonymous(store: FileEvidenceStore) -> None:
    """A cycle's pseudonym key is kept apart, once, and is gone for good when destroyed."""
    store.put_pseudonym_key(1, cycle_id(1), b"k" * 32)
    assert store.pseudonym_key(1, cycle_id(1)) == b"k" * 32
    store.put_pseudonym_key(1, cycle_id(1), b"i" * 32)  # a crash came before the statement
    assert store.pseudonym_key(1, cycle_id(1)) == b"i" * 32
    store.put_statement(1, cycle_id(1), b"{}")
    with pytest.raises(EvidenceError, match="sequence 1 already has an attestation"):
        store.put_pseudonym_key(1, cycle_id(1), b"j" * 32)
    store.destroy_pseudonym_key(1, cycle_id(1))
    with pytest.raises(EvidenceError, match="sequence 1 already has an attestation"):
        store.put_pseudonym_key(1, cycle_id(1), b"j" * 32)
    with pytest.raises(EvidenceError, match="cannot read the pseudonym key"):
        store.pseudonym_key(1, cycle_id(1))
    with pytest.raises(EvidenceError, match="cannot destroy the pseudonym key"):
        store.destroy_pseudonym_key(1, cycle_id(1))
    with pytest.raises(EvidenceError, match="has 5 bytes"):
        store.put_pseudonym_key(2, CycleId("b"), b"short")


def test_a_key_without_an_attestation_is_replaced(store: FileEvidenceStore) -> None:
    """After a crash between the key and its attestation the cycle is attested with a new key."""
    store.put_pseudonym_key(1, cycle_id(1), b"k" * 32)
    store.put_pseudonym_key(1, cycle_id(1), b"j" * 32)
    assert store.pseudonym_key(1, cycle_id(1)) == b"j" * 32
