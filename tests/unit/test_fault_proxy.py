"""The fault proxy does what a test believes that it does."""

import http.client
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.fakes import fault_proxy
from tests.fakes.fault_proxy import Fault, FaultProxy, late, status
from tests.fakes.fault_wires import LdapWire, result_of, taken_apart

SEARCH = bytes.fromhex("300d020107630804000a01010a0100")
"""Message 7: the beginning of a one-level search, as much of it as is looked at."""


class _Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("ETag", '"7"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@pytest.fixture(scope="module")
def echo() -> Iterator[str]:
    """Serve every body back."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Echo)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def connected(proxy: FaultProxy) -> http.client.HTTPConnection:
    """Connect to a proxy."""
    return http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=5)


def test_without_a_fault_answers_pass_whole_over_one_connection(echo: str) -> None:
    """Status, headers and body come through, and the client's connection is kept."""
    with FaultProxy.http(echo) as proxy:
        client = connected(proxy)
        local = []
        for body in (b"one", b"two"):
            client.request("POST", "/x", body=body)
            answer = client.getresponse()
            assert (answer.status, answer.headers["ETag"], answer.read()) == (200, '"7"', body)
            local.append(client.sock.getsockname())
        assert local[0] == local[1]
        assert [call.body for call in proxy.delivered] == [b"one", b"two"]
        client.close()


@pytest.mark.parametrize(
    ("fault", "delivered"),
    [(fault_proxy.reset_before, 0), (fault_proxy.reset_after, 1), (fault_proxy.truncated, 1)],
)
def test_a_cut_connection_tells_the_client_nothing_and_the_record_whether_the_server_knew(
    echo: str, fault: Fault, delivered: int
) -> None:
    """The client sees an error; a request counts as delivered only where the server got it."""
    with FaultProxy.http(echo, lambda _: fault) as proxy:
        client = connected(proxy)
        with pytest.raises((ConnectionError, http.client.HTTPException)):  # noqa: PT012 - either step may meet the cut
            client.request("POST", "/x", body=b"content")
            client.getresponse().read()
        assert len(proxy.calls) == 1
        assert len(proxy.delivered) == delivered


def test_an_answer_in_the_servers_place_never_reaches_it(echo: str) -> None:
    """A status with headers, and a page with status 200, are the proxy's own."""
    with FaultProxy.http(
        echo, lambda call: status(429, Retry_After="3") if call.target == "/a" else fault_proxy.html
    ) as proxy:
        client = connected(proxy)
        client.request("POST", "/a", body=b"x")
        answer = client.getresponse()
        assert (answer.status, answer.headers["Retry-After"], answer.read()) == (429, "3", b"")
        client.request("POST", "/b", body=b"x")
        answer = client.getresponse()
        assert answer.status == 200
        assert b"<html>" in answer.read()
        assert proxy.delivered == []


def test_latency_is_added_to_each_call(echo: str) -> None:
    """Two calls take at least twice the latency."""
    with FaultProxy.http(echo, lambda _: late(0.05)) as proxy:
        client = connected(proxy)
        began = time.monotonic()
        for _ in range(2):
            client.request("POST", "/x", body=b"x")
            client.getresponse().read()
        assert time.monotonic() - began >= 0.1


def test_a_black_hole_keeps_silent(echo: str) -> None:
    """Nothing comes back, and the server is not asked."""
    with FaultProxy.http(echo, lambda _: fault_proxy.black_hole) as proxy:
        client = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=0.2)
        client.request("POST", "/x", body=b"x")
        with pytest.raises(TimeoutError):
            client.getresponse()
        assert proxy.delivered == []
        client.close()


def test_ldap_messages_are_framed_and_answered_by_number() -> None:
    """An operation is told by its tag, a search by its scope, and a result carries the number of its message."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(SEARCH)
        call = next(LdapWire().requests(ours))
    assert (call.verb, call.target, call.number) == ("search", "one", 7)
    assert taken_apart(result_of(call, 51, "busy").body)[:3] == (
        7, 0x65, b"\x0a\x01\x33\x04\x00\x04\x04busy",
    )  # fmt: skip
