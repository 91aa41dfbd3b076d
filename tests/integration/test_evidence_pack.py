"""An evidence pack: what it holds, that one order gives the same bytes, and what is refused."""

import csv
import io
import itertools
import json
import subprocess
import zipfile
from datetime import timedelta
from pathlib import Path

import pytest

from reconciler.core.errors import EvidenceError
from reconciler.core.record import CycleOutcome
from tests.builders import NOW
from tests.output_schemas import problems
from tests.pack_builders import CYCLES, codes, exported, record_of, run, the_one, told
from tests.record_builders import (
    Chain,
    attested_chain,
    cycle_id,
    cycle_record,
    inventory_facts,
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
    manifest = document["pack"].pop("manifest")
    assert (manifest["signed"], manifest["compared"]) == (False, False)
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
