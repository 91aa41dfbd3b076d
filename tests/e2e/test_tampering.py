"""The attestations of a real run, changed byte by byte and file by file: each change is found, and its cycle named."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.adapters.attestations import verify
from reconciler.adapters.sigstore_bundle import VerifyingKey
from tests.e2e.conftest import Demonstrated

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

SAMPLES = 25


@pytest.fixture
def state(demonstrated: Demonstrated, tmp_path: Path) -> Path:
    """Return a copy of the demo's state that may be damaged."""
    return shutil.copytree(demonstrated.company.directory / "state", tmp_path / "company" / "state").parent


def report(demonstrated: Demonstrated, folder: Path) -> Any:
    """Verify a copied company by the command line."""
    copied = demonstrated.company.variant(folder / "config")
    shutil.rmtree(copied.directory / "state")
    shutil.move(folder / "state", copied.directory / "state")
    answer = copied.run("attestations", "verify", "--output", "json")
    assert answer.code == (0 if answer.document["verified"] else 1)
    return answer.document


def files(folder: Path) -> list[Path]:
    """Return statements and bundles in the order of their cycles."""
    found = sorted((folder / "state" / "evidence" / "attestations").iterdir())
    assert len(found) >= 6
    return found


def cycle_of(path: Path) -> str:
    """Return the id of the cycle that a file's name tells."""
    return path.name.split("-", 1)[1].split(".", 1)[0]


def positions(size: int) -> Iterator[int]:
    """Yield the first and last bytes of a file and some in between."""
    yield from sorted({0, 1, size // 2, size - 2, size - 1, *range(0, size, max(1, size // SAMPLES))})


def test_an_untouched_copy_verifies(demonstrated: Demonstrated, state: Path) -> None:
    """The copy itself is no damage: what follows fails for what was done to it."""
    assert report(demonstrated, state)["verified"] is True


def test_any_changed_byte_is_found_and_its_cycle_named(demonstrated: Demonstrated, state: Path) -> None:
    """One flipped bit at any place of any statement or bundle fails the verification and names that cycle."""
    key = VerifyingKey.from_file(state / "state" / "keys" / "attestation.pub")
    root = state / "state" / "evidence"
    unnoticed = []
    for path in files(state):
        whole = path.read_bytes()
        for position in positions(len(whole)):
            for bit in (0x01, 0x20):
                path.write_bytes(whole[:position] + bytes([whole[position] ^ bit]) + whole[position + 1 :])
                found = verify(root, key)
                if found.verified or cycle_of(path) not in {problem.cycle_id for problem in found.problems}:
                    unnoticed.append((path.name, position, bit))
        path.write_bytes(whole)
    assert unnoticed == []


@pytest.mark.parametrize("which", [0, -1])
def test_a_changed_byte_fails_the_command(demonstrated: Demonstrated, state: Path, which: int) -> None:
    """The command exits 1 and tells which cycle, for the first and the last file."""
    path = files(state)[which]
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 0x01
    path.write_bytes(whole)
    found = report(demonstrated, state)
    assert found["verified"] is False
    assert {problem["cycle_id"] for problem in found["problems"]} == {cycle_of(path)}


@pytest.mark.parametrize("sequence", [0, 1, 2])
def test_a_removed_cycle_is_missed(demonstrated: Demonstrated, state: Path, sequence: int) -> None:
    """A cycle whose files are gone is named, the first, an inner and the last one: the journal knows of it."""
    statement, bundle = [path for path in files(state) if path.name.startswith(f"{sequence + 1:06}-")]
    cycle_id = cycle_of(statement)
    statement.unlink()
    bundle.unlink()
    found = report(demonstrated, state)
    assert found["verified"] is False
    assert cycle_id in {problem["cycle_id"] for problem in found["problems"]}


def test_swapped_cycles_are_found(demonstrated: Demonstrated, state: Path) -> None:
    """Two cycles under each other's names are both named."""
    first, second = files(state)[0:2], files(state)[2:4]
    for one, other in zip(first, second, strict=True):
        kept = one.read_bytes()
        one.write_bytes(other.read_bytes())
        other.write_bytes(kept)
    found = report(demonstrated, state)
    assert found["verified"] is False
    assert {cycle_of(first[0]), cycle_of(second[0])} <= {problem["cycle_id"] for problem in found["problems"]}


def test_a_duplicated_cycle_is_found(demonstrated: Demonstrated, state: Path) -> None:
    """A cycle copied to another place of the chain is named."""
    for path in files(state)[2:4]:
        shutil.copy(path, path.with_name("000099-" + path.name.split("-", 1)[1]))
    found = report(demonstrated, state)
    assert found["verified"] is False
    assert cycle_of(files(state / "config")[2]) in {problem["cycle_id"] for problem in found["problems"]}


def test_changed_evidence_is_found(demonstrated: Demonstrated, state: Path) -> None:
    """A file that a statement names by its digest is part of what verifies."""
    found_files = (state / "state" / "evidence").rglob("*")
    path = min(one for one in found_files if one.is_file() and "sha256" in one.parts)
    path.chmod(0o600)
    path.write_bytes(path.read_bytes() + b" ")
    found = report(demonstrated, state)
    assert found["verified"] is False
    assert {problem["code"] for problem in found["problems"]} == {"evidence_changed"}


def test_a_changed_log_is_found(demonstrated: Demonstrated, state: Path) -> None:
    """One bit of the hashes that the log keeps fails the command, and one cycle is named for it."""
    path = state / "state" / "evidence" / "log" / "leaf-hashes"
    whole = bytearray(path.read_bytes())
    whole[0] ^= 0x01
    path.write_bytes(whole)
    found = report(demonstrated, state)
    assert [problem["code"] for problem in found["problems"]] == ["log_changed"]
    assert {problem["cycle_id"] for problem in found["problems"]} == {cycle_of(files(state / "config")[0])}


def test_a_statement_of_another_key_is_found(demonstrated: Demonstrated, state: Path) -> None:
    """Somebody who signs a changed statement anew with a key of his own is not believed."""
    target = files(state)[-1]
    statement = json.loads(target.read_bytes())
    statement["predicate"]["outcome"] = "failed"
    target.write_bytes(json.dumps(statement, separators=(",", ":"), sort_keys=True).encode())
    found = report(demonstrated, state)
    assert found["verified"] is False
    assert {problem["cycle_id"] for problem in found["problems"]} == {cycle_of(target)}
