"""The process in which one keyless signature is made: the library it uses waits for ever on some answers."""

import base64
import json
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import requests
from sigstore.dsse import Statement
from sigstore.models import Bundle, ClientTrustConfig
from sigstore.oidc import IdentityToken, detect_credential
from sigstore.sign import SigningContext

from reconciler.adapters import token_sources
from reconciler.adapters.child_work import Order, Steps, Tell, serve
from reconciler.adapters.clock import SystemClock
from reconciler.adapters.keyless import Services, acceptance, becomes_public
from reconciler.adapters.sigstore_identity import TrustedIdentity
from reconciler.core.canonical import dumps
from reconciler.core.errors import SigningError, UnverifiedSignature
from reconciler.signing_settings import SigstoreSettings

_MOST_TOLD = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Work(Steps):
    """One order, and whom to tell of each step."""

    settings: SigstoreSettings


def sign(work: Work, payload: bytes) -> bytes:
    """Sign a statement and verify the result as a stranger would; return the bundle in canonical JSON.

    Raises `SigningError` that names the service that failed.
    """
    config = trusted(work)
    services = prepared(work, config)
    token = identity_token(work)
    context = SigningContext.from_trust_config(config)
    advice = "see Fulcio's log; it must know this issuer, and its CT key must be in the trusted root"
    with work.step("Fulcio", services.fulcio, advice):
        signer = context.signer(token).__enter__()  # a step of its own; there is nothing to leave
    with work.step("Rekor", services.rekor, "see Rekor's log; the same statement is signed anew with the next attempt"):
        bundle = signer.sign_dsse(Statement(payload))
    return proven(work, config, bundle, payload)


def check(work: Work) -> str:
    """Try everything that leaves no trace in a log: instance, acceptance, time stamp, token. Raises `SigningError`."""
    services = prepared(work, trusted(work))
    identity_token(work)
    return f"{work.settings.identity} at {services.fulcio}, logged by {services.rekor}"


def trusted(work: Work) -> ClientTrustConfig:
    """Return the instance, read anew with each order: its keys are rotated."""
    settings = work.settings
    if settings.trust_config_file is not None:
        advice = "give the client trust configuration that the instance's operator publishes"
        with work.step("trust configuration", str(settings.trust_config_file), advice):
            return ClientTrustConfig.from_json(settings.trust_config_file.read_text(encoding="utf-8"))
    with work.step("TUF repository", settings.tuf_url, "check the address, and tuf_root_file for its first use"):
        return ClientTrustConfig.from_tuf(settings.tuf_url, bootstrap_root=settings.tuf_root_file)


def prepared(work: Work, config: ClientTrustConfig) -> Services:
    """Return where this will sign, once publishing there is accepted and a time stamper has answered."""
    with work.step("signing configuration", "services", "see which services the instance's operator publishes"):
        signing = config.signing_config
        stampers = signing.get_tsas()
        services = Services(
            fulcio=str(signing.get_fulcio().url),
            rekor=str(getattr(signing.get_tlogs()[0], "url", "")),
            stampers=tuple(str(one.url) for one in stampers),
        )
    _refuse_publishing(services, work.settings)
    if stampers or not services.whole_statement:
        _probe(work, [(str(one.url), one.request_timestamp) for one in stampers])
    return services


def _refuse_publishing(services: Services, settings: SigstoreSettings) -> None:
    lines = becomes_public(services, settings.identity, settings.issuer)
    if settings.public_log and not lines:
        msg = "signing.sigstore.public_log is set, and no service of this instance is public"
        raise SigningError(msg, advice="take public_log out: statements would claim a public log")
    if not lines or settings.public_log == acceptance(lines):
        return
    msg = f"this would become public with every signature: {'; '.join(lines)}"
    accept = f"signing.sigstore.public_log: {acceptance(lines)}"
    raise SigningError(msg, advice=f"use a private instance, or accept it with {accept}")


def _probe(work: Work, stampers: list[tuple[str, Callable[[bytes], object]]]) -> None:
    """Ask each time stamper before anything is logged: without a stamp, what is logged can never be verified."""
    failed: list[str] = []
    advice = "nothing was logged; a time stamp is needed first: mend the time-stamping authority, or add a second one"
    for url, stamp in stampers:
        try:
            with work.step("time-stamping authority", url, advice):
                stamp(b"probe")
        except SigningError as error:
            failed.append(str(error))
    if len(failed) == len(stampers):
        told = "; ".join(failed) or "time-stamping authority: the instance names none"
        raise SigningError(told, advice=advice)


def identity_token(work: Work) -> IdentityToken:
    """Return a fresh token that says what it must."""
    settings = work.settings
    source = settings.token
    place = source.token_url or str(source.file or "") or " ".join(source.command[:1]) or source.source
    with work.step("identity token", place, "see that the issuer is up and that the token source works"):
        raw = token_sources.fetch(source, detect_credential)
        token_sources.check(raw, source, settings.issuer, SystemClock().now())
        return IdentityToken(raw, client_id=source.audience)


def proven(work: Work, config: ClientTrustConfig, bundle: Bundle, payload: bytes) -> bytes:
    """Return the bundle's bytes if an auditor with this trusted root would accept them."""
    settings = work.settings
    advice = (
        "nothing counts as attested: compare the clocks of Fulcio and of the time stamper, the trusted root with the "
        "instance's present keys, and signing.sigstore.identity and issuer with the certificate"
    )
    with work.step("verification", "of the fresh signature", advice):
        content = dumps(json.loads(bundle.to_json()))
        root = TrustedIdentity(config.trusted_root, settings.identity, settings.issuer)
        refused = root.refusal(content, payload)
        if refused is not None:
            raise UnverifiedSignature(refused.message, advice=advice)
    return content


def reason(error: BaseException) -> str:
    """Say in one line what an error of the library or of its connections means; never a body that a server sent."""
    if isinstance(error, OSError) and error.strerror and not isinstance(error, requests.RequestException):
        return error.strerror
    for one in _causes(error):
        if isinstance(one, requests.HTTPError) and one.response is not None:
            return f"answered {one.response.status_code}{_message(one.response)}"
        if isinstance(one, requests.Timeout):
            return "did not answer in time"
        if isinstance(one, requests.ConnectionError):
            return "cannot be reached"
        if isinstance(one, requests.exceptions.JSONDecodeError):
            return "answered something that is not JSON"
    return " ".join(str(error).split())[:_MOST_TOLD] or type(error).__name__


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    queue = [error]
    while queue:
        one = queue.pop(0)
        if one is not None and one not in seen:
            seen.append(one)
            queue += [one.__cause__, one.__context__, *(part for part in one.args if isinstance(part, BaseException))]
            yield one


def _message(response: requests.Response) -> str:
    """Return what a service says of its refusal, when it says it as Fulcio and Rekor do."""
    try:
        told: Any = response.json()
    except ValueError:
        return ", and not with JSON"
    message = told.get("message") if isinstance(told, dict) else None
    return f": {' '.join(message.split())[:_MOST_TOLD]}" if isinstance(message, str) else ""


def perform(order: Order, tell: Tell) -> str:
    """Carry out one order."""
    work = Work(settings=SigstoreSettings.model_validate(order["settings"]), tell=tell, reason=reason)
    if order["verb"] == "check":
        return check(work)
    return sign(work, base64.b64decode(order["payload"])).decode()


if __name__ == "__main__":
    logging.getLogger("sigstore").setLevel(logging.ERROR)  # at DEBUG it would log whole statements
    serve(sys.stdin, sys.stdout, perform)
