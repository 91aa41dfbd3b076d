"""The servers, asked directly before and after the cycles: leavers are out, everybody else is as before."""

import json
import socket
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e import raw
from tests.e2e.company import Company, port_of, run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

LEAVERS = {"lhofmann": "E1003", "ksato": "E1007", "dwhitfield": "C2001", "ofarouk": "E1011"}
"""Login name and worker id of those who have left and have accounts under their name."""
MAILS = {"lena.hofmann", "kenji.sato", "dana.whitfield", "omar.farouk"}
PEOPLE = "ou=people,dc=example,dc=com"
GROUPS = "ou=groups,dc=example,dc=com"
LAST_MEMBER = f"cn=release-managers,{GROUPS}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaned:
    """A company before and after an observing and two enforcing cycles."""

    company: Company
    before: raw.Dump
    observed: raw.Dump
    after: raw.Dump
    entries_before: dict[str, dict[str, list[bytes]]]
    entries_after: dict[str, dict[str, list[bytes]]]
    cycle: Any
    third: Any


@pytest.fixture(scope="module")
def cleaned(company: Company) -> Cleaned:
    """Dump, observe, dump, enforce twice, dump."""
    directory = company.servers["corp-ldap"]
    before, entries_before = raw.dump(company.servers), raw.ldap_all(directory)
    assert company.cycle("observe").code == 2
    observed = raw.dump(company.servers)
    cycle = company.cycle()
    assert cycle.code == 0, cycle.err
    third = company.cycle()
    assert third.code == 0, third.err
    return Cleaned(
        company=company,
        before=before,
        observed=observed,
        after=raw.dump(company.servers),
        entries_before=entries_before,
        entries_after=raw.ldap_all(directory),
        cycle=cycle.document,
        third=third.document,
    )


def dn_of(login: str) -> str:
    """Return the name of a person's entry."""
    return f"uid={login},{PEOPLE}"


def test_observing_changes_nothing(cleaned: Cleaned) -> None:
    """A cycle that observes leaves every object of every server byte for byte as it was."""
    assert raw.changed(cleaned.before, cleaned.observed) == set()


def test_nobody_but_leavers_was_changed(cleaned: Cleaned) -> None:
    """Every user but the leavers is byte for byte as before, operational attributes and versions included."""
    changed = raw.changed(cleaned.before, cleaned.after)
    people = {name for name in changed if "/group/" not in name and "/Groups/" not in name and GROUPS not in name}
    expected = {f"aws/user/{login}" for login in LEAVERS}
    expected |= {f"scim/Users/{mail}@acme.example" for mail in MAILS}
    expected |= {f"ldap/{dn_of(login)}" for login in (*LEAVERS, "a-lhofmann")}
    assert people == expected


def test_groups_lost_the_leavers_and_nobody_else(cleaned: Cleaned) -> None:
    """Each group holds exactly its members of before, in their order, without the leavers; its other facts stay."""
    gone = {dn_of(login).encode() for login in (*LEAVERS, "a-lhofmann")} | {login.encode() for login in LEAVERS}
    for dn, before in cleaned.entries_before.items():
        after = cleaned.entries_after[dn]
        if not dn.endswith(GROUPS) or dn == LAST_MEMBER:
            continue
        for name in ("member", "memberUid"):
            assert after.get(name, []) == [one for one in before.get(name, []) if one not in gone], dn
        volatile = {"member", "memberUid", "entryCSN", "modifyTimestamp", "modifiersName"}
        assert {key: after[key] for key in after.keys() - volatile} == {
            key: before[key] for key in before.keys() - volatile
        }
    assert cleaned.entries_after[LAST_MEMBER] == cleaned.entries_before[LAST_MEMBER]


@pytest.mark.parametrize("server", ["aws", "scim"])
def test_groups_elsewhere_lost_the_leavers_and_nobody_else(cleaned: Cleaned, server: str) -> None:
    """Groups of AWS and of the SCIM service hold their members of before without the leavers."""
    gone = set(LEAVERS)
    if server == "scim":
        users = {name: json.loads(text) for name, text in cleaned.before.items() if name.startswith("scim/Users/")}
        gone = {user["id"] for name, user in users.items() if name.removeprefix("scim/Users/")[:-13] in MAILS}
        assert len(gone) == len(MAILS)
    groups = [name for name in cleaned.before if name.startswith((f"{server}/group/", f"{server}/Groups/"))]
    assert len(groups) == 3
    for name in groups:
        before, after = json.loads(cleaned.before[name]), json.loads(cleaned.after[name])
        left = [one if server == "aws" else one["value"] for one in after.pop("members")]
        assert left == [
            one
            for one in (entry if server == "aws" else entry["value"] for entry in before.pop("members"))
            if one not in gone
        ]
        before.pop("meta", None), after.pop("meta", None)
        assert after == before


def test_leavers_hold_nothing_in_aws(cleaned: Cleaned) -> None:
    """No password, key, device, certificate, group or policy is left but the quarantine's own denial of everything."""
    client = raw.iam(cleaned.company.servers["corp-aws"])
    for login in LEAVERS:
        user = raw.aws_user(client, login)
        assert user["login"] is None
        assert not any(user[part] for part in ("keys", "ssh", "certificates", "mfa", "groups", "attached")), login
        assert list(user["inline"]) == ["access-reconciler-quarantine"]
        (statement,) = user["inline"]["access-reconciler-quarantine"]["Statement"]
        assert (statement["Effect"], statement["Action"], statement["Resource"]) == ("Deny", "*", "*")
        assert not statement.get("Condition")


def test_leavers_are_inactive_at_the_scim_service(cleaned: Cleaned) -> None:
    """Each leaver's account is there, inactive, and in no group; every other account is as active as before."""
    users = {user["userName"]: user for user in raw.scim_all(cleaned.company.servers["wiki"], "Users")}
    members = {
        member["value"]
        for group in raw.scim_all(cleaned.company.servers["wiki"], "Groups")
        for member in group["members"]
    }
    out = {f"{mail}@acme.example" for mail in MAILS}
    for name, user in users.items():
        assert user["active"] is (name not in out), name
        assert (user["id"] in members) <= (name not in out), name


def test_leavers_hold_nothing_in_the_directory_but_what_went_to_review(cleaned: Cleaned) -> None:
    """Accounts are locked; no key and no membership is left but the last membership of the owner."""
    for login in (*LEAVERS, "a-lhofmann"):
        entry = cleaned.entries_after[dn_of(login)]
        assert entry["pwdAccountLockedTime"] == [b"000001010000Z"]
        assert "sshPublicKey" not in entry
        groups = {
            dn
            for dn, group in cleaned.entries_after.items()
            if dn_of(login).encode() in group.get("member", ()) or login.encode() in group.get("memberUid", ())
        }
        assert groups == ({LAST_MEMBER} if login == "ofarouk" else set())


@pytest.mark.parametrize(("login", "worker_id"), [*LEAVERS.items(), ("a-lhofmann", "E1003")])
def test_leavers_cannot_log_in(cleaned: Cleaned, login: str, worker_id: str) -> None:
    """The directory refuses the leaver's right password."""
    assert not raw.binds(cleaned.company.servers["corp-ldap"], dn_of(login), f"sample-{worker_id}")


@pytest.mark.parametrize(
    ("login", "worker_id"), [("lhoffmann", "E1023"), ("pnair", "E1015"), ("tnovak", "E1018"), ("amoreau", "E1100")]
)
def test_others_log_in_as_before(cleaned: Cleaned, login: str, worker_id: str) -> None:
    """The confusable name, the one who came back, the one who is in HR twice and a colleague log in as before."""
    assert raw.binds(cleaned.company.servers["corp-ldap"], dn_of(login), f"sample-{worker_id}")


def test_what_went_to_review_is_named(cleaned: Cleaned) -> None:
    """What leavers still hold stands in the cycle's document: withheld or for review, with the worker, and why."""
    asked = {(one["code"], one["worker_id"]) for one in cleaned.cycle["findings"] if one["effect"] == "review"}
    assert {
        ("owner_left_credential", "E1011"),
        ("leaver_key_elsewhere", "E1011"),
        ("leaver_last_member", "E1011"),
        ("leaver_unknown_kind", "E1003"),
        ("leaver_unknown_kind", "E1020"),
    } <= asked
    assert cleaned.cycle["withheld"] == []
    verdicts = {one["worker_id"]: one["state"] for one in cleaned.third["leavers"]}
    assert verdicts == {
        "C2001": "clean",
        "E1003": "violation",
        "E1007": "clean",
        "E1011": "violation",
        "E1020": "violation",
    }
    assert cleaned.third["actions"]["planned"] == 0


def test_the_demo_runs_again_in_the_same_folder_and_stops(cleaned: Cleaned) -> None:
    """A second demo ends the servers of the first, starts afresh, and `--stop` ends its servers too."""
    directory = cleaned.company.directory
    old = [port_of(server["url"]) for server in cleaned.company.servers.values()]
    answer = run("demo", "--dir", directory, "--output", "json", cwd=directory.parent)
    assert answer.code == 0, answer.err
    assert answer.document["cycles"][-1]["actions"]["planned"] == 0
    assert [cycle["sequence"] for cycle in answer.document["cycles"]] == [1, 2, 3]
    new = [port_of(server["url"]) for server in answer.document["servers"].values()]
    assert [port for port in old if port not in new and listening(port)] == []
    assert all(map(listening, new))
    assert run("demo", "--dir", directory, "--stop", cwd=directory.parent).code == 0
    assert not any(map(listening, new))
    again = run("demo", "--dir", directory, "--stop", cwd=directory.parent)
    assert "there are no servers" in again.out


def listening(port: int) -> bool:
    """Say whether anybody answers on a port of this machine."""
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex(("127.0.0.1", port)) == 0
