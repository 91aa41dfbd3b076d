"""The demo, run as a newcomer runs it: its summary, its attestations, and the commands that it tells of."""

import json
import os
import socket
import time
from pathlib import Path

import pytest
import yaml

from tests.e2e.company import Company, run
from tests.e2e.conftest import Demonstrated
from tests.output_schemas import problems

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_the_demo_has_three_cycles_that_observe_enforce_and_rest(demonstrated: Demonstrated) -> None:
    """The first cycle plans and does nothing, the second does and proves all of it, the third has nothing to do."""
    first, second, third = demonstrated.summary["cycles"]
    assert [one["mode"] for one in (first, second, third)] == ["observe", "enforce", "enforce"]
    assert first["actions"]["planned"] > 0
    assert first["actions"]["done"] == 0
    planned = second["actions"]["planned"]
    assert planned == first["actions"]["planned"] == second["actions"]["done"] == second["actions"]["verified_gone"]
    assert second["actions"]["unknown"] == second["actions"]["failed"] == 0
    assert third["actions"]["planned"] == 0
    assert third["outcome"] == "complete"


def test_every_cycle_of_the_summary_has_the_promised_fields(demonstrated: Demonstrated) -> None:
    """The fields that programs read are there, of the right type, and nothing was held or incomplete."""
    assert problems("demo", demonstrated.summary) == []
    assert demonstrated.summary["left_out"] == {}
    for cycle in demonstrated.summary["cycles"]:
        assert isinstance(cycle["cycle_id"], str)
        assert cycle["outcome"] == "complete"
        assert cycle["held"] is False
        assert cycle["snapshot"]["complete"] is True
        assert isinstance(cycle["findings"], list)
        assert {"planned", "done", "verified_gone", "unknown", "failed"} <= cycle["actions"].keys()
        assert cycle["attestation"]["verified"] is True
        assert os.path.isabs(cycle["attestation"]["path"])  # noqa: PTH117 - the field is text
        assert demonstrated.company.attestations.joinpath(cycle["attestation"]["path"]).is_file()


def test_every_item_tells_the_time_from_decision_to_proof(demonstrated: Demonstrated) -> None:
    """Each act of the enforcing cycle says what came of it, whether it is gone, and how long that took."""
    _, second, _ = demonstrated.summary["cycles"]
    assert len(second["items"]) == second["actions"]["planned"]
    for item in second["items"]:
        assert (item["outcome"], item["verification"]) == ("done", "gone")
        assert 0 < item["seconds"] < 120
        assert item["worker_id"]
        assert item["reason"]


def test_every_attestation_of_the_demo_verifies(demonstrated: Demonstrated) -> None:
    """`attestations verify` passes on what the demo made, with exit 0."""
    answer = demonstrated.company.run("attestations", "verify", "--output", "json")
    assert answer.code == 0, answer.err
    report = answer.document
    assert (report["verified"], report["gaps"], report["problems"]) == (True, [], [])
    assert report["cycles"] >= 3


def test_the_commands_that_the_demo_tells_of_work(demonstrated: Demonstrated) -> None:
    """Whoever copies the demo's last lines gets answers: verification, an explanation, and an empty plan."""
    company = demonstrated.company
    assert company.run("attestations", "verify").code == 0
    explained = company.run("explain", "E1003", "--output", "json")
    assert explained.code == 0, explained.err
    assert {one["worker_id"] for one in explained.document["workers"]} == {"E1003"}
    assert len(explained.document["history"]) > 10
    plan = company.run("plan", "--output", "json")
    assert plan.code == 0, plan.err
    assert plan.document["actions"]["planned"] == 0


def test_explaining_nobody_says_so(demonstrated: Demonstrated) -> None:
    """A name that nothing is known of is an answer with exit 1, and no cycle is recorded by asking."""
    before = demonstrated.company.query("SELECT count(*) FROM cycles")
    answer = demonstrated.company.run("explain", "E9999")
    assert answer.code == 1
    assert "nothing is known of E9999" in answer.out
    assert demonstrated.company.query("SELECT count(*) FROM cycles") == before


def test_the_doctor_finds_the_sample_company_well(demonstrated: Demonstrated) -> None:
    """Each thing that a cycle needs is looked at and found good."""
    answer = demonstrated.company.run("doctor", "--output", "json")
    assert answer.code == 0, answer.out
    names = {check["name"] for check in answer.document["checks"]}
    assert {"roster", "policies", "engine", "journal", "signing key", "provider corp-aws"} <= names


def test_the_doctor_finds_a_server_that_does_not_answer(demonstrated: Demonstrated) -> None:
    """A provider behind a closed port is named with advice, and the other checks still run."""
    company = demonstrated.company.variant(demonstrated.company.directory.parent / "ill")
    company.redirect("corp-ldap", uri="ldap://127.0.0.1:1")
    answer = company.run("doctor", "--output", "json")
    assert answer.code == 1
    bad = [check["name"] for check in answer.document["checks"] if not check["good"]]
    assert bad == ["provider corp-ldap"]


def test_the_doctor_waits_for_nobody_longer_than_it_is_told(demonstrated: Demonstrated) -> None:
    """A server that takes connections and never answers is named when its time is over, and the others are well."""
    company = demonstrated.company.variant(demonstrated.company.directory.parent / "silent")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        company.redirect("corp-aws", endpoint_url=f"http://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        answer = company.run("doctor", "--timeout", "6", "--output", "json")
        took = time.monotonic() - began
    bad = [check for check in answer.document["checks"] if not check["good"]]
    assert [(check["name"], check["message"]) for check in bad] == [("provider corp-aws", "no answer within 6 s")]
    assert "provider corp-ldap: ok" in answer.err
    assert took < 20


def test_the_providers_say_what_they_can_read(demonstrated: Demonstrated) -> None:
    """`providers list`, `permissions`, `check` and `coverage` answer with exit 0 on a company that is whole."""
    company = demonstrated.company
    listed = run("providers", "list", cwd=company.directory)
    assert listed.code == 0
    assert all(name in listed.out for name in ("aws_iam", "ldap", "scim"))
    rights = run("providers", "permissions", "aws_iam", "--output", "json", cwd=company.directory)
    assert "iam:GetAccountAuthorizationDetails" in {right["name"] for right in rights.document["reader"]}
    checked = company.run("providers", "check")
    assert checked.code == 0, checked.err
    covered = company.run("providers", "coverage", "--output", "json")
    assert covered.code == 0, covered.err
    assert {row["provider"] for row in covered.document} == {"corp-aws", "corp-ldap", "wiki"}
    states = {entry["kind"]: entry["state"] for row in covered.document for entry in row["coverage"]}
    assert states["service_credential"] == "excluded"


def test_nothing_secret_is_printed_or_attested(demonstrated: Demonstrated) -> None:
    """No secret of any server, and no name or address of a person, stands in a statement; no secret in any output."""
    secrets = [path.read_text().strip() for path in demonstrated.company.directory.rglob("*.secret")]
    secrets += [path.read_text().strip() for path in demonstrated.company.directory.rglob("*.password")]
    secrets += [path.read_text().strip() for path in demonstrated.company.directory.rglob("*.token")]
    assert len(secrets) == 6
    people = ["Hofmann", "hofmann", "Whitfield", "acme.example", "E1003", "C2001"]
    statements = [path.read_text() for path in demonstrated.company.attestations.glob("*.statement.json")]
    texts = [demonstrated.answer.out, demonstrated.answer.err, *statements]
    assert [secret for secret in secrets for text in texts if secret in text] == []
    assert [person for person in people for text in statements if person in text] == []


def test_a_usage_error_is_none_of_the_cycle_s_exit_codes(demonstrated: Demonstrated) -> None:
    """A typing error exits 64, so that no script takes it for a plan with actions."""
    for arguments in (("cycle", "--mode", "destroy"), ("no-such-command",), ("approve",)):
        answer = run(*arguments, cwd=demonstrated.company.directory)
        assert answer.code == 64, arguments
        assert answer.err


@pytest.mark.parametrize(("wrong", "near"), [("gaurd", "guard")])
def test_an_unknown_setting_is_named_with_its_nearest_known_one(
    demonstrated: Demonstrated, wrong: str, near: str
) -> None:
    """A misspelt key stops every command with one line that names the key and what it may have been."""
    company = demonstrated.company
    config = company.directory.parent / f"{wrong}.yaml"
    config.write_text(yaml.safe_dump(yaml.safe_load(company.config.read_text()) | {wrong: {}}))
    answer = run("plan", "--config", config, cwd=company.directory)
    assert answer.code == 1
    assert answer.err.count("\n") == 1
    assert f"{wrong}: there is no such setting" in answer.err
    assert repr(near) in answer.err


def test_a_missing_configuration_is_one_line(demonstrated: Demonstrated) -> None:
    """Without a configuration each command says which file it looked for, and what to do."""
    folder = demonstrated.company.directory.parent
    for arguments in (("plan",), ("attestations", "verify")):
        answer = run(*arguments, cwd=folder)
        assert answer.code == 1, arguments
        assert answer.err.startswith("error: access-reconciler.yaml: cannot be read")
        assert answer.err.count("\n") == 1


def test_init_writes_a_configuration_that_loads(demonstrated: Demonstrated) -> None:
    """What `init` writes is accepted as it stands, holds every policy, and is never overwritten."""
    folder = demonstrated.company.directory.parent / "begun"
    assert run("init", folder, cwd=folder.parent).code == 0
    begun = Company(directory=folder, servers={})
    schema = json.loads((folder / "access-reconciler.schema.json").read_text())
    assert schema["additionalProperties"] is False
    answer = begun.run("doctor", "--output", "json")
    bad = [check["name"] for check in answer.document["checks"] if not check["good"]]
    assert bad == ["roster", "providers"]
    again = run("init", folder, cwd=folder.parent)
    assert again.code == 1
    assert "is there already" in again.err


def test_a_stale_roster_is_held_though_nothing_is_planned(demonstrated: Demonstrated, tmp_path: Path) -> None:
    """When nothing is left to do, an old roster still makes no complete cycle: who has left since is not known."""
    company = demonstrated.company.variant(tmp_path / "stale")
    days_ago = company.roster.stat().st_mtime - 48 * 3600
    os.utime(company.roster, (days_ago, days_ago))
    answer = company.cycle()
    assert answer.code == 2, answer.out
    assert answer.document["actions"]["planned"] == 0
    assert answer.document["outcome"] == "held"
    assert {reason["code"] for reason in answer.document["hold_reasons"]} == {"roster_stale"}
    assert answer.document["attestation"]["verified"] is True
    assert company.last_statement()["outcome"] == "held"


def test_a_shrunken_roster_without_actions_is_confirmed_by_a_human(demonstrated: Demonstrated, tmp_path: Path) -> None:
    """When nothing is left to do, a roster that lost people is held until its plan is approved, and then known."""
    company = demonstrated.company.variant(tmp_path / "shrunken")
    company.roster.write_text("".join(company.roster.read_text().splitlines(keepends=True)[:-8]))
    answer = company.cycle()
    assert answer.code == 2, answer.out
    assert {reason["code"] for reason in answer.document["hold_reasons"]} == {"roster_shrunken"}
    assert company.run("approve", answer.document["plan_digest"]).code == 0
    for _ in range(2):
        assert company.cycle().document["outcome"] == "complete"
    assert company.query("SELECT count(*) FROM approval_uses") == [(1,)]
