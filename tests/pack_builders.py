"""Builders of evidence packs, and what verification has to say about one."""

import json
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from inventory.roster.model import WorkerId
from reconciler.cli.attestations import build_app
from reconciler.core.errors import EvidenceError
from reconciler.core.record import CycleRecord, LeaverState, LeaverVerdict
from tests.builders import NOW
from tests.output_schemas import problems
from tests.record_builders import (
    Chain,
    cycle_record,
    policy_set,
    roster_facts,
)

CYCLES = 6


def record_of(sequence: int) -> CycleRecord:
    """Build a cycle of its own day; there are two leavers, and the policies change half way."""
    began = NOW + timedelta(days=sequence)
    leavers = tuple(
        LeaverVerdict(
            worker_id=WorkerId(name), state=LeaverState.CLEAN, access_end_at=NOW - timedelta(days=14), remaining=0
        )
        for name in ("E1001", "=HYPERLINK(1)")
    )
    later = {"policy": policy_set(data='{"half":2}')} if sequence > CYCLES // 2 else {}
    return cycle_record(
        sequence=sequence,
        started_at=began,
        finished_at=began + timedelta(seconds=8),
        roster=roster_facts(leavers=2),
        leavers=leavers,
        **later,
    )


def run(*arguments: str | Path) -> Any:
    """Run an `attestations` command; an error of ours is raised."""
    result = CliRunner().invoke(build_app(), [*map(str, arguments)])
    if isinstance(result.exception, EvidenceError):
        raise result.exception
    return result


def exported(chain: Chain, key: Path, out: Path, *options: str) -> Path:
    """Export a pack and return its path."""
    assert run("export", "--pack", chain.store.root, "--key", key, "--out", out, *options).exit_code == 0
    return out


def told(pack: Path, key: Path, *options: str) -> tuple[int, dict[str, Any]]:
    """Verify a pack and return exit code and document, held against the published schema."""
    result = run("verify", "--pack", pack, "--key", key, "--output", "json", *options)
    document: dict[str, Any] = json.loads(result.stdout)
    assert problems("attestations-verify", document) == []
    return result.exit_code, document


def codes(pack: Path, key: Path, *options: str) -> set[str]:
    """Verify a pack that does not hold and return why."""
    exit_code, document = told(pack, key, *options)
    assert (exit_code, document["verified"]) == (1, False)
    return {problem["code"] for problem in document["problems"]}


def forge(pack: Path, *names: str) -> None:
    """Write the digests of changed, new and removed files into the manifest, as whoever changes a pack would."""
    manifest = json.loads((pack / "manifest.json").read_bytes())
    for name in names:
        manifest["files"].pop(name, None)
        if (pack / name).is_file():
            manifest["files"][name] = sha256((pack / name).read_bytes()).hexdigest()
    (pack / "manifest.json").write_text(json.dumps(manifest))


def commands(readme: str) -> list[str]:
    """Return the commands of a pack's README as printed: each indented paragraph, and each block for a shell."""
    blocks = [[""]]
    fenced = False
    for line in readme.splitlines():
        if line.startswith("```"):
            fenced = not fenced
        if line.startswith("```") or not (fenced or line.startswith("    ")):
            blocks.append([])
        else:
            blocks[-1].append(line if fenced else line.strip())
    return ["\n".join(lines) for lines in blocks if lines != [""] and lines]


def the_one(pack: Path, pattern: str) -> Path:
    """Return the first file that a pattern finds."""
    return min(pack.glob(pattern))
