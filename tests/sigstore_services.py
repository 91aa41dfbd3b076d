"""The real services of Sigstore on loopback: Fulcio, Rekor v2, a CT log and a time-stamping authority, as released.

`scripts/sigstore-services` builds them. Only the issuer is ours: it stands for an identity provider.
"""

import json
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import requests
import yaml
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from reconciler.demo.process import RunningServer, ServerCommand, free_port, start_server
from reconciler.demo.sigstore.authority import Authority, CtLog, spki
from reconciler.demo.sigstore.instance import CONFIG_TYPE, ROOT_TYPE, SIGNING_TYPE
from reconciler.demo.sigstore.issuer import CLIENT_ID, WORKLOAD, Issuer
from reconciler.demo.sigstore.rekor import LogKey
from tests import peers
from tests.verifiers import b64

_PASSWORD = "made-for-a-test"
_OPERATOR = "corp.example"
_ORIGIN = "rekor.corp.example"


@dataclass(slots=True, kw_only=True)
class RealService:
    """One service, which can be taken away and brought back, on the same address and with what it has stored."""

    command: ServerCommand
    log: Path
    health: str
    """Path that answers once it is up."""
    running: RunningServer | None = None

    @property
    def url(self) -> str:
        """Return where it answers."""
        return self.command.url

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.running = start_server(self.command, log=self.log, ready=self._answers, deadline_seconds=60)

    def end(self) -> None:
        """End it: connections are refused."""
        if self.running is not None:
            self.running.stop()

    def freeze(self) -> None:
        """Stop its process in its tracks: connections are taken, and nothing is ever answered."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on from there."""
        self._signal(signal.SIGCONT)

    def bring_back(self) -> None:
        """Let it go on, or start it again, whatever was done to it."""
        self.thaw()
        if self.running is None or self.running.process.poll() is not None:
            self.start()

    def _signal(self, number: signal.Signals) -> None:
        if self.running is not None and self.running.process.poll() is None:
            self.running.process.send_signal(number)

    def _answers(self) -> bool:
        try:
            return requests.get(self.url + self.health, timeout=2).ok
        except requests.RequestException:
            return False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.thaw()
        self.end()


@dataclass(frozen=True, slots=True, kw_only=True)
class RealSigstore:
    """The running services, and how to sign with them and to trust them."""

    issuer: Issuer
    services: Mapping[str, RealService]
    """By the names of their programs."""
    trust: dict[str, Any]
    """The client trust configuration."""

    def signing(self, folder: Path) -> dict[str, Any]:
        """Return the block `signing.sigstore` of a configuration, its files written into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "trust.json").write_text(json.dumps(self.trust))
        (folder / "secret").write_text(self.issuer.client_secret)
        token = {
            "source": "client_credentials",
            "token_url": self.issuer.token_url,
            "client_id": CLIENT_ID,
            "client_secret_file": str(folder / "secret"),
        }
        return {
            "identity": WORKLOAD,
            "issuer": self.issuer.url,
            "trust_config_file": str(folder / "trust.json"),
            "token": token,
        }


@contextmanager
def running(folder: Path) -> Iterator[RealSigstore]:
    """Start every service and end it again."""
    with ExitStack() as stack:
        issuer = Issuer()
        issuer.service.start()
        stack.callback(issuer.service.stop)
        authority, log, rekor_key = Authority("fulcio"), CtLog(), LogKey(_ORIGIN)
        _write_keys(folder, authority, log, rekor_key)
        stamping = _write_stamper(folder)
        ctlog = stack.enter_context(_ctlog(folder))
        fulcio = stack.enter_context(_fulcio(folder, issuer.url, ctlog.url))
        rekor = stack.enter_context(_rekor(folder))
        tsa = stack.enter_context(_tsa(folder))
        root = {
            "mediaType": ROOT_TYPE,
            "tlogs": [_log(f"https://{_ORIGIN}", rekor_key.log_id, rekor_key.spki, "PKIX_ED25519")],
            "ctlogs": [_log(ctlog.url, log.log_id, spki(log.key.public_key()), "PKIX_ECDSA_P256_SHA_256")],
            "certificateAuthorities": [_authority(fulcio.url, [authority.certificate])],
            "timestampAuthorities": [_authority(f"{tsa.url}/api/v1/timestamp", stamping)],
        }
        signing = {
            "mediaType": SIGNING_TYPE,
            "caUrls": [_place(fulcio.url, 1)],
            "oidcUrls": [_place(issuer.url, 1)],
            "rekorTlogUrls": [_place(rekor.url, 2)],
            "rekorTlogConfig": {"selector": "ANY"},
            "tsaUrls": [_place(f"{tsa.url}/api/v1/timestamp", 1)],
            "tsaConfig": {"selector": "ANY"},
        }
        trust = {"mediaType": CONFIG_TYPE, "trustedRoot": root, "signingConfig": signing}
        every = {one.command.name: one for one in (ctlog, fulcio, rekor, tsa)}
        yield RealSigstore(issuer=issuer, services=every, trust=trust)


def _write_keys(folder: Path, authority: Authority, log: CtLog, rekor: LogKey) -> None:
    secret = BestAvailableEncryption(_PASSWORD.encode())
    (folder / "ca.key").write_bytes(authority.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, secret))
    (folder / "ca.crt").write_bytes(authority.certificate.public_bytes(Encoding.PEM))
    traditional = PrivateFormat.TraditionalOpenSSL
    (folder / "ct.key").write_bytes(log.key.private_bytes(Encoding.PEM, traditional, NoEncryption()))
    (folder / "ct.pub").write_bytes(_public(log.key))
    (folder / "rekor.key").write_bytes(rekor.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _public(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _write_stamper(folder: Path) -> list[x509.Certificate]:
    """Write the time stamper's key and certificates, so that it is the same one after a restart; return the chain."""
    authority, key = Authority("tsa"), ec.generate_private_key(ec.SECP256R1())
    secret = BestAvailableEncryption(_PASSWORD.encode())
    (folder / "tsa.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, secret))
    chain = [authority.time_stamper(key.public_key()), authority.certificate]
    (folder / "tsa.crt").write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in chain))
    return chain


def _service(name: str, folder: Path, options: Callable[[int], Sequence[str]], health: str) -> RealService:
    program = peers.require_sigstore_service(name)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = ServerCommand(name=name, command=(program, *options(port)), url=url, environment={"HOME": str(folder)})
    return RealService(command=command, log=folder / f"{name}.log", health=health)


def _ctlog(folder: Path) -> RealService:
    def options(port: int) -> list[str]:
        given = ["-listen", f"127.0.0.1:{port}", "-origin", "ct.corp.example", "-key", str(folder / "ct.key")]
        return [*given, "-roots", str(folder / "ca.crt"), "-storage", str(folder / "ct")]

    (folder / "ct").mkdir()
    return _service("ctlog", folder, options, "/ct/v1/get-roots")


def _fulcio(folder: Path, issuer: str, ctlog: str) -> RealService:
    workload = {"issuer-url": issuer, "client-id": "sigstore", "type": "ci-provider", "ci-provider": "workload"}
    template = {
        "default-template-values": {},
        "extension-templates": {},
        "subject-alternative-name-template": "{{ .sub }}",
    }
    config = {"oidc-issuers": {issuer: workload}, "ci-issuer-metadata": {"workload": template}}
    (folder / "fulcio.yaml").write_text(yaml.safe_dump(config))  # what is JSON is read under other names

    def options(port: int) -> list[str]:
        return [
            "serve",
            "--ca=fileca",
            f"--fileca-cert={folder / 'ca.crt'}",
            f"--fileca-key={folder / 'ca.key'}",
            f"--fileca-key-passwd={_PASSWORD}",
            f"--ct-log-url={ctlog}",
            f"--ct-log-public-key-path={folder / 'ct.pub'}",
            f"--config-path={folder / 'fulcio.yaml'}",
            "--host=127.0.0.1",
            f"--port={port}",
            "--grpc-host=127.0.0.1",
            f"--grpc-port={free_port()}",
            f"--metrics-port={free_port()}",
            f"--legacy-unix-domain-socket=@fulcio-{port}",  # a file would be in the way of a second start
        ]

    return _service("fulcio", folder, options, "/api/v2/trustBundle")


def _rekor(folder: Path) -> RealService:
    def options(port: int) -> list[str]:
        return [
            "serve",
            f"--signer-filepath={folder / 'rekor.key'}",
            f"--storage-dir={folder / 'rekor'}",
            f"--hostname={_ORIGIN}",
            f"--http-port={port}",
            f"--grpc-port={free_port()}",
            f"--http-metrics-port={free_port()}",
            "--checkpoint-interval=1s",
        ]

    (folder / "rekor").mkdir()
    return _service("rekor", folder, options, "/healthz")


def _tsa(folder: Path) -> RealService:
    def options(port: int) -> list[str]:
        given = ["serve", "--host=127.0.0.1", f"--port={port}", "--timestamp-signer=file"]
        given += [f"--file-signer-key-path={folder / 'tsa.key'}", f"--file-signer-passwd={_PASSWORD}"]
        return [*given, f"--certificate-chain-path={folder / 'tsa.crt'}", "--disable-ntp-monitoring"]

    return _service("timestamp-authority", folder, options, "/api/v1/timestamp/certchain")


def _since() -> dict[str, str]:
    return {"start": (datetime.now(UTC) - timedelta(minutes=10)).strftime("%Y-%m-%dT%H:%M:%SZ")}


def _place(url: str, version: int) -> dict[str, Any]:
    return {"url": url, "majorApiVersion": version, "validFor": _since(), "operator": _OPERATOR}


def _log(url: str, log_id: bytes, key: bytes, details: str) -> dict[str, Any]:
    public = {"rawBytes": b64(key), "keyDetails": details, "validFor": _since()}
    return {"baseUrl": url, "hashAlgorithm": "SHA2_256", "publicKey": public, "logId": {"keyId": b64(log_id)}}


def _authority(url: str, chain: Sequence[x509.Certificate]) -> dict[str, Any]:
    certificates = [{"rawBytes": b64(one.public_bytes(Encoding.DER))} for one in chain]
    subject = {"organization": _OPERATOR, "commonName": url}
    return {"subject": subject, "uri": url, "certChain": {"certificates": certificates}, "validFor": _since()}
