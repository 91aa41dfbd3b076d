"""An evidence pack: what it holds, that one order gives the same bytes, and that nothing in it changes unnoticed."""

import csv
import io
import itertools
import json
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from inventory.roster.model import WorkerId
from reconciler.cli.attestations import build_app
from reconciler.core.errors import EvidenceError
from reconciler.core.record import CycleOutcome, CycleRecord, LeaverState, LeaverVerdict
from tests.builders import NOW
from tests.output_schemas import problems
from tests.record_builders import (
    Chain,
    attested_chain,
    cycle_id,
    cycle_record,
    inventory_facts,
    policy_set,
    roster_facts,
)

CYCLES = 6


def record_of(sequence: int) -> CycleRecord:
    """Build a cycle of its own day; there are two leavers, and the policies change half way."""
    began = NOW + timedelta(days=sequence)
    leavers = tuple(
        LeaverVerdict(
            worker_id=WorkerId(name), state=LeaverState.CLEAN, access_end_at=NOW - timedelta(days=14), remaining=0
        )
        for name in ("E1001", "=HYPERLINK(1)")
    )
    later = {"policy": policy_set(data='{"half":2}')} if sequence > CYCLES // 2 else {}
    return cycle_record(
        sequence=sequence,
        started_at=began,
        finished_at=began + timedelta(seconds=8),
        roster=roster_facts(leavers=2),
        leavers=leavers,
        **later,
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


def run(*arguments: str | Path) -> Any:
    """Run an `attestations` command; an error of ours is raised."""
    result = CliRunner().invoke(build_app(), [*map(str, arguments)])
    if isinstance(result.exception, EvidenceError):
        raise result.exception
    return result


def exported(chain: Chain, key: Path, out: Path, *options: str) -> Path:
    """Export a pack and return its path."""
    assert run("export", "--pack", chain.store.root, "--key", key, "--out", out, *options).exit_code == 0
    return out


def told(pack: Path, key: Path, *options: str) -> tuple[int, dict[str, Any]]:
    """Verify a pack and return exit code and document, held against the published schema."""
    result = run("verify", "--pack", pack, "--key", key, "--output", "json", *options)
    document: dict[str, Any] = json.loads(result.stdout)
    assert problems("attestations-verify", document) == []
    return result.exit_code, document


def codes(pack: Path, key: Path, *options: str) -> set[str]:
    """Verify a pack that does not hold and return why."""
    exit_code, document = told(pack, key, *options)
    assert (exit_code, document["verified"]) == (1, False)
    return {problem["code"] for problem in document["problems"]}


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


def forge(pack: Path, *names: str) -> None:
    """Write the digests of changed, new and removed files into the manifest, as whoever changes a pack would."""
    manifest = json.loads((pack / "manifest.json").read_bytes())
    for name in names:
        manifest["files"].pop(name, None)
        if (pack / name).is_file():
            manifest["files"][name] = sha256((pack / name).read_bytes()).hexdigest()
    (pack / "manifest.json").write_text(json.dumps(manifest))


def the_one(pack: Path, pattern: str) -> Path:
    """Return the first file that a pattern finds."""
    return min(pack.glob(pattern))


@pytest.mark.parametrize("disclose", ["none", "sample=2", "full"])
@pytest.mark.parametrize("profile", ["soc2", "iso27001", "gdpr"])
def test_a_pack_verifies_and_is_the_same_twice(
    chain: Chain, key: Path, tmp_path: Path, profile: str, disclose: str
) -> None:
    """Each profile and disclosure gives the same bytes twice, and a zip that verifies with exit 0."""
    options = ("--profile", profile, "--disclose", disclose, "--seed", "s")
    packs = [exported(chain, key, tmp_path / name, *options) for name in ("one.zip", "two.zip")]
    assert packs[0].read_bytes() == packs[1].read_bytes()
    exit_code, document = told(packs[0], key)
    assert (exit_code, document["cycles"]) == (0, CYCLES)
    assert document["pack"] == {
        "profile": profile,
        "disclose": disclose,
        "seed": "s" if "sample" in disclose else "",
        "after": None,
    }
    with zipfile.ZipFile(packs[0]) as archive:
        controls = archive.read("controls.csv").decode()
    assert {"soc2": "CC6.2", "iso27001": "A.5.18", "gdpr": "Art. 32(1)(d)"}[profile] in controls


def test_a_pack_may_begin_in_the_middle(chain: Chain, key: Path, tmp_path: Path) -> None:
    """Of four days out of six, what came before is told and not missing; the end is held against the head."""
    days = ((NOW + timedelta(days=number)).date().isoformat() for number in (2, 5))
    begin, end = days
    pack = exported(chain, key, tmp_path / "pack.zip", "--from", begin, "--to", end)
    exit_code, document = told(pack, key)
    assert (exit_code, document["cycles"], document["gaps"]) == (0, 4, [])
    assert document["pack"]["after"] == f"1:{chain.links[0].digest}"
    assert document["head"] == f"5:{chain.links[4].digest}"
    assert (document["period"]["first_sequence"], document["period"]["last_sequence"]) == (2, 5)
    shown = run("verify", "--pack", pack, "--key", key).stdout
    assert f"begins with cycle 2, in the middle of the chain, after 1:{chain.links[0].digest}" in shown
    assert codes(pack, key, "--expect-head", f"6:{chain.links[5].digest}") == {"truncated"}


def test_what_is_opened_is_what_was_asked_for(chain: Chain, key: Path, tmp_path: Path) -> None:
    """No worker id, principal or key is in a pack that discloses nothing; with `full` all are, and keys too."""
    for disclose, expected in (("none", False), ("full", True)):
        pack = exported(chain, key, tmp_path / f"{disclose}.zip", "--disclose", disclose)
        with zipfile.ZipFile(pack) as archive:
            names = archive.namelist()
            content = b"".join(archive.read(name) for name in names)
        assert (b"E1001" in content) is expected
        assert any(name.startswith("decisions/") for name in names) is expected
        assert b"PRIVATE KEY" not in content


def test_the_population_has_a_row_for_each_leaver_of_each_cycle(sampled: Path) -> None:
    """Every leaver stands in every cycle with the instants of HR and of what was done; drawn ones are opened."""
    rows = [*csv.DictReader(io.StringIO((sampled / "population.csv").read_text()))]
    assert [row["sequence"] for row in rows] == [str(number) for number in range(1, CYCLES + 1) for _ in range(2)]
    assert {row["access_ended_at"] for row in rows} == {"2026-02-16T09:00:00.000000Z"}
    acted = [row for row in rows if row["acted_at"]]
    assert len(acted) == CYCLES
    assert all(row["decided_at"] <= row["acted_at"] <= row["verified_at"] <= row["effective_by"] for row in acted)
    opened = {row["worker_id"] for row in rows} - {""}
    assert opened
    assert opened <= {"E1001", "'=HYPERLINK(1)"}, "a formula is never written as one"


def test_a_sampled_record_is_shown_alone(sampled: Path, key: Path) -> None:
    """A record of the sample is proven and opened; one outside it is not there."""
    drawn = the_one(sampled, "decisions/*.jsonl")
    first = json.loads(drawn.read_text().splitlines()[0])
    leaf = f"{int(drawn.name[:6])}:{first['log']}:{first['index']}"
    result = run("verify-leaf", "--pack", sampled, "--key", key, "--leaf", leaf, "--output", "json")
    document = json.loads(result.stdout)
    assert (result.exit_code, problems("attestations-verify-leaf", document, sealed=False)) == (0, [])
    assert document["record"] == json.loads(first["leaf"])
    assert document["opened_by"]
    with pytest.raises(EvidenceError, match="is not here"):
        run("verify-leaf", "--pack", sampled, "--key", key, "--leaf", "1:action-log:7")
    with pytest.raises(EvidenceError, match="names no record"):
        run("verify-leaf", "--pack", sampled, "--key", key, "--leaf", "first")


def test_the_chain_is_shown_cycle_by_cycle(sampled: Path, key: Path) -> None:
    """Each cycle follows the one before it and continues the log where that one left it."""
    result = run("chain", "--pack", sampled, "--key", key, "--output", "json")
    document = json.loads(result.stdout)
    assert (result.exit_code, problems("attestations-chain", document)) == (0, [])
    rows = document["cycles"]
    assert [row["follows"] for row in rows] == [None, 1, 2, 3, 4, 5]
    assert all(after["log_before"] == before["log_after"] for before, after in itertools.pairwise(rows))
    assert "interrupted cycles without an attestation: none" in run("chain", "--pack", sampled, "--key", key).stdout


def test_the_packs_own_key_shows_agreement_only(sampled: Path, tmp_path: Path, chain: Chain) -> None:
    """Without a key of the auditor the exit code is 3, never 0."""
    assert run("verify", "--pack", sampled).exit_code == 3


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


def test_a_partial_cycle_is_told_apart(chain: Chain, tmp_path: Path) -> None:
    """A pack with a cycle that could not see everything verifies with exit 3."""
    partial = cycle_record(sequence=2, outcome=CycleOutcome.PARTIAL, inventories=(inventory_facts(complete=False),))
    other = attested_chain(tmp_path / "evidence", cycle_record(), partial)
    key = tmp_path / "signer.pub"
    key.write_bytes(other.key.pem)
    exit_code, document = told(exported(other, key, tmp_path / "pack.zip"), key)
    assert (exit_code, document["incomplete"]) == (3, [cycle_id(2)])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("../out", {}),
        ("a/.hidden", {}),
        ("link", {"external_attr": 0o120777 << 16}),
        ("squeezed", {"compress_type": zipfile.ZIP_DEFLATED}),
    ],
)
def test_a_strange_zip_writes_nothing(tmp_path: Path, name: str, options: dict[str, int]) -> None:
    """Names that lead elsewhere, links and compressed files are refused before anything is unpacked."""
    path = tmp_path / "strange.zip"
    entry = zipfile.ZipInfo(name)
    for attribute, value in options.items():
        setattr(entry, attribute, value)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(entry, b"x" * 100_000, compress_type=entry.compress_type)
    with pytest.raises(EvidenceError, match=r"which no pack does|more bytes than it has"):
        run("verify", "--pack", path)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "options",
    [("--disclose", "some"), ("--from", "yesterday"), ("--from", "2026-03-03T10:00:00"), ("--from", "2031-01-01")],
)
def test_an_order_that_cannot_be_met_is_refused(
    chain: Chain, key: Path, tmp_path: Path, options: tuple[str, str]
) -> None:
    """An unknown extent, no instant, one without a zone, and a period without cycles: an error each, and no file."""
    out = tmp_path / "pack.zip"
    with pytest.raises(EvidenceError):
        run("export", "--pack", chain.store.root, "--key", key, "--out", out, *options)
    assert not out.exists()


def test_a_pack_is_no_source_of_packs(sampled: Path, key: Path, tmp_path: Path) -> None:
    """Exporting from a pack is refused: it may hold less than the state folder."""
    with pytest.raises(EvidenceError, match="is a pack itself"):
        run("export", "--pack", sampled, "--key", key, "--out", tmp_path / "pack.zip")


def test_a_zip_needs_no_more_than_unzip(chain: Chain, key: Path, tmp_path: Path) -> None:
    """Any zip program unpacks it into files whose digests are those of the manifest."""
    pack = exported(chain, key, tmp_path / "pack.zip")
    folder = tmp_path / "out"
    folder.mkdir()
    subprocess.run(["python3", "-m", "zipfile", "-e", str(pack), str(folder)], check=True)
    assert told(folder, key)[0] == 0
