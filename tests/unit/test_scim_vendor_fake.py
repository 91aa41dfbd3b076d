"""The misbehaving vendor itself: right by default, and wrong in exactly the way it is told to be."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.fakes.scim_vendor import LIST_SCHEMA, PATCH_SCHEMA, TOKEN, Behaviour, Vendor

SUSPEND = {"schemas": [PATCH_SCHEMA], "Operations": [{"op": "replace", "path": "active", "value": False}]}


@pytest.fixture
def vendor() -> Iterator[Vendor]:
    """Give a running vendor with three users and a group."""
    with Vendor() as running:
        for name in ("a", "b", "c"):
            running.user(name)
        running.group("g", "a", "b")
        yield running


def ask(vendor: Vendor, method: str, path: str, document: Any = None, **headers: str) -> httpx.Response:
    """Send one request with the token."""
    content = None if document is None else json.dumps(document)
    sent = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/scim+json"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    return httpx.request(method, f"{vendor.url}/{path}", content=content, headers=sent, trust_env=False)


def ids(answer: httpx.Response) -> list[str]:
    """Return the ids on a page."""
    return [entry["id"] for entry in answer.json()["Resources"]]


def test_it_pages_and_filters_as_the_standard_says(vendor: Vendor) -> None:
    """Positions count from 1, the total is that of the listing, and a member filter finds its groups."""
    answer = ask(vendor, "GET", "Users?startIndex=2&count=1").json()
    assert (answer["schemas"], answer["totalResults"], answer["startIndex"]) == ([LIST_SCHEMA], 3, 2)
    assert ids(ask(vendor, "GET", "Users?startIndex=3&count=5")) == ["c"]
    assert ids(ask(vendor, "GET", "Users?startIndex=4&count=5")) == []
    assert ids(ask(vendor, "GET", 'Groups?filter=members.value eq "a"')) == ["g"]
    assert ids(ask(vendor, "GET", 'Groups?filter=members.value eq "c"')) == []
    assert ask(vendor, "GET", "Groups?filter=displayName pr").status_code == 400


def test_it_is_strict(vendor: Vendor) -> None:
    """A wrong token, version, type, document, method or object is refused."""
    assert ask(vendor, "GET", "Users", Authorization="Bearer x").status_code == 401
    assert ask(vendor, "PATCH", "Users/a", SUSPEND, If_Match='W/"99"').status_code == 412
    assert ask(vendor, "PATCH", "Users/a", SUSPEND, Content_Type="text/plain").status_code == 405
    assert ask(vendor, "PATCH", "Users/a", {"Operations": []}).status_code == 400
    wrong = {"schemas": [PATCH_SCHEMA], "Operations": [{"op": "replace", "path": "members", "value": []}]}
    assert ask(vendor, "PATCH", "Groups/g", wrong).status_code == 400
    assert ask(vendor, "PUT", "Users/a", {}).status_code == 405
    assert ask(vendor, "GET", "Users/zz").status_code == 404
    assert ask(vendor, "GET", "Nothing").status_code == 404
    assert ask(vendor, "GET", "Me").status_code == 501


def test_it_changes_what_it_is_told_to_and_the_version_with_it(vendor: Vendor) -> None:
    """A write answers 204 without a body and makes the version read before it stale."""
    version = ask(vendor, "GET", "Users/a").json()["meta"]["version"]
    answer = ask(vendor, "PATCH", "Users/a", SUSPEND, If_Match=version)
    assert (answer.status_code, answer.content) == (204, b"")
    assert ask(vendor, "GET", "Users/a").json()["active"] is False
    assert ask(vendor, "DELETE", "Users/a", If_Match=version).status_code == 412
    assert ask(vendor, "DELETE", "Users/a").status_code == 204
    assert ask(vendor, "GET", "Users/a").status_code == 404


@pytest.mark.parametrize(
    ("behaviour", "path", "expected"),
    [
        (Behaviour(ignore_start_index=True), "Users?startIndex=3&count=2", ["a", "b"]),
        (Behaviour(page_cap=1), "Users?count=3", ["a"]),
        (Behaviour(filtering="ignored"), 'Groups?filter=members.value eq "c"', ["g"]),
        (Behaviour(filtering="empty"), 'Groups?filter=members.value eq "a"', []),
    ],
)
def test_it_sends_the_wrong_entries_when_told(
    vendor: Vendor, behaviour: Behaviour, path: str, expected: list[str]
) -> None:
    """Paging and filters fail in silence."""
    vendor.behaviour = behaviour
    answer = ask(vendor, "GET", path)
    assert (answer.status_code, ids(answer)) == (200, expected)


@pytest.mark.parametrize(
    ("behaviour", "total"),
    [(Behaviour(total_lie=2), 5), (Behaviour(total_lie=-1), 2), (Behaviour(total_of_page=True), 1)],
)
def test_it_lies_about_the_total_when_told(vendor: Vendor, behaviour: Behaviour, total: int) -> None:
    """The total is off while the entries are right."""
    vendor.behaviour = behaviour
    assert ask(vendor, "GET", "Users?count=1").json()["totalResults"] == total


@pytest.mark.parametrize(
    ("behaviour", "path", "status"),
    [
        (Behaviour(missing_page=3), "Users?startIndex=3", 500),
        (Behaviour(missing_page=3), "Users?startIndex=1", 200),
        (Behaviour(missing_page=1), "Groups", 200),
        (Behaviour(forbid_groups=True), "Groups", 403),
        (Behaviour(forbidden_user="b"), "Users/b", 403),
        (Behaviour(vanished=True), "Users", 404),
        (Behaviour(refuse_beyond_end=True), "Users?startIndex=4", 400),
        (Behaviour(filtering="refused"), 'Groups?filter=members.value eq "a"', 400),
        (Behaviour(me="c"), "Me", 200),
        (Behaviour(redirect_me=True), "Me", 308),
        (Behaviour(html=True), "Users/zz", 200),
    ],
)
def test_it_refuses_when_told(vendor: Vendor, behaviour: Behaviour, path: str, status: int) -> None:
    """Each refusal concerns what it names and nothing else."""
    vendor.behaviour = behaviour
    assert ask(vendor, "GET", path).status_code == status


def test_it_throttles_as_often_as_told(vendor: Vendor) -> None:
    """The pause is named each time."""
    vendor.behaviour = Behaviour(throttles=1, retry_after="7")
    answer = ask(vendor, "GET", "Users")
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "7")
    assert ask(vendor, "GET", "Users").status_code == 200


def test_it_ignores_active_when_told(vendor: Vendor) -> None:
    """The answer is that of success."""
    vendor.behaviour = Behaviour(ignore_active=True)
    assert ask(vendor, "PATCH", "Users/a", SUSPEND).status_code == 204
    assert ask(vendor, "GET", "Users/a").json()["active"] is True


def test_it_loses_replies_of_writes_that_happened(vendor: Vendor) -> None:
    """The connection ends without an answer, and the change is there."""
    vendor.behaviour = Behaviour(lose_replies=1)
    with pytest.raises(httpx.RemoteProtocolError):
        ask(vendor, "PATCH", "Users/a", SUSPEND)
    assert ask(vendor, "GET", "Users/a").json()["active"] is False


def test_it_hides_members_when_told(vendor: Vendor) -> None:
    """Groups come without the attribute."""
    vendor.behaviour = Behaviour(hide_members=True)
    assert "members" not in ask(vendor, "GET", "Groups/g").json()
