"""The keyless signing mode: a certificate of minutes for this workload's identity, a log entry and a time stamp.

Each signature is made in a child process that is ended at a deadline (see `sigstore_child`). It never falls back to a
key: when a service does not answer, nothing is signed, and the error names the service.
"""

import base64
import os
from pathlib import Path

from reconciler.adapters.keyless import MODE, signer_name
from reconciler.adapters.signing_child import SigningChild
from reconciler.adapters.sigstore_bundle import read_bundle
from reconciler.core.errors import EvidenceError, SigningError
from reconciler.evidence_ports import SignedStatement
from reconciler.signing_settings import SigstoreSettings

PRIVATE_LOG = "private-log"
PUBLIC_LOG = "public-log"
_CHILD = "reconciler.adapters.sigstore_child"
_ADVICE = "run `access-reconciler doctor`; give the process more memory, or raise signing.sigstore.deadline_seconds"


class KeylessSigner:
    """Implements `reconciler.evidence_ports.Signer` with an instance of Sigstore."""

    def __init__(self, settings: SigstoreSettings, cache: Path) -> None:
        """Take the settings; nothing is asked yet. `cache` keeps what the instance's TUF repository said."""
        self._settings = settings
        self._cache = cache
        self._child = SigningChild(_CHILD, settings.deadline_seconds, _ADVICE)

    @property
    def mode(self) -> str:
        """Return `keyless`."""
        return MODE

    @property
    def assurance(self) -> str:
        """Return `private-log` or `public-log`: a transparency log and a time stamper bear witness."""
        return PUBLIC_LOG if self._settings.public_log else PRIVATE_LOG

    @property
    def identity(self) -> str:
        """Return who signs: the workload's identity and the issuer that vouches for it."""
        return signer_name(self._settings.identity, self._settings.issuer)

    def sign(self, payload: bytes) -> SignedStatement:
        """Sign with a fresh token and certificate, and verify at once. Raises `SigningError` within the deadline."""
        bundle = self._ordered("sign", payload).encode()
        try:
            same = read_bundle(bundle).payload == payload
        except EvidenceError as error:
            raise SigningError(f"the fresh bundle cannot be read: {error}", advice=error.advice) from error
        if not same:
            raise SigningError("the fresh bundle holds another statement", advice="nothing was attested; report this")
        return SignedStatement(payload=payload, bundle=bundle)

    def check(self) -> str:
        """Try everything but signing, which would leave a trace in the log; say where it would sign.

        Raises `SigningError`.
        """
        return self._ordered("check", b"")

    def _ordered(self, verb: str, payload: bytes) -> str:
        order = {
            "verb": verb,
            "settings": self._settings.model_dump(mode="json"),
            "deadline_seconds": self._settings.deadline_seconds,
            "payload": base64.b64encode(payload).decode(),
        }
        return self._child.ordered(order, self._told())

    def _told(self) -> dict[str, str]:
        """Return the place of the library's cache in the state folder, and the instance's authorities."""
        told = {"XDG_DATA_HOME": str(self._cache / "data"), "XDG_CACHE_HOME": str(self._cache / "cache")}
        told["NETRC"] = os.devnull  # a password for the same host would be sent in the token's place
        if self._settings.ca_file is not None:
            told["REQUESTS_CA_BUNDLE"] = str(self._settings.ca_file)
        return told
