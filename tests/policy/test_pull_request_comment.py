"""The comment of the action: one per pull request and folder, updated in place, never written where it may not be."""

import json
from collections.abc import Iterator
from pathlib import Path

import policies_comment
import pytest

from tests.fakes.github_comments import BOT, ISSUES, NUMBER, REPOSITORY, TOKEN, GithubComments
from tests.fakes.pull_requests import FORK

MARK = "<!-- access-reconciler policies: policies -->"
TEXT = f"{MARK}\n\n## Policies accepted, no decision changes\n"


@pytest.fixture
def github() -> Iterator[GithubComments]:
    """Stand in for GitHub."""
    with GithubComments() as server:
        yield server


def step(github: GithubComments, folder: Path, text: str = TEXT, **changes: str) -> tuple[int, str]:
    """Run the step that writes the comment; return its exit code and what it wrote as outputs."""
    (folder / "comment.md").write_text(text)
    event = {"pull_request": {"number": NUMBER, "head": {"repo": None}, "base": {"repo": {"full_name": REPOSITORY}}}}
    if not (folder / "event.json").exists():
        (folder / "event.json").write_text(json.dumps(event))
    environment = {
        "COMMENT_AUTHOR": BOT,
        "COMMENT_FILE": str(folder / "comment.md"),
        "GITHUB_API_URL": github.url,
        "GITHUB_EVENT_PATH": str(folder / "event.json"),
        "GITHUB_OUTPUT": str(folder / "outputs"),
        "GITHUB_REPOSITORY": REPOSITORY,
        "GITHUB_TOKEN": TOKEN,
    }
    code = policies_comment.main({**environment, **changes})
    outputs = folder / "outputs"
    return code, outputs.read_text() if outputs.exists() else ""


def test_the_comment_is_written_once_and_updated_in_place(github: GithubComments, tmp_path: Path) -> None:
    """Among 250 comments, on three pages, the second run finds its own and leaves all others as they are."""
    for number in range(120):
        github.add("reviewer", f"remark {number}")
    assert step(github, tmp_path) == (0, f"comment-url={github.url}/c121\n")
    for number in range(129):
        github.add("reviewer", f"remark {number}")
    assert step(github, tmp_path, f"{MARK}\n\nnew\n")[0] == 0
    assert len(github.comments) == 250
    assert github.comments[120]["body"] == f"{MARK}\n\nnew\n"
    assert github.asked[-1] == f"PATCH {ISSUES}/comments/121"


def test_whoever_repeats_the_mark_gets_no_say(github: GithubComments, tmp_path: Path) -> None:
    """A comment of somebody else with our mark is left alone, and so is that on another folder, or of nobody."""
    github.add("somebody", TEXT)
    github.add(BOT, TEXT.replace(": policies", ": policies/eu"))
    github.comments.append({"id": 3, "user": None, "body": TEXT, "html_url": ""})
    assert step(github, tmp_path)[0] == 0
    assert [one["body"] for one in github.comments[:3]] == [TEXT, TEXT.replace(": policies", ": policies/eu"), TEXT]
    assert len(github.comments) == 4


def test_a_comment_that_is_deleted_meanwhile_is_written_anew(github: GithubComments, tmp_path: Path) -> None:
    """What was found and is gone when it is updated is created again."""
    github.add(BOT, TEXT)
    listed = dict(github.comments[0], id=99)
    github.comments[0] = listed
    github.forgotten.add(99)
    assert step(github, tmp_path)[0] == 0
    assert len(github.comments) == 2


@pytest.mark.parametrize(("repository", "level"), [(FORK, "notice"), (REPOSITORY, "warning")])
def test_a_token_that_only_reads_leaves_the_report_to_the_summary(
    github: GithubComments, tmp_path: Path, capsys: pytest.CaptureFixture[str], repository: str, level: str
) -> None:
    """Of a fork that is as it should be; of a branch of ours it says which permission the job lacks. Neither fails."""
    github.read_only = True
    event = {
        "pull_request": {
            "number": NUMBER,
            "head": {"repo": {"full_name": repository}},
            "base": {"repo": {"full_name": REPOSITORY}},
        }
    }
    (tmp_path / "event.json").write_text(json.dumps(event))
    assert step(github, tmp_path) == (0, "")
    assert github.comments == []
    said = capsys.readouterr().out
    assert said.startswith(f"::{level} title=No comment::")
    assert ("pull-requests: write" in said) == (level == "warning")


@pytest.mark.parametrize(
    ("failures", "said"),
    [
        ([(500, {})], "500 Slow down: run the job again"),
        ([(403, {"X-RateLimit-Remaining": "0"})], "403 Slow down: wait, and run the job again"),
        ([(301, {"Location": "http://127.0.0.1:1/"})], "301 Slow down: run the job again"),
    ],
)
def test_a_comment_that_should_be_there_and_is_not_fails_the_step(
    github: GithubComments,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    failures: list[tuple[int, dict[str, str]]],
    said: str,
) -> None:
    """An old report must not stand for the new one: errors, throttling and redirects of the API are failures."""
    github.failures = failures
    assert step(github, tmp_path) == (1, "")
    shown = capsys.readouterr().out
    assert said in shown
    assert TOKEN not in shown


def test_a_short_standstill_is_waited_out(github: GithubComments, tmp_path: Path) -> None:
    """Reading is tried again when the API asks for it, as soon as it says."""
    github.failures = [(429, {"Retry-After": "0"}), (503, {"Retry-After": "0"})]
    assert step(github, tmp_path)[0] == 0
    assert len(github.comments) == 1


def test_creating_is_not_tried_twice(github: GithubComments, tmp_path: Path) -> None:
    """What may have been written already is not written again: the step fails instead."""
    github.failures_of_writes = [(502, {})]
    assert step(github, tmp_path)[0] == 1
    assert [one.split()[0] for one in github.asked] == ["GET", "POST"]


def test_the_token_goes_to_the_api_alone(
    github: GithubComments, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A next page elsewhere is not asked for."""
    for number in range(101):
        github.add("reviewer", f"remark {number}")
    github.next_page_at = "http://127.0.0.1:1/steal"
    assert step(github, tmp_path)[0] == 1
    assert "the token goes to" in capsys.readouterr().out


def test_a_wrong_token_and_a_wrong_pull_request_fail(
    github: GithubComments, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each says what the API said and what to do."""
    assert step(github, tmp_path, GITHUB_TOKEN="other")[0] == 1
    assert "401 Bad credentials" in capsys.readouterr().out
    assert step(github, tmp_path, GITHUB_REPOSITORY="corp/elsewhere")[0] == 1
    assert "give it `pull-requests: write`" in capsys.readouterr().out


def test_without_a_pull_request_nothing_is_asked(github: GithubComments, tmp_path: Path) -> None:
    """On a push there is the job summary."""
    (tmp_path / "event.json").write_text("{}")
    assert step(github, tmp_path) == (0, "")
    assert github.asked == []
