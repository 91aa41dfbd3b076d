"""The log of all records, damaged in every way that matters: each is found offline, and the cycle named."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from reconciler.adapters.attestations import verify
from reconciler.adapters.log_key import LogKey
from reconciler.cli.attestations import build_app
from reconciler.core.canonical import dumps
from reconciler.core.checkpoint import Checkpoint
from reconciler.core.leaves import leaves_of
from reconciler.core.merkle import Frontier
from tests.output_schemas import problems
from tests.record_builders import Chain, attested_chain, blamed, cut_off, cycle_id, cycle_record, erased, log_file

CYCLES = 4
LEAVES = 6
"""Leaves of each of these cycles: itself, one leaver, three decisions, one action."""


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """Return a chain that stays as it is."""
    records = [cycle_record(sequence=sequence) for sequence in range(1, CYCLES + 1)]
    return attested_chain(tmp_path_factory.mktemp("original") / "evidence", *records)


@pytest.fixture
def chain(original: Chain, tmp_path: Path) -> Chain:
    """Return a copy that may be damaged."""
    return original.copied(tmp_path / "evidence")


def hashes(chain: Chain) -> Path:
    """Return the file of leaf hashes."""
    return chain.store.root / "log" / "leaf-hashes"


def checkpoint(chain: Chain, sequence: int) -> Path:
    """Return the checkpoint after a cycle."""
    return chain.store.root / "checkpoints" / f"{sequence:06d}-{cycle_id(sequence)}.txt"


def flip(path: Path, at: int) -> None:
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def copied(path: Path, folder: Path) -> Path:
    """Keep a checkpoint elsewhere."""
    kept = folder / "kept.txt"
    kept.write_bytes(path.read_bytes())
    return kept


def found(chain: Chain, kept: Path | None = None) -> set[tuple[str, str]]:
    """Return which cycle is blamed for what."""
    return blamed(verify(chain.store.root, chain.key, expected_checkpoint=None if kept is None else kept.read_bytes()))


def resigned(chain: Chain, sequence: int, change: Callable[[dict[str, object]], None]) -> None:
    """Change what the last statement tells of the log and sign it anew: what a program that lies would do."""
    statement, bundle = chain.files(sequence)
    document = json.loads(statement.read_bytes())
    change(document["predicate"]["log"])
    signed = chain.signer.sign(dumps(document))
    statement.write_bytes(signed.payload)
    bundle.write_bytes(signed.bundle)


def test_an_untouched_log_is_recomputed(chain: Chain) -> None:
    """All roots follow from the hashes, and the report says so."""
    report = verify(chain.store.root, chain.key)
    assert report.problems == ()
    assert report.log is not None
    assert report.log.recomputed
    assert report.log.section.after.size == CYCLES * LEAVES


def test_erased_records_break_nothing(chain: Chain) -> None:
    """With every record destroyed, hashes and checkpoints still verify; without hashes too, only links are left."""
    for sequence in range(1, CYCLES + 1):
        erased(chain, sequence)
    report = verify(chain.store.root, chain.key)
    assert (report.problems, report.log is not None and report.log.recomputed) == ((), True)
    hashes(chain).unlink()
    shutil.move(chain.store.root, chain.store.root.with_name("pack"))
    report = verify(chain.store.root.with_name("pack"), chain.key)
    assert (report.problems, report.log is not None and report.log.recomputed) == ((), False)


def test_records_alone_give_the_roots(chain: Chain) -> None:
    """Where all records are there and no hashes, as in a full pack, the log is recomputed from the records."""
    hashes(chain).unlink()
    shutil.move(chain.store.root, chain.store.root.with_name("pack"))
    report = verify(chain.store.root.with_name("pack"), chain.key)
    assert (report.problems, report.log is not None and report.log.recomputed) == ((), True)


def test_a_store_without_its_log_is_not_whole(chain: Chain) -> None:
    """In a state folder the hashes belong to the evidence; that they are gone is said, once."""
    hashes(chain).unlink()
    assert found(chain) == {("", "log_missing")}


@pytest.mark.parametrize("sequence", range(1, CYCLES + 1))
def test_a_changed_hash_is_found(chain: Chain, sequence: int) -> None:
    """One bit of the hashes names the cycle whose record it is of; later cycles are not blamed for it."""
    flip(hashes(chain), (sequence * LEAVES - 1) * 32)
    assert found(chain) == {(cycle_id(sequence), "log_changed")}


def test_a_changed_hash_of_an_erased_record_is_found(chain: Chain) -> None:
    """Without the record nobody can say which hash it was, yet the root tells the cycle."""
    erased(chain, 2)
    flip(hashes(chain), LEAVES * 32)
    assert (cycle_id(2), "log_root") in found(chain)
    assert {cycle for cycle, _ in found(chain)} == {cycle_id(2)}


def test_a_changed_record_is_found(chain: Chain) -> None:
    """A leaf that was changed is not the evidence that the statement signed; the log is not blamed."""
    flip(log_file(chain, 2, "decision-log"), 30)
    assert found(chain) == {(cycle_id(2), "evidence_changed")}


def test_a_removed_record_is_found(chain: Chain) -> None:
    """A line taken out of a leaf file, a row of the population for one, names the cycle."""
    path = log_file(chain, 3, "leaver-log")
    path.write_bytes(b"".join(leaf + b"\n" for leaf in leaves_of(path.read_bytes())[1:]))
    assert found(chain) == {(cycle_id(3), "evidence_changed")}


@pytest.mark.parametrize(("size", "sequence"), [(0, 1), (LEAVES * 32, 2), (CYCLES * LEAVES * 32 - 1, CYCLES)])
def test_cut_off_hashes_are_found(chain: Chain, size: int, sequence: int) -> None:
    """The first cycle that is not there to its end is named, and each one after it."""
    os.truncate(hashes(chain), size)
    assert found(chain) == {(cycle_id(number), "log_truncated") for number in range(sequence, CYCLES + 1)}


def test_hashes_taken_out_are_found(chain: Chain) -> None:
    """With the hashes of one cycle cut out of the middle, what follows is in no cycle's place."""
    whole = hashes(chain).read_bytes()
    hashes(chain).write_bytes(whole[: LEAVES * 32] + whole[2 * LEAVES * 32 :])
    assert (cycle_id(2), "log_changed") in found(chain)


def test_an_attestation_removed_at_the_end_is_found_by_the_log(chain: Chain) -> None:
    """Hashes without a statement, and a checkpoint without one, tell of the cycles that were removed."""
    for sequence in (3, 4):
        for path in chain.files(sequence):
            path.unlink()
    assert found(chain) == {("", "truncated"), (cycle_id(3), "missing"), (cycle_id(4), "missing")}


def test_swapped_and_lost_checkpoints_are_found(chain: Chain) -> None:
    """A checkpoint of another cycle, one that was changed, and one that is gone each name their cycle."""
    checkpoint(chain, 2).write_bytes(checkpoint(chain, 3).read_bytes())
    flip(checkpoint(chain, 4), 40)
    checkpoint(chain, 1).unlink()
    assert found(chain) == {
        (cycle_id(1), "checkpoint_missing"),
        (cycle_id(2), "checkpoint_changed"),
        (cycle_id(4), "checkpoint_changed"),
    }


def test_what_is_no_checkpoint_is_found(chain: Chain) -> None:
    """A file that does not belong among the checkpoints is told."""
    (chain.store.root / "checkpoints" / "notes.txt").write_text("x")
    assert found(chain) == {("", "unexpected_file")}


def test_a_log_that_begins_elsewhere_is_found(chain: Chain) -> None:
    """A statement whose log does not begin where the one before ended names its cycle."""

    def another(log: dict[str, object]) -> None:
        log["rootBefore"] = {"sha256": "0" * 64}

    resigned(chain, CYCLES, another)
    assert found(chain) == {(cycle_id(CYCLES), "log_forked")}


def test_a_statement_that_lies_about_the_log_is_found(chain: Chain) -> None:
    """Sizes that are not those of the records, roots that do not follow from them, and another key are found."""
    lies: dict[str, tuple[str, object]] = {
        "log_root": ("rootAfter", {"sha256": "0" * 64}),
        "log_leaves": ("treeSizeAfter", CYCLES * LEAVES + 1),
        "log_key": ("verifierKey", "access-reconciler.dev/log/other+00000000+AQ=="),
    }
    for code, (name, value) in lies.items():
        resigned(chain, CYCLES, lambda log, name=name, value=value: log.update({name: value}))  # type: ignore[misc]  # bound now
        assert (cycle_id(CYCLES), code) in found(chain), code


def test_an_older_checkpoint_lies_on_the_log(chain: Chain) -> None:
    """One that an auditor kept earlier is no problem for a longer log."""
    for sequence in range(1, CYCLES + 1):
        kept = checkpoint(chain, sequence).read_bytes()
        assert verify(chain.store.root, chain.key, expected_checkpoint=kept).verified


@pytest.mark.parametrize(("right", "codes"), [(True, []), (False, ["forked"])], ids=["right", "forged"])
def test_a_checkpoint_within_a_cycle_is_placed(chain: Chain, *, right: bool, codes: list[str]) -> None:
    """A size at which no cycle ends has a root too, wherever the hashes are; without them it places nothing."""
    key = LogKey.open(chain.store.root / "keys" / "log.pem", "test-installation")
    content = hashes(chain).read_bytes()
    size = LEAVES + 2
    root = Frontier().extended(content[at : at + 32] for at in range(0, size * 32, 32)).root if right else bytes(32)
    kept = key.note(Checkpoint(origin=key.verifier.name, size=size, root=root))
    report = verify(chain.store.root, chain.key, expected_checkpoint=kept)
    assert [problem.code for problem in report.problems] == codes
    pack = chain.store.root.with_name("pack")
    shutil.move(chain.store.root, pack)
    (pack / "log" / "leaf-hashes").unlink()
    report = verify(pack, chain.key, expected_checkpoint=kept)
    assert [problem.code for problem in report.problems] == ["checkpoint_refused"]


def test_a_tail_cut_off_without_a_trace_is_found_by_a_kept_checkpoint(chain: Chain, tmp_path: Path) -> None:
    """Attestations, checkpoints and hashes cut alike give a folder that agrees with itself; the checkpoint does not."""
    kept = copied(checkpoint(chain, CYCLES), tmp_path)
    cut_off(chain, CYCLES)
    assert verify(chain.store.root, chain.key).verified
    assert found(chain, kept) == {("", "truncated")}


def test_a_forked_log_is_found_by_a_kept_checkpoint(chain: Chain, tmp_path: Path) -> None:
    """Whoever holds all keys can write another history, which verifies; not against what was kept of the first."""
    kept = copied(checkpoint(chain, 2), tmp_path)
    shutil.copytree(chain.store.root / "keys", tmp_path / "other" / "keys")
    records = [cycle_record(sequence=sequence) for sequence in range(1, CYCLES + 1)]
    records[1] = cycle_record(sequence=2, findings=())
    other = attested_chain(tmp_path / "other", *records)
    assert verify(other.store.root, chain.key).verified
    report = verify(other.store.root, chain.key, expected_checkpoint=kept.read_bytes())
    assert [problem.code for problem in report.problems] == ["forked"]
    two = checkpoint(other, 2).read_bytes()
    assert [problem.code for problem in verify(chain.store.root, chain.key, expected_checkpoint=two).problems] == [
        "forked"
    ]


def test_a_checkpoint_of_another_log_is_refused(chain: Chain, tmp_path: Path) -> None:
    """One that another key signed, and one that was changed, place nothing; that is a problem, not nothing."""
    other = attested_chain(tmp_path / "other", cycle_record())
    assert found(chain, checkpoint(other, 1)) == {(cycle_id(1), "checkpoint_refused")}
    kept = tmp_path / "kept.txt"
    kept.write_bytes(checkpoint(chain, 1).read_bytes().replace(b"\n6\n", b"\n5\n"))
    assert found(chain, kept) == {(cycle_id(1), "checkpoint_refused")}


def test_the_command_takes_a_checkpoint(chain: Chain, tmp_path: Path) -> None:
    """`--expect-checkpoint` verifies, fails and says so in the published form."""
    kept = copied(checkpoint(chain, CYCLES), tmp_path)
    key = str(chain.store.root / "keys" / "attestation.pub")
    line = ("verify", "--pack", str(chain.store.root), "--key", key, "--expect-checkpoint", str(kept))
    whole = CliRunner().invoke(build_app(), line)
    assert (whole.exit_code, f"log of all records: {CYCLES * LEAVES}, its root recomputed" in whole.stdout) == (0, True)
    cut_off(chain, CYCLES)
    document = json.loads(CliRunner().invoke(build_app(), (*line, "--output", "json")).stdout)
    assert problems("attestations-verify", document) == []
    assert [problem["code"] for problem in document["problems"]] == ["truncated"]
    assert document["log"]["size"] == (CYCLES - 1) * LEAVES
    assert document["log"]["recomputed"]
