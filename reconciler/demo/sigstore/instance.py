"""A whole private Sigstore on loopback: issuer, Fulcio, CT log key, Rekor and time stamper, and how to trust them."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from reconciler.demo.sigstore.authority import Authority, CtLog, spki
from reconciler.demo.sigstore.fulcio import Fulcio
from reconciler.demo.sigstore.issuer import Issuer
from reconciler.demo.sigstore.rekor import LogKey, Rekor, b64
from reconciler.demo.sigstore.service import Service
from reconciler.demo.sigstore.tsa import Tsa

ROOT_TYPE = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
SIGNING_TYPE = "application/vnd.dev.sigstore.signingconfig.v0.2+json"
CONFIG_TYPE = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"


@dataclass(slots=True)
class PrivateSigstore:
    """Started and stopped as a context; every service has a port and faults of its own."""

    folder: Path
    operator: str = "corp.example"
    """Who runs it, as the trust configuration says."""
    issuer: Issuer = field(default_factory=Issuer)
    fulcio: Fulcio = field(default_factory=Fulcio)
    rekor: Rekor = field(default_factory=Rekor)
    tsa: Tsa = field(init=False)

    def __post_init__(self) -> None:
        self.tsa = Tsa(self.folder / "tsa")

    @property
    def services(self) -> dict[str, Service]:
        """Return the services by name."""
        return {
            "issuer": self.issuer.service,
            "fulcio": self.fulcio.service,
            "rekor": self.rekor.service,
            "tsa": self.tsa.service,
        }

    def __enter__(self) -> Self:
        for service in self.services.values():
            service.start()
        self.fulcio.issuers = (self.issuer.url,)
        self.rekor.rotate()
        return self

    def __exit__(self, *_: object) -> None:
        for service in self.services.values():
            service.stop()

    def mend(self) -> None:
        """End every fault and set every clock right."""
        for service in self.services.values():
            service.fail(None)
        self.fulcio.skew_seconds = self.issuer.skew_seconds = 0.0
        self.issuer.lifetime_seconds = 600.0

    def trusted_root(self) -> dict[str, Any]:
        """Return the trusted root with every key that the log has had."""
        return {
            "mediaType": ROOT_TYPE,
            "tlogs": [_tlog(f"https://{self.rekor.origin}", key) for key in self.rekor.keys],
            "ctlogs": [_ctlog(self.fulcio.service.url, self.fulcio.log)],
            "certificateAuthorities": [self._authority(self.fulcio.service.url, self.fulcio.authority)],
            "timestampAuthorities": [self._authority(self.tsa.url, self.tsa.authority, self.tsa.certificate)],
        }

    def signing_config(self) -> dict[str, Any]:
        """Return where to sign."""
        return {
            "mediaType": SIGNING_TYPE,
            "caUrls": [self._place(self.fulcio.service.url, 1)],
            "oidcUrls": [self._place(self.issuer.url, 1)],
            "rekorTlogUrls": [self._place(self.rekor.service.url, 2)],
            "rekorTlogConfig": {"selector": "ANY"},
            "tsaUrls": [self._place(self.tsa.url, 1)],
            "tsaConfig": {"selector": "ANY"},
        }

    def trust_config(self) -> dict[str, Any]:
        """Return both, as clients take them."""
        return {
            "mediaType": CONFIG_TYPE,
            "trustedRoot": self.trusted_root(),
            "signingConfig": self.signing_config(),
        }

    def write_trust(self, path: Path) -> Path:
        """Write the trust configuration to a file."""
        path.write_text(json.dumps(self.trust_config(), indent=1))
        return path

    def write_token(self, path: Path, **changes: object) -> Path:
        """Write a fresh token to a file, as whoever keeps it fresh does."""
        path.write_text(self.issuer.token(**changes) + "\n")
        return path

    def _place(self, url: str, version: int) -> dict[str, Any]:
        return {"url": url, "majorApiVersion": version, "validFor": _start(), "operator": self.operator}

    def _authority(self, url: str, authority: Authority, *leaves: x509.Certificate) -> dict[str, Any]:
        chain = [{"rawBytes": b64(one.public_bytes(Encoding.DER))} for one in (*leaves, authority.certificate)]
        return {
            "subject": {"organization": self.operator, "commonName": authority.common_name},
            "uri": url,
            "certChain": {"certificates": chain},
            "validFor": _start(),
        }


def _start() -> dict[str, str]:
    return {"start": (datetime.now(UTC) - timedelta(minutes=10)).strftime("%Y-%m-%dT%H:%M:%SZ")}


def _log(url: str, log_id: bytes, key: bytes, details: str) -> dict[str, Any]:
    public = {"rawBytes": b64(key), "keyDetails": details, "validFor": _start()}
    return {"baseUrl": url, "hashAlgorithm": "SHA2_256", "publicKey": public, "logId": {"keyId": b64(log_id)}}


def _tlog(url: str, key: LogKey) -> dict[str, Any]:
    return _log(url, key.log_id, key.spki, "PKIX_ED25519")


def _ctlog(url: str, log: CtLog) -> dict[str, Any]:
    return _log(url, log.log_id, spki(log.key.public_key()), "PKIX_ECDSA_P256_SHA_256")
