"""How requests and answers lie on a connection, for the fault proxy: HTTP/1.1, and the messages of LDAP."""

import http.client
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

WAIT_SECONDS: Final = 20.0
"""Longest wait for a real server, and longest time for which a black hole keeps a connection."""
_HOP_BY_HOP: Final = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request, as the client sent it."""

    verb: str
    """The HTTP method, or the name of the LDAP operation."""
    target: str
    """The HTTP request target; the scope of an LDAP search."""
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    number: int = 0
    """Of an LDAP message."""

    @property
    def substance(self) -> bytes:
        """Return what is asked, whatever the number of the message."""
        return taken_apart(self.body)[2] if self.number else self.body


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is sent back: for HTTP a response, for LDAP the messages in `body`."""

    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


class Gone(Exception):
    """The connection ended."""


class Wire(Protocol):
    """How requests and answers lie on a connection."""

    def requests(self, client: socket.socket) -> Iterator[Call]:
        """Yield the requests of a connection until it ends."""

    def ask(self, call: Call, upstream: tuple[str, int]) -> Answer:
        """Ask the real server on this connection's behalf, and return its whole answer."""

    def encoded(self, answer: Answer) -> bytes:
        """Return the bytes of an answer."""

    def close(self) -> None:
        """End the connection to the real server."""


def _exactly(client: socket.socket, size: int) -> bytes:
    content = b""
    while len(content) < size:
        piece = client.recv(size - len(content))
        if not piece:
            raise Gone
        content += piece
    return content


class HttpWire:
    """HTTP/1.1 with kept connections; request bodies with a length, as all clients of ours send them."""

    def __init__(self) -> None:
        self._server: http.client.HTTPConnection | None = None

    def requests(self, client: socket.socket) -> Iterator[Call]:
        """Yield the requests of a connection until it ends."""
        with client.makefile("rb") as stream:
            while line := stream.readline():
                verb, target, _ = line.decode("latin-1").split(" ", 2)
                headers = http.client.parse_headers(stream)
                body = stream.read(int(headers.get("Content-Length", "0")))
                yield Call(verb=verb, target=target, body=body, headers=tuple(headers.items()))

    def ask(self, call: Call, upstream: tuple[str, int]) -> Answer:
        """Ask the real server over a kept connection."""
        server = self._server = self._server or http.client.HTTPConnection(*upstream, timeout=WAIT_SECONDS)
        kept = {key: value for key, value in call.headers if key.lower() not in _HOP_BY_HOP}
        server.request(call.verb, call.target, body=call.body or None, headers=kept)
        response = server.getresponse()
        headers = tuple((key, value) for key, value in response.headers.items() if key.lower() not in _HOP_BY_HOP)
        return Answer(status=response.status, headers=headers, body=response.read())

    def encoded(self, answer: Answer) -> bytes:
        """Return the bytes of a response."""
        reason = http.client.responses.get(answer.status, "Unknown")
        lines = [f"HTTP/1.1 {answer.status} {reason}", *(f"{key}: {value}" for key, value in answer.headers)]
        if answer.status != http.HTTPStatus.NO_CONTENT:
            lines.append(f"Content-Length: {len(answer.body)}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + answer.body

    def close(self) -> None:
        """End the connection to the real server."""
        if self._server is not None:
            self._server.close()


LDAP_VERBS: Final = {
    0x60: "bind", 0x42: "unbind", 0x63: "search", 0x66: "modify", 0x68: "add", 0x4A: "delete", 0x6C: "rename",
    0x6E: "compare", 0x50: "abandon", 0x77: "extended",
}  # fmt: skip
"""Tags of the operations, RFC 4511 §4.2-§4.12."""
_REPLY_TAGS: Final = {
    "bind": 0x61, "search": 0x65, "modify": 0x67, "add": 0x69, "delete": 0x6B, "rename": 0x6D,
    "compare": 0x6F, "extended": 0x78,
}  # fmt: skip
_SCOPES: Final = {0: "base", 1: "one", 2: "subtree"}
ENTRY_TAG: Final = 0x64


class LdapWire:
    """LDAP messages (RFC 4511 §4.1.1): one operation at a time on a connection."""

    def __init__(self) -> None:
        self._server: socket.socket | None = None

    def requests(self, client: socket.socket) -> Iterator[Call]:
        """Yield the operations of a connection until it ends."""
        while True:
            try:
                message = _message(client)
            except (Gone, OSError):
                return
            number, tag, content, _ = taken_apart(message)
            verb = LDAP_VERBS[tag]
            target = _scope(content) if verb == "search" else ""
            yield Call(verb=verb, target=target, body=message, number=number)

    def ask(self, call: Call, upstream: tuple[str, int]) -> Answer:
        """Ask the real server, up to the message that ends the operation."""
        if self._server is None:
            self._server = socket.create_connection(upstream, timeout=WAIT_SECONDS)
        self._server.sendall(call.body)
        last = _REPLY_TAGS.get(call.verb)
        messages = b""
        while last is not None:
            message = _message(self._server)
            messages += message
            if taken_apart(message)[1] == last:
                break
        return Answer(body=messages)

    def encoded(self, answer: Answer) -> bytes:
        """Return the messages as they are."""
        return answer.body

    def close(self) -> None:
        """End the connection to the real server."""
        if self._server is not None:
            self._server.close()


def _message(stream: socket.socket) -> bytes:
    head = _exactly(stream, 2)
    more = _exactly(stream, head[1] & 0x7F) if head[1] & 0x80 else b""
    size = int.from_bytes(more) if more else head[1]
    return head + more + _exactly(stream, size)


def _element(content: bytes) -> tuple[int, bytes, bytes]:
    """Split the first BER element off: its tag, its content, and what follows."""
    tag, size, start = content[0], content[1], 2
    if size & 0x80:
        start = 2 + (size & 0x7F)
        size = int.from_bytes(content[2:start])
    return tag, content[start : start + size], content[start + size :]


def _made(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([tag, 0x80 | len(length)]) + length + content


def taken_apart(message: bytes) -> tuple[int, int, bytes, bytes]:
    """Return number, tag and content of the operation, and the controls of an LDAP message."""
    _, inside, _ = _element(message)
    _, number, rest = _element(inside)
    tag, content, controls = _element(rest)
    return int.from_bytes(number), tag, content, controls


def _scope(search: bytes) -> str:
    _, _, rest = _element(search)
    return _SCOPES[_element(rest)[1][0]]


def messages_of(body: bytes) -> list[bytes]:
    """Split the messages of an answer."""
    found = []
    while body:
        rest = _element(body)[2]
        found.append(body[: len(body) - len(rest)])
        body = rest
    return found


def result_of(call: Call, code: int, text: str) -> Answer:
    """Build an LDAP result (RFC 4511 §4.1.9) in the server's place."""
    content = _made(0x0A, bytes([code])) + _made(0x04, b"") + _made(0x04, text.encode())
    number = call.number.to_bytes(4)
    return Answer(body=_made(0x30, _made(0x02, number) + _made(_REPLY_TAGS[call.verb], content)))
