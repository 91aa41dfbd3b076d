"""An OpenID Connect issuer: discovery, keys, tokens with any identity and lifetime, and client credentials."""

import base64
import hmac
import json
import secrets
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from reconciler.demo.sigstore.service import NOT_FOUND, Reply, Request, Service, as_json

AUDIENCE = "sigstore"
WORKLOAD = "https://corp.example/workloads/access-reconciler"
"""The identity that tokens are for, unless another is asked for."""
CLIENT_ID = "access-reconciler"
_SECRET_BYTES = 24


@dataclass(slots=True)
class _Key:
    kid: str
    private: ec.EllipticCurvePrivateKey

    @property
    def jwk(self) -> dict[str, Any]:
        """Return the public half as a JWK."""
        algorithm = jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256)
        public: dict[str, Any] = json.loads(algorithm.to_jwk(self.private.public_key()))
        return {**public, "kid": self.kid, "alg": "ES256", "use": "sig"}


@dataclass(slots=True)
class Issuer:
    """Issues ES256 tokens; the clock can be set off, and keys rotated away."""

    skew_seconds: float = 0.0
    """How far the issuer's clock is ahead."""
    lifetime_seconds: float = 600.0
    subject: str = WORKLOAD
    client_secret: str = field(default_factory=lambda: secrets.token_urlsafe(_SECRET_BYTES), repr=False)
    """What the one client proves itself with at the token endpoint."""
    claims: dict[str, Any] = field(default_factory=dict)
    """Added to every token."""
    issued: int = 0
    service: Service = field(init=False)
    _keys: list[_Key] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.service = Service(self._answer)
        self.rotate()

    @property
    def url(self) -> str:
        """Return the issuer as tokens and certificates name it."""
        return f"{self.service.url}/oidc"

    @property
    def token_url(self) -> str:
        """Return the OAuth 2.0 token endpoint."""
        return f"{self.url}/token"

    def rotate(self, *, keep_old: bool = False) -> None:
        """Sign with a new key; the old ones leave the published set unless they are to be kept."""
        key = _Key(kid=f"key-{len(self._keys) + 1}", private=ec.generate_private_key(ec.SECP256R1()))
        self._keys = [*(self._keys if keep_old else []), key]

    def token(self, **changes: object) -> str:
        """Return a token; keyword arguments replace claims, None removes one."""
        now = time.time() + self.skew_seconds
        self.issued += 1
        claims = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": self.subject,
            "iat": int(now),
            "nbf": int(now),
            "exp": int(now + self.lifetime_seconds),
            "jti": str(self.issued),
            **self.claims,
            **changes,
        }
        key = self._keys[-1]
        told = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(told, key.private, algorithm="ES256", headers={"kid": key.kid})

    def _answer(self, request: Request) -> Reply:
        if (request.method, request.path) == ("GET", "/oidc/.well-known/openid-configuration"):
            return as_json(
                {
                    "issuer": self.url,
                    "authorization_endpoint": f"{self.url}/authorize",
                    "token_endpoint": self.token_url,
                    "jwks_uri": f"{self.url}/jwks",
                    "id_token_signing_alg_values_supported": ["ES256"],
                    "response_types_supported": ["token"],
                    "subject_types_supported": ["public"],
                }
            )
        if (request.method, request.path) == ("GET", "/oidc/jwks"):
            return as_json({"keys": [key.jwk for key in self._keys]})
        if (request.method, request.path) == ("POST", "/oidc/token"):
            return self._client_credentials(request)
        return NOT_FOUND

    def _client_credentials(self, request: Request) -> Reply:
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        if form.get("grant_type") != "client_credentials":
            return as_json({"error": "unsupported_grant_type"}, 400)
        if not self._authenticated(request):
            return as_json({"error": "invalid_client", "error_description": "the secret is wrong"}, 401)
        token = self.token(aud=form.get("audience", AUDIENCE))
        return as_json({"access_token": token, "token_type": "Bearer", "expires_in": int(self.lifetime_seconds)})

    def _authenticated(self, request: Request) -> bool:
        """Check HTTP Basic as RFC 6749 section 2.3.1 has it: both parts form-encoded."""
        kind, _, encoded = request.headers.get("authorization", "").partition(" ")
        if kind != "Basic":
            return False
        name, _, secret = base64.b64decode(encoded).decode().partition(":")
        sent = parse_qs(f"name={name}&secret={secret}")
        expected = {"name": [CLIENT_ID], "secret": [self.client_secret]}
        return hmac.compare_digest(json.dumps(sent), json.dumps(expected))
