"""The process in which one signature is made by a key that somebody else keeps: a cloud's KMS, Vault, or a device.

securesystemslib does the asking, with the credentials that each kind finds by itself. What it gives is a signature
and no more: whoever ordered it puts it into a bundle and verifies that.
"""

import base64
import logging
import sys
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from cryptography.hazmat.primitives import serialization

from reconciler.adapters.child_work import Order, Steps, Tell, serve
from reconciler.adapters.key_file import read_key
from reconciler.adapters.sigstore_bundle import VerifyingKey
from reconciler.core.errors import SigningError

SERVICES: Final = {
    "file2": ("key file", ""),
    "awskms": ("AWS KMS", "pip install 'access-reconciler[daemon]'"),
    "gcpkms": ("Google Cloud KMS", "pip install 'access-reconciler[kms-gcp]'"),
    "azurekms": ("Azure Key Vault", "pip install 'access-reconciler[kms-azure]'"),
    "hv": ("Vault", "pip install 'access-reconciler[vault]'"),
    "hsm": ("PKCS#11 device", "pip install 'access-reconciler[hsm]'"),
}
"""By the scheme of a key's URI: who keeps the key, and what to install for asking there."""
_ADVICE: Final = (
    "check the key's address, the credentials of this process, and its right to sign with that key; "
    "the statement waits, and is signed by a later attempt"
)


def reason(error: BaseException) -> str:
    """Say in one line what an error means; its text may name accounts and hold answers, and stays untold."""
    name = type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    response: Any = getattr(error, "response", None)  # of AWS's client
    code = response.get("Error", {}).get("Code") if isinstance(response, dict) else None
    return f"{name}: {code}" if isinstance(code, str) and code.isalnum() else name


def perform(order: Order, tell: Tell) -> str:
    """Sign the ordered bytes and return the signature in base64; raises `SigningError` that names who refused."""
    uri = str(order["key_uri"])
    scheme = urlsplit(uri).scheme
    service, install = SERVICES[scheme]
    steps = Steps(tell=tell, reason=reason)
    with steps.step(service, uri.partition("?")[0], _ADVICE):
        from securesystemslib.exceptions import UnsupportedLibraryError  # noqa: PLC0415 - imports every cloud's library

        try:
            return base64.b64encode(_signature(order, scheme)).decode()
        except UnsupportedLibraryError as error:
            raise SigningError("its library is not installed", advice=install) from error


def _signature(order: Order, scheme: str) -> bytes:
    from securesystemslib.signer import Signer, SSlibKey  # type: ignore[attr-defined]  # noqa: PLC0415 - re-exported, no __all__; see above

    if scheme == "file2":
        read_key(Path(urlsplit(order["key_uri"]).path), what="signing key")  # refuses one that others may read
    public = VerifyingKey.from_pem(order["public_key"].encode())
    key = SSlibKey.from_crypto(serialization.load_der_public_key(public.der), keyid=public.key_id)
    pin_file = order["pin_file"]

    def secret(_: str) -> str:
        return Path(pin_file).read_text(encoding="utf-8").strip()

    signer = Signer.from_priv_key_uri(order["key_uri"], key, secret if pin_file else None)
    return bytes.fromhex(signer.sign(base64.b64decode(order["message"])).signature)


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)  # these libraries log requests and answers
    serve(sys.stdin, sys.stdout, perform)
