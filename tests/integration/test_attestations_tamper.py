"""Whatever is done to stored attestations, verification fails and names the cycle."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.adapters.attestation_head import Head
from reconciler.adapters.attestations import verify
from reconciler.adapters.key_signer import KeySigner
from reconciler.core.errors import EvidenceError
from reconciler.core.model import CycleId
from reconciler.core.record import CycleOutcome, CycleRecord, Reverted, WaiverFacts
from tests.builders import NOW
from tests.record_builders import (
    Chain,
    attested_chain,
    blamed,
    cut_off,
    cycle_id,
    cycle_record,
    inventory_facts,
    journal_of,
    verified,
)

CYCLES = 5


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """Attest five cycles once; the third could not read everything."""
    records = [cycle_record(sequence=number) for number in range(1, CYCLES + 1)]
    records[2] = replace(records[2], outcome=CycleOutcome.PARTIAL, inventories=(inventory_facts(complete=False),))
    return attested_chain(tmp_path_factory.mktemp("original"), *records)


@pytest.fixture
def chain(original: Chain, tmp_path: Path) -> Chain:
    """Return a copy that may be damaged."""
    return original.copied(tmp_path / "state")


def test_an_untouched_chain_verifies(chain: Chain) -> None:
    """Signer, mode, head and what was not covered are told."""
    report = verify(chain.store.root, chain.key, journal=journal_of(chain))
    assert report.problems == ()
    assert report.verified
    assert (report.cycles, report.gaps, report.incomplete) == (5, (), (cycle_id(3),))
    assert (report.signer, report.mode) == (chain.signer.identity, "managed-key")
    assert report.head == Head(sequence=5, digest=chain.links[-1].digest)
    assert (report.evidence_checked, report.evidence_absent) == (24, 0)


@pytest.mark.parametrize("which", [0, 1], ids=["statement", "bundle"])
def test_every_single_byte_counts(chain: Chain, which: int) -> None:
    """Each byte of a statement and of a bundle is flipped in one bit, one after another: all are found."""
    files = [path.read_bytes() for path in chain.files(2)]
    trusted = chain.key
    assert trusted.refusal(files[1], files[0]) is None
    passed = []
    for index in range(len(files[which])):
        changed = bytearray(files[which])
        changed[index] ^= 1 << (index % 8)
        pair = [*files]
        pair[which] = bytes(changed)
        if trusted.refusal(pair[1], pair[0]) is None:
            passed.append(index)
    assert passed == []


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, CYCLES), st.sampled_from([0, 1]), st.integers(0, 2**32), st.integers(1, 255))
def test_any_change_of_a_byte_blames_exactly_its_cycle(
    chain: Chain, sequence: int, which: int, place: int, difference: int
) -> None:
    """Any other value of any byte of any file fails the whole, and no other cycle is blamed."""
    path = chain.files(sequence)[which]
    whole = path.read_bytes()
    changed = bytearray(whole)
    changed[place % len(whole)] ^= difference
    path.write_bytes(changed)
    try:
        assert {cycle for cycle, _ in blamed(verified(chain))} == {cycle_id(sequence)}
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("content", [b"", b"{}", b"null", b"\xff\xfe", b"[" * 50_000])
@pytest.mark.parametrize("which", [0, 1], ids=["statement", "bundle"])
def test_a_replaced_file_is_found(chain: Chain, which: int, content: bytes) -> None:
    """Empty, foreign and hostile content is a problem of its cycle, never a crash."""
    chain.files(4)[which].write_bytes(content)
    assert {cycle for cycle, _ in blamed(verified(chain))} == {cycle_id(4)}


@pytest.mark.parametrize("sequence", range(1, CYCLES))
def test_a_removed_cycle_is_named(chain: Chain, sequence: int) -> None:
    """The cycle that is no longer there is named by its id, though nothing of it is left."""
    for path in chain.files(sequence):
        path.unlink()
    assert blamed(verified(chain)) == {(cycle_id(sequence), "missing")}


def test_several_removed_cycles_are_named(chain: Chain) -> None:
    """Each of a row of removed cycles is named: by the one that follows it, or by its checkpoint."""
    for sequence in (2, 3):
        for path in chain.files(sequence):
            path.unlink()
    report = verified(chain)
    assert blamed(report) == {(cycle_id(2), "missing"), (cycle_id(3), "missing")}
    assert "so are all others after cycle 1" in report.problems[0].message


@pytest.mark.parametrize(("which", "code"), [(0, "statement_missing"), (1, "bundle_missing")])
def test_half_an_attestation_is_none(chain: Chain, which: int, code: str) -> None:
    """A statement without its bundle, or a bundle without its statement, fails for that cycle."""
    chain.files(2)[which].unlink()
    assert blamed(verified(chain)) == {(cycle_id(2), code)}


def test_swapped_cycles_are_named(chain: Chain) -> None:
    """Two cycles under each other's name are both found misplaced."""
    for one, other in zip(chain.files(2), chain.files(4), strict=True):
        content = one.read_bytes()
        one.write_bytes(other.read_bytes())
        other.write_bytes(content)
    assert blamed(verified(chain)) == {(cycle_id(2), "misplaced"), (cycle_id(4), "misplaced")}


def test_swapped_statements_are_named(chain: Chain) -> None:
    """A statement beside another one's bundle is not the signed one."""
    one, other = chain.files(2)[0], chain.files(4)[0]
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    assert blamed(verified(chain)) == {(cycle_id(2), "statement_changed"), (cycle_id(4), "statement_changed")}


def test_a_renumbered_cycle_is_named(chain: Chain) -> None:
    """Giving a cycle another place by its file name is found; so is the hole that it leaves."""
    for path in chain.files(3):
        path.rename(path.with_name(path.name.replace("000003", "000009", 1)))
    found = blamed(verified(chain))
    assert (cycle_id(3), "misplaced") in found
    assert (cycle_id(3), "missing") in found


def test_a_duplicate_is_named(chain: Chain) -> None:
    """A cycle that is there twice is found, under a new number as under its own."""
    for path in chain.files(2):
        shutil.copy(path, path.with_name(path.name.replace("000002", "000006", 1)))
    assert (cycle_id(2), "duplicate") in blamed(verified(chain))


def test_a_replayed_cycle_is_named(chain: Chain) -> None:
    """An old attestation in a later one's files is not that later cycle."""
    for old, late in zip(chain.files(1), chain.files(5), strict=True):
        late.write_bytes(old.read_bytes())
    assert blamed(verified(chain)) == {(cycle_id(5), "misplaced")}


def test_files_that_do_not_belong_are_named(chain: Chain) -> None:
    """A copy under any other name, or a folder, is unexpected; the cycle is read from the name where it tells."""
    statement, _ = chain.files(2)
    shutil.copy(statement, statement.with_name(statement.name + ".bak"))
    (chain.folder / "notes").mkdir()
    assert blamed(verified(chain)) == {(cycle_id(2), "unexpected_file"), ("", "unexpected_file")}


def test_a_truncated_tail_is_found_by_the_head(chain: Chain) -> None:
    """The folder alone cannot tell that its end was cut off; the head that somebody kept can."""
    head = Head.parse(f"5:{chain.links[4].digest}")
    assert verify(chain.store.root, chain.key, expected_head=head).verified
    cut_off(chain, 5)
    assert verified(chain).verified
    report = verify(chain.store.root, chain.key, expected_head=head)
    assert blamed(report) == {("", "truncated")}
    assert "cycle 5 is missing" in report.problems[0].message


def test_an_older_head_lies_on_the_chain(chain: Chain) -> None:
    """A head that was kept earlier verifies a longer chain, and a forged one names the cycle."""
    assert verify(chain.store.root, chain.key, expected_head=Head(sequence=2, digest=chain.links[1].digest)).verified
    forged = Head(sequence=2, digest="sha256:" + "0" * 64)
    assert blamed(verify(chain.store.root, chain.key, expected_head=forged)) == {(cycle_id(2), "forked")}


def test_a_truncated_tail_is_found_by_the_journal(chain: Chain) -> None:
    """On the operator's machine the journal knows each cycle that was removed, by id."""
    journal = journal_of(chain)
    cut_off(chain, 4)
    report = verify(chain.store.root, chain.key, journal=journal)
    assert blamed(report) == {(cycle_id(4), "missing"), (cycle_id(5), "missing")}


def test_a_rewritten_chain_differs_from_the_journal(chain: Chain, tmp_path: Path) -> None:
    """Whoever holds the keys can make another chain; the journal tells the two apart."""
    key_file = tmp_path / "other" / "keys" / "attestation.pem"
    key_file.parent.mkdir(parents=True)
    for name in ("attestation.pem", "log.pem"):
        shutil.copy(chain.store.root / "keys" / name, key_file.with_name(name))
    forged = attested_chain(
        tmp_path / "other", cycle_record(), cycle_record(sequence=2, waivers=WaiverFacts(in_force=9))
    )
    journal = journal_of(chain)[:2]
    assert verified(forged).verified
    assert blamed(verify(forged.store.root, chain.key, journal=journal)) == {(cycle_id(2), "not_as_recorded")}
    beyond = verify(chain.store.root, chain.key, journal=journal)
    assert blamed(beyond) == {(cycle_id(number), "not_recorded") for number in (3, 4, 5)}


def test_an_interrupted_cycle_is_no_problem_for_the_journal(chain: Chain) -> None:
    """A cycle that the journal knows to have ended without a statement is not asked for."""
    interrupted = replace(journal_of(chain)[0], sequence=6, cycle_id=cycle_id(6), statement_digest="")
    assert verify(chain.store.root, chain.key, journal=(*journal_of(chain), interrupted)).verified


def test_a_bridged_number_is_a_gap(tmp_path: Path) -> None:
    """Numbers that the chain itself steps over are interrupted cycles: told as gaps, not as tampering."""
    chain = attested_chain(tmp_path, cycle_record(sequence=2), cycle_record(sequence=5))
    report = verified(chain)
    assert report.verified
    assert report.gaps == (1, 3, 4)


def test_another_key_proves_nothing(chain: Chain, tmp_path: Path) -> None:
    """With the key of somebody else every cycle fails."""
    other = KeySigner.open(tmp_path / "other.pem")
    report = verify(chain.store.root, other.verifying_key)
    assert blamed(report) == {(cycle_id(number), "wrong_key") for number in range(1, CYCLES + 1)}


def test_a_cycle_of_another_installation_is_found(chain: Chain, tmp_path: Path) -> None:
    """A validly signed cycle of another chain does not fit in, though its numbers do."""
    key_file = tmp_path / "other" / "keys" / "attestation.pem"
    key_file.parent.mkdir(parents=True)
    shutil.copy(chain.store.root / "keys" / "attestation.pem", key_file)
    other = attested_chain(
        tmp_path / "other", *(cycle_record(sequence=one, waivers=WaiverFacts(in_force=7)) for one in range(1, 4))
    )
    for mine, theirs in zip(chain.files(3), other.files(3), strict=True):
        mine.write_bytes(theirs.read_bytes())
    assert (cycle_id(3), "forked") in blamed(verified(chain))


def test_an_empty_folder_verifies_nothing(tmp_path: Path) -> None:
    """No attestation at all is not a success."""
    signer = KeySigner.open(tmp_path / "key.pem")
    (tmp_path / "attestations").mkdir()
    assert blamed(verify(tmp_path, signer.verifying_key)) == {("", "nothing")}


def test_a_head_is_read_as_it_is_written() -> None:
    """The head's text form goes round, and anything else is refused."""
    head = Head(sequence=12, digest="sha256:" + "a" * 64)
    assert Head.parse(f" {head}\n") == head
    assert Head.parse("12:" + "a" * 64) == head
    for text in ("", "12", "0:sha256:" + "a" * 64, "12:sha256:abc", "x:" + "a" * 64):
        with pytest.raises(EvidenceError, match="is not SEQUENCE:DIGEST"):
            Head.parse(text)


def test_a_folder_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """An unreadable place is an error of its own, not a failed verification of a cycle."""
    signer = KeySigner.open(tmp_path / "key.pem")
    with pytest.raises(EvidenceError, match="cannot be read: No such file"):
        verify(tmp_path / "nowhere", signer.verifying_key)


def test_instants_do_not_matter_to_the_chain(chain: Chain) -> None:
    """The order is that of the chain; a clock that went back changes nothing."""
    record = cycle_record(sequence=6, cycle_id=CycleId("late"), started_at=NOW.replace(year=2020))
    again = attested_chain(chain.store.root, record)
    assert verified(again).verified


def undoing(*told: tuple[int, int]) -> list[CycleRecord]:
    """Build the records of cycles that count these undos as begun and confirmed."""
    return [
        replace(cycle_record(sequence=number), reverted=Reverted(begun=begun, confirmed=confirmed))
        for number, (begun, confirmed) in enumerate(told, start=1)
    ]


@pytest.mark.parametrize(
    ("told", "wrong"),
    [
        (((1, 0), (0, 1), (2, 1), (0, 1)), set()),
        (((1, 1), (0, 1), (0, 0)), {2}),
        (((0, 1), (1, 1)), {1}),
        (((0, 1), (0, 1)), {1, 2}),
    ],
)
def test_no_more_undos_are_confirmed_than_were_begun(
    tmp_path: Path, told: tuple[tuple[int, int], ...], wrong: set[int]
) -> None:
    """An undo may be confirmed in a later cycle than it began in, and never before; only such a cycle is blamed."""
    chain = attested_chain(tmp_path, *undoing(*told))
    report = verified(chain)
    assert {(one.cycle_id, one.code) for one in report.problems} == {(cycle_id(one), "counting") for one in wrong}
    assert report.verified is not bool(wrong)


def test_undos_of_a_cycle_without_attestation_are_not_held_against_a_later_one(tmp_path: Path) -> None:
    """What an interrupted cycle would have counted is unknown, so nothing is concluded after it."""
    first, _, third = undoing((0, 0), (1, 0), (0, 1))
    report = verified(attested_chain(tmp_path, first, third))
    assert (report.problems, report.gaps) == ((), (2,))
