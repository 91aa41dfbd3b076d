"""What opens a leaf: the lines, what they commit to, and showing some leaves without the others."""

import hashlib
import json
import stat
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inventory.model import PrincipalId
from inventory.roster.model import WorkerId
from reconciler.adapters.attestation_document import StatementDocument, read_statement
from reconciler.adapters.disclosures import (
    ACTION_LOG,
    DECISION_LOG,
    LEAVER_LOG,
    CycleLeaves,
    committed,
    read_shown,
    sample,
)
from reconciler.adapters.evidence_store import FileEvidenceStore, disclosures_path
from reconciler.core.canonical import dumps
from reconciler.core.errors import EvidenceError
from reconciler.core.grounds import GroundsKeeper, reached
from reconciler.core.model import Mode
from reconciler.core.record import CycleRecord
from reconciler.core.statement import build_statement, documents
from tests.builders import NOW, PROVIDER, SCOPE
from tests.fakes.house import House
from tests.record_builders import KEY, cycle_record, nonces, statement_facts

WORKERS: dict[str, Any] = {
    "E1001": {"access_end_at": "2026-02-16T09:00:00.000000Z", "manager": "E1"},
    "E1": {"access_end_at": None, "manager": "E0"},
    "E0": {"access_end_at": None, "manager": None},
    "E7": {"access_end_at": "2026-03-02T09:00:00.000000Z", "manager": None},
    "E8": {"access_end_at": "2026-03-02T09:00:00.000001Z", "manager": None},
}
UNIT: dict[str, Any] = {
    "principal": {"was": ["E7"]},
    "worker_id": "E1001",
    "candidates": ["E1001", "nobody"],
    "access": {"alice#1": {"key_of": ["E8"]}, "alice#2": {"key_of": []}},
}
WAIVERS: dict[str, Any] = {
    "of-worker": {"worker_id": "E1001", "provider": None, "principal_id": None, "access_id": None},
    "of-principal": {"worker_id": None, "provider": PROVIDER, "principal_id": "alice", "access_id": None},
    "of-item": {"worker_id": None, "provider": PROVIDER, "principal_id": None, "access_id": "alice#2"},
    "elsewhere": {"worker_id": None, "provider": "corp-ldap", "principal_id": "alice", "access_id": "alice#2"},
    "of-another": {"worker_id": "E1", "provider": PROVIDER, "principal_id": "bob", "access_id": "bob#1"},
}


def kept(most_bytes: int = 10_000) -> GroundsKeeper:
    """Return the grounds of an evaluation that found something at alice and at bob."""
    keeper = GroundsKeeper(most_bytes=most_bytes)
    keeper.begin(NOW, {"meta": {"count": 5}, "workers": WORKERS}, {"meta": {"count": 5}, "items": WAIVERS})
    for who in ("alice", "bob"):
        keeper.keep((PROVIDER, SCOPE, PrincipalId(who)), f"{PROVIDER}|{SCOPE}|{who}", UNIT, [{"access_id": f"{who}#1"}])
    keeper.end()
    return keeper


class Stored:
    """One attested cycle in a store, with its lines."""

    def __init__(self, root: Path, record: CycleRecord | None = None) -> None:
        self.record = record or cycle_record()
        made = documents(self.record, KEY, nonces(), None, kept().grounds())
        self.store = FileEvidenceStore(root)
        for name, content in made.files:
            self.store.put(content, kind=name)
        self.store.put_disclosures(self.record.sequence, self.record.cycle_id, made.disclosures)
        self.payload = build_statement(self.record, statement_facts(self.record, documents=made))
        self.path = disclosures_path(root, self.record.sequence, self.record.cycle_id)
        self.root = root

    @property
    def document(self) -> StatementDocument:
        """Return the statement."""
        return read_statement(self.payload)

    def open(self) -> CycleLeaves:
        """Read leaves and lines."""
        return CycleLeaves.open(self.root, self.document)


@pytest.fixture(name="stored")
def _stored(tmp_path: Path) -> Stored:
    return Stored(tmp_path)


def told(content: bytes) -> list[dict[str, Any]]:
    """Return lines as documents."""
    return [json.loads(line) for line in content.splitlines()]


def digest(line: Mapping[str, Any]) -> str:
    """Return what a leaf, or a line, commits to a line by."""
    return hashlib.sha256(dumps(line)).hexdigest()


def test_rules_reach_whom_a_unit_names_and_their_managers() -> None:
    """A worker that nobody names, and the manager of a manager, stay out."""
    assert reached(UNIT, WORKERS).keys() == {"E1001", "E7", "E8", "E1"}


def test_a_ground_holds_what_rules_can_reach_and_no_more() -> None:
    """Unit, findings, workers in reach and the waivers about it are kept; whatever else a cycle knew is not."""
    asked = json.loads(kept().grounds().asked[PROVIDER, SCOPE, PrincipalId("alice")])
    assert asked["unit"] == UNIT
    assert asked["workers"] == {name: WORKERS[name] for name in ("E1001", "E7", "E8", "E1")}
    assert asked["waivers"].keys() == {"of-worker", "of-principal", "of-item"}
    assert asked["findings"] == [{"access_id": "alice#1"}]


def test_leavers_are_known_with_what_hr_said() -> None:
    """Whose access had ended by the instant of the evaluation is kept; whose ends a microsecond later is not."""
    assert kept().grounds().leavers == {name: WORKERS[name] for name in ("E1001", "E7")}


def test_a_cycle_keeps_a_bounded_number_of_bytes() -> None:
    """Beyond the bound a principal is left out, and its decisions name no evaluation."""
    whole = sum(map(len, kept().grounds().asked.values()))
    grounds = kept(most_bytes=whole - 1).grounds()
    assert [who for _, _, who in grounds.asked] == ["alice"]
    lines = told(documents(cycle_record(), KEY, nonces(), None, grounds).disclosures)
    known = {line["principalId"]: line["evaluation"] for line in lines if line["type"] == "decision-disclosure/1"}
    assert known["bob"] is None
    assert known["alice"] is not None


def test_every_leaver_and_decision_commits_to_the_line_that_opens_it(stored: Stored) -> None:
    """A leaf holds the digest of its line, a decision's line that of its evaluation, this of the common data."""
    lines = told(stored.path.read_bytes())
    by_digest = {digest(line): line for line in lines}
    leaves = stored.open().logs
    decided = [by_digest[json.loads(leaf)["disclosure"]] for leaf in leaves[DECISION_LOG]]
    assert {(one["principalId"], one["accessId"]) for one in decided} == {
        (finding.principal_id, finding.access_id) for finding in stored.record.findings
    }
    evaluated = [by_digest[one["evaluation"]] for one in decided]
    assert {by_digest[one["data"]]["evaluatedAt"] for one in evaluated} == {"2026-03-02T09:00:00.000000Z"}
    (leaver,) = (by_digest[json.loads(leaf)["disclosure"]] for leaf in leaves[LEAVER_LOG])
    assert (leaver["workerId"], leaver["worker"]) == ("E1001", WORKERS["E1001"])
    assert len({line["nonce"] for line in lines}) == len(lines)


def test_only_principals_with_a_decision_are_written(tmp_path: Path) -> None:
    """What was asked about everybody else is nobody's business: no finding, no line."""
    record = cycle_record(findings=(), plan=None, results=(), leavers=())
    assert documents(record, KEY, nonces(), None, kept().grounds()).disclosures == b""
    store = FileEvidenceStore(tmp_path)
    store.put_disclosures(1, record.cycle_id, b"")
    assert not disclosures_path(tmp_path, 1, record.cycle_id).exists()


def test_lines_lie_apart_and_for_their_owner_alone(stored: Stored) -> None:
    """The file is private, and no statement names it, nor anything in it."""
    assert stat.S_IMODE(stored.path.stat().st_mode) == 0o600
    content = stored.path.read_bytes()
    assert hashlib.sha256(content).hexdigest().encode() not in stored.payload
    assert not [line for line in content.splitlines() if hashlib.sha256(line).hexdigest().encode() in stored.payload]


def test_lines_that_a_crash_left_without_a_statement_are_replaced(tmp_path: Path) -> None:
    """Nothing rests on them; when the closed cycle has none of its own, none stay."""
    store = FileEvidenceStore(tmp_path)
    record = cycle_record()
    path = disclosures_path(tmp_path, 1, record.cycle_id)
    store.put_disclosures(1, record.cycle_id, b"first\n")
    store.put_disclosures(1, record.cycle_id, b"second\n")
    assert path.read_bytes() == b"second\n"
    store.put_disclosures(1, record.cycle_id, b"")
    assert not path.exists()


def test_a_shown_leaf_is_proven_and_nothing_else_is_shown(stored: Stored) -> None:
    """One decision comes with its proof, its line, its evaluation and the common data, and without anybody else's."""
    cycle = stored.open()
    shown = read_shown(cycle.show([(DECISION_LOG, 1)]).content(), "decisions/000001.jsonl")
    assert [(leaf.log, leaf.index, leaf.size) for leaf in shown.leaves] == [(DECISION_LOG, 1, 3)]
    assert list(shown.problems(stored.document)) == []
    assert [line["type"] for line in told(b"\n".join(shown.lines))] == [
        "evaluation-data/1",
        "evaluation-input/1",
        "decision-disclosure/1",
    ]
    committed_to = json.loads(shown.leaves[0].leaf)["disclosure"]
    assert hashlib.sha256(shown.lines[-1]).hexdigest() == committed_to


def test_a_changed_leaf_is_not_in_the_tree(stored: Stored) -> None:
    """Another text, another index or another size than the one signed is named."""
    content = stored.open().show([(DECISION_LOG, 1)]).content()
    for before, after in ((b"leaver", b"leeway"), (b'"index":1', b'"index":2'), (b'"leafCount":3', b'"leafCount":4')):
        assert before in content
        shown = read_shown(content.replace(before, after), "x")
        assert "is not in the tree that was signed" in next(shown.problems(stored.document))


def test_a_changed_line_is_one_that_nothing_commits_to(stored: Stored) -> None:
    """Whichever line is altered, it is named by number and type, and what rests on it stays unopened."""
    content = stored.open().show(stored.open().everything()).content()
    shown = read_shown(content, "x")
    for at, line in enumerate(shown.lines):
        changed = line.replace(b'"nonce":"', b'"nonce":"f', 1)
        lines = (*shown.lines[:at], changed, *shown.lines[at + 1 :])
        found = replace(shown, lines=lines).problems(stored.document)
        named = f"disclosed line {at + 1} ({json.loads(line)['type']}) has a digest that no leaf shown commits to"
        assert any(named in problem for problem in found)


def test_what_was_destroyed_is_left_out(stored: Stored) -> None:
    """Without its lines a cycle still shows its leaves, and without a log the others."""
    stored.path.unlink()
    cycle = stored.open()
    assert cycle.show(cycle.everything()).lines == ()
    named = {subject.name: subject.digest.sha256 for subject in stored.document.subject}
    (stored.root / "sha256" / named[ACTION_LOG][:2] / named[ACTION_LOG]).unlink()
    assert stored.open().logs.keys() == {LEAVER_LOG, DECISION_LOG}


def test_a_changed_log_is_refused(stored: Stored) -> None:
    """Leaves that the statement does not name are never shown as if it did."""
    named = {subject.name: subject.digest.sha256 for subject in stored.document.subject}
    path = stored.root / "sha256" / named[LEAVER_LOG][:2] / named[LEAVER_LOG]
    path.write_bytes(path.read_bytes().replace(b"clean", b"fresh"))
    with pytest.raises(EvidenceError, match=r"the leaver-log of cycle 1 .* is not what its statement signed"):
        stored.open()


def test_a_worker_is_shown_with_decisions_and_acts(stored: Stored) -> None:
    """By worker id come the leaver, the decisions about what the worker held, and the acts on it; nobody else's."""
    cycle = stored.open()
    chosen = cycle.of_worker("E1001")
    assert [log for log, _ in chosen] == [LEAVER_LOG, DECISION_LOG, DECISION_LOG, DECISION_LOG, ACTION_LOG]
    assert cycle.of_worker("E9999") == ()


def test_a_sample_can_be_drawn_again(tmp_path: Path) -> None:
    """The same seed draws the same leaves from whatever order of cycles; another one draws others."""
    cycles = [Stored(tmp_path / str(number), cycle_record(sequence=number)).open() for number in range(1, 9)]
    drawn = sample(cycles, 2, "seed")
    assert sample(reversed(cycles), 2, "seed") == drawn
    assert any(sample(cycles, 2, f"seed {number}") != drawn for number in range(3))
    logs = [log for places in drawn.values() for log, _ in places]
    assert logs.count(LEAVER_LOG) <= 2
    assert {LEAVER_LOG, DECISION_LOG, ACTION_LOG} == set(logs)


def test_a_sample_of_more_than_there_is_takes_everything(stored: Stored) -> None:
    """A small period is disclosed whole, and a sample of nothing is empty."""
    cycle = stored.open()
    assert sample([cycle], 99, "seed") == {stored.record.cycle_id: cycle.everything()}
    assert sample([cycle], 0, "seed") == {}


def test_lines_that_are_no_lines_are_strays() -> None:
    """Text that is not JSON, or of no known type, opens nothing."""
    found = committed((b"{", b"[]", b'{"type":"evaluation-data/1"}'), (b"{}", b"not json"))
    assert (found.by_digest, found.strays) == ({}, (1, 2, 3))


@pytest.mark.parametrize("line", [b'{"type":"disclosed-leaf/1"}', b'{"type":"disclosed-leaf/1","index":-1}'])
def test_a_malformed_shown_leaf_is_named(line: bytes) -> None:
    """File and line are told."""
    with pytest.raises(EvidenceError, match="decisions/x: line 1 is no shown leaf"):
        read_shown(line + b"\n", "decisions/x")


def test_a_cycle_writes_what_its_policies_were_asked(tmp_path: Path) -> None:
    """After a cycle each decision and leaver can be opened, down to the unit and the findings of the engine."""
    house = House(tmp_path)
    record = house.run(mode=Mode.OBSERVE)
    (statement,) = (tmp_path / "evidence" / "attestations").glob("*.statement.json")
    cycle = CycleLeaves.open(tmp_path / "evidence", read_statement(statement.read_bytes()))
    lines = told(b"\n".join(cycle.lines.by_digest.values()))
    assert cycle.lines.strays == ()
    (asked,) = (line["asked"] for line in lines if line["type"] == "evaluation-input/1")
    assert {one["access_id"] for one in asked["findings"]} == {finding.access_id for finding in record.findings}
    assert asked["unit"]["access"].keys() >= {finding.access_id for finding in record.findings}
    assert asked["workers"].keys() == {"L1"}
    leavers = [line for line in lines if line["type"] == "leaver-disclosure/1"]
    assert [WorkerId(line["workerId"]) for line in leavers] == [one.worker_id for one in record.leavers]
    assert all(line["worker"]["access_end_at"] for line in leavers)


def test_a_cycle_that_was_closed_after_a_crash_opens_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that died knew what was asked; whoever closes its cycle does not, and says nothing of it."""
    house = House(tmp_path)

    def die(*_: Any) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr(house.attester.store, "put_statement", die)
        with pytest.raises(KeyboardInterrupt):
            house.run(mode=Mode.OBSERVE)
    assert len(list((tmp_path / "evidence" / "disclosures").iterdir())) == 1
    house.run(mode=Mode.OBSERVE)
    (left,) = (tmp_path / "evidence" / "disclosures").iterdir()
    assert left.name.startswith("000002-")
