"""What the commands print as JSON on a live system is what the published schemas say."""

import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.cli.main import run
from tests import peers
from tests.diagnostics import diagnostics
from tests.output_schemas import problems

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def configuration(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Set up the sample company, run no cycle, and end its servers afterwards; diagnostics as the program sets them."""
    peers.require("moto_server")
    peers.require("scim2-server")
    folder = tmp_path_factory.mktemp("company")
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        assert run(["demo", "--dir", str(folder), "--prepare-only", "--output", "json"]) == 0
    prepared = json.loads(shown.getvalue())
    assert problems("demo", prepared) == []
    assert prepared["cycles"] == prepared["others"]["changed"] == []
    with diagnostics():
        yield prepared["config"]
    assert run(["demo", "--dir", str(folder), "--stop"]) == 0


def printed(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    """Run a command with JSON output, expect an exit code, and return the document."""
    capsys.readouterr()
    assert run([*arguments, "--output", "json"]) == code, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def test_the_commands_that_read(configuration: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Doctor, coverage, check, roster check, plan and explain."""
    config = ("--config", configuration)
    assert problems("doctor", printed(capsys, "doctor", *config)) == []
    for command in ("coverage", "check"):
        assert problems("providers-coverage", printed(capsys, "providers", command, *config)) == []
    roster = str(Path(configuration).with_name("roster.csv"))
    assert problems("roster-check", printed(capsys, "roster", "check", roster, *config)) == []
    plan = printed(capsys, "plan", "--quiet", *config, code=2)
    assert problems("cycle", plan) == []
    assert plan["items"]
    assert plan["findings"]
    explained = printed(capsys, "explain", "E1003", *config)
    assert problems("explain", explained) == []
    assert explained["principals"]


def test_the_commands_that_act(configuration: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Hold and approve, cycle, undo, explain with a history, and the attestations of all that."""
    config = ("--config", configuration)
    limited = Path(configuration)
    limited.write_text(limited.read_text() + "guard: {max_principals: 1}\n")
    assert problems("cycle", printed(capsys, "plan", "--quiet", *config, code=2)) == []
    held = printed(capsys, "cycle", "--quiet", *config, code=2)
    assert problems("cycle", held) == []
    assert held["held"]
    assert problems("approve", printed(capsys, "approve", held["plan_digest"], *config)) == []
    done = printed(capsys, "cycle", "--quiet", *config)
    assert problems("cycle", done) == []
    assert done["actions"]["verified_gone"] == done["actions"]["planned"] > 0
    contained = next(item for item in done["items"] if item["effect"] == "quarantine")
    assert problems("undo", printed(capsys, "undo", contained["action_id"][:8], *config)) == []
    explained = printed(capsys, "explain", contained["worker_id"], *config)
    assert problems("explain", explained) == []
    assert any(entry["undone_at"] for entry in explained["history"])
    listed = printed(capsys, "attestations", "list", *config)
    assert problems("attestations-list", listed) == []
    assert problems("attestations-verify", printed(capsys, "attestations", "verify", *config)) == []
    waiting = printed(capsys, "attestations", "pending", *config)
    assert problems("attestations-pending", waiting) == []
    assert waiting["waiting"] == []
    assert problems("attestations-retry", printed(capsys, "attestations", "retry", *config)) == []
    pack = Path(configuration).with_name("attestations.zip")
    exported = printed(capsys, "attestations", "export", "--out", str(pack), *config)
    assert problems("attestations-export", exported) == []
    assert exported["cycles"] == len(listed["attestations"])
    assert pack.is_file()
