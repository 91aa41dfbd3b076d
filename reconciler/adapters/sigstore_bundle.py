"""The form in which a signed statement lies on disk: a Sigstore bundle v0.3 around a DSSE envelope, and its check.

A bundle of the managed-key mode has one possible form for one statement, key and signature: canonical JSON without any
field more. The check rebuilds that form and compares bytes, so that no byte of a stored bundle can change unnoticed.
Whoever is expected to have signed is a `Trusted`: here a key; `sigstore_identity` has the one of keyless signing.
Verification uses `cryptography` alone and shares no code with the library that signs.
"""

import base64
import binascii
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Protocol, Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from reconciler.adapters.evidence_files import Entry
from reconciler.core.canonical import Json, dumps
from reconciler.core.errors import EvidenceError
from reconciler.core.statement import PAYLOAD_TYPE

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
MODE = "managed-key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a bundle does not prove a statement."""

    code: str
    message: str


class Trusted(Protocol):
    """Whoever an auditor expects to have signed: a key, or an identity that a trusted instance vouches for."""

    @property
    def mode(self) -> str:
        """Return the signing mode that statements of this signer name."""

    @property
    def signer(self) -> str:
        """Return who it is, as the first statement of a chain binds it."""

    def refusal(self, content: bytes, payload: bytes) -> Refusal | None:
        """Return why the bundle does not prove that this signer signed exactly this statement; None when it does."""

    def stamped_at(self, content: bytes) -> datetime | None:
        """Return the latest trusted time of a bundle that was not refused; None where nobody bears witness of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyingKey:
    """An ECDSA P-256 public key that statements are checked against."""

    der: bytes
    """SubjectPublicKeyInfo, DER."""

    @classmethod
    def from_pem(cls, pem: bytes) -> Self:
        """Read a PEM public key. Raises `EvidenceError` when it is none, or none on P-256."""
        try:
            key = serialization.load_pem_public_key(pem)
        except (ValueError, UnsupportedAlgorithm) as error:
            msg = "the public key is not readable PEM"
            raise EvidenceError(msg, advice="give the file that begins with -----BEGIN PUBLIC KEY-----") from error
        if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
            msg = "the public key is not an ECDSA key on P-256"
            raise EvidenceError(msg, advice="attestations of the managed-key mode are signed by ECDSA P-256 keys only")
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return cls(der=key.public_bytes(serialization.Encoding.DER, form))

    @classmethod
    def from_file(cls, path: Entry) -> Self:
        """Read a PEM public key from a file. Raises `EvidenceError` as `from_pem`, and when there is no such file."""
        try:
            return cls.from_pem(path.read_bytes())
        except OSError as error:
            msg = f"the public key {path} cannot be read: {error.strerror}"
            raise EvidenceError(msg, advice="give --key, or --trust-root, --identity and --issuer") from error

    @property
    def pem(self) -> bytes:
        """Return the key as PEM, as `openssl` reads it."""
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self._key().public_bytes(serialization.Encoding.PEM, form)

    @property
    def key_id(self) -> str:
        """Return the SHA-256 (hex) of the key's DER form."""
        return sha256(self.der).hexdigest()

    @property
    def fingerprint(self) -> str:
        """Return `sha256:` and the key id: how people compare keys."""
        return "sha256:" + self.key_id

    @property
    def hint(self) -> str:
        """Return the hint of the bundle format: the same digest in base64, as cosign writes it."""
        return base64.b64encode(sha256(self.der).digest()).decode()

    @property
    def mode(self) -> str:
        """Return `managed-key`."""
        return MODE

    @property
    def signer(self) -> str:
        """Return the fingerprint."""
        return self.fingerprint

    def refusal(self, content: bytes, payload: bytes) -> Refusal | None:
        """Return why the bundle does not prove that this key signed exactly this statement; None when it does."""
        return next(_refusals(content, payload, self), None)

    def stamped_at(self, content: bytes) -> datetime | None:  # noqa: ARG002 - no bundle of a key tells a time
        """Return None: a key alone shows no time."""
        return None

    def signed(self, signature: bytes, message: bytes) -> bool:
        """Say whether the signature over the message is by this key."""
        try:
            self._key().verify(signature, message, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True

    def _key(self) -> ec.EllipticCurvePublicKey:
        key = serialization.load_der_public_key(self.der)
        assert isinstance(key, ec.EllipticCurvePublicKey)  # noqa: S101 - from_pem has seen to it; narrows the type
        return key


def pre_authentication_encoding(payload: bytes, payload_type: str = PAYLOAD_TYPE) -> bytes:
    """Return the bytes that a DSSE signature covers: type and payload, each with its length (DSSE v1 protocol)."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def bundle_bytes(payload: bytes, signature: bytes, key: VerifyingKey) -> bytes:
    """Return the one form of the bundle of a statement, its signature and the key that made it.

    The signature has no `keyid`: cosign looks at no signature that has one, unless it is of OpenSSH's form.
    """
    envelope: dict[str, Json] = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"sig": base64.b64encode(signature).decode()}],
    }
    material: dict[str, Json] = {"publicKey": {"hint": key.hint}, "tlogEntries": []}
    return dumps({"mediaType": MEDIA_TYPE, "verificationMaterial": material, "dsseEnvelope": envelope})


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What a bundle says, before anything of it is believed."""

    payload: bytes
    payload_type: str
    hint: str
    """Which key signed, where a key did and the bundle says so."""
    signature: bytes


def read_bundle(content: bytes) -> Envelope:
    """Take a bundle apart without checking the signature. Raises `EvidenceError` when it is no bundle of ours."""
    try:
        document = json.loads(content)
        envelope = document["dsseEnvelope"]
        (signature,) = envelope["signatures"]
        return Envelope(
            payload=base64.b64decode(envelope["payload"], validate=True),
            payload_type=str(envelope["payloadType"]),
            hint=str(document["verificationMaterial"].get("publicKey", {}).get("hint", "")),
            signature=base64.b64decode(signature["sig"], validate=True),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, binascii.Error) as error:
        msg = "not a Sigstore bundle with one signature over a statement"
        raise EvidenceError(
            msg, advice="the file was changed after it was written; take the copy of a backup"
        ) from error


def _refusals(content: bytes, payload: bytes, key: VerifyingKey) -> Iterator[Refusal]:
    try:
        envelope = read_bundle(content)
    except EvidenceError as error:
        yield Refusal(code="bundle_malformed", message=str(error))
        return
    if envelope.payload_type != PAYLOAD_TYPE:
        yield Refusal(code="payload_type", message="the envelope does not hold an in-toto statement")
    if envelope.payload != payload:
        yield Refusal(code="statement_changed", message="the statement is not the one that was signed")
    if envelope.hint != key.hint:
        told = f"signed by key {envelope.hint[:16]}…, not by the expected {key.hint[:16]}…"
        yield Refusal(code="wrong_key", message=told)
    if not key.signed(envelope.signature, pre_authentication_encoding(payload)):
        yield Refusal(code="signature", message="the signature is not by the expected key")
    if bundle_bytes(payload, envelope.signature, key) != content:
        yield Refusal(code="bundle_changed", message="the bundle is not in the form in which it was written")
