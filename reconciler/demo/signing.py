"""Keyless signing of the demo: a private Sigstore of its own, the settings that lead to it, and how others verify."""

import json
import shutil
import sys
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import Any

from reconciler.demo.company import DOMAIN
from reconciler.demo.private_file import write_private
from reconciler.demo.process import ServerFailed

IDENTITY = f"https://{DOMAIN}/workloads/access-reconciler"
"""Whom the demo's certificates name."""
CLIENT_SECRET_FILE = "sigstore-client.secret"
TRUST_CONFIG = "trust-config.json"


class Signing(StrEnum):
    """Who signs the demo's attestations."""

    KEY = "managed-key"
    SIGSTORE = "sigstore"


def start_sigstore(directory: Path, secrets: Path, stack: ExitStack) -> dict[str, Any]:
    """Start a private Sigstore that ends with `stack`; return the block `signing` of a configuration that uses it.

    The trust configuration lies in the folder: who has it verifies when every service is gone. Raises `ServerFailed`
    without `openssl`, which makes the time stamps.
    """
    from reconciler.demo.sigstore.instance import PrivateSigstore  # noqa: PLC0415 - needs the extra `demo`
    from reconciler.demo.sigstore.issuer import CLIENT_ID  # noqa: PLC0415 - the same

    if shutil.which("openssl") is None:
        raise ServerFailed("openssl, which makes the time stamps, is not installed: apt-get install openssl")
    instance = stack.enter_context(PrivateSigstore(directory, operator=DOMAIN))
    instance.issuer.subject = IDENTITY
    secret = write_private(secrets / CLIENT_SECRET_FILE, instance.issuer.client_secret + "\n")
    keyless = {
        "trust_config_file": str(instance.write_trust(directory / TRUST_CONFIG)),
        "identity": IDENTITY,
        "issuer": instance.issuer.url,
        "token": {
            "source": "client_credentials",
            "token_url": instance.issuer.token_url,
            "client_id": CLIENT_ID,
            "client_secret_file": str(secret),
        },
    }
    return {"mode": Signing.SIGSTORE.value, "sigstore": keyless}


def commands_that_verify(program: str, signing: dict[str, Any], bundle: Path) -> list[list[str]]:
    """Return the commands with which anybody verifies keyless attestations, given what the auditor has to bring.

    The first is our own and verifies the whole chain. The second is the client of Sigstore, which verifies one bundle
    and knows nothing of us.
    """
    keyless = signing["sigstore"]
    root, identity, issuer = keyless["trust_config_file"], keyless["identity"], keyless["issuer"]
    expected = ["--trust-root", root, "--identity", identity, "--issuer", issuer]
    ours = [program, "attestations", "verify", "--dir", str(bundle.parent.parent), *expected]
    statement = json.loads(bundle.with_name(bundle.name.replace(".sigstore.json", ".statement.json")).read_bytes())
    subject = next(one["digest"]["sha256"] for one in statement["subject"] if one["name"] == "decision-log")
    theirs = [_sigstore(), "--trust-config", root, "verify", "identity", "--bundle", str(bundle)]
    theirs += ["--cert-identity", identity, "--cert-oidc-issuer", issuer, f"sha256:{subject}"]
    return [ours, theirs]


def _sigstore() -> str:
    """Return how the client of Sigstore is called: by its name where that is on PATH, else the one beside Python."""
    return "sigstore" if shutil.which("sigstore") else str(Path(sys.executable).with_name("sigstore"))
