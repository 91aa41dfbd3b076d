"""The audit trail of whole cycles, as the settings and the wiring make it: beside the story, never in its way."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from reconciler.adapters.clock import SystemClock
from reconciler.attestation import Attested
from reconciler.cli.cycle import exit_code, perform
from reconciler.core.errors import SettingsError
from reconciler.core.model import Mode
from reconciler.core.record import CycleOutcome
from reconciler.settings import Settings, load_settings
from reconciler.wiring import build_audit, verify_own
from reconciler.writer import open_journal


def configured(folder: Path, audit: str = "") -> Settings:
    """Write a configuration whose roster is refused before anything else is asked, and read it."""
    (folder / "roster.csv").write_text("this,is,no,roster\n1,2,3,4\n")
    text = f"roster: {{path: roster.csv}}\nengine: {{kind: url, url: 'http://127.0.0.1:9'}}\n{audit}\n"
    (folder / "access-reconciler.yaml").write_text(text)
    return load_settings(folder / "access-reconciler.yaml")


def lived(settings: Settings) -> Attested:
    """Live one cycle, which fails at its roster."""
    attested = perform(settings, Mode.ENFORCE, quiet=True)
    assert attested.record.outcome is CycleOutcome.FAILED
    assert exit_code(attested.record) == 1
    return attested


def told(path: Path) -> list[dict[str, Any]]:
    """Return the records of an audit file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_cycle_leaves_its_trail_in_the_state_folder(tmp_path: Path) -> None:
    """Without any setting the trail is a private file beside the journal, and its end names the signed statement."""
    settings = configured(tmp_path)
    attested = lived(settings)
    path = settings.state_dir / "audit.jsonl"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    refused, ended = told(path)
    assert refused["kind"] == "refused_input"
    assert refused["facts"] == {"input": "roster", "code": "RosterRefused"}
    assert ended["kind"] == "cycle"
    assert ended["cycle_id"] == attested.record.cycle_id
    assert ended["facts"]["statement_digest"] == attested.statement_digest
    assert ended["facts"]["outcome"] == "failed"


def test_a_trail_that_cannot_be_written_changes_nothing_else(tmp_path: Path) -> None:
    """The cycle ends and is attested as without the trail; its record says so, and the next cycle makes up for it."""
    settings = configured(tmp_path, "audit: {jsonl: shipped/audit.jsonl}")
    path = tmp_path / "shipped" / "audit.jsonl"
    path.mkdir(parents=True)
    first = lived(settings)
    assert [line for line in first.record.errors if line.startswith("AuditError: jsonl: ")] == [first.record.errors[-1]]
    path.rmdir()
    second = lived(settings)
    assert second.record.errors[-1].startswith("AuditError: 2 records wait for jsonl since ")
    records = told(path)
    assert [one["kind"] for one in records] == ["refused_input", "cycle"] * 2
    assert {one["cycle_id"] for one in records} == {first.record.cycle_id, second.record.cycle_id}
    third = lived(settings)
    assert not any(line.startswith("AuditError") for line in third.record.errors)
    assert len(told(path)) == 6
    assert verify_own(settings).verified


def test_the_settings_name_the_streams(tmp_path: Path) -> None:
    """The file is always there, Cloud Logging when a project is named; nothing is connected by building it."""
    google = "audit: {google: {project: corp-audit, log_name: access/audit, backfill_days: 7}}"
    settings = configured(tmp_path, google)
    with open_journal(settings) as journal:
        streams = build_audit(settings, journal, SystemClock()).streams
    assert [stream.name for stream in streams] == ["jsonl", "google:projects/corp-audit/logs/access%2Faudit"]
    assert [stream.backfill_days for stream in streams] == [None, 7]


@pytest.mark.parametrize(
    ("audit", "place"),
    [
        ("audit: {google: {}}", "audit.google.project"),
        ("audit: {google: {project: 'corp audit'}}", "audit.google.project"),
        ("audit: {google: {project: corp-audit, log_name: 'a b'}}", "audit.google.log_name"),
        ("audit: {google: {project: corp-audit, backfill_days: 31}}", "audit.google.backfill_days"),
        ("audit: {json: x}", "jsonl"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, audit: str, place: str) -> None:
    """A project, log or period that Cloud Logging would refuse is refused at the start, by its key."""
    with pytest.raises(SettingsError, match=place):
        configured(tmp_path, audit)
