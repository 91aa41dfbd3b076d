"""Managed keys that somebody else keeps: a cloud's KMS, Vault's transit engine, a PKCS#11 device, or a file.

The private key never enters this process. Each signature is made in a child process that is ended at a deadline (see
`key_child`), and verified here against the public key that the operator configured before it counts: a key that was
replaced behind its address is noticed with its first signature.
"""

import base64
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from reconciler.adapters.key_signer import ASSURANCE as LOCAL_KEY
from reconciler.adapters.signing_child import SigningChild
from reconciler.adapters.sigstore_bundle import MODE, VerifyingKey, bundle_bytes, pre_authentication_encoding
from reconciler.core.errors import EvidenceError, SigningError, UnverifiedSignature
from reconciler.evidence_ports import SignedStatement

KEY_SERVICE: Final = "key-service"
"""The key is kept by a service that signs for who may ask: it can be used by others with that right, and not copied."""
KEY_DEVICE: Final = "key-device"
"""The key is kept by a device: it can be used by who has the device and its PIN, and not copied."""
_ASSURANCES: Final = {"file2": LOCAL_KEY, "hsm": KEY_DEVICE}
_CHILD: Final = "reconciler.adapters.key_child"
_ADVICE: Final = "run `access-reconciler doctor`; give the process more memory, or raise signing.deadline_seconds"
_PROBE: Final = "application/vnd.access-reconciler.probe"
"""Payload type of what `doctor` has signed: no statement could be taken for it, nor it for one."""


class KeyServiceSigner:
    """Implements `reconciler.evidence_ports.Signer` with a key by its URI."""

    def __init__(self, key_uri: str, public_key_file: Path, pin_file: Path | None, deadline_seconds: float) -> None:
        """Read the public key; the private one is not asked for yet. Raises `SigningError` for a file of no use."""
        try:
            self._key = VerifyingKey.from_file(public_key_file)
        except EvidenceError as error:
            msg = f"signing.public_key_file: {error}"
            raise SigningError(msg, advice="give the public half of the key, ECDSA on P-256, in PEM") from error
        self._uri = key_uri
        self._pin_file = pin_file
        self._child = SigningChild(_CHILD, deadline_seconds, _ADVICE)

    @property
    def mode(self) -> str:
        """Return `managed-key`."""
        return MODE

    @property
    def assurance(self) -> str:
        """Return `key-service`, `key-device` or `local-key`: no transparency log, no trusted time."""
        return _ASSURANCES.get(urlsplit(self._uri).scheme, KEY_SERVICE)

    @property
    def identity(self) -> str:
        """Return who signs: `sha256:` and the fingerprint of the public key."""
        return self._key.fingerprint

    def sign(self, payload: bytes) -> SignedStatement:
        """Have a statement signed, put the signature in its bundle, and check that as a stranger would.

        Raises `SigningError` within the deadline.
        """
        signature = self._signature(pre_authentication_encoding(payload))
        bundle = bundle_bytes(payload, signature, self._key)
        refused = self._key.refusal(bundle, payload)
        if refused is not None:
            self._unverified(refused.message)
        return SignedStatement(payload=payload, bundle=bundle)

    def check(self) -> str:
        """Have something signed that is no statement, and say how statements are signed; raises `SigningError`."""
        message = pre_authentication_encoding(b"probe", _PROBE)
        if not self._key.signed(self._signature(message), message):
            self._unverified("the signature is not by the expected key")
        return f"{self.assurance} {self.identity}"

    def _signature(self, message: bytes) -> bytes:
        order = {
            "key_uri": self._uri,
            "public_key": self._key.pem.decode(),
            "pin_file": "" if self._pin_file is None else str(self._pin_file),
            "deadline_seconds": self._child.deadline_seconds,
            "message": base64.b64encode(message).decode(),
        }
        return base64.b64decode(self._child.ordered(order, {}))

    def _unverified(self, why: str) -> None:
        msg = f"the fresh signature of {self._uri.partition('?')[0]} does not verify: {why}"
        advice = "nothing was attested: signing.key_uri and signing.public_key_file must be of one key and version"
        raise UnverifiedSignature(msg, advice=advice)
