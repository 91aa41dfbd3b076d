"""Diagnostics: JSON lines on stderr in which no secret appears."""

import contextlib
import json
import sys
from pathlib import Path

import pytest
import structlog

from reconciler.logs import configure_logs

CANARY = "canary-1f3d"


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
