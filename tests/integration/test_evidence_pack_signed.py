"""The manifest of a pack, bound to the signer or to a digest that was handed over: what nothing else shows is found."""

import json
import shutil
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from reconciler.adapters.key_signer import KeySigner
from reconciler.adapters.pack_order import MANIFEST, SIGNATURE, read_manifest
from reconciler.adapters.pack_signature import manifest_statement
from reconciler.cli.attestation_trust import Place
from reconciler.cli.attestations import build_app
from reconciler.core.errors import EvidenceError
from tests.output_schemas import problems
from tests.pack_builders import codes, forge, record_of, run, told
from tests.record_builders import Chain, attested_chain

EXPLAINING = ["README.md", "controls.csv", "schemas/statement.schema.json", "trust/signer.txt"]
"""Follow from no signed record: a forged manifest hides a change of them from everything but its own signature."""


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """Attest two cycles."""
    return attested_chain(tmp_path_factory.mktemp("state") / "evidence", record_of(1), record_of(2))


@pytest.fixture(scope="module")
def key(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hand the auditor the signer's public key."""
    path = tmp_path_factory.mktemp("auditor") / "signer.pub"
    path.write_bytes(chain.key.pem)
    return path


def exported(chain: Chain, signer: KeySigner, out: Path) -> dict[str, object]:
    """Export as a configuration with this signer would, with a signature, and return what is answered."""
    place = Place(root=chain.store.root, trusted=lambda: chain.key, signer=lambda: signer)
    app = build_app(lambda _: place)
    result = CliRunner().invoke(app, ["export", "--config", "x", "--sign", "--out", str(out), "--output", "json"])
    if isinstance(result.exception, EvidenceError):
        raise result.exception
    document: dict[str, object] = json.loads(result.stdout)
    assert problems("attestations-export", document) == []
    return document


@pytest.fixture(scope="module")
def whole(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Export a pack with a signed manifest, and unpack it."""
    folder = tmp_path_factory.mktemp("whole")
    assert exported(chain, chain.signer, folder / "pack.zip")["manifest_signed"] is True
    with zipfile.ZipFile(folder / "pack.zip") as archive:
        archive.extractall(folder / "pack")
    return folder / "pack"


@pytest.fixture
def pack(whole: Path, tmp_path: Path) -> Path:
    """Return a copy that may be damaged."""
    return Path(shutil.copytree(whole, tmp_path / "pack"))


def test_a_signed_manifest_verifies(pack: Path, key: Path) -> None:
    """The signature is by whoever signed the cycles, and verification says so, in words too."""
    exit_code, document = told(pack, key)
    assert (exit_code, document["pack"]["manifest"]["signed"]) == (0, True)
    assert ": signed by the signer" in run("verify", "--pack", pack, "--key", key).stdout


@pytest.mark.parametrize("name", EXPLAINING)
def test_a_change_behind_a_forged_manifest_is_found(pack: Path, key: Path, name: str) -> None:
    """Whoever changes what follows from no record, and the manifest with it, lacks the key for the signature."""
    (pack / name).write_bytes((pack / name).read_bytes() + b"x")
    forge(pack, name)
    assert codes(pack, key) == {"manifest_signature"}


def test_a_cycles_own_bundle_signs_no_manifest(pack: Path, key: Path) -> None:
    """A true bundle of the same signer over another statement is none over the manifest."""
    shutil.copyfile(min((pack / "attestations").glob("*.sigstore.json")), pack / "manifest.sigstore.json")
    assert codes(pack, key) == {"manifest_signature"}


@pytest.mark.parametrize("content", [b"", b"[", b"{}", b"\xff"])
def test_a_broken_signature_is_named(pack: Path, key: Path, content: bytes) -> None:
    """Whatever lies where the signature should be is a finding and no crash."""
    (pack / "manifest.sigstore.json").write_bytes(content)
    assert codes(pack, key) == {"manifest_signature"}


def test_a_manifest_without_signature_is_told(pack: Path, key: Path) -> None:
    """Without signature nothing is hidden: the answer says that nothing shows README, controls and schema unchanged."""
    (pack / "manifest.sigstore.json").unlink()
    assert told(pack, key)[1]["pack"]["manifest"] | {"digest": ""} == {"digest": "", "signed": False, "compared": False}
    assert "manifest not signed" in run("verify", "--pack", pack, "--key", key).stdout


def test_a_digest_had_by_another_way_binds_too(chain: Chain, pack: Path, key: Path, tmp_path: Path) -> None:
    """An operator without signer hands the printed digest over: with it, a forged manifest is found."""
    out = tmp_path / "unsigned.zip"
    answer = run("export", "--pack", chain.store.root, "--key", key, "--out", out, "--output", "json")
    document = json.loads(answer.stdout)
    assert document["manifest_signed"] is False
    expected = ("--expect-manifest", document["manifest"])
    assert told(out, key, *expected)[1]["pack"]["manifest"]["compared"] is True
    said = run("export", "--pack", chain.store.root, "--key", key, "--out", tmp_path / "told.zip").stdout
    assert "not signed; hand this digest over" in said
    (pack / "manifest.sigstore.json").unlink()
    (pack / "README.md").write_text("another")
    forge(pack, "README.md")
    assert codes(pack, key, *expected) == {"manifest_changed"}
    (pack / "manifest.json").unlink()
    assert "manifest_changed" in codes(pack, key, *expected)
    assert codes(chain.store.root, key, *expected) == {"manifest_changed"}
    with pytest.raises(EvidenceError, match="is no SHA-256"):
        told(pack, key, "--expect-manifest", "12ab")


def test_another_signer_signs_no_manifest(chain: Chain, tmp_path: Path) -> None:
    """A pack of cycles that one key signed is not signed by another key: nothing is written."""
    other = KeySigner.open(tmp_path / "other.pem")
    with pytest.raises(EvidenceError, match="the manifest would not be signed by"):
        exported(chain, other, tmp_path / "pack.zip")
    assert not (tmp_path / "pack.zip").exists()


def test_a_signature_needs_a_configuration(chain: Chain, key: Path, tmp_path: Path) -> None:
    """Who has no configuration has no signer: said before anything is written, with what to do instead."""
    with pytest.raises(EvidenceError, match="no configuration that says who signs") as caught:
        run("export", "--pack", chain.store.root, "--key", key, "--sign", "--out", tmp_path / "pack.zip")
    assert "leave --sign away" in caught.value.advice
    assert not (tmp_path / "pack.zip").exists()


def test_a_forgers_own_signature_is_refused(pack: Path, key: Path, tmp_path: Path) -> None:
    """A forger signs a forged manifest well, with another key: it is told as not signed by whom the auditor trusts."""
    (pack / "README.md").write_text("another")
    forge(pack, "README.md")
    manifest = read_manifest(pack)
    assert manifest is not None
    statement = manifest_statement((pack / MANIFEST).read_bytes(), manifest)
    (pack / SIGNATURE).write_bytes(KeySigner.open(tmp_path / "other.pem").sign(statement).bundle)
    _, document = told(pack, key)
    assert [(one["code"], "not by the expected" in one["message"]) for one in document["problems"]] == [
        ("manifest_signature", True)
    ]
