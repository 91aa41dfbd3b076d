"""The running log on disk: recomputed when a process starts, finished after a crash, refused when it was changed."""

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from reconciler.adapters.evidence_log import FileEvidenceLog
from reconciler.adapters.log_key import LogKey
from reconciler.core.checkpoint import read_checkpoint
from reconciler.core.errors import EvidenceError, SigningError
from reconciler.core.leaves import leaves_of
from reconciler.core.merkle import Tree, leaf_hash, root
from reconciler.core.record import CycleOutcome
from reconciler.core.running_log import LOGGED, logged
from tests.builders import PROVIDER
from tests.fakes.house import House
from tests.record_builders import Chain, attested_chain, cycle_id, cycle_record, evidence_log, log_file, statement_facts

CYCLES = 3
LEAVES = 6
"""Leaves of each of these cycles: itself, one leaver, three decisions, one action."""


@dataclass(frozen=True)
class Kept:
    """A chain of attestations and the files of its log."""

    chain: Chain

    @property
    def root(self) -> Path:
        return self.chain.store.root

    @property
    def hashes(self) -> Path:
        return self.root / "log" / "leaf-hashes"

    def checkpoint(self, sequence: int) -> Path:
        return self.root / "checkpoints" / f"{sequence:06d}-{cycle_id(sequence)}.txt"

    def leaf_file(self, name: str, sequence: int) -> Path:
        """Return where the evidence file of a cycle lies."""
        return log_file(self.chain, sequence, name)

    def resume(self) -> None:
        """Start a process."""
        evidence_log(self.root).resume(self.chain.store.head())


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """Return a chain that stays as it is."""
    records = [cycle_record(sequence=sequence) for sequence in range(1, CYCLES + 1)]
    return attested_chain(tmp_path_factory.mktemp("original") / "evidence", *records)


@pytest.fixture
def kept(original: Chain, tmp_path: Path) -> Kept:
    """Return a copy that may be damaged."""
    return Kept(original.copied(tmp_path / "evidence"))


def test_the_log_is_over_all_leaves_of_all_cycles_in_order(kept: Kept) -> None:
    """A cycle's own leaf comes first, then leavers, decisions, actions; the last checkpoint has the root over all."""
    texts: list[bytes] = []
    for sequence in range(1, CYCLES + 1):
        for name in LOGGED:
            texts.extend(leaves_of(kept.leaf_file(name, sequence).read_bytes()))
    assert len(texts) == CYCLES * LEAVES
    assert kept.hashes.read_bytes() == b"".join(map(leaf_hash, texts))
    key = LogKey.open(kept.root / "keys" / "log.pem", "test-installation").verifier
    assert read_checkpoint(kept.checkpoint(CYCLES).read_bytes(), key).root == root(texts)
    assert (kept.root / "log" / "vkey").read_text() == key.text + "\n"


def test_only_the_owner_may_read_the_log(kept: Kept) -> None:
    """Key, hashes and checkpoints are 0600 like all evidence."""
    for path in (kept.root / "keys" / "log.pem", kept.hashes, kept.checkpoint(1), kept.root / "log" / "vkey"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_an_untouched_log_is_taken_up(kept: Kept) -> None:
    """A new process recomputes it and writes nothing."""
    before = {path: path.stat().st_mtime_ns for path in kept.root.rglob("*")}
    kept.resume()
    assert {path: path.stat().st_mtime_ns for path in kept.root.rglob("*")} == before


def test_a_log_is_recomputed_once_in_a_process(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as nobody else touches its files, later cycles read none of them."""
    log, head = evidence_log(kept.root), kept.chain.store.head()
    log.resume(head)
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail(f"{path} is read again"))
    log.resume(head)


def flip_of_an_erased_leaf(kept: Kept) -> None:
    """Change the hash of a leaf whose file is gone."""
    kept.leaf_file("decision-log", 2).unlink()
    flip(kept.hashes, (LEAVES + 3) * 32)


def one_too_many(kept: Kept) -> None:
    """Add a hash to the end."""
    kept.hashes.write_bytes(kept.hashes.read_bytes() + bytes(32))


def flip(path: Path, at: int = -1) -> None:
    """Change one bit of a file, in place."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, tuple[Callable[[Kept], None], str]] = {
    "a hash of the first cycle": (lambda kept: flip(kept.hashes, 0), r"cycle 1 \(.*log_changed"),
    "a hash of the last cycle": (lambda kept: flip(kept.hashes), r"cycle 3 \(.*log_changed"),
    "a hash whose leaf is gone": (flip_of_an_erased_leaf, r"cycle 2 \(.*log_root"),
    "a leaf": (lambda kept: flip(kept.leaf_file("decision-log", 2), 20), "the decision-log of cycle 2 was changed"),
    "the end of the hashes": (lambda kept: os.truncate(kept.hashes, 32 * LEAVES), r"cycle 2 \(.*log_truncated"),
    "all hashes": (lambda kept: kept.hashes.unlink(), r"cycle 1 \(.*log_truncated"),
    "a hash too many": (one_too_many, "leaves that no statement tells of"),
    "a statement at the end": (lambda kept: kept.chain.files(3)[0].unlink(), "leaves that no statement tells of"),
    "a statement amid": (lambda kept: kept.chain.files(2)[0].unlink(), r"cycle 3 \(.*log_forked"),
    "the key": (lambda kept: (kept.root / "keys" / "log.pem").unlink(), "another key of it"),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_nothing_begins_on_a_changed_log(kept: Kept, what: str) -> None:
    """A changed, cut or replaced part of the log is refused at the start of a process, and advice is given."""
    damage, words = DAMAGES[what]
    damage(kept)
    with pytest.raises(EvidenceError, match=words) as caught:
        kept.resume()
    assert "restore" in caught.value.advice or "backup" in caught.value.advice


def test_a_log_that_is_changed_under_a_process_is_recomputed(kept: Kept) -> None:
    """The file is looked at before every cycle: who changes it while the daemon runs is found by the next one."""
    log, head = evidence_log(kept.root), kept.chain.store.head()
    log.resume(head)
    flip(kept.hashes)
    with pytest.raises(EvidenceError, match="log_changed"):
        log.resume(head)


def test_nothing_is_taken_away_on_a_changed_log(tmp_path: Path) -> None:
    """A whole cycle of a new process ends before it does anything; with the log as it was, it takes the access away."""
    house = House(tmp_path)
    house.observe_first()
    path = tmp_path / "evidence" / "log" / "leaf-hashes"

    def restart() -> None:
        key = LogKey.open(tmp_path / "keys" / "log.pem", "test")
        house.attester = replace(house.attester, log=FileEvidenceLog(tmp_path / "evidence", key))

    flip(path)
    restart()
    with pytest.raises(EvidenceError, match="does not agree with the statements"):
        house.run()
    assert (house.providers[PROVIDER].effects, len(house.journal.cycles())) == ([], 1)
    flip(path)
    restart()
    assert house.run().outcome is CycleOutcome.COMPLETE
    assert [item for _, item in house.providers[PROVIDER].effects] == ["lea/access_key/1"]


def test_destroyed_leaves_do_not_matter(kept: Kept) -> None:
    """Bodies may be erased; the hashes stay, and the log goes on."""
    for sequence in range(1, CYCLES + 1):
        for name in LOGGED:
            kept.leaf_file(name, sequence).unlink()
    kept.resume()


@pytest.mark.parametrize("kept_bytes", [0, 1, 31, 32, 33, 32 * LEAVES - 1])
def test_what_a_crash_kept_from_the_log_is_added(kept: Kept, kept_bytes: int) -> None:
    """A process that died between the statement and its hashes, or amid them, is finished by the next one."""
    whole = kept.hashes.read_bytes()
    note = kept.checkpoint(CYCLES).read_bytes()
    os.truncate(kept.hashes, 32 * LEAVES * (CYCLES - 1) + kept_bytes)
    kept.checkpoint(CYCLES).unlink()
    kept.resume()
    assert kept.hashes.read_bytes() == whole
    assert kept.checkpoint(CYCLES).read_bytes() == note


def test_a_torn_end_that_is_no_beginning_of_what_belongs_there_is_refused(kept: Kept) -> None:
    """Bytes that no crash can have left are damage, and are not written over."""
    os.truncate(kept.hashes, 32 * LEAVES * CYCLES - 5)
    flip(kept.hashes)
    before = kept.hashes.read_bytes()
    with pytest.raises(EvidenceError, match=r"cycle 3 \(.*log_truncated"):
        kept.resume()
    assert kept.hashes.read_bytes() == before


def test_an_end_whose_leaves_are_gone_too_is_refused(kept: Kept) -> None:
    """When neither the hashes nor the leaves of the last cycle are left, nobody can say what they were."""
    os.truncate(kept.hashes, 32 * LEAVES * (CYCLES - 1))
    kept.leaf_file("decision-log", CYCLES).unlink()
    with pytest.raises(EvidenceError, match=r"cycle 3 \(.*log_truncated"):
        kept.resume()


@pytest.mark.parametrize("left", [None, b""])
def test_a_lost_checkpoint_is_written_again(kept: Kept, left: bytes | None) -> None:
    """Checkpoints are not synced: one that a power cut took, or left empty, comes back byte for byte."""
    note = kept.checkpoint(1).read_bytes()
    kept.checkpoint(1).unlink()
    if left is not None:
        kept.checkpoint(1).write_bytes(left)
    kept.resume()
    assert kept.checkpoint(1).read_bytes() == note


def test_a_disk_that_refuses_keeps_nothing_from_the_next_process(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed write is an error that names the log; the statement stands, and the next start finishes."""
    head = kept.chain.store.head()
    whole = kept.hashes.read_bytes()
    os.truncate(kept.hashes, len(whole) - 32)
    log = evidence_log(kept.root)

    def refuse(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(os, "fsync", refuse)
        with pytest.raises(EvidenceError, match="the log of all records: No space left on device"):
            log.resume(head)
    log.resume(head)
    assert kept.hashes.read_bytes() == whole


def test_a_cycle_is_laid_out_before_it_is_written(kept: Kept) -> None:
    """The roots that a statement tells are known before it, and nothing is on disk until it is stored."""
    head = kept.chain.store.head()
    files = dict(statement_facts(cycle_record(sequence=4), previous=head).documents.files)
    log = evidence_log(kept.root)
    before = kept.hashes.read_bytes()
    made = log.extended(logged(files), head)
    assert kept.hashes.read_bytes() == before
    assert (made.section.before.size, made.section.after.size) == (CYCLES * LEAVES, (CYCLES + 1) * LEAVES)
    hashes = [before[at : at + 32] for at in range(0, len(before), 32)]
    tree = Tree([*hashes, *made.hashes])
    assert made.section.before.root == tree.root(CYCLES * LEAVES).hex()
    assert made.section.after.root == tree.root((CYCLES + 1) * LEAVES).hex()


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    """The log's key is guarded like the signing key, and is no key of another kind."""
    path = tmp_path / "keys" / "log.pem"
    LogKey.open(path, "a")
    path.chmod(0o640)
    with pytest.raises(SigningError, match=r"log key .* may be read by others \(mode 0640\)"):
        LogKey.open(path, "a")


def test_a_log_of_nothing_begins(tmp_path: Path) -> None:
    """Without any statement the log is empty, and begins; hashes without any statement are refused."""
    log = FileEvidenceLog(tmp_path, LogKey.open(tmp_path / "keys" / "log.pem", "a"))
    assert log.extended((), None).section.before.size == 0
    (tmp_path / "log" / "leaf-hashes").write_bytes(bytes(32))
    with pytest.raises(EvidenceError, match="leaves that no statement tells of"):
        log.resume(None)
