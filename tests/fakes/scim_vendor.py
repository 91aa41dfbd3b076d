"""A small strict SCIM service that can misbehave as vendors do; correct and complete unless told otherwise.

What scim2-server does right, it does; this stands in for what that one cannot do wrong. Loopback only.
"""

import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Self
from urllib.parse import parse_qsl, unquote, urlsplit

TOKEN = "vendor-token-never-to-be-shown"
LIST_SCHEMA = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
ERROR_SCHEMA = "urn:ietf:params:scim:api:messages:2.0:Error"
PATCH_SCHEMA = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
MEMBER_PATH = re.compile(r'^members\[value eq ("(?:[^"\\]|\\.)*")\]$')
MEMBER_FILTER = re.compile(r'^members\.value eq ("(?:[^"\\]|\\.)*")$')


@dataclass
class Behaviour:
    """How this vendor misbehaves; the defaults are right."""

    ignore_active: bool = False
    """PATCH of `active` answers 204 and changes nothing."""
    missing_page: int | None = None
    """Answers 500 to the page that begins at or after this position, of the listing that `broken` names."""
    broken: str = "Users"
    """The listing (`Users` or `Groups`, unfiltered) that the misbehaviour of pages concerns."""
    ignore_start_index: bool = False
    """Every page is the first one."""
    total_of_page: bool = False
    """`totalResults` is the size of the page."""
    total_lie: int = 0
    """Added to `totalResults`."""
    page_cap: int = 1000
    throttles: int = 0
    """How many more requests are answered with 429."""
    retry_after: str = "1"
    lose_replies: int = 0
    """How many more writes are carried out and then answered by closing the connection."""
    forbid_groups: bool = False
    forbidden_user: str = ""
    """The id of a user that is listed and may not be read by itself."""
    html: bool = False
    """Everything is a web page with status 200."""
    vanished: bool = False
    """Everything is 404, as behind a moved tenant."""
    unversioned: bool = False
    """Objects have no version to write against."""
    hide_members: bool = False
    filtering: str = "right"
    """`right`, `ignored` (all groups), `empty` (no group, in silence) or `refused` (400)."""
    me: str = ""
    """The id of the user that our token belongs to; without it /Me answers 501."""
    redirect_me: bool = False
    """/Me answers 308, as RFC 7644, section 3.11, allows."""
    refuse_beyond_end: bool = False
    """A page beyond the last entry is answered with 400."""


class Refusal(Exception):
    """An answer that is not a success."""

    def __init__(self, status: int, detail: str = "") -> None:
        super().__init__(detail)
        self.status = status


@dataclass
class Vendor:
    """The service: its objects, its behaviour, and every request that it has seen."""

    behaviour: Behaviour = field(default_factory=Behaviour)
    objects: dict[str, dict[str, dict[str, Any]]] = field(default_factory=lambda: {"Users": {}, "Groups": {}})
    requests: list[tuple[str, str]] = field(default_factory=list)
    """Method and target, query included."""
    headers: list[dict[str, str]] = field(default_factory=list)
    url: str = ""
    _version: int = 0

    def user(self, user_id: str, **attributes: Any) -> dict[str, Any]:
        """Add a user that is active and known to HR."""
        values = {"userName": f"{user_id}@example.com", "externalId": f"E-{user_id}", "active": True}
        return self._put("Users", user_id, values | attributes)

    def group(self, group_id: str, *members: str | dict[str, Any], **attributes: Any) -> dict[str, Any]:
        """Add a group of users."""
        entries = [{"value": member, "type": "User"} if isinstance(member, str) else member for member in members]
        values: dict[str, Any] = {"displayName": group_id} | ({"members": entries} if entries else {})
        return self._put("Groups", group_id, values | attributes)

    def _put(self, kind: str, object_id: str, values: dict[str, Any]) -> dict[str, Any]:
        self.objects[kind][object_id] = {"id": object_id, **values}
        self._touch(self.objects[kind][object_id])
        return self.objects[kind][object_id]

    def _touch(self, found: dict[str, Any]) -> None:
        self._version += 1
        found["meta"] = {"version": f'W/"{self._version}"', "created": "2026-01-01T00:00:00Z"}

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}/scim/v2"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, Any]]:
        """Answer one request; raises `Refusal`."""
        if headers.get("authorization") != f"Bearer {TOKEN}":
            raise Refusal(401, "bad token")
        if self.behaviour.throttles > 0:
            self.behaviour.throttles -= 1
            raise Refusal(429, "slow down")
        path = urlsplit(target).path.removeprefix("/scim/v2/")
        kind, _, object_id = path.partition("/")
        if path == "Me":
            return self._me()
        if kind not in self.objects or self.behaviour.vanished:
            raise Refusal(404, "no such endpoint")
        if kind == "Groups" and self.behaviour.forbid_groups:
            raise Refusal(403, "no right")
        if not object_id:
            return 200, self._list(kind, dict(parse_qsl(urlsplit(target).query)))
        return self._one(method, kind, unquote(object_id), headers, body)

    def _me(self) -> tuple[int, dict[str, Any]]:
        if self.behaviour.redirect_me:
            raise Refusal(308, "see the user")
        if not self.behaviour.me:
            raise Refusal(501, "no /Me")
        return 200, self._shown("Users", self.objects["Users"][self.behaviour.me])

    def _list(self, kind: str, query: dict[str, str]) -> dict[str, Any]:
        found = list(self._filtered(kind, query.get("filter", "")))
        broken = self.behaviour.broken == kind and "filter" not in query
        behaviour = self.behaviour if broken else Behaviour(page_cap=self.behaviour.page_cap)
        start = int(query.get("startIndex", "1"))
        if behaviour.missing_page is not None and start >= behaviour.missing_page:
            raise Refusal(500, "a page is missing")
        if behaviour.refuse_beyond_end and start > max(len(found), 1):
            raise Refusal(400, "startIndex is beyond the end")
        first = 0 if behaviour.ignore_start_index else start - 1
        shown = found[first : first + min(int(query.get("count", "100")), behaviour.page_cap)]
        total = (len(shown) if behaviour.total_of_page else len(found)) + behaviour.total_lie
        resources = [self._shown(kind, entry) for entry in shown]
        return {"schemas": [LIST_SCHEMA], "totalResults": total, "startIndex": start, "Resources": resources}

    def _filtered(self, kind: str, expression: str) -> list[dict[str, Any]]:
        every = list(self.objects[kind].values())
        if not expression or self.behaviour.filtering == "ignored":
            return every
        match = MEMBER_FILTER.match(expression)
        if match is None or self.behaviour.filtering == "refused":
            raise Refusal(400, "invalidFilter")
        if self.behaviour.filtering == "empty":
            return []
        member = json.loads(match[1])
        return [entry for entry in every if any(one["value"] == member for one in entry.get("members", ()))]

    def _shown(self, kind: str, entry: dict[str, Any]) -> dict[str, Any]:
        hidden = {"members"} if kind == "Groups" and self.behaviour.hide_members else set()
        hidden |= {"meta"} if self.behaviour.unversioned else set()
        return {key: value for key, value in entry.items() if key not in hidden}

    def _one(
        self, method: str, kind: str, object_id: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, Any]]:
        if object_id == self.behaviour.forbidden_user:
            raise Refusal(403, "no right")
        found = self.objects[kind].get(object_id)
        if found is None:
            raise Refusal(404, "no such object")
        if method == "GET":
            return 200, self._shown(kind, found)
        if headers.get("if-match", found["meta"]["version"]) != found["meta"]["version"]:
            raise Refusal(412, "the version is another one")
        if method == "DELETE":
            del self.objects[kind][object_id]
        elif method == "PATCH" and headers.get("content-type") == "application/scim+json":
            self._patch(found, json.loads(body))
        else:
            raise Refusal(405, "no such method")
        return 204, {}

    def _patch(self, found: dict[str, Any], document: dict[str, Any]) -> None:
        if document.get("schemas") != [PATCH_SCHEMA]:
            raise Refusal(400, "not a PatchOp")
        for step in document["Operations"]:
            match = MEMBER_PATH.match(step["path"])
            if match is not None and step["op"] == "remove":
                gone = json.loads(match[1])
                found["members"] = [entry for entry in found.get("members", ()) if entry["value"] != gone]
            elif step["path"] == "members" and step["op"] == "add":
                found["members"] = [*found.get("members", ()), *step["value"]]
            elif step["path"] == "active" and step["op"] == "replace":
                found["active"] = found.get("active") if self.behaviour.ignore_active else step["value"]
            elif step["path"] == "active" and step["op"] == "remove":
                found.pop("active", None)
            else:
                raise Refusal(400, "invalidPath")
        self._touch(found)


class _Handler(BaseHTTPRequestHandler):
    vendor: ClassVar[Vendor]

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        """Stay silent."""

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", "0")))
        self.vendor.requests.append((self.command, self.path))
        self.vendor.headers.append(headers)
        if self.vendor.behaviour.html:
            self._send(200, b"<!doctype html><title>Sign in</title>", "text/html")
            return
        try:
            status, document = self.vendor.answer(self.command, self.path, headers, body)
        except Refusal as refusal:
            error = {"schemas": [ERROR_SCHEMA], "status": str(refusal.status), "detail": str(refusal)}
            self._send(refusal.status, json.dumps(error).encode(), "application/scim+json")
            return
        if self.command != "GET" and self.vendor.behaviour.lose_replies > 0:
            self.vendor.behaviour.lose_replies -= 1
            self.close_connection = True
            return
        self._send(status, json.dumps(document).encode() if document else b"", "application/scim+json")

    do_PATCH = do_DELETE = do_POST = do_PUT = do_GET  # noqa: N815 - the names are the base class's

    def _send(self, status: int, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        if status == 429:
            self.send_header("Retry-After", self.vendor.behaviour.retry_after)
        self.end_headers()
        self.wfile.write(body)


def _handler(vendor: Vendor) -> type[BaseHTTPRequestHandler]:
    return type("Handler", (_Handler,), {"vendor": vendor})
