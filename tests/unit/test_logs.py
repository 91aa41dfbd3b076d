"""Diagnostics: JSON lines on stderr in which no secret appears."""

import json

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


def _fail_with(password: str) -> None:
    assert password
    raise ValueError
