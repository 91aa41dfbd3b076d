"""Diagnostics: JSON lines on stderr in which no secret appears."""

import contextlib
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from reconciler.logs import REDACTED, configure_logs, redact, scrub
from tests.diagnostics import logging_as_it_was

CANARY = "canary-1f3d"


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """Set up nothing beyond a test."""
    with logging_as_it_was():
        yield


def test_a_secret_appears_neither_by_its_key_nor_in_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    """Values under secret-sounding keys are redacted, and tracebacks show no local variables."""
    configure_logs("info")
    log = structlog.get_logger()
    log.info("reader.opened", bearer_token=CANARY, provider="corp-aws")
    try:
        _fail_with(CANARY)
    except ValueError:
        log.exception("reader.failed")
    lines = capsys.readouterr().err
    assert CANARY not in lines
    first, second = [json.loads(line) for line in lines.splitlines()]
    assert (first["event"], first["provider"], first["bearer_token"]) == ("reader.opened", "corp-aws", "[redacted]")
    assert second["exception"][0]["exc_type"] == "ValueError"


def test_a_log_that_cannot_be_written_stops_nobody(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a full disk, or with nobody reading, a line is lost and no error comes of it; the next one is written."""
    configure_logs("info")
    log = structlog.get_logger()
    with Path("/dev/full").open("w", buffering=1) as full, monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", full)
        for _ in range(3):
            log.info("cycle.began")
        patched.undo()
        with contextlib.suppress(OSError):
            full.close()
    log.info("cycle.ended")
    assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == ["cycle.ended"]


def _fail_with(password: str) -> None:
    assert password
    raise ValueError


@pytest.mark.parametrize(
    "text",
    [
        f"GET /Users with Authorization: Bearer {CANARY}",
        f"header 'authorization': '{CANARY}'",
        f"bind failed: password={CANARY}, retrying",
        f"https://user:{CANARY}@host.example/path",
        f"json://{CANARY}@host/",
        f"POST /?access_token={CANARY}&page=2",
        f'{{"client_secret": "{CANARY}"}}',
        f"Basic {CANARY}==",
        f"-----BEGIN EC PRIVATE KEY-----\n{CANARY}\n-----END EC PRIVATE KEY-----",
        f"-----BEGIN PRIVATE KEY-----\n{CANARY}",
    ],
)
def test_what_looks_like_a_secret_goes_from_text(text: str) -> None:
    """Headers, parameters, addresses and keys lose their value wherever they stand in a message."""
    cleaned = scrub(text)
    assert CANARY not in cleaned
    assert REDACTED in cleaned


@pytest.mark.parametrize(
    "text",
    [
        "the token in token_file was refused",
        "password file /etc/access-reconciler/reader.password: No such file or directory",
        "https://scim.example.com/v2 answered 503",
        "basic authentication is off, and the plan digest sha256:0123456789abcdef holds",
        "user/access_key/1 of 12:30:05 is gone",
    ],
)
def test_plain_words_stay(text: str) -> None:
    """What merely talks about secrets stays readable."""
    assert scrub(text) == text


def test_what_is_nested_is_redacted_too() -> None:
    """Mappings and lists are looked into, other objects by what they print as, and what is too deep is left out."""
    deep: dict[str, object] = {"text": CANARY}
    for _ in range(20):
        deep = {"inner": deep}
    event = redact(
        None,
        "info",
        {
            "event": "x",
            "count": 3,
            "headers": [{"X-Api_Key": CANARY, "accept": "json"}],
            "error": ValueError(f"token={CANARY}"),
            "deep": deep,
        },
    )
    assert CANARY not in str(event)
    assert (event["count"], event["headers"][0]["accept"]) == (3, "json")


def test_libraries_speak_in_the_same_form(capsys: pytest.CaptureFixture[str]) -> None:
    """A line of the standard library's logging is a document too, redacted, with the name of who said it."""
    configure_logs("debug")
    logging.getLogger("filelock").debug("lock %s with token=%s", "writer.lock", CANARY)
    try:
        _fail_with(CANARY)
    except ValueError:
        logging.getLogger("ours").exception("failed")
    logging.getLogger("apprise").error("POST to https://%s@host failed", CANARY)
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert (first["logger"], first["level"]) == ("filelock", "debug")
    assert first["event"] == f"lock writer.lock with token={REDACTED}"
    assert second["exception"][0]["exc_type"] == "ValueError"
    assert CANARY not in json.dumps(second)


def test_a_warning_of_pythons_own_is_a_line_like_all_others() -> None:
    """What a library warns of comes as one document, redacted, and not as text between the documents."""
    says = f"import warnings; warnings.warn('old way to connect, token={CANARY}')"
    script = f"from reconciler.logs import configure_logs; configure_logs('warning'); {says}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    (line,) = done.stderr.splitlines()
    told = json.loads(line)
    assert (told["logger"], told["level"]) == ("py.warnings", "warning")
    assert "old way to connect" in told["event"]
    assert CANARY not in line
