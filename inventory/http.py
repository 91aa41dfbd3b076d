"""The one HTTP client that reads: every provider with an HTTP API looks at the world through it.

It asks with GET only, tries a failed read again within bounds, and turns whatever comes back into `inventory.errors`.
A wrong picture is worse than none: an answer that is cut, not JSON, a web page or a redirect is never an answer.
Nothing is cached, and no token, query or body enters an error.
"""

import ipaddress
import json
import math
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import quote, urlsplit

import httpx
import tenacity
from pydantic import BaseModel, ConfigDict, Field, model_validator

from inventory.errors import (
    Denied,
    Disposition,
    Misconfigured,
    ObjectChanged,
    ObjectMissing,
    ProviderError,
    Throttled,
    Unavailable,
    Unsupported,
)
from inventory.provider import Clock
from inventory.regular_files import read_regular

READING_METHODS: Final = frozenset({"GET"})
MOST_TOKEN_BYTES: Final = 64 * 1024
Parameters = Mapping[str, str]
"""Query parameters; they may hold personal data and never enter an error."""


class HttpSettings(BaseModel):
    """Where an HTTP API is, how to authenticate there, and how long to wait: the base of such a provider's settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(description="Base URL of the API, such as https://scim.example.com/v2. Its host is the scope.")
    token_file: Path = Field(description="File that holds the bearer token. Read again for every call.")
    ca_file: Path | None = Field(default=None, description="PEM file of a private CA; otherwise the system's.")
    allow_plain_http: bool = Field(default=False, description="Send the token unencrypted to a host that is not ours.")
    connect_timeout_seconds: float = Field(default=5.0, gt=0, le=60, description="Wait for a connection.")
    read_timeout_seconds: float = Field(default=30.0, gt=0, le=300, description="Wait for the next bytes.")
    deadline_seconds: float = Field(default=120.0, gt=0, le=3600, description="One read, its repeats included.")
    max_attempts: int = Field(default=4, ge=1, le=10, description="Attempts of one read. Writes have exactly one.")
    max_response_bytes: int = Field(default=32 * 1024 * 1024, ge=1024, description="Longer answers are refused.")

    @model_validator(mode="after")
    def _safe_url(self) -> Self:
        problem = _url_problem(self.url, allow_plain_http=self.allow_plain_http)
        if problem:
            raise ValueError(problem)
        return self

    @property
    def host(self) -> str:
        """Return the host name of the API."""
        return urlsplit(self.url).hostname or ""


def _url_problem(url: str, *, allow_plain_http: bool) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return "url must be https://host[:port][/path]"
    if parts.username is not None or parts.query or parts.fragment:
        return "url must hold neither credentials nor query nor fragment: put the token into token_file"
    if _never_a_provider(parts.hostname):
        return "url names a link-local, multicast or unspecified address, where no provider lives"
    if parts.scheme == "http" and not allow_plain_http and not _is_loopback(parts.hostname):
        return "url must be https: over plain http the token can be read on the way (allow_plain_http overrides)"
    return ""


def _is_loopback(host: str) -> bool:
    address = _address(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def _never_a_provider(host: str) -> bool:
    """Cloud metadata services answer on link-local addresses; a token must never be sent there."""
    address = _address(host)
    return address is not None and (address.is_link_local or address.is_multicast or address.is_unspecified)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a provider answered to a call that it accepted."""

    status: int
    document: dict[str, Any]
    """The JSON object of the body; empty where there is no body."""
    etag: str = ""
    request_id: str = ""


def segment(value: str) -> str:
    """Return an id as one segment of a URL path; raises `ObjectMissing` for one that no object can have.

    A dot segment would address another object than the one named (RFC 3986, section 5.2.4).
    """
    if value in {"", ".", ".."}:
        raise ObjectMissing(f"an object with the id {value!r} cannot exist")
    return quote(value, safe="")


def bearer(token_file: Path) -> str:
    """Return the Authorization header for the token in a file; raises `Misconfigured`, never showing the token."""
    try:
        token = read_regular(token_file, MOST_TOKEN_BYTES).decode().strip()
    except OSError as error:
        raise Misconfigured(
            f"the token file {token_file} cannot be read: {error.strerror}",
            advice="create it with mode 0600 for the account that runs the daemon",
        ) from error
    except UnicodeDecodeError:
        token = ""
    if not token or not all("!" <= character <= "~" for character in token):
        raise Misconfigured(
            f"the token file {token_file} does not hold one line of printable ASCII", advice="write the bare token"
        )
    return f"Bearer {token}"


def open_client(settings: HttpSettings, transport: httpx.BaseTransport) -> httpx.Client:
    """Return a connection pool that follows no redirect, reads no environment and accepts no compression.

    Without compression the size limit holds for what is in memory, not only for what came over the wire.
    """
    return httpx.Client(
        base_url=settings.url.rstrip("/") + "/",
        transport=transport,
        trust_env=False,
        follow_redirects=False,
        timeout=httpx.Timeout(
            settings.read_timeout_seconds,
            connect=settings.connect_timeout_seconds,
        ),
        headers={
            "Accept": "application/scim+json, application/json",
            "Accept-Encoding": "identity",
            "Cache-Control": "no-cache",
            "User-Agent": "access-reconciler",
        },
    )


def network_transport(settings: HttpSettings) -> httpx.HTTPTransport:
    """Return the transport to the network, trusting the system's CAs or the configured one.

    Raises `Misconfigured` when the CA file cannot be used.
    """
    try:
        trust = ssl.create_default_context(cafile=settings.ca_file)
    except OSError as error:
        raise Misconfigured(
            f"the CA file {settings.ca_file} cannot be used: {error.strerror or 'not PEM'}",
            advice="name a readable PEM file in ca_file",
        ) from error
    return httpx.HTTPTransport(verify=trust, trust_env=False)


class ReadOnlyTransport(httpx.BaseTransport):
    """Lets reading methods through and nothing else, whatever the code above it asks for."""

    def __init__(self, inner: httpx.BaseTransport) -> None:
        self._inner = inner

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Pass a reading request on; raises `Unsupported` before a writing one reaches the network."""
        if request.method not in READING_METHODS:
            raise Unsupported(f"the reading client never sends {request.method}", advice="this is a defect: report it")
        return self._inner.handle_request(request)

    def close(self) -> None:
        """Release connections."""
        self._inner.close()


class ReadingClient:
    """Reads one HTTP API: bounded repeats, one deadline for each read, `inventory.errors` for everything else."""

    def __init__(self, settings: HttpSettings, clock: Clock, transport: httpx.BaseTransport | None = None) -> None:
        self._settings = settings
        self._clock = clock
        self._client = open_client(settings, ReadOnlyTransport(transport or network_transport(settings)))
        self.calls = 0
        """Requests sent so far, repeats included."""
        self.throttles = 0  # how many of them were answered with: slow down

    def get(self, path: str, parameters: Parameters | None = None) -> Answer:
        """Read one object or page. `path` is relative to the base URL, made with `segment`.

        Throttled, unavailable and broken answers are asked for again; a `Retry-After` is obeyed when it fits the
        deadline. Raises `inventory.errors.ProviderError`.
        """
        until = self._clock.monotonic_seconds() + self._settings.deadline_seconds
        retrying = tenacity.Retrying(
            sleep=self._clock.sleep,
            retry=tenacity.retry_if_exception(_worth_another_try),
            wait=_wait,
            stop=lambda state: self._enough(state, until),
            reraise=True,
        )
        return retrying(self._once, path, parameters or {}, until)

    def _enough(self, state: tenacity.RetryCallState, until: float) -> bool:
        late = self._clock.monotonic_seconds() + state.upcoming_sleep >= until
        return late or state.attempt_number >= self._settings.max_attempts

    def _once(self, path: str, query: Parameters, until: float) -> Answer:
        self.calls += 1
        what = f"GET {path}"
        headers = {"Authorization": bearer(self._settings.token_file)}
        try:
            with self._client.stream("GET", path, params=query, headers=headers) as response:
                body = read_body(response, what, self._settings, self._clock, until)
        except httpx.RequestError as error:
            raise Unavailable(
                f"{what} at {self._settings.host}: no answer ({type(error).__name__})",
                advice="check that the provider is up and reachable from here",
            ) from error
        try:
            answer = answer_of(response, body, what, self._clock.now())
        except Throttled:
            self.throttles += 1
            raise
        if not body:
            raise Unavailable(f"{what} was answered without a body", advice="check what answers at the configured url")
        return answer

    def close(self) -> None:
        """Release connections."""
        self._client.close()


def _worth_another_try(error: BaseException) -> bool:
    return isinstance(error, ProviderError) and error.disposition is Disposition.RETRY


_backoff = tenacity.wait_exponential(multiplier=0.5, max=30)


def _wait(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = getattr(error, "retry_after_seconds", None)
    return _backoff(state) if asked is None else float(asked)


class Busy(Unavailable):
    """A 503 that says when to come back."""

    def __init__(self, message: str, *, advice: str = "", retry_after_seconds: float | None = None) -> None:
        super().__init__(message, advice=advice)
        self.retry_after_seconds = retry_after_seconds


def read_body(response: httpx.Response, what: str, settings: HttpSettings, clock: Clock, until: float) -> bytes:
    """Read a body within its size limit and before the clock's reading `until`; raises `Unavailable` beyond either.

    A server that drips bytes keeps every single wait short, which is why the whole has a deadline too.
    """
    if response.headers.get("Content-Encoding", "identity").strip().lower() not in {"", "identity"}:
        raise Unavailable(f"{what} was answered compressed, which was not asked for")
    received = bytearray()
    for chunk in response.iter_raw():
        received += chunk
        if len(received) > settings.max_response_bytes:
            raise Unavailable(
                f"{what} was answered with more than {settings.max_response_bytes} bytes",
                advice="lower page_size, or raise max_response_bytes",
            )
        if clock.monotonic_seconds() > until:
            raise Unavailable(f"{what} was not answered to its end within its deadline", advice="lower page_size")
    return bytes(received)


def answer_of(response: httpx.Response, body: bytes, what: str, now: datetime) -> Answer:
    """Return what a provider accepted, or raise what it refused: the only place that translates HTTP statuses.

    Raises `inventory.errors.ProviderError`. `what` names the call, such as `GET Users/42`.
    """
    if not response.is_success:
        raise _refusal(response, body, what, now)
    return Answer(
        status=response.status_code,
        document=_json_object(response, body, what) if body else {},
        etag=_etag(response),
        request_id=_request_id(response),
    )


def _etag(response: httpx.Response) -> str:
    """Return the entity tag; one that could not be sent back in a header is none."""
    value: str = response.headers.get("ETag", "")
    return value if value.isascii() and value.isprintable() else ""


def _request_id(response: httpx.Response) -> str:
    for name in ("X-Request-Id", "X-Correlation-Id", "Request-Id"):
        value: str = response.headers.get(name, "")
        if value:
            return "".join(character for character in value if character.isalnum() or character in "-_.:/")[:128]
    return ""


_Refusal = tuple[type[ProviderError], str, str]
_REFUSALS: Final[dict[int, _Refusal]] = {
    401: (Denied, "our token was refused", "renew the token in token_file"),
    403: (Denied, "our token lacks the right", "grant it what `providers permissions` lists"),
    404: (ObjectMissing, "no such object", ""),
    405: (Unsupported, "there is no such operation", ""),
    407: (Denied, "a proxy wants to know who we are", "reach the provider without that proxy"),
    408: (Unavailable, "it timed out", ""),
    409: (ObjectChanged, "the object is in another state than expected", "the next cycle looks again"),
    410: (ObjectMissing, "no such object any more", ""),
    412: (ObjectChanged, "the object has changed since it was read", "the next cycle looks again"),
    425: (Unavailable, "it was too early", ""),
    501: (Unsupported, "it is not implemented", ""),
}


def _refusal(response: httpx.Response, body: bytes, what: str, now: datetime) -> ProviderError:
    status = response.status_code
    message = f"{what} was refused with HTTP {status}"
    retry_after = retry_after_seconds(response.headers.get("Retry-After", ""), now)
    if status == httpx.codes.TOO_MANY_REQUESTS:
        return Throttled(f"{message}: too many requests", advice="lower the load", retry_after_seconds=retry_after)
    if status == httpx.codes.SERVICE_UNAVAILABLE:
        return Busy(f"{message}: out of service", advice="try again later", retry_after_seconds=retry_after)
    error, meaning, advice = _REFUSALS.get(status) or _refusal_by_class(response)
    if error is ObjectMissing and _is_web_page(response, body):
        error, meaning, advice = Unavailable, "with a web page, which proves nothing absent", "check the url"
    return error(f"{message}: {meaning}", advice=advice)


def _refusal_by_class(response: httpx.Response) -> _Refusal:
    if response.is_server_error:
        return Unavailable, "the provider failed", "try again later"
    if response.is_client_error:
        return Unsupported, "it does not accept such a request", "see the provider's page in docs/"
    return Misconfigured, "redirects are never followed", "configure the final url"


def _is_web_page(response: httpx.Response, body: bytes) -> bool:
    return "html" in response.headers.get("Content-Type", "").lower() or body.lstrip()[:1] == b"<"


def _json_object(response: httpx.Response, body: bytes, what: str) -> dict[str, Any]:
    advice = "check what answers at the configured url: a proxy or sign-in page may stand in between"
    if _is_web_page(response, body):
        raise Unavailable(f"{what} was answered with a web page", advice=advice)
    try:
        document = json.loads(body, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        # The decoder's own message quotes nothing, its exception holds the body: the cause is not kept.
        raise Unavailable(f"{what} was not answered with JSON ({type(error).__name__})", advice=advice) from None
    if not isinstance(document, dict):
        raise Unavailable(f"{what} was not answered with a JSON object", advice=advice)
    return document


def _no_constant(name: str) -> float:
    msg = f"{name} is not JSON"
    raise ValueError(msg)


def retry_after_seconds(value: str, now: datetime) -> float | None:
    """Return the seconds that a Retry-After header asks for (RFC 9110, section 10.2.3): a number or a date.

    None where it is missing or cannot be read; a date in the past is 0.
    """
    text = value.strip()
    if text.isascii() and text.replace(".", "", 1).isdigit():
        seconds = float(text)
        return seconds if math.isfinite(seconds) else None
    try:
        instant = parsedate_to_datetime(text)
    except ValueError:
        return None
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=UTC)
    return max(0.0, (instant - now).total_seconds())
