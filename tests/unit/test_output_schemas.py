"""The published JSON Schemas: valid, open to new fields, true to the code, and refusing renamed fields."""

import copy
import json
from collections.abc import Iterator
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from inventory.model import ArtefactKind, Extent, PrincipalKind, ReadState
from inventory.registry import provider_types
from inventory.roster.model import EmploymentStatus, WorkerKind
from reconciler.attestation import Attested
from reconciler.cli.documents import cycle_document
from reconciler.cli.main import run
from reconciler.core import model
from reconciler.core.record import ChangeState, CycleOutcome, CycleRecord, LeaverState
from reconciler.core.spooling import StatementState
from reconciler.settings import settings_schema
from tests.architecture import tree
from tests.output_schemas import FOLDER, OUTPUTS, problems, published
from tests.record_builders import action_result, cycle_record, guard_facts, inventory_facts, roster_facts
from tests.recordings import change

ENUMS: dict[str, type[StrEnum]] = {
    "artefact": ArtefactKind,
    "change_state": ChangeState,
    "correlation_state": model.CorrelationState,
    "cycle_outcome": CycleOutcome,
    "effect": model.Effect,
    "employment_status": EmploymentStatus,
    "extent": Extent,
    "hold_code": model.HoldCode,
    "leaver_state": LeaverState,
    "mode": model.Mode,
    "need": model.Need,
    "outcome": model.OutcomeState,
    "principal_kind": PrincipalKind,
    "read_state": ReadState,
    "severity": model.Severity,
    "statement_state": StatementState,
    "verification": model.VerificationState,
    "worker_kind": WorkerKind,
}


def document(record: CycleRecord) -> dict[str, Any]:
    """Return what `cycle --output json` prints of a record."""
    path = "state/evidence/attestations/000001.sigstore.json"
    attested = Attested(record=record, statement_digest="sha256:" + "0" * 64, path=path)
    return json.loads(json.dumps(cycle_document(attested, verified=True)))  # type: ignore[no-any-return]  # read back as a consumer would


def records() -> Iterator[CycleRecord]:
    """Yield a record of every way that a cycle can end."""
    yield cycle_record()
    yield cycle_record(mode=model.Mode.OBSERVE, results=())
    lifted = model.HoldReason(code=model.HoldCode.CAP_COUNT, message="too many", provider=inventory_facts().provider)
    firm = model.HoldReason(code=model.HoldCode.ROSTER_STALE, message="too old")
    yield cycle_record(outcome=CycleOutcome.HELD, results=(), guard=guard_facts(hold_reasons=(lifted, firm)))
    yield cycle_record(
        outcome=CycleOutcome.PARTIAL,
        results=(
            action_result(outcome=model.OutcomeState.FAILED, verification=None, verified_at=None, effective_by=None),
        ),
        errors=("corp-aws/1: page 2 could not be read",),
    )
    yield cycle_record(
        outcome=CycleOutcome.FAILED,
        roster=None,
        policy=None,
        engine=None,
        plan=None,
        snapshot_digest="",
        inventories=(),
        findings=(),
        results=(),
        leavers=(),
        errors=("RosterRefused: line 1",),
    )
    yield cycle_record(mode=model.Mode.QUARANTINE, policy_change=change())
    failed = change(state=ChangeState.FAILED, before="", reason="no copy is kept", difference=None)
    yield cycle_record(outcome=CycleOutcome.HELD, results=(), policy_change=failed)
    yield cycle_record(roster=roster_facts(as_of=None, problems=("line 3, column 2: blank",)))


@pytest.mark.parametrize("name", [*OUTPUTS, "access-reconciler", "statement"])
def test_a_schema_is_a_schema(name: str) -> None:
    """Each file is a valid schema of draft 2020-12, named after its file."""
    schema = published(name)
    Draft202012Validator.check_schema(schema)
    if name in OUTPUTS:
        assert schema["$id"] == f"urn:access-reconciler:schema:{name}:1"
        assert schema["title"].startswith("Output of `access-reconciler ")


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_schema_lets_new_fields_pass(name: str) -> None:
    """A consumer that validates is not broken by a field that a later version adds."""
    assert '"additionalProperties":false' not in json.dumps(published(name), separators=(",", ":"))


def test_every_command_prints_json_and_has_a_schema() -> None:
    """Each command has `--output` and is named by the title of one schema; `show` prints the statement as it is."""
    printing = {
        name
        for name, command in tree.all_commands()
        if any("--output" in parameter.opts for parameter in command.params)
    }
    assert printing == {name for name, _ in tree.all_commands()} - {
        "access-reconciler attestations show",  # prints the statement as it was signed
        "access-reconciler run",  # ends only when told to; its log is JSON
    }
    titles = [published(name)["title"] for name in OUTPUTS]
    assert {name for name in printing if not any(f"`{name} " in title for title in titles)} == set()


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_schema_knows_every_value(name: str) -> None:
    """The lists of values are those of the code, in its order."""
    for key, definition in published(name).get("$defs", {}).items():
        if "enum" in definition:
            assert definition["enum"] == [one.value for one in ENUMS[key]], key


@pytest.mark.parametrize("record", [*records()], ids=lambda one: f"{one.mode.value}-{one.outcome.value}")
def test_every_end_of_a_cycle_is_as_the_schema_says(record: CycleRecord) -> None:
    """Complete, observed, held, partial and failed cycles print what the schema describes, and nothing else."""
    assert problems("cycle", document(record)) == []


def test_every_finding_names_the_revision_that_found_it() -> None:
    """A finding that is taken out of its document still says by which policies it was found, as does the document."""
    record = cycle_record()
    assert record.policy is not None
    told = document(record)
    assert {one["policy_digest"] for one in told["findings"]} == {record.policy.digest}
    assert told["policy"] == {"digest": record.policy.digest, "git_commit": record.policy.git_commit, "key_id": ""}


def fields(value: Any, *path: str | int) -> Iterator[tuple[str | int, ...]]:
    """Yield the path of every field of a document, maps with free keys left out."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if path[-1:] not in (("providers",), ("artefacts",)):
                yield (*path, key)
            yield from fields(inner, *path, key)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from fields(inner, *path, index)


def renamed(value: Any, path: tuple[str | int, ...]) -> Any:
    """Return a copy in which one field has another name."""
    changed = copy.deepcopy(value)
    inner = changed
    for step in path[:-1]:
        inner = inner[step]
    inner[f"{path[-1]}_renamed"] = inner.pop(path[-1])
    return changed


def test_a_renamed_field_is_refused_at_every_depth() -> None:
    """Renaming any single field of a full document breaks the published schema: that is what it is for."""
    whole = document(replace(cycle_record(), guard=guard_facts()))
    assert problems("cycle", whole, sealed=False) == []
    paths = [*fields(whole)]
    assert len(paths) > 80
    assert [path for path in paths if not problems("cycle", renamed(whole, path), sealed=False)] == []


def test_a_new_field_passes_the_published_schema_only() -> None:
    """Sealed, the schema finds what it does not describe; published, it lets it be."""
    more = document(cycle_record()) | {"new": 1}
    assert problems("cycle", more, sealed=False) == []
    assert problems("cycle", more) != []


def test_what_the_provider_types_print_is_as_the_schemas_say(capsys: pytest.CaptureFixture[str]) -> None:
    """`providers list` and `providers permissions` of every type."""
    assert run(["providers", "list", "--output", "json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert problems("providers-list", listed) == []
    assert [row["type"] for row in listed] == sorted(provider_types())
    for name in provider_types():
        assert run(["providers", "permissions", name, "--output", "json"]) == 0
        rights = json.loads(capsys.readouterr().out)
        assert problems("providers-permissions", rights) == []
        assert rights["reader"]
        assert rights["revoker"]


def test_what_init_prints_is_as_the_schema_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`init` names what it wrote, and wrote it."""
    assert run(["init", str(tmp_path / "new"), "--output", "json"]) == 0
    written = json.loads(capsys.readouterr().out)
    assert problems("init", written) == []
    assert {Path(name) for name in written["wrote"]} == {*(tmp_path / "new").iterdir()}
    assert Path(written["config"]).is_file()


def test_the_schema_of_the_configuration_is_current() -> None:
    """The published file is what the settings say now, and what `init` writes.

    Write it anew: python -c "from reconciler.settings import settings_schema as s; print(s(), end='')"
    """
    assert (FOLDER / "access-reconciler.schema.json").read_text(encoding="utf-8") == settings_schema()
