"""People who come back, and acts that are given back: what was planned is not done, what was done can be undone."""

from typing import Any

import pytest

from tests.e2e import raw
from tests.e2e.company import Answer, Company

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

CONTRACTOR = "uid=dwhitfield,ou=people,dc=example,dc=com"
TOKYO = "uid=ksato,ou=people,dc=example,dc=com"


def rehire(company: Company, name: str) -> None:
    """Let HR open a new employment of somebody who has left: one row more in the roster."""
    lines = company.roster.read_text().splitlines(keepends=True)
    (left,) = [line for line in lines if name in line]
    cells = left.rstrip("\r\n").split(",")
    back = [*cells]
    back[1], back[2], back[4] = "EMP-NEW", cells[1], "Active"
    back[12] = back[13] = ""
    fresh = company.roster.with_name("roster.new")
    fresh.write_text("".join([*lines, ",".join(back) + "\r\n"]), newline="")
    fresh.replace(company.roster)


@pytest.fixture(scope="module")
def enforced(company: Company) -> tuple[Company, raw.Dump, Any]:
    """Observe, let one of the leavers come back, and enforce."""
    seen = company.cycle("observe")
    assert "E1007" in {item["worker_id"] for item in seen.document["items"]}
    before = raw.dump(company.servers)
    rehire(company, "Kenji Sato")
    answer = company.cycle()
    assert answer.code == 0, f"{answer.err}{answer.out}"
    return company, before, answer.document


def lock_of(company: Company, dn: str) -> dict[str, Any]:
    """Return the act that locked a directory account."""
    (found,) = company.query(
        "SELECT i.action_id, o.outcome FROM intents i JOIN outcomes o USING (action_id) "  # noqa: S608 - our own words
        f"WHERE effect = 'quarantine' AND provider = 'corp-ldap' AND i.action LIKE '%{dn}%'"
    )
    return {"action_id": found[0], "outcome": found[1]}


def undo(company: Company, action_id: str) -> Answer:
    """Undo one act."""
    return company.run("undo", action_id, "--output", "json")


def test_who_came_back_is_left_alone(enforced: tuple[Company, raw.Dump, Any]) -> None:
    """Between the plan that was seen and the one that is enforced a leaver was hired again: nothing of his changes."""
    company, before, document = enforced
    assert "E1007" not in {item["worker_id"] for item in document["items"]}
    assert "E1007" not in {verdict["worker_id"] for verdict in document["leavers"]}
    changed = raw.changed(before, raw.dump(company.servers))
    assert not [name for name in changed if "sato" in name]
    assert "aws/user/dwhitfield" in changed
    assert raw.binds(company.servers["corp-ldap"], TOKYO, "sample-E1007")


def test_a_quarantine_can_be_undone(enforced: tuple[Company, raw.Dump, Any]) -> None:
    """The lock of a directory account is taken off again by its id's first characters: its owner logs in."""
    company, _, _ = enforced
    assert not raw.binds(company.servers["corp-ldap"], CONTRACTOR, "sample-C2001")
    act = lock_of(company, CONTRACTOR)
    answer = undo(company, act["action_id"][:12])
    assert answer.code == 0, answer.err
    assert answer.document["action_id"] == act["action_id"]
    assert raw.binds(company.servers["corp-ldap"], CONTRACTOR, "sample-C2001")
    again = undo(company, act["action_id"])
    assert again.code == 1
    assert "undone already" in again.err


def test_what_was_undone_is_known_and_planned_again(enforced: tuple[Company, raw.Dump, Any]) -> None:
    """The finding still stands: the next plan names it, so that an undo is no silent exemption."""
    company, _, _ = enforced
    plan = company.run("plan", "--quiet", "--output", "json")
    assert plan.code == 2
    assert {(item["provider"], item["worker_id"], item["effect"]) for item in plan.document["items"]} == {
        ("corp-ldap", "C2001", "quarantine")
    }
    history = company.run("explain", "C2001", "--output", "json").document["history"]
    assert [entry["effect"] for entry in history if entry["undone_at"]] == ["quarantine"]


def test_a_deleted_key_cannot_be_given_back(enforced: tuple[Company, raw.Dump, Any]) -> None:
    """What no provider can give back is refused with advice, and nothing is called."""
    company, _, _ = enforced
    rows = company.query(
        "SELECT action_id FROM intents JOIN outcomes USING (action_id) WHERE outcome = 'done' "
        "AND json_extract(action, '$.item.kind') = 'access_key'"
    )
    before = raw.dump(company.servers)
    answer = undo(company, rows[0][0])
    assert answer.code == 1
    assert "cannot be given back" in answer.err
    assert raw.changed(before, raw.dump(company.servers)) == set()


def test_an_unknown_action_is_refused(enforced: tuple[Company, raw.Dump, Any]) -> None:
    """An id that the journal does not know undoes nothing."""
    answer = undo(enforced[0], "0" * 12)
    assert answer.code == 1
    assert "there is no action" in answer.err
