"""The comments of one pull request as GitHub's REST API gives and takes them, on loopback.

Pages by `Link`, refuses a wrong token with 401, a token that only reads with 403, a body that is too long with 422.
"""

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

TOKEN = "the-token-of-the-job"
BOT = "github-actions[bot]"
REPOSITORY = "corp/policies"
NUMBER = 7
MOST_CHARACTERS = 65_536
ISSUES = f"/repos/{REPOSITORY}/issues"


@dataclass(slots=True)
class GithubComments:
    """Keeps comments; `read_only` and `failures` say what it refuses."""

    comments: list[dict[str, Any]] = field(default_factory=list)
    read_only: bool = False
    failures: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    """Status and headers of the next answers, before anything is looked at."""
    failures_of_writes: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    """The same, of the next requests that would change something."""
    forgotten: set[int] = field(default_factory=set)
    """Comments that are listed and gone when somebody asks for them."""
    next_page_at: str | None = None
    """Where the next page is said to be, instead of here."""
    asked: list[str] = field(default_factory=list)
    _server: ThreadingHTTPServer | None = None

    def __enter__(self) -> Self:
        github = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                github._answer(self)

            def do_POST(self) -> None:
                github._answer(self)

            def do_PATCH(self) -> None:
                github._answer(self)

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        """Return what GITHUB_API_URL is."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def add(self, login: str, body: str) -> None:
        """Add a comment of somebody."""
        number = len(self.comments) + 1
        self.comments.append(
            {"id": number, "user": {"login": login}, "body": body, "html_url": f"{self.url}/c{number}"}
        )

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        self.asked.append(f"{request.command} {request.path}")
        body = json.loads(request.rfile.read(int(request.headers.get("Content-Length", "0"))) or b"{}")
        planned = self.failures or (self.failures_of_writes if request.command != "GET" else [])
        if planned:
            status, headers = planned.pop(0)
            return _reply(request, status, {"message": "Slow down"}, headers)
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return _reply(request, 401, {"message": "Bad credentials"})
        if request.command == "GET":
            return self._list(request)
        if self.read_only:
            return _reply(request, 403, {"message": "Resource not accessible by integration"})
        if len(body["body"]) > MOST_CHARACTERS:
            return _reply(
                request, 422, {"message": "Validation Failed: body is too long (maximum is 65536 characters)"}
            )
        return self._write(request, body["body"])

    def _list(self, request: BaseHTTPRequestHandler) -> None:
        asked = urlsplit(request.path)
        if asked.path != f"{ISSUES}/{NUMBER}/comments":
            return _reply(request, 404, {"message": "Not Found"})
        query = parse_qs(asked.query)
        size, page = int(query.get("per_page", ["30"])[0]), int(query.get("page", ["1"])[0])
        shown = self.comments[(page - 1) * size : page * size]
        headers = {}
        if page * size < len(self.comments):
            following = self.next_page_at or f"{self.url}{asked.path}?per_page={size}&page={page + 1}"
            headers["Link"] = f'<{following}>; rel="next", <{self.url}{asked.path}?page=9>; rel="last"'
        return _reply(request, 200, shown, headers)

    def _write(self, request: BaseHTTPRequestHandler, body: str) -> None:
        if request.command == "POST" and request.path == f"{ISSUES}/{NUMBER}/comments":
            self.add(BOT, body)
            return _reply(request, 201, self.comments[-1])
        for one in (one for one in self.comments if one["id"] not in self.forgotten):
            if request.command == "PATCH" and request.path == f"{ISSUES}/comments/{one['id']}":
                one["body"] = body
                return _reply(request, 200, one)
        return _reply(request, 404, {"message": "Not Found"})


def _reply(
    request: BaseHTTPRequestHandler, status: int, document: object, headers: dict[str, str] | None = None
) -> None:
    content = json.dumps(document).encode()
    request.send_response(status)
    for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
        request.send_header(name, value)
    request.send_header("Content-Length", str(len(content)))
    request.end_headers()
    request.wfile.write(content)
