"""A Fulcio: a token that its issuer really signed becomes a certificate of ten minutes for the key of the request."""

import base64
import binascii
import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from reconciler.demo.sigstore.authority import Authority, CtLog
from reconciler.demo.sigstore.issuer import AUDIENCE
from reconciler.demo.sigstore.service import NOT_FOUND, Reply, Request, Service, as_json, refuse

UNAUTHENTICATED = 16
_DISCOVERY_SECONDS = 3.0


class _Refused(Exception):
    """A request that gets no certificate, with what the client is told."""


@dataclass(slots=True)
class Fulcio:
    """Knows its issuers by discovery, as the real one does: over HTTP, with every request anew."""

    issuers: Sequence[str] = ()
    """The addresses of the issuers that are believed."""
    skew_seconds: float = 0.0
    """How far the clock here is ahead."""
    authority: Authority = field(default_factory=lambda: Authority("fulcio"))
    log: CtLog = field(default_factory=CtLog)
    service: Service = field(init=False)

    def __post_init__(self) -> None:
        self.service = Service(self._answer)

    def _answer(self, request: Request) -> Reply:
        if (request.method, request.path) != ("POST", "/api/v2/signingCert"):
            return NOT_FOUND
        try:
            claims = self._claims(request)
            key = _requested_key(request.body)
            identity = _identity(claims)
        except _Refused as refused:
            return refuse(str(refused), code=UNAUTHENTICATED)
        at = (datetime.now(UTC) + timedelta(seconds=self.skew_seconds)).replace(microsecond=0)
        leaf = self.authority.leaf(key, identity, claims["iss"], self.log, at)
        chain = [one.public_bytes(Encoding.PEM).decode() for one in (leaf, self.authority.certificate)]
        return as_json({"signedCertificateEmbeddedSct": {"chain": {"certificates": chain}}}, 201)

    def _claims(self, request: Request) -> dict[str, Any]:
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if kind != "Bearer":
            msg = "There was an error processing the identity token: none was sent"
            raise _Refused(msg)
        try:
            header = jwt.get_unverified_header(token)
            issuer = jwt.decode(token, options={"verify_signature": False}).get("iss")
            claims: dict[str, Any] = jwt.decode(
                token,
                self._key(issuer, header.get("kid")),
                algorithms=["ES256"],
                audience=AUDIENCE,
                issuer=issuer,
                options={"require": ["iss", "aud", "sub", "exp", "iat"]},
            )
        except (jwt.PyJWTError, urllib.error.URLError, OSError, ValueError) as error:
            msg = f"There was an error processing the identity token: {error}"
            raise _Refused(msg) from error
        return claims

    def _key(self, issuer: str | None, kid: str | None) -> jwt.PyJWK:
        if issuer not in self.issuers:
            msg = "There was an error processing the identity token: unknown issuer"
            raise _Refused(msg)
        published = _fetch(_fetch(f"{issuer}/.well-known/openid-configuration")["jwks_uri"])
        for one in published["keys"]:
            if one["kid"] == kid:
                return jwt.PyJWK(one)
        msg = "There was an error processing the identity token: the issuer publishes no such key"
        raise _Refused(msg)


def _fetch(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url, timeout=_DISCOVERY_SECONDS) as answer:  # noqa: S310 - a loopback address of ours
        document: dict[str, Any] = json.load(answer)
    return document


def _requested_key(body: bytes) -> ec.EllipticCurvePublicKey:
    """Return the key of the certificate request, once its owner has proven to hold the private half."""
    try:
        pem = base64.b64decode(json.loads(body)["certificateSigningRequest"], validate=True)
        wanted = x509.load_pem_x509_csr(pem)
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        msg = "The certificate signing request could not be read"
        raise _Refused(msg) from error
    key = wanted.public_key()
    if not wanted.is_signature_valid or not isinstance(key, ec.EllipticCurvePublicKey):
        msg = "The signature supplied in the request could not be verified"
        raise _Refused(msg)
    return key


def _identity(claims: dict[str, Any]) -> x509.GeneralName:
    """Return what the certificate names: a URI subject, else an e-mail that the issuer has verified."""
    if "://" in str(claims["sub"]):
        return x509.UniformResourceIdentifier(str(claims["sub"]))
    if claims.get("email_verified") is True and isinstance(claims.get("email"), str):
        return x509.RFC822Name(claims["email"])
    msg = "There was an error processing the identity token: it names nobody that a certificate could be for"
    raise _Refused(msg)
