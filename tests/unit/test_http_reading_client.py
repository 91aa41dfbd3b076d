"""The reading client: what it refuses to send, to believe, and to show."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from inventory.errors import (
    Denied,
    Misconfigured,
    ObjectChanged,
    ObjectMissing,
    ProviderError,
    Throttled,
    Unavailable,
    Unsupported,
)
from inventory.http import HttpSettings, ReadingClient, ReadOnlyTransport, retry_after_seconds, segment
from tests.fakes.clock import FakeClock
from tests.fakes.transport import ScriptedTransport, answering

CANARY = "canary-token-4711"
Handler = Callable[[httpx.Request], httpx.Response]


@pytest.fixture
def clock() -> FakeClock:
    """Give a clock that moves only by sleeping."""
    return FakeClock()


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """Give a file with the canary token."""
    path = tmp_path / "token"
    path.write_text(CANARY + "\n")
    return path


@pytest.fixture
def client(token_file: Path, clock: FakeClock) -> Callable[..., ReadingClient]:
    """Give a maker of clients whose network is a function."""

    def make(network: Handler | ScriptedTransport, **changes: Any) -> ReadingClient:
        settings = HttpSettings(url="https://scim.example.com/v2", token_file=token_file, **changes)
        transport = network if isinstance(network, ScriptedTransport) else ScriptedTransport(network)
        return ReadingClient(settings, clock, transport)

    return make


def test_get_sends_the_token_under_the_base_path_and_asks_for_no_cache(client: Callable[..., ReadingClient]) -> None:
    """The token goes into the header of a request below the configured path, and no cache may answer it."""
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"id": "1"}, headers={"ETag": 'W/"7"', "X-Request-Id": "r 1\t"})

    answer = client(handler).get("Users/1", {"filter": 'a eq "b c"'})
    assert (answer.document, answer.etag, answer.request_id) == ({"id": "1"}, 'W/"7"', "r1")
    assert seen[0].url.path == "/v2/Users/1"
    assert seen[0].url.params["filter"] == 'a eq "b c"'
    assert seen[0].headers["Authorization"] == f"Bearer {CANARY}"
    assert seen[0].headers["Cache-Control"] == "no-cache"


def test_a_rotated_token_is_used_by_the_next_call(client: Callable[..., ReadingClient], token_file: Path) -> None:
    """The token file is read for every call, so that a rotation needs no restart."""
    tokens: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        tokens.append(request.headers["Authorization"])
        return httpx.Response(200, json={})

    reader = client(handler)
    reader.get("Users")
    token_file.write_text("rotated")
    reader.get("Users")
    assert tokens == [f"Bearer {CANARY}", "Bearer rotated"]


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, Unsupported),
        (401, Denied),
        (403, Denied),
        (404, ObjectMissing),
        (405, Unsupported),
        (407, Denied),
        (409, ObjectChanged),
        (410, ObjectMissing),
        (412, ObjectChanged),
        (422, Unsupported),
        (429, Throttled),
        (500, Unavailable),
        (501, Unsupported),
        (502, Unavailable),
        (503, Unavailable),
        (504, Unavailable),
        (301, Misconfigured),
        (302, Misconfigured),
        (307, Misconfigured),
    ],
)
def test_each_refusal_becomes_one_of_our_errors(
    client: Callable[..., ReadingClient], status: int, error: type[ProviderError]
) -> None:
    """Every status that is no success raises the error that says who has to do something; none passes as an answer."""
    reader = client(answering(httpx.Response(status, json={"detail": CANARY}, headers={"Location": "https://evil/"})))
    with pytest.raises(error) as caught:
        reader.get("Users/1")
    assert type(caught.value) is error or (status == 503 and isinstance(caught.value, error))
    assert f"HTTP {status}" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"<!doctype html><title>Sign in</title>", "text/html"),
        (b'{"Resources": []}', "text/html; charset=utf-8"),
        (b"\n <html>", "application/scim+json"),
        (b'{"totalResults": 1', "application/scim+json"),
        (b"[1]", "application/json"),
        (b"null", "application/json"),
        (b'{"a": NaN}', "application/json"),
        (b'{"a": "\xff"}', "application/json"),
        (b"", "application/scim+json"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "application/json"),
        (b'{"a":' + b"9" * 5000 + b"}", "application/json"),
    ],
)
def test_what_is_not_a_json_object_is_unavailable(
    client: Callable[..., ReadingClient], content: bytes, content_type: str
) -> None:
    """A page, a cut or hostile document, or nothing at all with status 200 is never taken for an answer."""
    reader = client(answering(httpx.Response(200, content=content, headers={"Content-Type": content_type})))
    with pytest.raises(Unavailable):
        reader.get("Users")


def test_a_web_page_with_404_proves_nothing_absent(client: Callable[..., ReadingClient]) -> None:
    """Only the API may say that an object is missing; a proxy's page may not."""
    reader = client(answering(httpx.Response(404, html="<h1>no route</h1>")))
    with pytest.raises(Unavailable, match="proves nothing absent"):
        reader.get("Users/1")


def test_too_long_an_answer_is_refused(client: Callable[..., ReadingClient]) -> None:
    """An answer beyond the limit is dropped while it is read."""
    reader = client(answering(httpx.Response(200, content=b" " * 2000 + b"{}")), max_response_bytes=1024)
    with pytest.raises(Unavailable, match="more than 1024 bytes"):
        reader.get("Users")


def test_a_compressed_answer_is_refused(client: Callable[..., ReadingClient]) -> None:
    """Nothing compressed was asked for, so a decompression bomb is never opened."""
    reader = client(answering(httpx.Response(200, content=iter((b"\x1f\x8b",)), headers={"Content-Encoding": "gzip"})))
    with pytest.raises(Unavailable, match="compressed"):
        reader.get("Users")


def test_a_dripping_answer_ends_at_the_deadline(client: Callable[..., ReadingClient], clock: FakeClock) -> None:
    """A server that sends a byte now and then cannot hold a read beyond its deadline."""

    def drip() -> Iterator[bytes]:
        while True:
            clock.sleep(10)
            yield b" "

    def handler(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=drip())

    started = clock.at
    with pytest.raises(Unavailable, match="deadline"):
        client(handler, deadline_seconds=60).get("Users")
    assert clock.at - started <= timedelta(seconds=80)


def test_a_failed_read_is_tried_again_and_counted(client: Callable[..., ReadingClient], clock: FakeClock) -> None:
    """Transient failures are repeated with growing pauses, every attempt counted."""
    reader = client(answering(httpx.Response(502), httpx.Response(503), httpx.Response(200, json={"id": "1"})))
    assert reader.get("Users/1").document == {"id": "1"}
    assert reader.calls == 3
    assert clock.slept == [0.5, 1.0]


def test_repeats_are_bounded(client: Callable[..., ReadingClient]) -> None:
    """After the last attempt the failure itself is raised."""
    reader = client(answering(httpx.Response(500)), max_attempts=3)
    with pytest.raises(Unavailable):
        reader.get("Users")
    assert reader.calls == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 412, 301])
def test_a_settled_refusal_is_not_repeated(client: Callable[..., ReadingClient], status: int) -> None:
    """What somebody has to change is not asked for twice."""
    reader = client(answering(httpx.Response(status, json={})))
    with pytest.raises(ProviderError):
        reader.get("Users")
    assert reader.calls == 1


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_obeyed(client: Callable[..., ReadingClient], clock: FakeClock, status: int, form: str) -> None:
    """The pause is the one that the provider asks for, in either form of RFC 9110."""
    value = "17" if form == "seconds" else format_datetime(clock.at + timedelta(seconds=17), usegmt=True)
    busy = httpx.Response(status, headers={"Retry-After": value})
    client(answering(busy, httpx.Response(200, json={}))).get("Users")
    assert clock.slept == [17.0]


def test_a_retry_after_beyond_the_deadline_is_not_waited_for(
    client: Callable[..., ReadingClient], clock: FakeClock
) -> None:
    """An hour's pause ends the read at once, and the error tells the hour."""
    reader = client(answering(httpx.Response(429, headers={"Retry-After": "3600"})))
    with pytest.raises(Throttled) as caught:
        reader.get("Users")
    assert caught.value.retry_after_seconds == 3600
    assert clock.slept == []


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("1.5", 1.5),
        ("Mon, 02 Mar 2026 09:00:30 GMT", 30.0),
        ("Mon, 02 Mar 2026 08:00:00 GMT", 0.0),
        ("Mon, 02 Mar 2026 09:00:30", 30.0),
        ("Mon, 02 Mar 2026 10:00:30 +0100", 30.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("inf", None),
        ("9" * 400, None),
        ("٣", None),
        ("Mon, 99 Mar 2026 09:00:30 GMT", None),
    ],
)
def test_retry_after_reads_numbers_and_dates_only(value: str, seconds: float | None) -> None:
    """A header that is neither a number nor a date is as good as none."""
    assert retry_after_seconds(value, datetime(2026, 3, 2, 9, 0, tzinfo=UTC)) == seconds


@pytest.mark.parametrize("failure", [httpx.ConnectError, httpx.ReadTimeout, httpx.RemoteProtocolError])
def test_no_answer_is_unavailable(client: Callable[..., ReadingClient], failure: type[httpx.TransportError]) -> None:
    """Whatever the network does, the caller sees one of our errors."""

    def handler(request: httpx.Request) -> httpx.Response:
        raise failure(f"details with {CANARY}", request=request)

    with pytest.raises(Unavailable, match=failure.__name__) as caught:
        client(handler).get("Users", {"filter": "alice@example.com"})
    assert CANARY not in str(caught.value)
    assert "alice" not in str(caught.value)


def test_no_error_shows_the_token_the_body_or_the_query(client: Callable[..., ReadingClient]) -> None:
    """Errors name the object and the status, never what could be a secret or about a person."""
    for status in (200, 400, 401, 403, 404, 429, 500, 503):
        reader = client(answering(httpx.Response(status, content=json.dumps(f"{CANARY} Alice Doe"))))
        with pytest.raises(ProviderError) as caught:
            reader.get("Users", {"filter": "alice@example.com"})
        shown = f"{caught.value} {caught.value.advice} {caught.value.__cause__!r}"
        assert CANARY not in shown
        assert "lice" not in shown


@pytest.mark.parametrize("content", ["", "two words", "line\nbreak", "ünicode", "nul\0"])
def test_an_unusable_token_file_is_named_but_not_shown(
    client: Callable[..., ReadingClient], token_file: Path, content: str
) -> None:
    """A token that cannot stand in a header is refused before any library can print it."""
    token_file.write_text(content)
    with pytest.raises(Misconfigured, match="token") as caught:
        client(answering(httpx.Response(200, json={}))).get("Users")
    assert not content.strip() or content not in str(caught.value)


def test_a_token_file_that_is_no_text_is_misconfigured(client: Callable[..., ReadingClient], token_file: Path) -> None:
    """Bytes that are no text are refused like any other unusable token."""
    token_file.write_bytes(b"\xff\xfe")
    with pytest.raises(Misconfigured, match="printable ASCII"):
        client(answering(httpx.Response(200, json={}))).get("Users")


def test_a_missing_token_file_is_misconfigured(client: Callable[..., ReadingClient], token_file: Path) -> None:
    """Without a token nothing is sent."""
    token_file.unlink()
    with pytest.raises(Misconfigured, match="cannot be read"):
        client(answering(httpx.Response(200, json={}))).get("Users")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "get"])
def test_the_transport_refuses_everything_but_reading(method: str) -> None:
    """Even code that gets hold of the pool cannot write through it."""
    reached: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        reached.append(request.method)
        return httpx.Response(200)

    transport = ReadOnlyTransport(ScriptedTransport(handler))
    request = httpx.Request("GET", "https://scim.example.com/Users/1")
    request.method = method
    with pytest.raises(Unsupported, match="never sends"):
        transport.handle_request(request)
    assert reached == []


@pytest.mark.parametrize(
    "url",
    [
        "http://scim.example.com/v2",
        "http://10.0.0.8/v2",
        "https://user:secret@scim.example.com",
        "https://scim.example.com/v2?token=secret",
        "https://scim.example.com/#x",
        "ftp://scim.example.com",
        "scim.example.com",
        "https:///v2",
        "https://169.254.169.254/latest",
        "https://[fe80::1]/v2",
        "https://0.0.0.0/v2",
        "http://localhost.evil.example/v2",
    ],
)
def test_unsafe_urls_are_refused(url: str, token_file: Path) -> None:
    """A token is sent over https or to this machine only, and never to a metadata service."""
    with pytest.raises(ValidationError, match="url"):
        HttpSettings(url=url, token_file=token_file)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8080/v2", "http://localhost/v2", "http://[::1]:1/v2", "https://10.1.2.3"]
)
def test_safe_urls_are_accepted(url: str, token_file: Path) -> None:
    """Loopback needs no encryption, and a provider may live in a private network."""
    assert HttpSettings(url=url, token_file=token_file).host


def test_plain_http_needs_the_explicit_setting(token_file: Path) -> None:
    """An operator can allow it by name; the metadata address stays refused."""
    settings = HttpSettings(url="http://scim.example.com", token_file=token_file, allow_plain_http=True)
    assert settings.host == "scim.example.com"
    with pytest.raises(ValidationError, match="link-local"):
        HttpSettings(url="http://169.254.169.254", token_file=token_file, allow_plain_http=True)


def test_a_bad_ca_file_is_misconfigured(token_file: Path, clock: FakeClock, tmp_path: Path) -> None:
    """A CA file that is missing or not PEM is named when the client is built."""
    broken = tmp_path / "ca.pem"
    for content in (None, "not PEM"):
        if content is not None:
            broken.write_text(content)
        settings = HttpSettings(url="https://scim.example.com", token_file=token_file, ca_file=broken)
        with pytest.raises(Misconfigured, match="CA file"):
            ReadingClient(settings, clock)


def test_ids_cannot_leave_their_path_segment() -> None:
    """An id addresses the object that it names, whatever it holds."""
    assert segment("a/b?c#d%e f") == "a%2Fb%3Fc%23d%25e%20f"
    for dots in ("", ".", ".."):
        with pytest.raises(ObjectMissing):
            segment(dots)


@pytest.mark.parametrize(("status", "throttles"), [(429, 1), (503, 0)])
def test_being_slowed_down_is_counted(client: Callable[..., ReadingClient], status: int, throttles: int) -> None:
    """Only an answer that says so counts as one that slows us down; every request counts as a call."""
    reader = client(answering(httpx.Response(status, headers={"Retry-After": "3600"})))
    with pytest.raises(ProviderError):
        reader.get("Users")
    assert (reader.calls, reader.throttles) == (1, throttles)
