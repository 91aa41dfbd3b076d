"""Certificates of a private Sigstore: the authority, its short-lived leaves with their SCT, and the time stamper's."""

import struct
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

ISSUER_V1 = ObjectIdentifier("1.3.6.1.4.1.57264.1.1")
ISSUER_V2 = ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
SCT_LIST = ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
LEAF_SECONDS = 600
_LONG_FORM = 0x80
"""From here on, DER gives the length of the length (X.690)."""
_ALREADY = timedelta(minutes=5)
"""Authorities are valid since before they were made, so that a clock set off meets no young authority."""


def spki(key: ec.EllipticCurvePublicKey) -> bytes:
    """Return the DER of a public key."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def tlv(tag: int, content: bytes) -> bytes:
    """Return a DER value with its tag and length."""
    size = len(content)
    if size < _LONG_FORM:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, _LONG_FORM | len(length))) + length + content


@dataclass(slots=True)
class CtLog:
    """The key of a certificate transparency log, which promises to log what it has signed (RFC 6962)."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def log_id(self) -> bytes:
        """Return the digest of the log's key."""
        return sha256(spki(self.key.public_key())).digest()

    def sct_list(self, tbs: bytes, issuer: ec.EllipticCurvePublicKey, at: datetime) -> bytes:
        """Return the value of the SCT list extension for a precertificate's TBS without that extension."""
        stamp = struct.pack("!Q", int(at.timestamp() * 1000))
        entry = sha256(spki(issuer)).digest() + len(tbs).to_bytes(3, "big") + tbs
        signed = b"\x00\x00" + stamp + b"\x00\x01" + entry + b"\x00\x00"
        signature = self.key.sign(signed, ec.ECDSA(hashes.SHA256()))
        sct = b"\x00" + self.log_id + stamp + b"\x00\x00" + b"\x04\x03" + struct.pack("!H", len(signature)) + signature
        listed = struct.pack("!H", len(sct)) + sct
        return tlv(0x04, struct.pack("!H", len(listed)) + listed)


@dataclass(slots=True)
class Authority:
    """A self-signed certificate authority."""

    common_name: str
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    certificate: x509.Certificate = field(init=False)

    def __post_init__(self) -> None:
        self.certificate = self._self_signed()

    @property
    def name(self) -> x509.Name:
        """Return organisation and common name."""
        return x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "corp.example"),
                x509.NameAttribute(NameOID.COMMON_NAME, self.common_name),
            ]
        )

    def _self_signed(self) -> x509.Certificate:
        now, public = datetime.now(UTC), self.key.public_key()
        return (
            x509.CertificateBuilder(self.name, self.name, public, x509.random_serial_number())
            .not_valid_before(now - _ALREADY)
            .not_valid_after(now + timedelta(days=3650))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(authority=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .sign(self.key, hashes.SHA256())
        )

    def time_stamper(self, key: ec.EllipticCurvePublicKey) -> x509.Certificate:
        """Certify the key of a time-stamping authority (RFC 3161: that use alone, and critical)."""
        now = datetime.now(UTC)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{self.common_name} stamps")])
        stamping = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
        return (
            x509.CertificateBuilder(self.name, subject, key, x509.random_serial_number())
            .not_valid_before(now - _ALREADY)
            .not_valid_after(now + timedelta(days=365))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(authority=False), critical=True)
            .add_extension(stamping, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                critical=False,
            )
            .sign(self.key, hashes.SHA256())
        )

    def leaf(
        self, key: ec.EllipticCurvePublicKey, identity: x509.GeneralName, issuer: str, log: CtLog, at: datetime
    ) -> x509.Certificate:
        """Certify that a token of `issuer` named `identity` for ten minutes from `at`, with one embedded SCT."""
        builder = (
            x509.CertificateBuilder(self.name, x509.Name([]), key, x509.random_serial_number())
            .not_valid_before(at)
            .not_valid_after(at + timedelta(seconds=LEAF_SECONDS))
            .add_extension(_usage(authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                critical=False,
            )
            .add_extension(x509.SubjectAlternativeName([identity]), critical=True)
            .add_extension(x509.UnrecognizedExtension(ISSUER_V1, issuer.encode()), critical=False)
            .add_extension(x509.UnrecognizedExtension(ISSUER_V2, tlv(0x0C, issuer.encode())), critical=False)
        )
        precertificate = _with_scts(builder, _DUMMY).sign(self.key, hashes.SHA256())
        scts = log.sct_list(precertificate.tbs_precertificate_bytes, self.key.public_key(), at)
        return _with_scts(builder, scts).sign(self.key, hashes.SHA256())


_DUMMY = tlv(0x04, b"\x00\x00")


def _with_scts(builder: x509.CertificateBuilder, content: bytes) -> x509.CertificateBuilder:
    return builder.add_extension(x509.UnrecognizedExtension(SCT_LIST, content), critical=False)


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )
