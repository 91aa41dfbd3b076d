"""Managed keys that somebody else keeps: a file, AWS KMS, Vault, a PKCS#11 device. Each is asked as in production."""

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from moto.server import ThreadedMotoServer

from reconciler.adapters.attestations import verify
from reconciler.adapters.clock import SystemClock
from reconciler.adapters.key_service import KeyServiceSigner
from reconciler.adapters.sigstore_bundle import VerifyingKey
from reconciler.core.errors import EvidenceError, SigningError, UnverifiedSignature
from reconciler.demo.sigstore.service import Fault, Reply, Request, Service, as_json, refuse
from reconciler.settings import Settings, load_settings
from reconciler.signers import build_signer, check_signing, configured_trust
from reconciler.wiring import build_attester
from tests.record_builders import cycle_record

PAYLOAD = b'{"_type":"https://in-toto.io/Statement/v1"}'
DEADLINE = 60.0
"""Importing the libraries of every cloud takes seconds on a loaded machine."""


def public_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return the public half as an operator has it."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form)


def write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> Path:
    """Write a private key for its owner, and its public half beside it."""
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, plain))
    path.chmod(0o600)
    path.with_suffix(".pub").write_bytes(public_pem(key))
    return path


def accepted(signer: KeyServiceSigner, public: Path) -> bool:
    """Have a statement signed and say whether a stranger with the public key accepts it."""
    signed = signer.sign(PAYLOAD)
    return VerifyingKey.from_file(public).refusal(signed.bundle, PAYLOAD) is None


def test_a_key_in_a_file(tmp_path: Path) -> None:
    """A file by its URI signs in a child process; it claims no more than a local key."""
    path = write_key(tmp_path / "key.pem", ec.generate_private_key(ec.SECP256R1()))
    public = path.with_suffix(".pub")
    signer = KeyServiceSigner(f"file2:{path}", public, None, DEADLINE)
    assert accepted(signer, public)
    assert (signer.mode, signer.assurance) == ("managed-key", "local-key")
    assert signer.identity == VerifyingKey.from_file(public).fingerprint
    assert signer.check() == f"local-key {signer.identity}"


def test_what_is_wrong_with_a_file_is_named(tmp_path: Path) -> None:
    """A file that is gone, that others may read, or whose public half is another key's signs nothing."""
    path = write_key(tmp_path / "key.pem", ec.generate_private_key(ec.SECP256R1()))
    other = write_key(tmp_path / "other.pem", ec.generate_private_key(ec.SECP256R1()))
    path.chmod(0o644)
    with pytest.raises(SigningError, match="may be read by others") as open_to_all:
        KeyServiceSigner(f"file2:{path}", path.with_suffix(".pub"), None, DEADLINE).sign(PAYLOAD)
    assert "chmod 600" in open_to_all.value.advice
    with pytest.raises(SigningError, match=r"not signed: key file \(file2:.*absent\.pem\): ") as absent:
        KeyServiceSigner(f"file2:{tmp_path}/absent.pem", path.with_suffix(".pub"), None, DEADLINE).sign(PAYLOAD)
    assert absent.value.advice
    mixed = KeyServiceSigner(f"file2:{other}", path.with_suffix(".pub"), None, DEADLINE)
    for use in (mixed.check, lambda: mixed.sign(PAYLOAD)):
        with pytest.raises(SigningError, match="KeyMismatchError"):
            use()


def test_a_public_key_of_no_use_is_refused_first(tmp_path: Path) -> None:
    """Without the public half, or with one on another curve, nobody is asked."""
    with pytest.raises(SigningError, match=r"signing\.public_key_file: .* cannot be read"):
        KeyServiceSigner("awskms:any", tmp_path / "absent.pub", None, DEADLINE)
    (tmp_path / "p384.pub").write_bytes(public_pem(ec.generate_private_key(ec.SECP384R1())))
    with pytest.raises(SigningError, match="not an ECDSA key on P-256"):
        KeyServiceSigner("awskms:any", tmp_path / "p384.pub", None, DEADLINE)


def sign_digest(key: Any, message: bytes, signing_algorithm: str) -> bytes:
    """Sign as KMS does what it is sent with MessageType DIGEST; moto 5.2 would hash the digest once more."""
    assert signing_algorithm == "ECDSA_SHA_256"
    return bytes(key.private_key.sign(message, ec.ECDSA(Prehashed(hashes.SHA256()))))


@pytest.fixture
def kms(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return a client of an emulated AWS KMS, to which the environment leads as it does in production."""
    monkeypatch.setattr("moto.kms.utils.ECDSAPrivateKey.sign", sign_digest)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    yield boto3.client("kms")
    server.stop()


def kms_key(kms: Any, public: Path, spec: str = "ECC_NIST_P256") -> str:
    """Make a key there, write its public half, and return its id."""
    key_id = kms.create_key(KeyUsage="SIGN_VERIFY", KeySpec=spec)["KeyMetadata"]["KeyId"]
    der = kms.get_public_key(KeyId=key_id)["PublicKey"]
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    public.write_bytes(serialization.load_der_public_key(der).public_bytes(serialization.Encoding.PEM, form))
    return str(key_id)


def test_a_key_in_aws_kms(kms: Any, tmp_path: Path) -> None:
    """KMS signs, the bundle verifies with the public key alone, and a key replaced behind its alias is noticed."""
    public = tmp_path / "kms.pub"
    kms.create_alias(AliasName="alias/attest", TargetKeyId=kms_key(kms, public))
    signer = KeyServiceSigner("awskms:alias/attest", public, None, DEADLINE)
    assert accepted(signer, public)
    assert signer.assurance == "key-service"
    kms.update_alias(AliasName="alias/attest", TargetKeyId=kms_key(kms, tmp_path / "newer.pub"))
    with pytest.raises(UnverifiedSignature, match="fresh signature of awskms:alias/attest does not verify") as replaced:
        signer.sign(PAYLOAD)
    assert "public_key_file" in replaced.value.advice
    with pytest.raises(UnverifiedSignature):
        signer.check()


def test_what_aws_kms_refuses_is_named(kms: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown key and a service that is down are named with the service; no text of an answer is passed on."""
    public = tmp_path / "kms.pub"
    kms_key(kms, public)
    unknown = "00000000-0000-4000-8000-000000000000"
    with pytest.raises(SigningError, match=rf"not signed: AWS KMS \(awskms:{unknown}\): NotFoundException") as refused:
        KeyServiceSigner(f"awskms:{unknown}", public, None, DEADLINE).sign(PAYLOAD)
    assert "arn:" not in str(refused.value)
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:9")
    with pytest.raises(SigningError, match=r"AWS KMS \(awskms:any\): EndpointConnectionError"):
        KeyServiceSigner("awskms:any", public, None, DEADLINE).sign(PAYLOAD)


def test_a_kms_that_never_answers_ends_at_the_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A black hole costs one deadline, and is named."""
    hole = Service(answer=lambda _: as_json({}))
    hole.start()
    hole.fail(Fault.BLACK_HOLE)
    for name, value in {
        "AWS_ENDPOINT_URL_KMS": hole.url,
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "eu-central-1",
    }.items():
        monkeypatch.setenv(name, value)
    public = tmp_path / "key.pub"
    public.write_bytes(public_pem(ec.generate_private_key(ec.SECP256R1())))
    began = time.monotonic()
    with pytest.raises(SigningError, match=r"AWS KMS \(awskms:any\) did not answer within 8 s"):
        KeyServiceSigner("awskms:any", public, None, 8).sign(PAYLOAD)
    assert time.monotonic() - began < 2 * 8
    hole.stop()


class Vault:
    """Vault's transit engine as it is on the wire: a key with versions, and signatures over what is sent."""

    def __init__(self) -> None:
        self.keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
        self.service = Service(answer=self.answer)

    def answer(self, request: Request) -> Reply:
        if request.headers.get("x-vault-token") != "s.token":
            return as_json({"errors": ["permission denied"]}, 403)
        if request.path.rstrip("/") != "/v1/transit/sign/attest":
            return refuse("no such key", status=404)
        body = json.loads(request.body)
        assert body.get("hash_algorithm", "sha2-256") == "sha2-256"
        key = self.keys[int(body["key_version"]) - 1]
        signature = key.sign(base64.b64decode(body["input"]), ec.ECDSA(hashes.SHA256()))
        return as_json({"data": {"signature": f"vault:v{body['key_version']}:{base64.b64encode(signature).decode()}"}})


def test_a_key_in_vault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Transit signs with the version that the URI names; another version, and a token that ended, sign nothing."""
    vault = Vault()
    vault.service.start()
    monkeypatch.setenv("VAULT_ADDR", vault.service.url)
    monkeypatch.setenv("VAULT_TOKEN", "s.token")
    public = tmp_path / "vault.pub"
    public.write_bytes(public_pem(vault.keys[1]))
    signer = KeyServiceSigner("hv:attest/2", public, None, DEADLINE)
    assert accepted(signer, public)
    assert signer.assurance == "key-service"
    with pytest.raises(UnverifiedSignature):
        KeyServiceSigner("hv:attest/1", public, None, DEADLINE).sign(PAYLOAD)
    monkeypatch.setenv("VAULT_TOKEN", "s.ended")
    with pytest.raises(SigningError, match=r"not signed: Vault \(hv:attest/2\): Forbidden"):
        signer.sign(PAYLOAD)
    vault.service.stop()


@pytest.mark.parametrize(
    ("uri", "install"),
    [
        ("gcpkms:projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1", "kms-gcp"),
        ("azurekms://vault.vault.azure.net/keys/k/v", "kms-azure"),
    ],
)
def test_a_library_that_is_missing_is_named(uri: str, install: str, tmp_path: Path) -> None:
    """Where a cloud's library is not installed, the error says which extra brings it; nothing else signs instead."""
    public = tmp_path / "key.pub"
    public.write_bytes(public_pem(ec.generate_private_key(ec.SECP256R1())))
    with pytest.raises(SigningError, match="its library is not installed") as missing:
        KeyServiceSigner(uri, public, None, DEADLINE).sign(PAYLOAD)
    assert missing.value.advice == f"pip install 'access-reconciler[{install}]'"


def configured(folder: Path, block: str) -> Settings:
    """Read a configuration whose block `signing` is this one."""
    path = folder / "access-reconciler.yaml"
    path.write_text(f"roster:\n  path: roster.csv\nsigning: {block}\n")
    return load_settings(path)


def test_a_configured_key_signs_and_verifies(tmp_path: Path) -> None:
    """Key URI and public key as a configuration has them: doctor, signer, and the operator's own verification."""
    path = write_key(tmp_path / "key.pem", ec.generate_private_key(ec.SECP256R1()))
    settings = configured(tmp_path, f"{{key_uri: 'file2:{path}', public_key_file: key.pub, deadline_seconds: 60}}")
    assert check_signing(settings).startswith("local-key sha256:")
    attester = build_attester(settings)
    attested = attester.sign(attester.attest(cycle_record(), ()), SystemClock())
    assert not attested.record.errors
    assert verify(settings.state_dir / "evidence", configured_trust(settings)).verified
    assert not (settings.state_dir / "keys" / "attestation.pem").exists()


@pytest.mark.parametrize(
    "block",
    [
        "{key_uri: 'awskms:alias/a'}",
        "{public_key_file: key.pub}",
        "{key_uri: 'awskms:alias/a', public_key_file: key.pub, key_file: key.pem}",
        "{key_uri: 'gnupg:abc', public_key_file: key.pub}",
        "{key_uri: 'file2:relative.pem', public_key_file: key.pub}",
        "{key_uri: 'hsm:2', public_key_file: key.pub}",
        "{key_uri: 'awskms:alias/a', public_key_file: key.pub, pin_file: pin}",
        "{key_uri: 'hv:attest', public_key_file: key.pub}",
    ],
)
def test_half_a_key_and_two_keys_are_refused(block: str, tmp_path: Path) -> None:
    """Which key signs is plain, or the configuration is refused: no default key stands in for a wrong setting."""
    with pytest.raises((EvidenceError, Exception), match="signing"):
        build_signer(configured(tmp_path, block))
    assert not list(tmp_path.rglob("attestation.pem"))
