"""Who signs, and whom this installation expects to have signed, as its settings say; never one mode for another."""

from pathlib import Path
from urllib.parse import quote

from reconciler.adapters.evidence_log import FileEvidenceLog
from reconciler.adapters.key_service import KeyServiceSigner
from reconciler.adapters.key_signer import KeySigner, public_key_path
from reconciler.adapters.log_key import LogKey
from reconciler.adapters.sigstore_bundle import Trusted, VerifyingKey
from reconciler.adapters.sigstore_signer import KeylessSigner
from reconciler.evidence_ports import Signer
from reconciler.settings import Settings

_CACHE = "sigstore"
"""Folder in the state folder: what the TUF repository of the instance said last."""


def key_path(settings: Settings) -> Path:
    """Return where the private signing key lies."""
    return settings.signing.key_file or settings.state_dir / "keys" / "attestation.pem"


def build_signer(settings: Settings) -> Signer:
    """Build the signer of the configured mode; raises `SigningError` for a key that is of no use."""
    if settings.signing.sigstore is not None:
        return KeylessSigner(settings.signing.sigstore, settings.state_dir / _CACHE)
    signing = settings.signing
    if signing.key_uri and signing.public_key_file is not None:
        return KeyServiceSigner(signing.key_uri, signing.public_key_file, signing.pin_file, signing.deadline_seconds)
    return KeySigner.open(key_path(settings))


def open_log(settings: Settings, root: Path, installation: str) -> FileEvidenceLog:
    """Open the log of all records under the root of the evidence store, with its key, which is made on first use."""
    return FileEvidenceLog(root, LogKey.open(settings.state_dir / "keys" / "log.pem", installation))


def check_signing(settings: Settings) -> str:
    """Try what can be tried without signing a statement and say how they are signed; raises `SigningError`."""
    signer = build_signer(settings)
    return signer.check() if isinstance(signer, KeylessSigner | KeyServiceSigner) else signer.assurance


def configured_trust(settings: Settings) -> Trusted:
    """Return whom the operator expects to have signed; raises `EvidenceError` when key or trusted root are missing."""
    keyless = settings.signing.sigstore
    if keyless is None:
        return VerifyingKey.from_file(settings.signing.public_key_file or public_key_path(key_path(settings)))
    root = keyless.trust_config_file or cached_root(settings.state_dir / _CACHE, keyless.tuf_url)
    return trusted_identity(root, keyless.identity, keyless.issuer)


def trusted_identity(root: Path, identity: str, issuer: str) -> Trusted:
    """Return the one identity whose signatures are expected; raises `EvidenceError` for a root of no use."""
    from reconciler.adapters.sigstore_identity import TrustedIdentity  # noqa: PLC0415 - takes a second to import

    return TrustedIdentity.from_file(root, identity, issuer)


def cached_root(cache: Path, tuf_url: str) -> Path:
    """Return where the library keeps the trusted root that it last verified from a TUF repository."""
    return cache / "cache" / "sigstore-python" / "tuf" / quote(tuf_url.rstrip("/"), safe="") / "trusted_root.json"
