"""Identity tokens for keyless signing: where each source has them from, and what a token must say before it is used.

Runs in the signing child only. A token is fetched for one attempt, checked, handed to the certificate authority, and
forgotten; neither a token nor a client's secret is in any message.
"""

import base64
import binascii
import json
import subprocess
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from urllib.parse import quote_plus

import requests

from reconciler.core.errors import SigningError
from reconciler.signing_settings import TokenSettings

_LEAST_SECONDS = 30.0
"""A token with less left might end before the certificate authority looks at it."""
_CONNECT_SECONDS = 5.0
_ANSWER_SECONDS = 20.0
_MOST_BYTES = 64 * 1024
_SUBJECTS = {"kubernetes": "system:serviceaccount:", "spiffe": "spiffe://"}
"""How the subject of a token begins that these really wrote."""


def fetch(settings: TokenSettings, ambient: Callable[[str], str | None]) -> str:
    """Return a token as its source now gives it, unchecked; `ambient` finds that of the environment.

    Raises `SigningError`.
    """
    if settings.source == "client_credentials":
        return _client_credentials(settings)
    if settings.source == "command":
        return _printed(settings.command)
    if settings.source == "ambient":
        return _ambient(settings, ambient)
    assert settings.file is not None  # noqa: S101 - the settings have seen to it; narrows the type
    return _read(settings.file, "identity token")


def check(token: str, settings: TokenSettings, issuer: str, now: datetime) -> None:
    """Check what a token says of itself, so that a wrong one is named here and not by a stranger's error page.

    Its signature is the certificate authority's to check. Raises `SigningError`.
    """
    claims = _claims(token)
    left = _number(claims, "exp") - now.timestamp()
    if left < _LEAST_SECONDS:
        state = f"ended {-left:.0f} s ago" if left <= 0 else f"ends in {left:.0f} s"
        raise SigningError(
            f"the identity token {state}", advice="renew it sooner, and compare this host's clock with the issuer's"
        )
    early = _number(claims, "nbf", default=0.0) - now.timestamp()
    if early > 0:
        msg = f"the identity token is not valid for another {early:.0f} s"
        raise SigningError(msg, advice="the issuer's clock is ahead of this host's: let both follow NTP")
    audience = claims.get("aud")
    if settings.audience not in (audience if isinstance(audience, list) else [audience]):
        msg = f"the identity token is not for the audience {settings.audience!r}"
        raise SigningError(msg, advice="ask for that audience where the token is made, or set token.audience")
    if claims.get("iss") != issuer and "federated_claims" not in claims:
        msg = f"the identity token is by {str(claims.get('iss'))[:200]!r}, not by {issuer!r}"
        raise SigningError(msg, advice="take the token of the right issuer, or set signing.sigstore.issuer")
    prefix = _SUBJECTS.get(settings.source, "")
    if not str(claims.get("sub", "")).startswith(prefix):
        msg = f"the subject of the identity token does not begin with {prefix!r}"
        raise SigningError(msg, advice=f"name the file that {settings.source} keeps, or set token.source: file")


def _claims(token: str) -> dict[str, object]:
    try:
        _, body, _ = token.split(".")
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    except (ValueError, binascii.Error) as error:
        raise _no_token() from error
    if not isinstance(claims, dict):
        raise _no_token()
    return claims


def _no_token() -> SigningError:
    return SigningError("what the token source gave is no JSON web token", advice="look at what the source holds")


def _number(claims: dict[str, object], name: str, *, default: float | None = None) -> float:
    value = claims.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SigningError(f"the identity token has no usable {name!r}", advice="see what the issuer puts into it")
    return float(value)


def _read(path: Path, what: str) -> str:
    try:
        with path.open("rb") as source:
            content = source.read(_MOST_BYTES)
        return content.decode("ascii").strip()
    except OSError as error:
        msg = f"the file of the {what}, {path}, cannot be read: {error.strerror}"
        raise SigningError(msg, advice="see whether whoever keeps it fresh does so, for this account") from error
    except ValueError as error:
        raise SigningError(f"{path} holds no {what}", advice="name the file that holds it alone, as text") from error


def _client_credentials(settings: TokenSettings) -> str:
    """Ask the token endpoint (RFC 6749 section 4.4), with the secret in the header and no redirect followed."""
    assert settings.client_secret_file is not None  # noqa: S101 - the settings have seen to it; narrows the type
    secret = _read(settings.client_secret_file, "client secret")
    form = {"grant_type": "client_credentials", "audience": settings.audience}
    if settings.scope:
        form["scope"] = settings.scope
    answer = requests.post(
        settings.token_url,
        data=form,
        auth=(quote_plus(settings.client_id), quote_plus(secret)),
        headers={"Accept": "application/json"},
        timeout=(_CONNECT_SECONDS, _ANSWER_SECONDS),
        allow_redirects=False,
    )
    document = _json_object(answer)
    if answer.status_code != requests.codes.ok:
        told = str(document.get("error", ""))[:80]
        msg = f"the token endpoint answered {answer.status_code}{f' ({told})' if told.isidentifier() else ''}"
        raise SigningError(msg, advice="check client_id, client_secret_file and what the client may do there")
    token = document.get("access_token")
    if not isinstance(token, str):
        msg = "the token endpoint's answer holds no access_token"
        raise SigningError(msg, advice="is token_url the token endpoint, as discovery names it?")
    return token


def _json_object(answer: requests.Response) -> dict[str, object]:
    try:
        document = answer.json()
    except ValueError:
        return {}  # an error page: the status, or the missing token, tells of it
    return document if isinstance(document, dict) else {}


def _printed(command: tuple[str, ...]) -> str:
    """Run the configured program; its errors may hold secrets, so only its exit code is told."""
    advice = "run it by hand as this account"
    try:
        done = subprocess.run(  # noqa: S603 - the operator's own program, without a shell
            command, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=_ANSWER_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = error.strerror if isinstance(error, OSError) else f"no end after {_ANSWER_SECONDS:.0f} s"
        raise SigningError(f"the token command {command[0]} cannot be run: {reason}", advice=advice) from error
    if done.returncode:
        raise SigningError(f"the token command {command[0]} ended with code {done.returncode}", advice=advice)
    return done.stdout[:_MOST_BYTES].decode("ascii", errors="replace").strip()


def _ambient(settings: TokenSettings, ambient: Callable[[str], str | None]) -> str:
    token = ambient(settings.audience)
    if token is None:
        msg = "the environment offers no identity token"
        raise SigningError(msg, advice="this works in CI and on GCP; elsewhere choose another token.source")
    return token
