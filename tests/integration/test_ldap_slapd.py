"""The throw-away directory of demo and tests, and encrypted connections to it."""

import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from inventory.errors import Misconfigured, Unavailable
from reconciler.demo import slapd
from reconciler.demo.process import ServerFailed
from tests import peers
from tests.ldap_company import COMPANY, Company, company

pytestmark = pytest.mark.peer("slapd")


@pytest.fixture
def tls(tmp_path: Path) -> slapd.TlsFiles:
    """Make a certificate for 127.0.0.1 that signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = slapd.TlsFiles(certificate=tmp_path / "cert.pem", key=tmp_path / "key.pem", authority=tmp_path / "cert.pem")
    files.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


@pytest.fixture
def encrypted(tmp_path: Path, tls: slapd.TlsFiles) -> Iterator[Company]:
    """Run the sample company with TLS, in a private folder, under our own account."""
    peers.require("slapd")
    with slapd.start(tmp_path / "ldap", slapd.Options(seed=COMPANY, tls=tls)) as server:
        yield Company(server)


def test_both_ways_of_encryption_work(encrypted: Company, tls: slapd.TlsFiles) -> None:
    """StartTLS and ldaps:// read the whole directory when the authority is the configured one."""
    for changes in ({"start_tls": True}, {"uri": encrypted.server.details["ldaps_url"]}):
        assert encrypted.inventory(ca_file=tls.authority, **changes).complete


def test_an_unknown_authority_is_refused_before_the_password_is_sent(encrypted: Company) -> None:
    """Without the right authority there is no connection, and certainly no bind."""
    for changes in ({"start_tls": True}, {"uri": encrypted.server.details["ldaps_url"]}):
        with pytest.raises(Unavailable):
            encrypted.inventory(**changes)


def test_a_server_without_tls_gets_no_password() -> None:
    """StartTLS that the server cannot do ends the attempt instead of going on in the clear."""
    with company() as corp, pytest.raises(Misconfigured, match="StartTLS"):
        corp.inventory(start_tls=True)


def test_passwords_are_private_and_new_at_each_start(tmp_path: Path) -> None:
    """Each start writes other passwords, into files of mode 0600."""
    peers.require("slapd")
    seen = set()
    for _ in range(2):
        with slapd.start(tmp_path / "ldap") as server:
            for name in ("admin", "reader", "revoker"):
                file = Path(server.details[f"{name}_password_file"])
                assert file.stat().st_mode & 0o777 == 0o600
                seen.add(file.read_text())
    assert len(seen) == 6


def test_it_listens_on_loopback_only() -> None:
    """No other address of this machine answers on its port."""
    with company() as corp:
        port = int(corp.server.url.rsplit(":", 1)[1])
        listening = [
            line.split()[1]
            for table in ("/proc/net/tcp", "/proc/net/tcp6")
            for line in Path(table).read_text().splitlines()[1:]
            if line.split()[3] == "0A" and line.split()[1].endswith(f":{port:04X}")
        ]
        assert listening == [f"{int.from_bytes(socket.inet_aton('127.0.0.1'), 'little'):08X}:{port:04X}"]


def test_entries_that_cannot_be_loaded_are_told(tmp_path: Path) -> None:
    """A seed that slapd refuses raises with slapd's own words, and nothing is left running."""
    peers.require("slapd")
    with pytest.raises(ServerFailed, match="first entries"):
        slapd.start(
            tmp_path / "ldap", slapd.Options(seed="dn: uid=x,ou=people,dc=example,dc=com\nobjectClass: nonsense\n")
        )


def test_a_missing_server_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without slapd the start says what to install."""
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)

    with pytest.raises(ServerFailed, match="apt install slapd"):
        slapd.start(tmp_path / "ldap")
