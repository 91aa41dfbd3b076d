"""The managed-key signer: how its key comes to be, whom it refuses, and what its bundles are."""

import base64
import json
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from securesystemslib.dsse import Envelope
from sigstore_models.bundle.v1 import Bundle

from reconciler.adapters.durable_file import create_file
from reconciler.adapters.key_signer import KeySigner
from reconciler.adapters.sigstore_bundle import VerifyingKey, pre_authentication_encoding
from reconciler.core.errors import EvidenceError, SigningError
from reconciler.evidence_ports import SignedStatement, Signer
from tests.peers import require

PAYLOAD = b'{"_type":"https://in-toto.io/Statement/v1"}'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the key shall lie."""
    return tmp_path / "keys" / "attestation.pem"


def write_key(path: Path, key: PrivateKeyTypes, mode: int = 0o600) -> None:
    """Write a private key as an operator would."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(pem)
    path.chmod(mode)


def test_the_key_is_made_on_first_use_and_kept(path: Path) -> None:
    """The first use makes a private file (0600) and a public one beside it; later uses sign with the same key."""
    first: Signer = KeySigner.open(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert path.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----")
    assert sorted(one.name for one in path.parent.iterdir()) == ["attestation.pem", "attestation.pub"]
    again = KeySigner.open(path)
    assert again.verifying_key == VerifyingKey.from_file(path.with_suffix(".pub"))
    assert (first.mode, first.assurance) == ("managed-key", "local-key")
    assert again.identity == "sha256:" + again.verifying_key.key_id


def test_a_key_made_at_the_same_time_by_another_process_is_taken(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever gets the file name first has made the key; nothing is overwritten."""
    theirs = ec.generate_private_key(ec.SECP256R1())

    def lose_the_race(where: Path, content: bytes, *, mode: int = 0o600) -> None:
        if where == path:
            write_key(path, theirs)
        create_file(where, content, mode=mode)

    monkeypatch.setattr("reconciler.adapters.key_file.create_file", lose_the_race)
    der = theirs.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert KeySigner.open(path).verifying_key.der == der
    assert len(list(path.parent.iterdir())) == 2


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_that_others_may_read_is_refused(path: Path, mode: int) -> None:
    """A key readable by group or world signs nothing; the message names the file and the remedy."""
    write_key(path, ec.generate_private_key(ec.SECP256R1()), mode)
    with pytest.raises(SigningError, match=f"may be read by others \\(mode 0{mode:o}\\)") as caught:
        KeySigner.open(path)
    assert f"chmod 600 {path}" in caught.value.advice


@pytest.mark.parametrize("key", [ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate()])
def test_other_kinds_of_key_are_refused(path: Path, key: PrivateKeyTypes) -> None:
    """Only ECDSA on P-256 is taken: what key management services and Sigstore agree on."""
    write_key(path, key)
    with pytest.raises(SigningError, match="not an ECDSA key on P-256"):
        KeySigner.open(path)


def test_a_damaged_key_is_not_replaced(path: Path) -> None:
    """An empty or damaged key file is an error, never silently a new key."""
    KeySigner.open(path)
    path.write_bytes(b"")
    with pytest.raises(SigningError, match="not an unencrypted PEM private key"):
        KeySigner.open(path)
    assert path.read_bytes() == b""


def test_a_foreign_public_key_beside_it_is_found(path: Path, tmp_path: Path) -> None:
    """A public file of another key is a finding: verification would trust it."""
    KeySigner.open(path)
    other = KeySigner.open(tmp_path / "other.pem")
    path.with_suffix(".pub").write_bytes(other.verifying_key.pem)
    with pytest.raises(SigningError, match="public half of another key"):
        KeySigner.open(path)
    path.with_suffix(".pub").write_bytes(b"nonsense")
    with pytest.raises(SigningError, match="not readable PEM"):
        KeySigner.open(path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """An unusable place is one clear error with the path."""
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    with pytest.raises(SigningError, match="cannot be used: Not a directory"):
        KeySigner.open(blocked / "attestation.pem")


def test_the_bundle_is_one_that_sigstore_reads(path: Path) -> None:
    """Sigstore's own model accepts the bundle: version 0.3, a key hint, one signature over the payload."""
    signer = KeySigner.open(path)
    signed = signer.sign(PAYLOAD)
    assert signed == SignedStatement(payload=PAYLOAD, bundle=signed.bundle)
    bundle = Bundle.from_json(signed.bundle)
    assert bundle.media_type == "application/vnd.dev.sigstore.bundle.v0.3+json"
    assert bundle.verification_material.public_key is not None
    assert bundle.verification_material.public_key.hint == signer.verifying_key.hint
    assert bundle.dsse_envelope is not None
    assert bundle.dsse_envelope.payload == PAYLOAD
    assert len(bundle.dsse_envelope.signatures) == 1


def test_the_signed_bytes_are_those_of_dsse(path: Path) -> None:
    """Our pre-authentication encoding is that of another implementation of DSSE."""
    assert pre_authentication_encoding(PAYLOAD) == Envelope(PAYLOAD, "application/vnd.in-toto+json", {}).pae()
    assert KeySigner.open(path).sign(PAYLOAD).payload == PAYLOAD


def test_openssl_verifies_the_signature(path: Path, tmp_path: Path) -> None:
    """A third implementation, without any of our code, accepts the signature over the encoding."""
    openssl = require("openssl")
    signed = KeySigner.open(path).sign(PAYLOAD)
    signature = json.loads(signed.bundle)["dsseEnvelope"]["signatures"][0]["sig"]
    (tmp_path / "signature").write_bytes(base64.b64decode(signature))
    (tmp_path / "message").write_bytes(pre_authentication_encoding(PAYLOAD))
    done = subprocess.run(
        [
            openssl,
            "dgst",
            "-sha256",
            "-verify",
            path.with_suffix(".pub"),
            "-signature",
            tmp_path / "signature",
            tmp_path / "message",
        ],
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.stdout.strip() == "Verified OK"


def test_a_signature_that_does_not_verify_never_leaves(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A faulty signature is caught right after signing, before anything is stored."""
    signer, other = KeySigner.open(path), KeySigner.open(path.with_name("other.pem"))
    monkeypatch.setattr(signer, "_signer", other._signer)
    with pytest.raises(SigningError, match="does not verify"):
        signer.sign(PAYLOAD)


def test_a_bundle_of_another_key_payload_or_type_is_refused(path: Path, tmp_path: Path) -> None:
    """Each way in which a bundle can be about something else has a code of its own."""
    signer, other = KeySigner.open(path), KeySigner.open(tmp_path / "other.pem")
    bundle = signer.sign(PAYLOAD).bundle
    key = signer.verifying_key

    def code(content: bytes, payload: bytes = PAYLOAD, trusted: VerifyingKey = key) -> str | None:
        found = trusted.refusal(content, payload)
        return None if found is None else found.code

    assert code(bundle) is None
    assert code(bundle, trusted=other.verifying_key) == "wrong_key"
    assert code(bundle, b"{}") == "statement_changed"
    assert code(bundle.replace(b"in-toto+json", b"in-toto+yaml")) == "payload_type"
    assert code(bundle.replace(key.hint.encode(), other.verifying_key.hint.encode())) == "wrong_key"
    assert code(bundle + b" ") == "bundle_changed"
    assert code(bundle.replace(b'{"sig":', b'{"keyid":"","sig":')) == "bundle_changed"
    assert code(bundle.replace(b'"tlogEntries":[]', b'"tlogEntries":[1]')) == "bundle_changed"
    assert code(other.sign(PAYLOAD).bundle.replace(other.verifying_key.hint.encode(), key.hint.encode())) == "signature"
    for content in (b"", b"[]", b"{}", b'{"dsseEnvelope":{"signatures":[]}}', b"\xff", b"[" * 100_000):
        assert code(content) == "bundle_malformed"


def test_public_keys_of_other_kinds_are_refused(tmp_path: Path) -> None:
    """A verifier told to trust an unusable key says so."""
    pem = (
        ed25519.Ed25519PrivateKey.generate()
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    with pytest.raises(EvidenceError, match="not an ECDSA key on P-256"):
        VerifyingKey.from_pem(pem)
    with pytest.raises(EvidenceError, match="cannot be read: No such file"):
        VerifyingKey.from_file(tmp_path / "missing.pub")
