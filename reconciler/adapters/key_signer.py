"""The managed-key signing mode: statements signed by an ECDSA P-256 key in a file, made on first use.

Says of itself what it is worth (`local-key`): whoever reads the key file can sign, and no outside clock or log bears
witness. It never stands in for another mode; which mode signs is configured.
"""

import contextlib
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from reconciler.adapters.durable_file import create_file
from reconciler.adapters.key_file import private_key
from reconciler.adapters.sigstore_bundle import MODE, VerifyingKey, bundle_bytes
from reconciler.core.errors import EvidenceError, SigningError, UnverifiedSignature
from reconciler.core.statement import PAYLOAD_TYPE
from reconciler.evidence_ports import SignedStatement

ASSURANCE = "local-key"
PUBLIC_SUFFIX = ".pub"
"""The public key lies beside the private one, under the same name with this suffix in place of its own."""
_READABLE = 0o644


def public_key_path(path: Path) -> Path:
    """Return where the public half of a key file lies."""
    return path.with_suffix(PUBLIC_SUFFIX)


class KeySigner:
    """Implements `reconciler.evidence_ports.Signer` with a private key in a file."""

    def __init__(self, private_key: ec.EllipticCurvePrivateKey) -> None:
        # Imports every cloud's library that it finds: only for who signs, not for who looks at the journal.
        from securesystemslib.signer import (  # type: ignore[attr-defined]  # noqa: PLC0415 - re-exported, no __all__
            CryptoSigner,
            SSlibKey,
        )

        form = serialization.PublicFormat.SubjectPublicKeyInfo
        pem = private_key.public_key().public_bytes(serialization.Encoding.PEM, form)
        self._key = VerifyingKey.from_pem(pem)
        public = SSlibKey.from_crypto(private_key.public_key(), keyid=self._key.key_id)
        self._signer = CryptoSigner(private_key, public)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Return the signer of a key file, making the key when there is none yet.

        Raises `SigningError` for a key that others may read, that is not P-256, or whose public file is another key's.
        """
        try:
            signer = cls(_load(path))
            _publish(public_key_path(path), signer.verifying_key)
        except OSError as error:
            msg = f"the signing key {path} cannot be used: {error.strerror}"
            raise SigningError(
                msg, advice="check that the folder exists and that this account may write to it"
            ) from error
        return signer

    @property
    def mode(self) -> str:
        """Return `managed-key`."""
        return MODE

    @property
    def assurance(self) -> str:
        """Return `local-key`: no transparency log, no trusted time."""
        return ASSURANCE

    @property
    def verifying_key(self) -> VerifyingKey:
        """Return the public half."""
        return self._key

    @property
    def identity(self) -> str:
        """Return who signs: `sha256:` and the fingerprint of the public key."""
        return self._key.fingerprint

    def sign(self, payload: bytes) -> SignedStatement:
        """Sign, put the signature in its bundle, and check the bundle as a stranger would. Raises `SigningError`."""
        from securesystemslib.dsse import Envelope  # noqa: PLC0415 - as above

        signature = Envelope(payload, PAYLOAD_TYPE, {}).sign(self._signer)
        bundle = bundle_bytes(payload, bytes.fromhex(signature.signature), self._key)
        refused = self._key.refusal(bundle, payload)
        if refused is not None:
            msg = f"the fresh signature does not verify: {refused.message}"
            raise UnverifiedSignature(msg, advice="nothing was attested; check the machine's memory and the key file")
        return SignedStatement(payload=payload, bundle=bundle)


def _load(path: Path) -> ec.EllipticCurvePrivateKey:
    key = private_key(path, lambda: ec.generate_private_key(ec.SECP256R1()), what="signing key")
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        msg = f"{path} is not an ECDSA key on P-256"
        raise SigningError(msg, advice="make one: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256")
    return key


def _publish(path: Path, key: VerifyingKey) -> None:
    """Write the public key beside the private one; the file of another key there is a finding and stays."""
    if not path.exists():
        with contextlib.suppress(FileExistsError):
            create_file(path, key.pem, mode=_READABLE)
    try:
        found = VerifyingKey.from_file(path)
    except EvidenceError as error:
        raise SigningError(f"{path}: {error}", advice=f"remove {path}; it is written again") from error
    if found != key:
        msg = f"{path} is the public half of another key"
        raise SigningError(msg, advice="find out who changed it; remove it to have it written again")
