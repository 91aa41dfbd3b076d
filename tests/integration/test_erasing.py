"""Erasing past cycles: what is personal is gone, what was proven still is, and a reader is told."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from reconciler.adapters.attestations import verify
from reconciler.adapters.audit_outbox import AuditOutbox
from reconciler.adapters.disclosures import CycleLeaves
from reconciler.adapters.durable_file import remove_files
from reconciler.adapters.erasure import ERASURES, ErasedCount, erasable, erase, recorded_erasures
from reconciler.adapters.lease import FileLease
from reconciler.adapters.os_account import Account
from reconciler.cli.attestation_trust import Place
from reconciler.cli.attestations import build_app
from reconciler.core.errors import EvidenceError, ReconcilerError
from reconciler.core.record import CycleOutcome
from reconciler.settings import load_settings
from reconciler.writer import open_journal
from tests.builders import NOW
from tests.disclosed import Decided, Disclosing
from tests.output_schemas import problems
from tests.record_builders import KEY, cycle_id, cycle_record
from tests.unit.test_disclosure import kept

BY = Account(uid=1000, login="dana")
CYCLES = (1, 2, 3)


@pytest.fixture(name="state")
def _state(tmp_path: Path) -> Path:
    """Give a state folder with a configuration that points to it."""
    (tmp_path / "access-reconciler.yaml").write_text("state_dir: state\nroster: {path: roster.csv}\n", encoding="utf-8")
    return tmp_path / "state"


@pytest.fixture(name="chain")
def _chain(state: Path) -> Disclosing:
    """Give three cycles, a day apart; the last one decided nothing and judged nobody."""
    made = Disclosing(state / "evidence")
    for sequence in CYCLES:
        days = timedelta(days=sequence - 1)
        record = cycle_record(sequence=sequence, started_at=NOW + days, finished_at=NOW + days)
        made.attest(Decided(record=record, grounds=kept().grounds()))
    return made


def told(chain: Disclosing) -> str:
    """Return every byte of the folder as text, names of files included."""
    files = [path for path in chain.root.rglob("*") if path.is_file()]
    return "\n".join(f"{path.name}\n{path.read_bytes()!r}" for path in files)


def erased(chain: Disclosing, *sequences: int, leaves: bool = False) -> None:
    """Erase cycles."""
    chosen = [erasable(chain.root, chain.documents[sequence], leaves=leaves) for sequence in sequences]
    erase(chain.root, chosen, BY, NOW)


def counts(chain: Disclosing) -> dict[str, int]:
    """Return what a reader is told of erasures."""
    counted = ErasedCount(chain.root, recorded_erasures(chain.root))
    for document in chain.documents.values():
        counted.count(document)
    return counted.told()


def test_an_erased_cycle_names_nobody_and_still_verifies(chain: Disclosing) -> None:
    """Ids, key and texts are gone from the disk; signatures, numbers, chain and every other cycle hold."""
    before = verify(chain.root, chain.signer.verifying_key)
    assert "E1001" in told(chain)
    assert repr(KEY) in told(chain)
    erased(chain, *CYCLES, leaves=True)
    assert "E1001" not in told(chain)
    assert repr(KEY) not in told(chain)
    after = verify(chain.root, chain.signer.verifying_key)
    assert after.verified
    assert (after.head, after.cycles) == (before.head, before.cycles)
    assert after.evidence_absent == before.evidence_absent + 3 * len(CYCLES)


def test_without_leaves_only_what_opens_them_goes(chain: Disclosing) -> None:
    """The leaves of an erased cycle are still in their tree, and nobody can open one."""
    erased(chain, 2)
    cycle = CycleLeaves.open(chain.root, chain.documents[2])
    shown = cycle.show(cycle.everything())
    assert (len(shown.leaves), shown.lines) == (5, ())
    assert list(shown.problems(chain.documents[2])) == []
    assert cycle.of_worker("E1001") == ()
    assert CycleLeaves.open(chain.root, chain.documents[1]).of_worker("E1001")


def test_who_erased_what_and_when_is_on_record(chain: Disclosing) -> None:
    """One line for each cycle, without a word of whom it was about."""
    erased(chain, 1, 2, leaves=True)
    lines = [json.loads(line) for line in (chain.root / ERASURES).read_bytes().splitlines()]
    assert lines[0] == {
        "type": "erasure/1",
        "at": "2026-03-02T09:00:00.000000Z",
        "by": {"uid": 1000, "login": "dana"},
        "sequence": 1,
        "cycleId": cycle_id(1),
        "destroyed": ["pseudonym-key", "disclosures", "leaver-log", "decision-log", "action-log"],
    }
    assert [line["sequence"] for line in lines] == [1, 2]


def test_a_reader_is_told_how_much_was_erased(chain: Disclosing) -> None:
    """Counted is what is on record and gone; what only disappeared is not called erased."""
    erased(chain, 1)
    erased(chain, 2, leaves=True)
    remove_files([chain.disclosures(3)])
    expected = {"cycles": 2, "keys": 2, "disclosures": 2, "logs": 3, "unfinished": 0, "unreadable": 0}
    assert counts(chain) == expected


def test_an_erasure_that_a_crash_stopped_shows_and_is_finished(chain: Disclosing, monkeypatch: Any) -> None:
    """The record comes first: what it says and the disk still has is counted as unfinished until it is gone."""

    def die(_: Any) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as dying:
        dying.setattr("reconciler.adapters.erasure.remove_files", die)
        with pytest.raises(EvidenceError, match="could not be finished: Input/output error"):
            erased(chain, 1)
    assert (counts(chain)["unfinished"], counts(chain)["cycles"]) == (1, 0)
    erased(chain, 1)
    assert (counts(chain)["unfinished"], counts(chain)["cycles"]) == (0, 1)


def test_a_torn_line_of_the_record_hides_no_other(chain: Disclosing) -> None:
    """A line that a crash tore is counted, and the next one begins on a line of its own."""
    (chain.root / ERASURES).write_bytes(b'{"type":"erasure/1","at":"2026')
    erased(chain, 1)
    assert (counts(chain)["unreadable"], counts(chain)["cycles"]) == (1, 1)


def test_an_empty_log_is_left_to_all_cycles(state: Path) -> None:
    """The empty file that several cycles share says nothing of anybody and is not destroyed."""
    made = Disclosing(state / "evidence")
    empty = {"outcome": CycleOutcome.FAILED, "findings": (), "plan": None, "results": (), "leavers": ()}
    made.attest(Decided(record=cycle_record(**empty), grounds=kept().grounds()))
    assert [name for name, _ in erasable(made.root, made.documents[1], leaves=True).parts] == ["pseudonym-key"]


def run(chain: Disclosing, *arguments: str) -> Result:
    """Run a command of the group as the operator."""
    place = Place(root=chain.root, trusted=lambda: chain.signer.verifying_key)
    configuration = chain.root.parent.parent / "access-reconciler.yaml"
    given = ["--config", str(configuration)] if arguments[0] == "erase" else []
    result = CliRunner().invoke(build_app(lambda _: place), [*arguments, *given])
    if isinstance(result.exception, ReconcilerError):
        raise result.exception
    return result


def test_the_command_says_first_what_it_would_destroy(chain: Disclosing) -> None:
    """Without --yes nothing is touched, and the exit code is 2."""
    result = run(chain, "erase", "--cycle", "1", "--output", "json")
    assert result.exit_code == 2
    document = json.loads(result.stdout)
    assert problems("attestations-erase", document) == []
    assert document["destroyed"] is False
    assert document["cycles"][0]["parts"] == ["pseudonym-key", "disclosures"]
    assert chain.disclosures(1).is_file()


def test_the_command_destroys_and_verify_tells(chain: Disclosing) -> None:
    """After it, `verify` still verifies and says how much was erased; a second time nothing is left to do."""
    result = run(chain, "erase", "--cycle", "1", "--cycle", cycle_id(2), "--leaves", "--yes")
    assert result.exit_code == 0
    assert "destroyed, and recorded in erasures.jsonl; destroy the copies in backups too" in result.stdout
    verified = run(chain, "verify")
    assert verified.exit_code == 0
    assert "erased on record: 2 keys, 2 disclosures, 6 logs of 2 cycles" in verified.stdout
    document = json.loads(run(chain, "verify", "--output", "json").stdout)
    assert problems("attestations-verify", document) == []
    assert document["erased"]["cycles"] == 2
    assert "nothing is there" in run(chain, "erase", "--cycle", "1", "--leaves", "--yes").stdout


def test_cycles_are_chosen_by_when_they_ended(chain: Disclosing) -> None:
    """A day means its first instant in UTC; the cycle that ended at an instant is not before it."""
    day = f"{NOW + timedelta(days=1):%Y-%m-%d}"
    assert [
        one["sequence"] for one in json.loads(run(chain, "erase", "--before", day, "-o", "json").stdout)["cycles"]
    ] == [1]
    at = (NOW + timedelta(days=1)).astimezone(UTC).isoformat()
    assert "cycle 2" not in run(chain, "erase", "--before", at).stdout
    later = (NOW + timedelta(days=1, seconds=1)).isoformat()
    assert "cycle 2" in run(chain, "erase", "--before", later).stdout


@pytest.mark.parametrize(
    "arguments",
    [[], ["--cycle", "1", "--before", "2026-01-01"], ["--before", "soon"], ["--cycle", "9"]],
    ids=["neither", "both", "no date", "no such cycle"],
)
def test_a_vague_erasure_is_refused(chain: Disclosing, arguments: list[str]) -> None:
    """Nothing is destroyed on a guess."""
    with pytest.raises(EvidenceError):
        run(chain, "erase", *arguments, "--yes")
    assert not (chain.root / ERASURES).exists()


def test_the_newest_cycle_is_spared_while_a_daemon_runs(chain: Disclosing, state: Path) -> None:
    """By number it is refused, by date it is left out; when no process holds the lease it can be erased."""
    with FileLease(state, purpose="run", now=datetime.now(UTC)):
        with pytest.raises(EvidenceError, match="cycle 3 is the newest, and a daemon runs"):
            run(chain, "erase", "--cycle", "3", "--yes")
        run(chain, "erase", "--before", "2030-01-01", "--yes")
    assert [chain.disclosures(sequence).is_file() for sequence in CYCLES] == [False, False, True]
    assert run(chain, "erase", "--cycle", "3", "--yes").exit_code == 0
    assert not chain.disclosures(3).is_file()


def test_changed_disclosures_are_found_by_verify(chain: Disclosing) -> None:
    """A line altered, added or moved to another cycle is named with its cycle."""
    path = chain.disclosures(2)
    path.write_bytes(path.read_bytes().replace(b'"remaining":0', b'"remaining":1'))
    report = verify(chain.root, chain.signer.verifying_key)
    assert [(one.cycle_id, one.code) for one in report.problems] == [(cycle_id(2), "disclosure_changed")]


def test_erasures_are_told_in_the_audit_trail(chain: Disclosing, state: Path) -> None:
    """Each once, those too that a crash kept from it, with what was destroyed and without who did it."""
    settings = load_settings(state.parent / "access-reconciler.yaml")
    with open_journal(settings):
        pass
    erased(chain, 1)
    with FileLease(state, purpose="run", now=datetime.now(UTC)):
        run(chain, "erase", "--cycle", "2", "--leaves", "--yes")
        run(chain, "erase", "--cycle", "2", "--leaves", "--yes")
    with open_journal(settings) as journal:
        kept_records = AuditOutbox(journal.database).after(0, 100)
    records = [json.loads(one.document) for one in kept_records]
    assert [(one["kind"], one["cycle_id"], one["facts"]["sequence"]) for one in records] == [
        ("erasure", cycle_id(sequence), sequence) for sequence in (1, 2)
    ]
    assert records[0]["facts"]["destroyed"] == ["pseudonym-key", "disclosures"]
    assert len({one["id"] for one in records}) == 2
    assert BY.login not in str(records)
