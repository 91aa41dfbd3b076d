"""A Rekor of version 2: a Merkle tree that takes signatures which verify, and proves that it holds them.

Its tree is written for this log alone, so that ours (`reconciler.core.merkle`) is held against another one.
"""

import base64
import binascii
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import rfc8785
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from reconciler.demo.sigstore.service import NOT_FOUND, Reply, Request, Service, as_json, refuse

_P256 = "PKIX_ECDSA_P256_SHA_256"


def b64(content: bytes) -> str:
    """Return standard base64."""
    return base64.b64encode(content).decode()


def leaf_hash(body: bytes) -> bytes:
    """Return the hash of a leaf (RFC 6962)."""
    return sha256(b"\x00" + body).digest()


def tree_root(leaves: Sequence[bytes]) -> bytes:
    """Return the root over leaf hashes."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = _split(len(leaves))
    return sha256(b"\x01" + tree_root(leaves[:split]) + tree_root(leaves[split:])).digest()


def audit_path(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Return the hashes that lead from a leaf to the root, lowest first."""
    if len(leaves) <= 1:
        return []
    split = _split(len(leaves))
    if index < split:
        return [*audit_path(leaves[:split], index), tree_root(leaves[split:])]
    return [*audit_path(leaves[split:], index - split), tree_root(leaves[:split])]


def _split(size: int) -> int:
    """Return the largest power of two below a size."""
    return 1 << ((size - 1).bit_length() - 1)


@dataclass(slots=True)
class LogKey:
    """An Ed25519 key of the log under its origin."""

    origin: str
    private: ed25519.Ed25519PrivateKey = field(default_factory=ed25519.Ed25519PrivateKey.generate)

    @property
    def log_id(self) -> bytes:
        """Return the key id of a C2SP signed note, in full."""
        raw = self.private.public_key().public_bytes_raw()
        return sha256(self.origin.encode() + b"\n\x01" + raw).digest()

    @property
    def spki(self) -> bytes:
        """Return the DER of the public key."""
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self.private.public_key().public_bytes(serialization.Encoding.DER, form)

    def checkpoint(self, size: int, root: bytes) -> str:
        """Return a C2SP checkpoint: a signed note of origin, size and root."""
        note = f"{self.origin}\n{size}\n{b64(root)}\n"
        signature = self.private.sign(note.encode())
        return f"{note}\n\N{EM DASH} {self.origin} {b64(self.log_id[:4] + signature)}\n"


class _Refused(Exception):
    """An entry that is not taken, with what the client is told."""


@dataclass(slots=True)
class Rekor:
    """Takes `hashedrekord` entries of ECDSA P-256 keys and certificates."""

    keys: list[LogKey] = field(default_factory=list)
    """Every key so far; the last one signs."""
    origin: str = "rekor.corp.example"
    """The name in its checkpoints. Without a port, since verifiers hold it against the host of the log's URL."""
    service: Service = field(init=False)
    _leaves: list[bytes] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.service = Service(self._answer)

    @property
    def size(self) -> int:
        """Return how many entries the log holds."""
        return len(self._leaves)

    def rotate(self) -> None:
        """Sign with a new key from now on."""
        self.keys.append(LogKey(self.origin))

    def _answer(self, request: Request) -> Reply:
        if (request.method, request.path) != ("POST", "/api/v2/log/entries"):
            return NOT_FOUND
        try:
            body = _entry_body(json.loads(request.body))
        except (_Refused, ValueError, KeyError, TypeError, binascii.Error) as error:
            return refuse(f"invalid request: {error}")
        with self._lock:
            return as_json(self._append(body), 201)

    def _append(self, body: bytes) -> dict[str, Any]:
        self._leaves.append(leaf_hash(body))
        size, key = len(self._leaves), self.keys[-1]
        root = tree_root(self._leaves)
        return {
            "logIndex": str(size - 1),
            "logId": {"keyId": b64(key.log_id)},
            "kindVersion": {"kind": "hashedrekord", "version": "0.0.2"},
            "canonicalizedBody": b64(body),
            "inclusionProof": {
                "logIndex": str(size - 1),
                "treeSize": str(size),
                "rootHash": b64(root),
                "hashes": [b64(one) for one in audit_path(self._leaves, size - 1)],
                "checkpoint": {"envelope": key.checkpoint(size, root)},
            },
        }


def _entry_body(document: dict[str, Any]) -> bytes:
    """Return the canonical body of an entry whose signature verifies over its digest."""
    wanted = document["hashedRekordRequestV002"]
    digest = base64.b64decode(wanted["digest"], validate=True)
    signature = base64.b64decode(wanted["signature"]["content"], validate=True)
    verifier = wanted["signature"]["verifier"]
    if len(digest) != sha256().digest_size or verifier["keyDetails"] != _P256:
        msg = "only SHA-256 and ECDSA P-256 are taken"
        raise _Refused(msg)
    try:
        _key(verifier).verify(signature, digest, ec.ECDSA(Prehashed(hashes.SHA256())))
    except InvalidSignature as error:
        msg = "verifying signature: invalid signature"
        raise _Refused(msg) from error
    return rfc8785.dumps(
        {
            "apiVersion": "0.0.2",
            "kind": "hashedrekord",
            "spec": {
                "hashedRekordV002": {
                    "data": {"algorithm": "SHA2_256", "digest": wanted["digest"]},
                    "signature": wanted["signature"],
                }
            },
        }
    )


def _key(verifier: dict[str, Any]) -> ec.EllipticCurvePublicKey:
    try:
        if "x509Certificate" in verifier:
            raw = base64.b64decode(verifier["x509Certificate"]["rawBytes"], validate=True)
            key = x509.load_der_x509_certificate(raw).public_key()
        else:
            raw = base64.b64decode(verifier["publicKey"]["rawBytes"], validate=True)
            key = serialization.load_der_public_key(raw)  # type: ignore[assignment] # wider than a certificate's keys
    except (ValueError, UnsupportedAlgorithm) as error:
        msg = "the verifier could not be read"
        raise _Refused(msg) from error
    if not isinstance(key, ec.EllipticCurvePublicKey):
        msg = "the verifier is no ECDSA key"
        raise _Refused(msg)
    return key
