"""`/livez`, `/startupz`, `/readyz` and `/metrics` over HTTP on loopback, for whoever supervises the daemon."""

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self

from reconciler.daemon.health import HealthSnapshot

LOOPBACK: Final = "127.0.0.1"
Page = Callable[[str], tuple[str, bytes]]
"""Takes the header `Accept` and returns content type and body."""
_CLIENT_SECONDS: Final = 2.0
_MOST_CLIENTS: Final = 16


class HealthServer:
    """Answers from construction to `close`. Says nothing that is secret or names a person, and takes nothing in."""

    def __init__(
        self, port: int, snapshot: Callable[[], HealthSnapshot], pages: Mapping[str, Page] | None = None
    ) -> None:
        """Listen on a loopback port, 0 for a free one, with further pages by path; raises `OSError` if it is taken."""
        self._server = _Server((LOOPBACK, port), _handler(snapshot, pages or {}))
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Return the port that is listened on."""
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    """Serves a bounded number of clients side by side: more are hung up on, and a slow one blocks no other."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401 - the signature is the standard library's
        super().__init__(*arguments)
        self._free = threading.BoundedSemaphore(_MOST_CLIENTS)

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as above
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as above
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as above
        """Say nothing of a client that hung up or sent nonsense: it would be told on stderr, as often as it likes."""


def _handler(snapshot: Callable[[], HealthSnapshot], pages: Mapping[str, Page]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _CLIENT_SECONDS

        def do_GET(self) -> None:
            page = pages.get(self.path)
            if page is not None:
                self._answer(HTTPStatus.OK, *page(self.headers.get("Accept", "")))
                return
            now = snapshot()
            answers = {"/livez": now.live, "/startupz": now.started, "/readyz": now.ready}
            good = answers.get(self.path)
            if good is None:
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            status = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
            self._answer(status, "application/json", json.dumps(asdict(now)).encode() + b"\n")

        def _answer(self, status: HTTPStatus, content_type: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Cache-Control", "no-store")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log nothing: a probe comes every few seconds."""

    return Handler
