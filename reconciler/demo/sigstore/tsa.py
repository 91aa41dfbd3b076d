"""A time-stamping authority: RFC 3161 over HTTP, each stamp made by the real `openssl ts`."""

import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from reconciler.demo.private_file import write_private
from reconciler.demo.sigstore.authority import Authority
from reconciler.demo.sigstore.service import NOT_FOUND, Reply, Request, Service, refuse

PATH = "/api/v1/timestamp"
_CONFIGURATION = """\
[tsa]
default_tsa = stamps
[stamps]
serial = {folder}/serial
signer_cert = {folder}/tsa.crt
signer_key = {folder}/tsa.key
signer_digest = sha256
default_policy = 1.3.6.1.4.1.57264.2
digests = sha256, sha384, sha512
accuracy = secs:1
ordering = no
ess_cert_id_chain = no
ess_cert_id_alg = sha256
"""


@dataclass(slots=True)
class Tsa:
    """Stamps with the clock of this machine; `folder` keeps its key, and the queries for as long as they take."""

    folder: Path
    authority: Authority = field(default_factory=lambda: Authority("tsa"))
    certificate: x509.Certificate = field(init=False)
    service: Service = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.service = Service(self._answer)
        self.folder.mkdir(parents=True)
        key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = self.authority.time_stamper(key.public_key())
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_private(self.folder / "tsa.key", pem.decode())
        (self.folder / "tsa.crt").write_bytes(self.certificate.public_bytes(Encoding.PEM))
        (self.folder / "serial").write_text("01\n")
        (self.folder / "openssl.cnf").write_text(_CONFIGURATION.format(folder=self.folder))

    @property
    def url(self) -> str:
        """Return the address that queries are posted to."""
        return self.service.url + PATH

    def _answer(self, request: Request) -> Reply:
        if (request.method, request.path) != ("POST", PATH):
            return NOT_FOUND
        if request.headers.get("content-type") != "application/timestamp-query":
            return refuse("the content type is no time-stamp query", status=415)
        with self._lock:
            return self._stamp(request.body)

    def _stamp(self, query: bytes) -> Reply:
        asked, told = self.folder / "query.tsq", self.folder / "reply.tsr"
        asked.write_bytes(query)
        told.unlink(missing_ok=True)
        command = ["openssl", "ts", "-reply", "-config", str(self.folder / "openssl.cnf"), "-section", "stamps"]
        done = subprocess.run(
            [*command, "-queryfile", str(asked), "-out", str(told)], capture_output=True, check=False, timeout=20
        )
        if done.returncode or not told.is_file():
            return refuse("the query could not be read")
        return Reply(status=201, body=told.read_bytes(), content_type="application/timestamp-reply")
