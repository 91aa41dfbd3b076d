"""The `attestations` commands: what they print, how they exit, and a pack that is checked without our code."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from zipfile import ZipFile

import pytest
from typer import Typer
from typer.testing import CliRunner, Result

from inventory.model import ArtefactKind, Coverage, ReadState
from reconciler.adapters.key_signer import KeySigner
from reconciler.cli.attestation_trust import Place
from reconciler.cli.attestations import build_app
from reconciler.core.errors import EvidenceError
from reconciler.core.model import Mode
from reconciler.core.record import CycleOutcome
from reconciler.settings import load_settings
from reconciler.writer import open_journal
from tests.builders import NOW
from tests.output_schemas import problems
from tests.peers import require
from tests.record_builders import (
    Chain,
    attested_chain,
    cut_off,
    cycle_id,
    cycle_record,
    inventory_facts,
    journal_of,
    roster_facts,
)

CONFIGURATION = """
roster:
  path: roster.csv
"""


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """Attest two whole cycles."""
    return attested_chain(tmp_path_factory.mktemp("original"), cycle_record(), cycle_record(sequence=2))


@pytest.fixture
def chain(original: Chain, tmp_path: Path) -> Chain:
    """Return a copy that may be damaged."""
    return original.copied(tmp_path / "state")


def place(chain: Chain) -> Place:
    """Return what the operator's configuration would say."""
    return Place(root=chain.store.root, trusted=lambda: chain.signer.verifying_key, journal=journal_of(chain))


def configured(chain: Chain) -> Typer:
    """Return the commands of an operator's machine."""
    found = place(chain)
    return build_app(lambda _: found)


def run(app: Typer, *arguments: str) -> Result:
    """Run a command; an error of ours is raised as the command line's own main would see it."""
    result = CliRunner().invoke(app, [*arguments])
    if isinstance(result.exception, EvidenceError):
        raise result.exception
    return result


def test_the_operator_verifies_with_the_configured_key(chain: Chain) -> None:
    """Without options the configured store verifies with exit 0, in the published form."""
    result = run(configured(chain), "verify", "--output", "json")
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    assert problems("attestations-verify", told) == []
    period = told.pop("period")
    assert (told.pop("pack"), told.pop("not_shown")) == (None, [])
    assert (period["first_sequence"], period["last_sequence"], period["whole_cycles"]) == (1, 2, 2)
    assert period["not_covered"] == []
    log = told.pop("log")
    assert (log["origin"], log["size"], log["recomputed"]) == ("access-reconciler.dev/log/test-installation", 12, True)
    assert told == {
        "verified": True,
        "cycles": 2,
        "gaps": [],
        "incomplete": [],
        "problems": [],
        "signer": chain.signer.identity,
        "mode": "managed-key",
        "key_source": "configured",
        "self_consistent_only": False,
        "head": f"2:{chain.links[1].digest}",
        "evidence": {"checked": 11, "absent": 0},
        "erased": dict.fromkeys(("cycles", "keys", "disclosures", "logs", "unfinished", "unreadable"), 0),
    }


def test_a_key_from_the_folder_itself_shows_agreement_only(chain: Chain) -> None:
    """With nothing but the folder the exit code is 3 and the reader is told why."""
    for folder in (chain.store.root, chain.folder):
        result = run(build_app(), "verify", "--dir", str(folder))
        assert result.exit_code == 3
        assert "Self-consistent only" in result.stdout
        assert "No transparency log, no trusted time" in result.stdout


def test_an_auditor_brings_the_key(chain: Chain, tmp_path: Path) -> None:
    """The auditor's key decides: the right one verifies, another one fails every cycle."""
    good, bad = tmp_path / "good.pub", tmp_path / "bad.pub"
    good.write_bytes(chain.signer.verifying_key.pem)
    bad.write_bytes(KeySigner.open(tmp_path / "other.pem").verifying_key.pem)
    assert run(build_app(), "verify", "--dir", str(chain.store.root), "--key", str(good)).exit_code == 0
    result = run(build_app(), "verify", "--dir", str(chain.store.root), "--key", str(bad), "--output", "json")
    assert result.exit_code == 1
    assert [one["code"] for one in json.loads(result.stdout)["problems"]] == ["wrong_key", "wrong_key"]


def test_a_damaged_cycle_is_named_and_fails(chain: Chain) -> None:
    """Text and JSON both name the cycle; the exit code is 1."""
    statement, _ = chain.files(1)
    statement.write_bytes(statement.read_bytes().replace(b'"attempted":1', b'"attempted":0'))
    result = run(configured(chain), "verify")
    assert result.exit_code == 1
    assert "NOT VERIFIED" in result.stdout
    assert f"cycle 1 ({cycle_id(1)})" in result.stdout
    document = json.loads(run(configured(chain), "verify", "--output", "json").stdout)
    assert [problem["cycle_id"] for problem in document["problems"]] == [cycle_id(1)]
    assert not document["verified"]


def test_a_cut_off_tail_is_found(chain: Chain, tmp_path: Path) -> None:
    """The journal finds it on the operator's machine, an expected head or head file anywhere."""
    head = tmp_path / "head"
    head.write_text(f"2:{chain.links[1].digest}\n")
    key = str(chain.store.root / "keys" / "attestation.pub")
    offline = ("verify", "--dir", str(chain.store.root), "--key", key)
    assert run(build_app(), *offline, "--expect-head", str(head)).exit_code == 0
    cut_off(chain, 2)
    assert run(configured(chain), "verify").exit_code == 1
    assert run(build_app(), *offline).exit_code == 0
    assert run(build_app(), *offline, "--expect-head", str(head)).exit_code == 1
    assert run(build_app(), *offline, "--expect-head", head.read_text()).exit_code == 1


def test_a_pack_may_be_older_than_the_journal(chain: Chain, tmp_path: Path) -> None:
    """Verifying another folder with the configured key does not ask for the cycles that came since."""
    older = attested_chain(tmp_path / "older")
    shutil.copytree(chain.folder, older.store.root / "attestations")
    for path in chain.files(2):
        (older.store.root / "attestations" / path.name).unlink()
    result = run(configured(chain), "verify", "--config", "any.yaml", "--dir", str(older.store.root))
    assert result.exit_code == 0


def test_verified_with_gaps_is_told_apart(tmp_path: Path) -> None:
    """Interrupted and incomplete cycles verify with exit 3, and are listed."""
    partial = cycle_record(sequence=3, outcome=CycleOutcome.PARTIAL, inventories=(inventory_facts(complete=False),))
    chain = attested_chain(tmp_path, cycle_record(), partial)
    found = place(chain)
    result = run(build_app(lambda _: found), "verify")
    assert result.exit_code == 3
    assert "interrupted cycles without an attestation: 2" in result.stdout
    assert cycle_id(3) in result.stdout


def test_what_was_not_covered_is_told(tmp_path: Path) -> None:
    """Kinds that were refused, scopes not read to their end, observing and stale cycles each stand in the answer."""
    refused = (Coverage(kind=ArtefactKind.SESSION, state=ReadState.DENIED, count=0),)
    chain = attested_chain(
        tmp_path,
        cycle_record(),
        cycle_record(
            sequence=2,
            mode=Mode.OBSERVE,
            outcome=CycleOutcome.PARTIAL,
            results=(),
            roster=roster_facts(as_of=None),
            inventories=(inventory_facts(complete=False, coverage=refused),),
        ),
    )
    found = place(chain)
    period = json.loads(run(build_app(lambda _: found), "verify", "--output", "json").stdout)["period"]
    assert {(gap["kind"], gap["state"], gap["first"], gap["last"]) for gap in period["not_covered"]} == {
        ("", "incomplete", 2, 2),
        ("session", "denied", 2, 2),
    }
    (month,) = period["months"]
    assert (month["cycles"], month["partial"], month["observed"]) == (2, 1, 1)
    assert month["latest_signature_seconds"] is None
    shown = run(build_app(lambda _: found), "verify").stdout
    assert "corp-aws: not read to its end (cycle 2; of 2 whole ones)" in shown
    assert "corp-aws/session: denied" in shown
    assert "no trusted time" in shown


def test_list_shows_what_lies_there(chain: Chain) -> None:
    """Each attestation is listed with how it ended; an unreadable one is listed as that."""
    chain.files(1)[0].write_bytes(b"{}")
    chain.files(2)[0].unlink()
    document = json.loads(run(configured(chain), "list", "--output", "json").stdout)
    first, second = document["attestations"]
    assert (first["cycle_id"], first["outcome"]) == (cycle_id(1), None)
    assert "is not usable" in first["problem"]
    assert "cannot be read" in second["problem"]
    assert "?" in run(configured(chain), "list").stdout


def test_list_tells_digest_and_outcome(chain: Chain) -> None:
    """The digests listed are those that the next statement names."""
    document = json.loads(run(configured(chain), "list", "--output", "json").stdout)
    assert [one["digest"] for one in document["attestations"]] == [link.digest for link in chain.links]
    assert {one["outcome"] for one in document["attestations"]} == {"complete"}


def test_show_finds_a_cycle_by_number_id_or_prefix(chain: Chain) -> None:
    """Sequence number and id both find the statement; what is ambiguous or damaged is an error."""
    by_number = json.loads(run(configured(chain), "show", "2").stdout)
    assert by_number["predicate"]["cycleId"] == cycle_id(2)
    assert json.loads(run(configured(chain), "show", cycle_id(2)).stdout) == by_number
    with pytest.raises(EvidenceError, match="2 attestations are of a cycle '1111'"):
        run(configured(chain), "show", "1111")
    with pytest.raises(EvidenceError, match="0 attestations are of a cycle '9'"):
        run(configured(chain), "show", "9")
    chain.files(2)[0].write_bytes(b"nonsense")
    with pytest.raises(EvidenceError, match="is not JSON any more"):
        run(configured(chain), "show", "2")


def test_without_a_store_the_command_says_what_to_give(tmp_path: Path) -> None:
    """A folder without attestations is one clear error."""
    with pytest.raises(EvidenceError, match="there are no attestations in"):
        run(build_app(), "verify", "--dir", str(tmp_path))


def test_the_configuration_names_store_key_and_journal(tmp_path: Path) -> None:
    """From a configuration file the store, the signing key and the journal are found; a journal is never made."""
    state = tmp_path / "state"
    chain = attested_chain(state / "evidence", cycle_record())
    (state / "keys").mkdir()
    for name in ("attestation.pem", "attestation.pub"):
        shutil.move(state / "evidence" / "keys" / name, state / "keys" / name)
    config = tmp_path / "access-reconciler.yaml"
    config.write_text(CONFIGURATION)
    result = run(build_app(), "verify", "--config", str(config), "--output", "json")
    assert (result.exit_code, json.loads(result.stdout)["key_source"]) == (0, "configured")
    assert not (state / "journal.sqlite3").exists()
    assert run(build_app(), "verify", "--dir", str(state)).exit_code == 3
    with open_journal(load_settings(config)) as journal:
        journal.take_over(NOW)
        journal.begin_cycle(cycle_id(1), Mode.ENFORCE, NOW)
        journal.finish_cycle(cycle_id(1), CycleOutcome.COMPLETE, chain.links[0].digest, NOW)
        journal.begin_cycle(cycle_id(2), Mode.ENFORCE, NOW)
        journal.finish_cycle(cycle_id(2), CycleOutcome.COMPLETE, "sha256:" + "0" * 64, NOW)
    result = run(build_app(), "verify", "--config", str(config), "--output", "json")
    assert result.exit_code == 1
    assert [one["cycle_id"] for one in json.loads(result.stdout)["problems"]] == [cycle_id(2)]


def test_an_unusable_head_is_an_error(chain: Chain) -> None:
    """A head that is neither of the right form nor a file that holds one stops the command."""
    with pytest.raises(EvidenceError, match="'latest' is not SEQUENCE:DIGEST"):
        run(configured(chain), "verify", "--expect-head", "latest")


def test_a_pack_verifies_with_openssl_alone(chain: Chain, tmp_path: Path) -> None:
    """The commands of a pack's README work as printed, in a shell that has nothing of ours."""
    shell, openssl = require("bash"), require("openssl")
    out = tmp_path / "pack.zip"
    result = run(configured(chain), "export", "--out", str(out))
    assert result.exit_code == 0
    assert f"head 2:{chain.links[1].digest}" in result.stdout
    folder = tmp_path / "pack"
    with ZipFile(out) as pack:
        pack.extractall(folder)
    commands = (folder / "README.md").read_text().split("```sh\n")[1].split("```")[0]
    done = subprocess.run(
        [shell, "-euo", "pipefail", "-c", commands],
        cwd=folder,
        env={"PATH": f"{Path(openssl).parent}:/usr/bin:/bin"},
        capture_output=True,
        check=False,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    fingerprint, verdict = done.stdout.strip().splitlines()
    assert fingerprint.endswith(chain.signer.identity.removeprefix("sha256:"))
    assert verdict == "Verified OK"


def test_a_pack_is_complete_deterministic_and_verifies(chain: Chain, tmp_path: Path) -> None:
    """Two exports are the same bytes; every file is in the manifest by its digest; no private key is in it."""
    first, second = tmp_path / "one.zip", tmp_path / "two.zip"
    for out in (first, second):
        run(configured(chain), "export", "--out", str(out))
    assert first.read_bytes() == second.read_bytes()
    folder = tmp_path / "pack"
    with ZipFile(first) as pack:
        pack.extractall(folder)
        contents = {name: pack.read(name) for name in pack.namelist()}
    manifest = json.loads(contents.pop("manifest.json"))
    assert manifest["files"] == {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    assert not any(b"PRIVATE KEY" in content for content in contents.values())
    key = tmp_path / "given.pub"
    key.write_bytes(chain.signer.verifying_key.pem)
    assert run(build_app(), "verify", "--dir", str(folder), "--key", str(key)).exit_code == 0


def test_what_does_not_verify_is_not_exported(chain: Chain, tmp_path: Path) -> None:
    """A damaged store gives no pack, and a pack is never overwritten."""
    out = tmp_path / "pack.zip"
    out.write_bytes(b"older pack")
    with pytest.raises(EvidenceError, match="is already there"):
        run(configured(chain), "export", "--out", str(out))
    assert out.read_bytes() == b"older pack"
    with pytest.raises(EvidenceError, match="cannot be written"):
        run(configured(chain), "export", "--out", str(tmp_path / "nowhere" / "pack.zip"))
    chain.files(1)[1].unlink()
    with pytest.raises(EvidenceError, match="nothing was exported"):
        run(configured(chain), "export", "--out", str(tmp_path / "new.zip"))
    assert not (tmp_path / "new.zip").exists()
