"""Providers that answer in part: leavers read live and whole are handled, nothing rests on what is missing."""

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import raw
from tests.e2e.company import Company
from tests.fakes.counting_proxy import DENIED, CountingProxy, error_reply, paged_bulk, refuse

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

STRANGER = "nobody.knows"
"""A person's account that no worker owns, at the SCIM service."""


@contextmanager
def scim_without(server: str, missing: Callable[[str], bool]) -> Iterator[str]:
    """Pass requests on to the SCIM server, and answer those whose target is `missing` with 500."""

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, content = (500, b"{}") if missing(self.path) else self.passed_on(body)
            self.send_response(status)
            self.send_header("Content-Type", "application/scim+json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def passed_on(self, body: bytes) -> tuple[int, bytes]:
            headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
            url = server.removesuffix("/v2") + self.path
            request = urllib.request.Request(url, data=body or None, headers=headers, method=self.command)  # noqa: S310 - our own loopback server
            try:
                with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20) as reply:
                    return reply.status, reply.read()
            except urllib.error.HTTPError as error:
                return error.code, error.read()

        do_GET = do_POST = do_PATCH = answer  # noqa: N815 - http.server's names

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{proxy.server_address[1]}/v2"
    finally:
        proxy.shutdown()
        proxy.server_close()


def beyond_page_one(path: str) -> bool:
    """Say whether a request asks for the second or a later page of the users."""
    return "/Users?" in path and "startIndex=1&" not in path


@pytest.fixture(scope="module")
def observed(company: Company) -> Company:
    """Return an observed company in which an account that nobody owns would be quarantined."""
    token = Path(company.servers["wiki"]["token_file"]).read_text().strip()
    stranger = {
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
        "userName": STRANGER,
        "userType": "Employee",
        "displayName": "Somebody Unheard-of",
        "active": True,
    }
    request = urllib.request.Request(  # noqa: S310 - our own loopback server
        company.servers["wiki"]["url"] + "/Users",
        data=json.dumps(stranger).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/scim+json"},
    )
    urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20).close()
    config = company.directory / "policies" / "access" / "config" / "data.json"
    data = json.loads(config.read_text())
    data["orphan"]["effect"] = "quarantine"
    config.write_text(json.dumps(data))
    answer = company.cycle("observe")
    assert answer.code == 2, answer.err
    (found,) = [one for one in answer.document["findings"] if one["code"] == "orphan"]
    assert (found["needs"], found["effect"]) == ("scope", "quarantine")
    assert found["access_id"] in {item["access_id"] for item in answer.document["items"]}
    return company


def verdicts(document: Any) -> dict[str, tuple[str, str]]:
    """Return state and what is missing of each leaver."""
    return {one["worker_id"]: (one["state"], " ".join(one["missing"])) for one in document["leavers"]}


def active(company: Company) -> dict[str, bool]:
    """Return who is active at the SCIM service, asked directly."""
    return {user["userName"]: user["active"] for user in raw.scim_all(company.servers["wiki"], "Users")}


def test_everything_can_be_planned_on_while_scopes_are_not_whole(observed: Company, tmp_path: Path) -> None:
    """With AWS refused and a page of SCIM missing, observing names the gaps and plans nothing that rests on them."""
    company = observed.variant(tmp_path / "refused")
    with (
        CountingProxy(upstream=company.servers["corp-aws"]["url"], fault=lambda *_: DENIED) as aws,
        scim_without(company.servers["wiki"]["url"], beyond_page_one) as wiki,
    ):  # fmt: skip
        company.redirect("corp-aws", endpoint_url=aws.url)
        company.redirect("wiki", url=wiki, page_size=20)
        document = company.cycle("observe").document
    assert document["snapshot"]["complete"] is False
    assert document["outcome"] in {"partial", "held"}
    providers = {item["provider"] for item in document["items"]}
    assert "corp-aws" not in providers
    assert "corp-ldap" in providers
    assert "orphan" not in {item["rule"] for item in document["items"]}
    assert document["snapshot"]["providers"]["corp-aws"]["complete"] is False


def test_a_refused_artefact_kind(observed: Company) -> None:
    """SSH keys may not be listed in AWS: every leaver's verdict names that, and none is clean on the strength of it."""
    company = observed.variant(observed.directory.parent / "refused-kind")
    with CountingProxy(upstream=company.servers["corp-aws"]["url"], fault=refuse("ListSSHPublicKeys")) as aws:
        company.redirect("corp-aws", endpoint_url=aws.url)
        document = company.cycle("observe").document
    assert document["snapshot"]["providers"]["corp-aws"]["artefacts"]["ssh_key"] == "denied"
    assert all("corp-aws/123456789012/ssh_key: denied" in missing for _, missing in verdicts(document).values())
    assert "clean" not in {state for state, _ in verdicts(document).values()}
    assert ("corp-aws", "access_key") in {(item["provider"], item["kind"]) for item in document["items"]}
    assert "corp-aws/ssh_key: denied" in company.last_statement()["leavers"]["missing"]


def test_a_missing_page_of_aws(observed: Company) -> None:
    """Page 2 of the account's details fails: what was read still counts, the rest is named, and nobody is clean."""
    company = observed.variant(observed.directory.parent / "partial-aws")
    fault = refuse("GetAccountAuthorizationDetails", error_reply("ServiceFailure", 500), after=1)
    with CountingProxy(upstream=company.servers["corp-aws"]["url"], fault=fault, rewrite=paged_bulk(10)) as aws:
        company.redirect("corp-aws", endpoint_url=aws.url, max_attempts=1)
        document = company.cycle("observe").document
    assert document["snapshot"]["providers"]["corp-aws"]["complete"] is False
    assert document["errors"]
    assert "corp-aws" in {item["provider"] for item in document["items"]}, "those of page 1 are still handled"
    assert "clean" not in {state for state, _ in verdicts(document).values()}
    assert company.last_statement()["inventory"]["complete"] is False


def test_a_missing_page_of_the_scim_service(observed: Company) -> None:
    """Page 2 fails: leavers elsewhere are handled, the account that nobody owns is left, and no leaver is clean."""
    with scim_without(observed.servers["wiki"]["url"], beyond_page_one) as wiki:
        partial = observed.variant(observed.directory.parent / "partial-scim")
        partial.redirect("wiki", url=wiki, page_size=20)
        answer = partial.cycle()
    assert answer.code == 1, answer.err
    document = answer.document
    assert document["outcome"] == "partial"
    assert document["held"] is False
    assert document["snapshot"]["providers"]["wiki"]["artefacts"]["principal"] == "partial"
    assert active(observed)[STRANGER] is True
    done = {(item["provider"], item["worker_id"]) for item in document["items"] if item["verification"] == "gone"}
    assert {("corp-aws", "E1003"), ("corp-ldap", "E1003"), ("corp-aws", "C2001")} <= done
    assert {item["outcome"] for item in document["items"]} == {"done"}
    for worker_id, (state, missing) in verdicts(document).items():
        assert state in {"cannot_conclude", "violation"}, worker_id
        assert "wiki/127.0.0.1/principal: partial" in missing
    statement = partial.last_statement()
    assert statement["outcome"] == "partial"
    assert "wiki/principal: partial" in statement["leavers"]["missing"]
    assert statement["leavers"]["clean"] == 0
    assert document["attestation"]["verified"] is True


def test_the_next_whole_cycle_finishes(observed: Company) -> None:
    """Once everything answers, the rest is done: the leavers' accounts and the one that nobody owns."""
    answer = observed.cycle()
    assert answer.code == 0, answer.err
    assert answer.document["outcome"] == "complete"
    now = active(observed)
    assert now[STRANGER] is False
    assert now["lena.hofmann@acme.example"] is False
    assert now["lena.hoffmann@acme.example"] is True
    assert verdicts(answer.document)["C2001"][0] == "clean"
