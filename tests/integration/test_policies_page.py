"""The page for policy authors: its tutorial, run as it stands there, leads from a wish to a rule that may be merged."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from inventory.model import ArtefactKind, Credential
from reconciler.policies.recording import Recording, to_bytes
from tests.builders import credential
from tests.fakes.pull_requests import git
from tests.pages import blocks, follow
from tests.peers import require
from tests.recordings import recording
from tests.small_policies import small_policies


def today() -> Recording:
    """Record the small company as it is now, with a person's and a machine's access key of more than a year."""
    original = recording()
    now = datetime.now(tz=UTC)
    (inventory,) = original.snapshot.inventories
    old = tuple(credential(owner, created_at=now - timedelta(days=400)) for owner in ("bob", "backup"))
    kept = tuple(one for one in inventory.items if not _is_key(one))
    snapshot = replace(original.snapshot, inventories=(replace(inventory, items=(*kept, *old)),))
    return replace(original, now=now, snapshot=snapshot, waivers=())


def _is_key(item: object) -> bool:
    return isinstance(item, Credential) and item.kind is ArtefactKind.ACCESS_KEY


@pytest.mark.timeout(300)  # four commands, of which each loads everything
def test_the_tutorial_leads_to_a_rule_that_may_be_merged(tmp_path: Path) -> None:
    """Every `sh` block of docs/policies.md runs in its order: written, tested, previewed, dated, waived, landed."""
    require("git")
    small_policies(tmp_path)
    git(tmp_path, "init", "-q", "-b", "main")
    git(tmp_path, "config", "user.name", "t")
    git(tmp_path, "config", "user.email", "t@example.com")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-q", "-m", "Policies")
    (tmp_path / "snapshot.json").write_bytes(to_bytes(today()))
    assert len(blocks("docs/policies.md")) == 6
    done = follow("docs/policies.md", tmp_path, "opa")
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    checked, previewed, dated, landed = done.stdout.split("## Access decisions: main → policies\n")
    assert "| check | accepted: 0 errors, 0 warnings (4 rules, 0 waivers in force) |" in checked
    assert "0 failed, 0 rules without a test, 0 lines not gone through |" in checked
    assert "| E1002 | corp-aws/bob | bob/access\\_key/1 | access_key | keep | quarantine | `old_key` |" in previewed
    assert "| after | quarantine 1 |" in previewed
    assert "`old_key`: keep → quarantine from 20" in dated
    assert "| after | none |" in dated
    assert "## Policies accepted, decisions change" in dated
    assert "1 waivers in force" in dated
    assert "`old_key`: keep → quarantine from 20" in landed
