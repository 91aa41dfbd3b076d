"""Nothing in an evidence pack changes unnoticed, not even behind a manifest that was changed with it."""

import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.pack_builders import CYCLES, codes, exported, forge, record_of, the_one, told
from tests.record_builders import (
    Chain,
    attested_chain,
)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """Attest six cycles of six days."""
    root = tmp_path_factory.mktemp("state") / "evidence"
    return attested_chain(root, *(record_of(number) for number in range(1, CYCLES + 1)))


@pytest.fixture(scope="module")
def key(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hand the auditor the signer's public key."""
    path = tmp_path_factory.mktemp("auditor") / "signer.pub"
    path.write_bytes(chain.key.pem)
    return path


@pytest.fixture(scope="module")
def sampled(chain: Chain, key: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Export everything with a sample of three, and unpack it."""
    folder = tmp_path_factory.mktemp("sampled")
    pack = exported(chain, key, folder / "pack.zip", "--disclose", "sample=3", "--seed", "the auditor's")
    with zipfile.ZipFile(pack) as archive:
        archive.extractall(folder / "pack")
    return folder / "pack"


@pytest.fixture
def pack(sampled: Path, tmp_path: Path) -> Path:
    """Return a copy that may be damaged."""
    return Path(shutil.copytree(sampled, tmp_path / "pack"))


def test_any_changed_file_is_found(sampled: Path, key: Path, tmp_path: Path) -> None:
    """One byte of every single file is flipped, one after another, with the manifest left alone: all are found."""
    missed = []
    for path in sorted(sampled.rglob("*")):
        if not path.is_file() or path.name == "manifest.json":
            continue
        whole = path.read_bytes()
        path.write_bytes(bytes([whole[0] ^ 1]) + whole[1:] if whole else b"x")
        try:
            if told(sampled, key)[0] != 1:
                missed.append(path.name)
        finally:
            path.write_bytes(whole)
    assert missed == []


def test_a_flipped_byte_of_the_zip_is_found(chain: Chain, key: Path, tmp_path: Path) -> None:
    """A changed statement inside the zip is named, with its cycle."""
    pack = exported(chain, key, tmp_path / "pack.zip")
    content = pack.read_bytes()
    at = content.index(b'"evaluated":35')
    pack.write_bytes(content[:at] + b'"evaluated":36' + content[at + 14 :])
    assert {"pack_damaged", "statement_missing"} <= codes(pack, key)


def cycle_files(pack: Path, sequence: int) -> list[Path]:
    """Return the attestation of a cycle."""
    return sorted(pack.glob(f"attestations/{sequence:06d}-*"))


def test_a_removed_cycle_is_found(pack: Path, key: Path) -> None:
    """A cycle taken out of the middle is missing, though the manifest no longer tells of it."""
    names = [path.relative_to(pack).as_posix() for path in cycle_files(pack, 3)]
    for name in names:
        (pack / name).unlink()
    forge(pack, *names)
    assert "missing" in codes(pack, key)


def test_reordered_cycles_are_found(pack: Path, key: Path) -> None:
    """Two cycles that changed places are misplaced."""
    for two, three in zip(cycle_files(pack, 2), cycle_files(pack, 3), strict=True):
        one, other = two.read_bytes(), three.read_bytes()
        two.write_bytes(other)
        three.write_bytes(one)
        forge(pack, two.relative_to(pack).as_posix(), three.relative_to(pack).as_posix())
    assert "misplaced" in codes(pack, key)


def test_a_replayed_cycle_is_found(pack: Path, key: Path) -> None:
    """An old cycle put at the end under a new number is not what its name says."""
    for path in cycle_files(pack, 2):
        copy = path.with_name(path.name.replace("000002-", "000007-"))
        shutil.copyfile(path, copy)
        forge(pack, copy.relative_to(pack).as_posix())
    assert {"misplaced", "duplicate"} & codes(pack, key)


def test_a_forked_cycle_is_found(chain: Chain, pack: Path, key: Path, tmp_path: Path) -> None:
    """A cycle signed by the same key that tells another history does not fit what follows it."""
    root = tmp_path / "fork" / "evidence"
    shutil.copytree(chain.store.root / "keys", root / "keys")
    records = [record_of(1), replace(record_of(2), evaluated=36)]
    other = attested_chain(root, *records)
    for ours, theirs in zip(cycle_files(pack, 2), other.files(2)[::-1], strict=True):
        shutil.copyfile(theirs, ours)
        forge(pack, ours.relative_to(pack).as_posix())
    assert "forked" in codes(pack, key)


def test_a_truncated_tail_is_found(chain: Chain, pack: Path, key: Path) -> None:
    """Without its last cycle a pack, its manifest forged, verifies by itself and not against the head."""
    manifest = json.loads((pack / "manifest.json").read_bytes())
    for path in cycle_files(pack, CYCLES):
        path.unlink()
    assert "truncated" in codes(pack, key, "--expect-head", f"6:{chain.links[5].digest}")
    assert manifest["last"]["sequence"] == CYCLES


@pytest.mark.parametrize(
    ("pattern", "change", "code"),
    [
        (
            "decisions/*.jsonl",
            lambda text: text.replace('\\"clean\\"', '\\"known\\"').replace("revoke", "review"),
            "leaf",
        ),
        ("population.csv", lambda text: text.split("\n", 2)[0] + "\n" + text.split("\n", 2)[2], "population"),
        ("matrix.csv", lambda text: text.replace("revoke 1", "review 1"), "matrix"),
        ("waivers.json", lambda text: text.replace('"in_force":1', '"in_force":0'), "table"),
        ("coverage.json", lambda text: text.replace('"partial":0', '"partial":1'), "table"),
        ("policy/*/000.rego", lambda text: text + "\nallow := true\n", "policy"),
    ],
    ids=["leaf", "population", "matrix", "waivers", "coverage", "policy"],
)
def test_a_forged_file_is_found_behind_a_forged_manifest(
    pack: Path, key: Path, pattern: str, change: Callable[[str], str], code: str
) -> None:
    """A record, a dropped row, a cell, a count or a policy that was changed is found though the manifest agrees."""
    path = the_one(pack, pattern)
    changed = change(path.read_text())
    assert changed != path.read_text()
    path.write_text(changed)
    forge(pack, path.relative_to(pack).as_posix())
    assert codes(pack, key) == {code}


def test_a_swapped_policy_bundle_is_found(pack: Path, key: Path) -> None:
    """Another bundle under the signed digest is not what the statement signed; another under its own is nobody's."""
    bundles = [path for path in pack.glob("sha256/*/*") if b'"modules"' in path.read_bytes()]
    assert len(bundles) == 2
    bundles[0].write_bytes(bundles[1].read_bytes())
    forge(pack, bundles[0].relative_to(pack).as_posix())
    assert "evidence_changed" in codes(pack, key)


def test_a_chosen_sample_is_found(pack: Path, key: Path) -> None:
    """Drawn leavers that are left out, with all that opens them, belong to the sample: their log is in the pack."""
    dropped = [path for path in pack.glob("decisions/*.jsonl") if '"log":"leaver-log"' in path.read_text()]
    assert dropped
    for path in dropped:
        path.unlink()
        forge(pack, path.relative_to(pack).as_posix())
    assert "sample" in codes(pack, key)


def test_records_that_are_gone_are_told(pack: Path, key: Path) -> None:
    """A leaver log that is not in the pack cannot be told from an erased one: the exit code is not 0."""
    path = next(path for path in pack.glob("sha256/*/*") if b"leaver/1" in path.read_bytes())
    path.unlink()
    forge(pack, path.relative_to(pack).as_posix())
    assert codes(pack, key) >= {"population"}


def test_changed_log_hashes_are_found(pack: Path, key: Path) -> None:
    """A leaf hash of the log that was changed gives another root than the statement's."""
    hashes = pack / "proofs" / "leaf-hashes"
    hashes.write_bytes(hashes.read_bytes()[:-1] + bytes([hashes.read_bytes()[-1] ^ 1]))
    forge(pack, "proofs/leaf-hashes")
    assert codes(pack, key) >= {"log_root"}


def test_an_exchanged_checkpoint_is_found(pack: Path, key: Path) -> None:
    """A checkpoint of another cycle, signed by the log itself, is of another state than the statement tells."""
    checkpoints = sorted((pack / "checkpoints").iterdir())
    checkpoints[1].write_bytes(checkpoints[2].read_bytes())
    forge(pack, f"checkpoints/{checkpoints[1].name}")
    assert "checkpoint_changed" in codes(pack, key)
