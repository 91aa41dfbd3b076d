"""An HTTP proxy for AWS's query API that records every action on the server's side and injects faults."""

import http.client
import threading
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qs, urlsplit

Form = dict[str, str]


class _Server(ThreadingHTTPServer):
    """Takes many calls at once: five may wait by default, and what comes beyond is turned away."""

    request_queue_size = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer given in place of the server's."""

    status: int
    body: bytes
    content_type: str = "text/xml"


def error_reply(code: str, status: int) -> Reply:
    """Build an error of the AWS query API."""
    body = (
        '<ErrorResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><Error><Type>Sender</Type>'
        f"<Code>{code}</Code><Message>made for a test</Message></Error><RequestId>req-test</RequestId></ErrorResponse>"
    )
    return Reply(status=status, body=body.encode())


DENIED = error_reply("AccessDenied", 403)
THROTTLED = error_reply("Throttling", 400)
HTML = Reply(status=200, body=b"<!doctype html><title>log in</title>", content_type="text/html")
DROP = Reply(status=0, body=b"")
"""Close the connection without an answer, the request not passed on."""
DROP_AFTER = Reply(status=-1, body=b"")
"""Pass the request on, then close the connection without an answer."""

Fault = Callable[[Form, int], Reply | None]
"""Gets the form of a request and how many of the same action came before; None passes it on."""
Rewrite = Callable[[Form, bytes], bytes]
"""Gets the form of a request and the server's answer, and may give another."""


def refuse(action: str, reply: Reply = DENIED, *, after: int = 0) -> Fault:
    """Answer an action with a reply of our own, from its call number `after` (0-based) on."""
    return lambda form, earlier: reply if form["Action"] == action and earlier >= after else None


@dataclass(slots=True)
class CountingProxy:
    """Stands between client and server; use as a context manager."""

    upstream: str
    fault: Fault | None = None
    rewrite: Rewrite | None = None
    requests: list[Form] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _server: ThreadingHTTPServer | None = None

    @property
    def url(self) -> str:
        """Return the address that clients are given."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def actions(self) -> list[str]:
        """Return the actions in the order in which they arrived."""
        with self._lock:
            return [form["Action"] for form in self.requests]

    def counts(self) -> Counter[str]:
        """Return how often each action arrived."""
        return Counter(self.actions)

    def forget(self) -> None:
        """Start counting anew."""
        with self._lock:
            self.requests.clear()

    def __enter__(self) -> Self:
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    def note(self, form: Form) -> int:
        """Record a request and return how many of the same action came before it."""
        with self._lock:
            earlier = sum(one["Action"] == form["Action"] for one in self.requests)
            self.requests.append(form)
            return earlier


def _handler(proxy: CountingProxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            form = {key: values[0] for key, values in parse_qs(body.decode(), keep_blank_values=True).items()}
            earlier = proxy.note(form)
            reply = proxy.fault(form, earlier) if proxy.fault is not None else None
            if reply is None or reply is DROP_AFTER:
                answer = self._forward(body, form)
                reply = DROP if reply is DROP_AFTER else answer
            if reply is DROP:
                self.close_connection = True
                return
            self.send_response(reply.status)
            self.send_header("Content-Type", reply.content_type)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

        def _forward(self, body: bytes, form: Form) -> Reply:
            upstream = urlsplit(proxy.upstream)
            connection = http.client.HTTPConnection(upstream.hostname or "", upstream.port, timeout=60)
            headers = {key: value for key, value in self.headers.items() if key.lower() != "connection"}
            connection.request("POST", self.path, body=body, headers=headers)
            response = connection.getresponse()
            content = response.read()
            kind = response.headers.get("Content-Type", "text/xml")
            connection.close()
            if proxy.rewrite is not None:
                content = proxy.rewrite(form, content)
            return Reply(status=response.status, body=content, content_type=kind)

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    return Handler


_NAMESPACE = "https://iam.amazonaws.com/doc/2010-05-08/"
_LISTS = ("UserDetailList", "GroupDetailList", "RoleDetailList", "Policies")


def paged_bulk(size: int | None = None) -> Rewrite:
    """Cut GetAccountAuthorizationDetails into pages, as AWS does and moto does not.

    A page holds `size` entries, else as many as the request's MaxItems asks for (100 when it does not say).
    """

    def rewrite(form: Form, content: bytes) -> bytes:
        if form["Action"] != "GetAccountAuthorizationDetails" or b"ErrorResponse" in content[:200]:
            return content
        ET.register_namespace("", _NAMESPACE)
        root = ET.fromstring(content)  # noqa: S314 - from our own server
        result = next(iter(root.iter(f"{{{_NAMESPACE}}}GetAccountAuthorizationDetailsResult")))
        lists = [result.find(f"{{{_NAMESPACE}}}{name}") for name in _LISTS]
        entries = [(group, entry) for group in lists if group is not None for entry in list(group)]
        start = int(form.get("Marker", "0"))
        end = start + (size or int(form.get("MaxItems", "100")))
        for index, (group, entry) in enumerate(entries):
            if not start <= index < end:
                group.remove(entry)
        _set(result, "IsTruncated", "true" if end < len(entries) else "false")
        if end < len(entries):
            _set(result, "Marker", str(end))
        return ET.tostring(root)

    return rewrite


def _set(parent: ET.Element, name: str, text: str) -> None:
    child = parent.find(f"{{{_NAMESPACE}}}{name}")
    if child is None:
        child = ET.SubElement(parent, f"{{{_NAMESPACE}}}{name}")
    child.text = text
