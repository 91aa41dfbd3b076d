"""The writing client: one attempt, compare-and-set, and an honest word when the reply is lost."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

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
from inventory.http import HttpSettings
from reconciler.revokers.rest import ReplyLost, RestClient
from tests.fakes.clock import FakeClock
from tests.fakes.transport import ScriptedTransport, answering

CANARY = "canary-token-0815"


@pytest.fixture
def client(tmp_path: Path) -> Callable[..., RestClient]:
    """Give a maker of clients over a scripted network."""
    token_file = tmp_path / "token"
    token_file.write_text(CANARY)

    def make(transport: ScriptedTransport, **changes: Any) -> RestClient:
        settings = HttpSettings(url="https://scim.example.com/v2/", token_file=token_file, **changes)
        return RestClient(settings, FakeClock(), transport)

    return make


def test_a_write_carries_document_token_and_expected_version(client: Callable[..., RestClient]) -> None:
    """What is sent is exactly the document, against the version that was read."""
    network = answering(httpx.Response(204))
    client(network).write("PATCH", "Users/1", document={"a": 1}, if_match='W/"3"')
    request = network.requests[0]
    assert (request.method, request.url.path) == ("PATCH", "/v2/Users/1")
    assert json.loads(request.content) == {"a": 1}
    assert request.headers["If-Match"] == 'W/"3"'
    assert request.headers["Authorization"] == f"Bearer {CANARY}"
    assert request.headers["Content-Type"] == "application/scim+json"


def test_a_write_without_a_known_version_sends_no_condition(client: Callable[..., RestClient]) -> None:
    """An empty version is no version: no condition that nothing could meet."""
    network = answering(httpx.Response(204))
    client(network).write("DELETE", "Users/1")
    assert "If-Match" not in network.requests[0].headers


def test_an_answer_without_a_body_is_accepted(client: Callable[..., RestClient]) -> None:
    """204 has no body by design."""
    answer = client(answering(httpx.Response(204, headers={"X-Request-Id": "r-1"}))).write("DELETE", "Users/1")
    assert (answer.status, answer.document, answer.request_id) == (204, {}, "r-1")


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (302, Misconfigured),
        (400, Unsupported),
        (401, Denied),
        (403, Denied),
        (404, ObjectMissing),
        (405, Unsupported),
        (409, ObjectChanged),
        (412, ObjectChanged),
        (429, Throttled),
        (501, Unsupported),
    ],
)
def test_a_refused_write_certainly_did_not_happen(
    client: Callable[..., RestClient], status: int, error: type[ProviderError]
) -> None:
    """A refusal is raised as what it is, once, and not as a lost reply."""
    network = answering(httpx.Response(status, json={}))
    with pytest.raises(error) as caught:
        client(network).write("PATCH", "Users/1", document={})
    assert not isinstance(caught.value, ReplyLost)
    assert len(network.requests) == 1


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408])
def test_a_failure_half_way_leaves_the_outcome_unknown(client: Callable[..., RestClient], status: int) -> None:
    """A provider or proxy that failed may have carried the write out; it is not sent again."""
    network = answering(httpx.Response(status, headers={"Retry-After": "1"}))
    with pytest.raises(ReplyLost) as caught:
        client(network).write("PATCH", "Users/1", document={})
    assert caught.value.outcome_unknown
    assert len(network.requests) == 1


@pytest.mark.parametrize(
    "failure", [httpx.ReadTimeout, httpx.ReadError, httpx.WriteTimeout, httpx.WriteError, httpx.RemoteProtocolError]
)
def test_a_lost_reply_leaves_the_outcome_unknown(
    client: Callable[..., RestClient], failure: type[httpx.TransportError]
) -> None:
    """Once bytes may have left, the outcome is unknown, and the write is not sent again."""

    def handler(request: httpx.Request) -> httpx.Response:
        raise failure(CANARY, request=request)

    network = ScriptedTransport(handler)
    with pytest.raises(ReplyLost) as caught:
        client(network).write("DELETE", "Users/1")
    assert len(network.requests) == 1
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("failure", [httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout])
def test_a_write_that_never_left_is_not_unknown(
    client: Callable[..., RestClient], failure: type[httpx.TransportError]
) -> None:
    """Without a connection nothing happened, and the error does not pretend otherwise."""

    def handler(request: httpx.Request) -> httpx.Response:
        raise failure("no route", request=request)

    with pytest.raises(Unavailable, match="not sent") as caught:
        client(ScriptedTransport(handler)).write("DELETE", "Users/1")
    assert not isinstance(caught.value, ReplyLost)


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, html="<title>Sign in</title>"),
        httpx.Response(200, content=b"{"),
        httpx.Response(404, html="<h1>no route</h1>"),
    ],
)
def test_an_unreadable_reply_leaves_the_outcome_unknown(
    client: Callable[..., RestClient], answer: httpx.Response
) -> None:
    """A web page in place of a reply proves neither success nor absence."""
    with pytest.raises(ReplyLost):
        client(answering(answer)).write("PATCH", "Users/1", document={})


def test_too_long_a_reply_leaves_the_outcome_unknown(client: Callable[..., RestClient]) -> None:
    """The write was accepted before its reply was cut."""
    with pytest.raises(ReplyLost, match="more than 1024"):
        client(answering(httpx.Response(200, content=b" " * 2000)), max_response_bytes=1024).write("DELETE", "Users/1")


def test_the_read_before_a_write_has_one_attempt_too(client: Callable[..., RestClient]) -> None:
    """The caller decides about another try; a failed read here is never a lost reply."""
    network = answering(httpx.Response(503))
    writer = client(network)
    with pytest.raises(Unavailable) as caught:
        writer.get("Users/1")
    assert not isinstance(caught.value, ReplyLost)
    assert writer.calls == len(network.requests) == 1


def test_a_token_that_cannot_be_read_stops_the_write_before_it_is_sent(tmp_path: Path) -> None:
    """Without a usable token nothing leaves."""
    network = answering(httpx.Response(204))
    settings = HttpSettings(url="https://scim.example.com", token_file=tmp_path / "missing")
    with pytest.raises(Misconfigured):
        RestClient(settings, FakeClock(), network).write("DELETE", "Users/1")
    assert network.requests == []


def test_a_read_without_an_answer_is_unavailable(client: Callable[..., RestClient]) -> None:
    """Nothing was written yet, so nothing is unknown."""

    def handler(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout(CANARY, request=request)

    with pytest.raises(Unavailable, match="ReadTimeout") as caught:
        client(ScriptedTransport(handler)).get("Users/1")
    assert not isinstance(caught.value, ReplyLost)
    assert CANARY not in str(caught.value)
