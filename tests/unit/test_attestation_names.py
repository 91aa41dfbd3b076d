"""What the names in the folder of attestations tell, and how seldom the folder is listed for it."""

import os
from functools import partial
from pathlib import Path

import pytest

from reconciler.adapters.attestation_names import BUNDLE_SUFFIX, STATEMENT_SUFFIX, AttestationNames

CYCLE = "0b7f7d2e-9c7e-4c7b-8a39-000000000001"


def stem(sequence: int) -> str:
    """Return the stem of a cycle's files."""
    return f"{sequence:06d}-{CYCLE}"


def put(names: AttestationNames, folder: Path, name: str) -> None:
    """Create an empty file as its owner does."""
    names.add(name, partial((folder / name).touch, exist_ok=False))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give the folder that is looked at, empty."""
    made = tmp_path / "attestations"
    made.mkdir()
    return made


def test_nothing_is_there_before_the_folder_is(tmp_path: Path) -> None:
    """Without a folder there is no statement, and one that appears later is seen."""
    names = AttestationNames(tmp_path / "attestations")
    assert (names.newest(), names.waiting(), names.of(1)) == (None, [], [])
    (tmp_path / "attestations").mkdir()
    (tmp_path / "attestations" / (stem(1) + STATEMENT_SUFFIX)).touch()
    assert names.newest() == stem(1)


def test_statements_wait_for_their_bundles_in_order(folder: Path) -> None:
    """Whatever is added: the newest statement, what waits and what a number has are told as they are."""
    names = AttestationNames(folder)
    for sequence in (2, 10, 3):
        put(names, folder, stem(sequence) + STATEMENT_SUFFIX)
    put(names, folder, stem(3) + BUNDLE_SUFFIX)
    fresh = AttestationNames(folder)
    for one in (names, fresh):
        assert one.newest() == stem(10)
        assert one.waiting() == [stem(2), stem(10)]
        assert one.of(3) == [stem(3) + BUNDLE_SUFFIX, stem(3) + STATEMENT_SUFFIX]
        assert one.of(4) == one.of(11) == []


def test_numbers_of_more_digits_come_later(folder: Path) -> None:
    """The millionth statement is newer than the one before it, although its name sorts earlier."""
    names = AttestationNames(folder)
    for sequence in (1_000_000, 999_999):
        put(names, folder, stem(sequence) + STATEMENT_SUFFIX)
    assert names.newest() == stem(1_000_000)
    assert names.waiting() == [stem(999_999), stem(1_000_000)]


def test_what_others_do_to_the_folder_is_seen(folder: Path) -> None:
    """A bundle that another process wrote, and a statement that somebody took away, change the answers."""
    names = AttestationNames(folder)
    for sequence in (1, 2):
        put(names, folder, stem(sequence) + STATEMENT_SUFFIX)
    assert names.newest() == stem(2)
    (folder / (stem(1) + BUNDLE_SUFFIX)).touch()
    later(folder)
    assert names.waiting() == [stem(2)]
    (folder / (stem(2) + STATEMENT_SUFFIX)).unlink()
    later(folder)
    assert (names.newest(), names.waiting(), names.of(2)) == (stem(1), [], [])


def test_other_names_tell_nothing(folder: Path) -> None:
    """Files that are no attestations are passed over."""
    for name in ("README", "1-x.statement.json", stem(1) + ".txt", f".{stem(1)}{STATEMENT_SUFFIX}"):
        (folder / name).touch()
    names = AttestationNames(folder)
    assert (names.newest(), names.waiting(), names.of(1)) == (None, [], [])


def test_a_name_that_is_taken_is_looked_at_anew(folder: Path) -> None:
    """When a file cannot be made, what was known is not believed any more, and the error reaches whoever asked."""
    names = AttestationNames(folder)
    put(names, folder, stem(1) + STATEMENT_SUFFIX)
    before = folder.stat().st_mtime_ns
    (folder / (stem(1) + BUNDLE_SUFFIX)).touch()
    os.utime(folder, ns=(before, before))  # somebody wrote in the same tick of the clock
    with pytest.raises(FileExistsError):
        put(names, folder, stem(1) + BUNDLE_SUFFIX)
    assert names.waiting() == []


def test_the_folder_is_listed_once_for_any_number_of_cycles(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the process adds itself costs no listing: years of attestations make no cycle slower."""
    names, listings, listdir = AttestationNames(folder), [0], os.listdir

    def counted(path: Path) -> list[str]:
        listings[0] += 1
        return listdir(path)

    monkeypatch.setattr(os, "listdir", counted)
    for sequence in range(1, 51):
        assert names.of(sequence) == []
        put(names, folder, stem(sequence) + STATEMENT_SUFFIX)
        assert names.waiting() == [stem(sequence)]
        put(names, folder, stem(sequence) + BUNDLE_SUFFIX)
        assert names.newest() == stem(sequence)
    assert listings == [1]


def later(folder: Path) -> None:
    """Make sure that the change is dated later, however coarse the file system's clock."""
    found = folder.stat().st_mtime_ns + 10_000_000
    os.utime(folder, ns=(found, found))
