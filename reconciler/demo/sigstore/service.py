"""HTTP on a free loopback port, in a thread, with the ways in which a service of a Sigstore instance fails."""

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a client sent."""

    method: str
    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the service answers."""

    status: int
    body: bytes
    content_type: str = "application/json"
    location: str = ""
    """Where a redirect leads."""


def as_json(document: object, status: int = 200) -> Reply:
    """Answer with JSON."""
    return Reply(status=status, body=json.dumps(document).encode())


def refuse(message: str, *, status: int = 400, code: int = 3) -> Reply:
    """Refuse as a gRPC gateway does; code 3 is INVALID_ARGUMENT."""
    return as_json({"code": code, "message": message, "details": []}, status)


NOT_FOUND = refuse("Not Found", status=404, code=5)


class Fault(StrEnum):
    """How a service fails."""

    DOWN = "down"
    """Nothing listens: the connection is refused."""
    BLACK_HOLE = "black-hole"
    """Connections are accepted and never answered."""
    SLOW = "slow"
    """Every answer is right and comes late."""
    ERROR = "error"
    """A proxy's error page: 500 and HTML."""
    HTML = "html"
    """A log-in page: 200 and HTML."""


_PAGE = b"<!doctype html><title>gateway</title><p>Something went wrong.</p>"
_FAILED = {
    Fault.ERROR: Reply(status=500, body=_PAGE, content_type="text/html"),
    Fault.HTML: Reply(status=200, body=_PAGE, content_type="text/html"),
}


@dataclass(slots=True)
class Service:
    """One service. `answer` gets every request that a fault lets through; each request runs in a thread of its own."""

    answer: Callable[[Request], Reply]
    slow_seconds: float = 1.0
    answered: int = 0
    """How many requests were let through."""
    _fault: Fault | None = None
    _port: int = 0
    _server: ThreadingHTTPServer | None = None
    _released: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        """Return the address; it stays the same through every fault."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def host(self) -> str:
        """Return host and port."""
        return f"127.0.0.1:{self._port}"

    def start(self) -> None:
        """Listen; on the same port as before when there was one."""
        self._released.clear()
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), _handler(self))
        self._server.daemon_threads = True
        self._port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        """Stop listening and let go of every request that hangs."""
        self._released.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def fail(self, fault: Fault | None) -> None:
        """Begin to fail in this way; None mends it."""
        if self._fault is not None:
            self.stop()
        self._fault = fault
        if fault is Fault.DOWN:
            self.stop()
        elif self._server is None:
            self.start()

    def reply(self, request: Request) -> Reply | None:
        """Return the answer as the present fault has it; None closes the connection."""
        fault = self._fault
        if fault is Fault.BLACK_HOLE:
            self._released.wait()
            return None
        if fault is Fault.SLOW:
            self._released.wait(self.slow_seconds)
        if fault in _FAILED:
            return _FAILED[fault]
        with self._lock:
            self.answered += 1
        return self.answer(request)


def _handler(service: Service) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._respond()

        def do_POST(self) -> None:
            self._respond()

        def _respond(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            reply = service.reply(Request(method=self.command, path=self.path, headers=headers, body=body))
            if reply is None:
                self.close_connection = True
                return
            self.send_response(reply.status)
            self.send_header("Content-Type", reply.content_type)
            self.send_header("Content-Length", str(len(reply.body)))
            if reply.location:
                self.send_header("Location", reply.location)
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    return Handler
