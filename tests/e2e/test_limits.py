"""Plans over the limits: held with zero acts, and released by the approval of exactly their digest, once."""

from pathlib import Path
from typing import Any

import pytest

from tests.e2e import raw
from tests.e2e.company import Answer, Company

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

OTHER_DIGEST = "sha256:" + "0" * 64


def terminate(company: Company, *names: str) -> None:
    """Let HR end the employment of people: a new roster in the old one's place."""
    lines = company.roster.read_text().splitlines(keepends=True)
    for name in names:
        (at,) = [number for number, line in enumerate(lines) if name in line]
        lines[at] = lines[at].replace(",Active,", ",Terminated,").replace(",2021-04-01,,", ",2021-04-01,2024-01-31,")
        assert "Terminated" in lines[at]
        assert "2024-01-31" in lines[at]
    fresh = company.roster.with_name("roster.new")
    fresh.write_text("".join(lines))
    fresh.replace(company.roster)


def codes(answer: Answer) -> set[str]:
    """Return why a cycle was held."""
    return {reason["code"] for reason in answer.document["hold_reasons"]}


@pytest.fixture(scope="module")
def capped(company: Company) -> tuple[Company, raw.Dump]:
    """Return an observed company in which no more than two principals of a provider may be touched."""
    company.configure(guard={"max_principals": 2})
    answer = company.cycle("observe")
    assert answer.code == 2
    assert codes(answer) == {"cap_count"}
    return company, raw.dump(company.servers)


@pytest.fixture(scope="module")
def held(capped: tuple[Company, raw.Dump]) -> Any:
    """Return the document of an enforcing cycle that was held."""
    company, before = capped
    answer = company.cycle()
    assert answer.code == 2, answer.err
    assert answer.document["outcome"] == "held"
    assert company.intents() == 0
    assert raw.changed(before, raw.dump(company.servers)) == set()
    return answer.document


def test_a_plan_over_the_cap_is_held(held: Any) -> None:
    """Each provider over its limit is named, with how many and the limit, and nothing is done."""
    reasons = held["hold_reasons"]
    assert {reason["provider"] for reason in reasons} == {"corp-aws", "corp-ldap", "wiki"}
    assert all("the limit is 2" in reason["message"] for reason in reasons)
    assert held["actions"]["planned"] > 50
    assert held["actions"]["done"] == 0
    assert held["attestation"]["verified"] is True


def test_the_plan_is_told_with_its_digest(capped: tuple[Company, raw.Dump], held: Any) -> None:
    """The table says why nothing was done, and which command releases exactly this plan."""
    shown = capped[0].run("plan", "--quiet").out
    assert "the limit is 2" in shown
    assert f"access-reconciler approve {held['plan_digest']}" in shown


@pytest.mark.parametrize("digest", [OTHER_DIGEST, "sha256:", "latest"])
def test_another_digest_is_refused(capped: tuple[Company, raw.Dump], held: Any, digest: str) -> None:
    """Nothing but the whole digest of a held plan can be approved."""
    answer = capped[0].run("approve", digest)
    assert answer.code == 1
    assert f"no plan {digest} is held" in answer.err


def test_an_approval_does_not_cover_a_world_that_moved(
    capped: tuple[Company, raw.Dump], held: Any, tmp_path: Path
) -> None:
    """A leaver more after the approval makes another plan: held again, and approved only by its own digest."""
    company, before = capped[0].variant(tmp_path / "moved"), capped[1]
    assert company.run("approve", held["plan_digest"]).code == 0
    terminate(company, "Hugo Almeida")
    answer = company.cycle()
    assert answer.code == 2, answer.err
    assert codes(answer) == {"cap_count", "approval_moved"}
    assert answer.document["plan_digest"] != held["plan_digest"]
    assert company.intents() == 0
    assert raw.changed(before, raw.dump(company.servers)) == set()
    approved = company.run("approve", answer.document["plan_digest"])
    assert approved.code == 0, approved.err


def test_an_approval_does_not_lift_what_observing_asks(
    capped: tuple[Company, raw.Dump], held: Any, tmp_path: Path
) -> None:
    """With an approval in hand a cycle that observes still does nothing, and leaves the approval for later."""
    company = capped[0].variant(tmp_path / "observing")
    assert company.run("approve", held["plan_digest"]).code == 0
    assert company.cycle("observe").code == 2
    assert company.intents() == 0
    assert company.query("SELECT count(*) FROM approval_uses") == [(0,)]


def test_an_approval_releases_its_plan_once(capped: tuple[Company, raw.Dump], held: Any) -> None:
    """The approved plan is carried out whole and named in the attestation; afterwards the digest opens nothing."""
    company, before = capped
    digest = held["plan_digest"]
    approved = company.run("approve", digest, "--by", "on call", "--output", "json")
    assert approved.code == 0, approved.err
    assert approved.document["plan_digest"] == digest
    answer = company.cycle()
    assert answer.code == 0, answer.err
    assert answer.document["plan_digest"] == digest
    actions = answer.document["actions"]
    assert actions["planned"] == actions["done"] == actions["verified_gone"] == held["actions"]["planned"]
    assert company.last_statement()["plan"]["approval"] is not None
    assert raw.changed(before, raw.dump(company.servers))
    again = company.run("approve", digest)
    assert again.code == 1
    assert "carried out already" in again.err

    terminate(company, "Hugo Almeida")
    held_again = company.cycle()
    assert held_again.code == 2
    assert codes(held_again) == {"cap_count"}, "the window of 24 hours remembers who was touched"
    assert held_again.document["actions"]["done"] == 0


def test_a_shrunken_roster_is_released_by_a_human(capped: tuple[Company, raw.Dump], held: Any) -> None:
    """A lay-off looks like a cut file: held, then released once by its digest, and known from then on."""
    company = capped[0]
    company.configure(guard={"max_principals": 25})
    lines = company.roster.read_text().splitlines(keepends=True)
    company.roster.write_text("".join(lines[:-8]))
    answer = company.cycle()
    assert answer.code == 2
    assert codes(answer) == {"roster_shrunken"}
    assert answer.document["actions"]["done"] == 0
    assert company.run("approve", answer.document["plan_digest"]).code == 0
    released = company.cycle()
    assert released.code == 0, released.err
    assert released.document["actions"]["done"] == answer.document["actions"]["planned"] > 0
    following = company.cycle()
    assert following.code == 0, following.err
    assert following.document["held"] is False
