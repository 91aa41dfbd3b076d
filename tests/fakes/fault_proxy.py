"""A proxy before a real server that makes trouble: HTTP, and LDAP in its own framing.

Each request is one `Exchange`, and a fault is a function of it: it may pass the request on, answer in the server's
place, cut the connection before or after the server saw the request, or let the client wait. What reached the server
is on record, so a test can tell "asked twice" from "done twice".
"""

import http.client
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Final, Self
from urllib.parse import urlsplit

from tests.fakes.fault_wires import (
    ENTRY_TAG,
    WAIT_SECONDS,
    Answer,
    Call,
    Gone,
    HttpWire,
    LdapWire,
    Wire,
    messages_of,
    result_of,
    taken_apart,
)

_NO_LINGER: Final = struct.pack("ii", 1, 0)


@dataclass(slots=True)
class Exchange:
    """One request and the means to answer it, or not to."""

    call: Call
    proxy: "FaultProxy"
    client: socket.socket
    wire: Wire

    def forward(self) -> Answer:
        """Let the real server answer."""
        with self.proxy.lock:
            self.proxy.delivered.append(self.call)
        return self.wire.ask(self.call, self.proxy.upstream)

    def send(self, answer: Answer) -> None:
        """Answer the client."""
        self.client.sendall(self.wire.encoded(answer))

    def send_part(self, answer: Answer) -> None:
        """Send an answer without the last two fifths of its body."""
        encoded = self.wire.encoded(answer)
        self.client.sendall(encoded[: len(encoded) - max(1, len(answer.body) * 2 // 5)])

    def trickle(self, answer: Answer, seconds: float, pieces: int = 8) -> None:
        """Answer in pieces over some time."""
        encoded = self.wire.encoded(answer)
        size = max(1, -(-len(encoded) // pieces))
        for start in range(0, len(encoded), size):
            self.proxy.stopping.wait(seconds / pieces)
            self.client.sendall(encoded[start : start + size])

    def hold(self) -> None:
        """Keep the client waiting until it gives up or the proxy stops, then end the connection."""
        self.client.settimeout(WAIT_SECONDS)
        with suppress(OSError):
            self.client.recv(1)
        raise Gone

    def reset(self) -> None:
        """End the connection with a TCP reset."""
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        raise Gone


Fault = Callable[[Exchange], None]
Choose = Callable[[Call], Fault | None]
"""Picks the fault of a request; None passes it on."""


@dataclass(slots=True)
class FaultProxy:
    """Stands between client and server; use as a context manager. `choose` may be changed at any time."""

    upstream: tuple[str, int]
    wire: Callable[[], Wire]
    choose: Choose | None = None
    calls: list[Call] = field(default_factory=list)
    """All requests that came."""
    delivered: list[Call] = field(default_factory=list)
    """Those that the real server got."""
    lock: threading.Lock = field(default_factory=threading.Lock)
    stopping: threading.Event = field(default_factory=threading.Event)
    _listener: socket.socket | None = None
    _open: set[socket.socket] = field(default_factory=set)

    @classmethod
    def http(cls, url: str, choose: Choose | None = None) -> Self:
        """Build a proxy before an HTTP server."""
        return cls(upstream=_place(url), wire=HttpWire, choose=choose)

    @classmethod
    def ldap(cls, url: str, choose: Choose | None = None) -> Self:
        """Build a proxy before an LDAP server."""
        return cls(upstream=_place(url), wire=LdapWire, choose=choose)

    @property
    def port(self) -> int:
        """Return the port that clients are given."""
        assert self._listener is not None
        return int(self._listener.getsockname()[1])

    def at(self, url: str) -> str:
        """Return the address of a server with ours in the place of its host and port."""
        return urlsplit(url)._replace(netloc=f"127.0.0.1:{self.port}").geturl()

    def forget(self) -> None:
        """Start the record anew."""
        with self.lock:
            self.calls.clear()
            self.delivered.clear()

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopping.set()
        assert self._listener is not None
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self.lock:
            connections = list(self._open)
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        assert self._listener is not None
        while not self.stopping.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        wire = self.wire()
        with self.lock:
            self._open.add(client)
        try:
            with client, suppress(Gone, OSError, http.client.HTTPException):
                for call in wire.requests(client):
                    self._answer(Exchange(call=call, proxy=self, client=client, wire=wire))
        finally:
            wire.close()
            with self.lock:
                self._open.discard(client)

    def _answer(self, exchange: Exchange) -> None:
        with self.lock:
            self.calls.append(exchange.call)
        fault = self.choose(exchange.call) if self.choose is not None else None
        (fault or passed_on)(exchange)


def _place(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


# Faults of any connection.


def passed_on(exchange: Exchange) -> None:
    """Make no trouble."""
    exchange.send(exchange.forward())


def late(seconds: float) -> Fault:
    """Answer so much later."""

    def fault(exchange: Exchange) -> None:
        exchange.proxy.stopping.wait(seconds)
        passed_on(exchange)

    return fault


def black_hole(exchange: Exchange) -> None:
    """Take the request and never answer; the server does not see it."""
    exchange.hold()


def reset_before(exchange: Exchange) -> None:
    """Cut the connection; the server does not see the request."""
    exchange.reset()


def reset_after(exchange: Exchange) -> None:
    """Cut the connection once the server has carried the request out."""
    exchange.forward()
    exchange.reset()


def truncated(exchange: Exchange) -> None:
    """Cut the connection in the middle of the server's answer."""
    exchange.send_part(exchange.forward())
    raise Gone


def slow_trickle(exchange: Exchange) -> None:
    """Answer in drops, within half a second."""
    exchange.trickle(exchange.forward(), 0.5)


# Faults of HTTP servers.


def status(code: int, **headers: str) -> Fault:
    """Answer with a status in the server's place; header names with `_` for `-`."""
    named = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return lambda exchange: exchange.send(Answer(status=code, headers=named))


def html(exchange: Exchange) -> None:
    """Answer with a log-in page and status 200; the server does not see the request."""
    page = b"<!doctype html><html><title>Log in</title></html>"
    exchange.send(Answer(headers=(("Content-Type", "text/html"),), body=page))


def rewritten(change: Callable[[bytes], bytes]) -> Fault:
    """Pass the request on and change the body of the answer."""

    def fault(exchange: Exchange) -> None:
        answer = exchange.forward()
        exchange.send(replace(answer, body=change(answer.body)))

    return fault


# Faults of LDAP servers.


def ldap_result(code: int) -> Fault:
    """Answer with a result code (RFC 4511 appendix A) in the server's place."""
    return lambda exchange: exchange.send(result_of(exchange.call, code, "made for a test"))


def garbage(exchange: Exchange) -> None:
    """Answer LDAP with something else."""
    exchange.client.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    raise Gone


def entries_missing(exchange: Exchange) -> None:
    """Leave out every entry after the first, and end the search with the limit that a server then names (code 4)."""
    messages = messages_of(exchange.forward().body)
    entries = [one for one in messages if taken_apart(one)[1] == ENTRY_TAG]
    exchange.send(Answer(body=b"".join(entries[:1]) + result_of(exchange.call, 4, "size limit").body))


def entries_twice(exchange: Exchange) -> None:
    """Send every entry twice."""
    messages = messages_of(exchange.forward().body)
    exchange.send(Answer(body=b"".join(m * (1 + (taken_apart(m)[1] == ENTRY_TAG)) for m in messages)))


def page_twice(body: bytes) -> bytes:
    """List every resource of a SCIM page twice."""
    document = json.loads(body)
    return json.dumps(
        document | {"Resources": [*document.get("Resources", []), *document.get("Resources", [])]}
    ).encode()


def page_cut(body: bytes) -> bytes:
    """Leave the second half of a SCIM page out, and its total as it was."""
    document = json.loads(body)
    listed = document.get("Resources", [])
    return json.dumps(document | {"Resources": listed[: len(listed) // 2]}).encode()


@contextmanager
def refusing_port() -> Iterator[int]:
    """Give a port of loopback at which connections are refused: bound, so that nobody else takes it; not listening."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield int(taken.getsockname()[1])
