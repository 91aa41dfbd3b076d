"""Writes the report into one comment of the pull request, and updates it there instead of writing another.

The comment is found by the hidden mark in its first line, and only where it was written under our own login: whoever
else repeats the mark gets no say in what the comment shows.

Exit codes: 0 written, or only readable by this token and therefore left to the job summary; 1 not written.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import requests
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

_SECONDS: Final = 30
_PER_PAGE: Final = 100
_MOST_PAGES: Final = 100
_RETRIED: Final = Retry(
    total=4,
    backoff_factor=1,
    status_forcelist=(429, 502, 503, 504),
    allowed_methods={"GET", "PATCH"},
    raise_on_status=False,
)
"""A comment is not created twice: what may have been done already is not asked for again."""


class NotWritten(Exception):
    """The comment could not be written, why, and what to do."""


class ReadOnly(Exception):
    """The token may not write comments."""


class PullRequest:
    """The comments of one pull request, by GitHub's REST API."""

    def __init__(self, api: str, repository: str, number: int, token: str) -> None:
        self._api = api.rstrip("/")
        self._issues = f"{self._api}/repos/{repository}/issues"
        self._number = number
        self._session = requests.Session()
        self._session.mount(self._api, HTTPAdapter(max_retries=_RETRIED))
        self._session.headers.update(
            {
                "Accept": "application/vnd.github+json",
                "Authorization": f"Bearer {token}",
                "X-GitHub-Api-Version": "2022-11-28",
                "User-Agent": "access-reconciler-policies",
            }
        )

    def write(self, text: str, author: str) -> str:
        """Update the author's comment with the same first line, or create one, and return its address."""
        mark = text.splitlines()[0]
        for one in self._comments():
            if one["user"] and one["user"]["login"] == author and one["body"].startswith(mark):
                answer = self._ask("PATCH", f"{self._issues}/comments/{one['id']}", {"body": text})
                if answer is not None:
                    return str(answer.json()["html_url"])
        created = self._ask("POST", f"{self._issues}/{self._number}/comments", {"body": text})
        if created is None:
            raise NotWritten(f"pull request {self._number} is not there for this token: give it `pull-requests: write`")
        return str(created.json()["html_url"])

    def _comments(self) -> Iterator[Mapping[str, Any]]:
        address = f"{self._issues}/{self._number}/comments?per_page={_PER_PAGE}"
        for _ in range(_MOST_PAGES):
            page = self._ask("GET", address)
            if page is None:
                return
            yield from page.json()
            following = page.links.get("next", {}).get("url")
            if following is None:
                return
            if not following.startswith(f"{self._api}/"):
                raise NotWritten(
                    f"the next page of comments is said to be at {following}: the token goes to {self._api} only"
                )
            address = following
        raise NotWritten(
            f"there are more than {_MOST_PAGES * _PER_PAGE} comments: delete some, or set `comment: false`"
        )

    def _ask(self, method: str, address: str, body: Mapping[str, str] | None = None) -> requests.Response | None:
        """Return the answer, None for 404; raises `ReadOnly` or `NotWritten` for all that is no success."""
        try:
            answer = self._session.request(method, address, json=body, timeout=_SECONDS, allow_redirects=False)
        except requests.RequestException as error:
            raise NotWritten(f"{method} {address}: {type(error).__name__}: run the job again") from error
        if answer.ok and not answer.is_redirect:
            return answer
        if answer.status_code == requests.codes.not_found:
            return None
        throttled = "Retry-After" in answer.headers or answer.headers.get("X-RateLimit-Remaining") == "0"
        if answer.status_code == requests.codes.forbidden and not throttled:
            raise ReadOnly(f"{method} {address}: 403")
        advice = "wait, and run the job again" if throttled else "run the job again, or set `comment: false`"
        raise NotWritten(f"{method} {address}: {answer.status_code} {_said(answer)}: {advice}")


def _said(answer: requests.Response) -> str:
    try:
        return str(answer.json().get("message", ""))[:200]
    except (requests.JSONDecodeError, AttributeError):
        return "without a message"


def main(environment: Mapping[str, str]) -> int:
    """Write the comment of the event's pull request, and return the exit code."""
    event = json.loads(Path(environment["GITHUB_EVENT_PATH"]).read_text(encoding="utf-8"))
    pull_request = event.get("pull_request")
    if pull_request is None:
        print("no pull request: the report is in the job summary")
        return 0
    text = Path(environment["COMMENT_FILE"]).read_text(encoding="utf-8")
    place = PullRequest(
        environment["GITHUB_API_URL"],
        environment["GITHUB_REPOSITORY"],
        int(pull_request["number"]),
        environment["GITHUB_TOKEN"],
    )
    try:
        address = place.write(text, environment["COMMENT_AUTHOR"])
    except ReadOnly:
        print(_unwritten(pull_request))
        return 0
    except NotWritten as error:
        print(f"::error title=The comment was not written::{' '.join(str(error).split()).replace('%', '%25')}")
        return 1
    with Path(environment["GITHUB_OUTPUT"]).open("a", encoding="utf-8") as file:
        file.write(f"comment-url={address}\n")
    print(f"wrote {address}")
    return 0


def _unwritten(pull_request: Mapping[str, Any]) -> str:
    """Say why there is no comment: of a fork that is as it should be, elsewhere a permission is missing."""
    head = pull_request["head"]["repo"]
    if head is None or head["full_name"] != pull_request["base"]["repo"]["full_name"]:
        return "::notice title=No comment::this is a fork's pull request, its token only reads: see the job summary"
    return (
        "::warning title=No comment::give the job `permissions: pull-requests: write`; the report is in the job summary"
    )


if __name__ == "__main__":
    sys.exit(main(os.environ))
