"""When the LDAP collector says that it did not see everything: real refusals, limits and faults."""

import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import ldap
import pytest

from inventory.documents.ldap import Entry
from inventory.documents.ldap_coverage import KINDS
from inventory.errors import Denied, Misconfigured, Unavailable
from inventory.model import (
    ArtefactKind,
    Grant,
    Principal,
    PrincipalKind,
    PrincipalReading,
    ReadState,
)
from reconciler.demo import slapd
from tests.ldap_company import (
    ALICE,
    BOB,
    CAROL,
    READER_NONE,
    Company,
    company,
    grants_of,
    items_of,
    many,
    person,
    person_dn,
    posix,
    principal_of,
    unique,
)

pytestmark = pytest.mark.peer("slapd")


@pytest.fixture
def corp() -> Iterator[Company]:
    """Run the sample company."""
    with company() as running:
        yield running


def test_a_member_that_no_search_finds_again_makes_the_scope_partial() -> None:
    """A uniqueMember with the optional bit string (RFC 4517) is nobody's grant, and the scope says that it is there."""
    tagged = unique("old", f"{ALICE}#'0101'B") + unique("new", ALICE)
    with company(person("alice", "E1") + tagged) as corp:
        inventory = corp.inventory()
        reading = corp.collector().read_principal(principal_of(inventory, ALICE))

    assert set(grants_of(inventory, ALICE)) == {("new", "uniqueMember")}
    assert set(reading.items) == set(items_of(inventory, ALICE))
    assert inventory.state_of(ArtefactKind.GROUP_MEMBERSHIP) is ReadState.PARTIAL
    assert principal_of(inventory, ALICE).read.whole


def test_a_login_name_of_two_accounts_gives_memberships_to_neither() -> None:
    """Nobody is guessed: the membership is no one's, and both accounts and the scope say that it is not known."""
    twin = person("twin", "E8", uid=["twin", "alice"])
    with company(person("alice", "E1") + person("bob", "E2") + twin + posix("wheel", 100, "alice", "bob")) as corp:
        inventory = corp.inventory()
        reading = corp.collector().read_principal(principal_of(inventory, ALICE))

    for dn in (ALICE, person_dn("twin")):
        assert grants_of(inventory, dn) == {}
        assert principal_of(inventory, dn).read.gaps == (ArtefactKind.GROUP_MEMBERSHIP,)
    assert ("wheel", "memberUid") in grants_of(inventory, BOB)
    assert principal_of(inventory, BOB).read.gaps == ()
    assert inventory.state_of(ArtefactKind.GROUP_MEMBERSHIP) is ReadState.PARTIAL
    assert reading.state_of(ArtefactKind.GROUP_MEMBERSHIP) is ReadState.UNSUPPORTED
    assert not [item for item in reading.items if isinstance(item, Grant)]


def test_pages_reach_what_one_answer_cannot() -> None:
    """1,200 entries are read whole by pages, where a search in one piece stops at the server's limit."""
    with company(many(1200)) as corp:
        inventory = corp.inventory()
        with pytest.raises(ldap.SIZELIMIT_EXCEEDED):
            corp.bound("reader").search_s(slapd.PEOPLE_DN, ldap.SCOPE_SUBTREE, "(objectClass=person)", ["uid"])

    assert sum(one.kind is PrincipalKind.HUMAN for one in inventory.principals) == 1200
    assert inventory.complete


def test_a_search_that_is_cut_off_is_partial_and_the_interesting_are_read_singly() -> None:
    """When a later page is refused, the scope is partial; a leaver among those seen is read whole all the same."""
    with company(many(1200), paged_total="hard") as corp:
        (inventory,) = corp.collector().collect(lambda one: "p7" in one.login_names)

    seen, other = principal_of(inventory, person_dn("p7")), principal_of(inventory, person_dn("p8"))
    assert inventory.state_of(ArtefactKind.ACCOUNT) is ReadState.PARTIAL
    assert inventory.state_of(ArtefactKind.GROUP_MEMBERSHIP) is ReadState.PARTIAL
    assert not inventory.complete
    assert inventory.errors
    assert 0 < len(inventory.principals) < 1200
    assert seen.read.whole
    assert not other.read.whole


@pytest.mark.parametrize(
    ("hidden", "kind"),
    [
        ("attrs=sshPublicKey", ArtefactKind.SSH_KEY),
        ("attrs=pwdAccountLockedTime", ArtefactKind.ACCOUNT),
        ("attrs=member", ArtefactKind.GROUP_MEMBERSHIP),
        ("attrs=uniqueMember", ArtefactKind.GROUP_MEMBERSHIP),
        ("attrs=memberUid", ArtefactKind.GROUP_MEMBERSHIP),
        (f'dn.subtree="{slapd.GROUPS_DN}"', ArtefactKind.GROUP_MEMBERSHIP),
    ],
)
def test_what_the_server_keeps_from_us_is_denied_never_absent(hidden: str, kind: ArtefactKind) -> None:
    """Access rules hide in silence; the kind is denied for the scope, for the principal, and when read singly."""
    with company(extra_access=f"access to {hidden} {READER_NONE}") as corp:
        inventory = corp.inventory()
        reading = corp.collector().read_principal(principal_of(inventory, CAROL))

    assert inventory.state_of(kind) is ReadState.DENIED
    assert kind in principal_of(inventory, CAROL).read.gaps
    assert principal_of(inventory, CAROL).read.whole
    assert reading.state_of(kind) is ReadState.DENIED
    assert [entry.kind for entry in inventory.coverage if entry.state is not ReadState.COMPLETE] == [kind]


def test_people_that_are_hidden_make_nothing_clean() -> None:
    """A tree whose accounts we may not see is refused, not empty."""
    with company(extra_access=f'access to dn.subtree="{slapd.PEOPLE_DN}" {READER_NONE}') as corp:
        inventory = corp.inventory(service_bases=())

    assert inventory.principals == ()
    assert not inventory.complete
    assert inventory.state_of(ArtefactKind.ACCOUNT) in {ReadState.DENIED, ReadState.PARTIAL}


def test_an_empty_tree_is_not_believed(corp: Company) -> None:
    """A filter that fits no account gives a partial inventory."""
    inventory = corp.inventory(account_filter="(objectClass=dNSDomain)")

    assert inventory.state_of(ArtefactKind.PRINCIPAL) is ReadState.PARTIAL


def test_absence_is_told_only_by_a_directory_that_can_be_seen(corp: Company) -> None:
    """A deleted entry is gone, also when another took its name; where the base is hidden, absence is refused."""
    inventory = corp.inventory()
    alice, bob = principal_of(inventory, ALICE), principal_of(inventory, BOB)
    admin = corp.bound("admin")
    admin.delete_s(ALICE)
    admin.delete_s(BOB)
    admin.add_s(BOB, [("objectClass", [b"account"]), ("uid", [b"bob"])])

    assert corp.collector().read_principal(alice).principal is None
    assert corp.collector().read_principal(bob).principal is None
    with company(extra_access=f"access to * {READER_NONE}") as closed, pytest.raises(Denied, match="not visible"):
        closed.collector().read_principal(alice)


def test_a_directory_that_refuses_us_or_does_not_answer_raises(corp: Company, tmp_path: Path) -> None:
    """Wrong password, empty password (which LDAP would take as nobody) and a stopped server are errors of the whole."""
    for text, expected in (("wrong", Denied), ("\n", Misconfigured)):
        (tmp_path / "password").write_text(text)
        with pytest.raises(expected):
            corp.inventory(password_file=tmp_path / "password")
    with pytest.raises(Misconfigured, match="No such file"):
        corp.inventory(password_file=tmp_path / "none")
    collector = corp.collector()
    collector.collect(lambda _: False)
    corp.server.stop()
    with pytest.raises(Unavailable):
        collector.collect(lambda _: False)


def test_a_group_base_that_is_not_there_is_refused_not_empty(corp: Company) -> None:
    """A misspelt base of groups is a denied kind, and every principal has the gap."""
    inventory = corp.inventory(group_bases=(f"ou=grops,{slapd.BASE_DN}",))

    assert inventory.state_of(ArtefactKind.GROUP_MEMBERSHIP) is ReadState.DENIED
    assert inventory.state_of(ArtefactKind.ACCOUNT) is ReadState.COMPLETE
    assert all(ArtefactKind.GROUP_MEMBERSHIP in one.read.gaps for one in inventory.principals)


def test_locks_without_effect_leave_nobody_clean() -> None:
    """Where the policy ignores locks, or is not shown, accounts are a gap: a locked leaver could still bind."""
    with company(lockout=False) as corp:
        inventory = corp.inventory()
        reading = corp.collector().read_principal(principal_of(inventory, ALICE))
        unnamed = corp.inventory(password_policy=None)
        wrong = corp.inventory(password_policy=f"cn=other,{slapd.BASE_DN}")

    assert inventory.state_of(ArtefactKind.ACCOUNT) is ReadState.UNSUPPORTED
    assert reading.state_of(ArtefactKind.ACCOUNT) is ReadState.UNSUPPORTED
    assert principal_of(inventory, ALICE).read.gaps == (ArtefactKind.ACCOUNT,)
    assert unnamed.complete
    assert wrong.state_of(ArtefactKind.ACCOUNT) is ReadState.DENIED


def test_a_referral_makes_the_scope_partial(corp: Company) -> None:
    """A part of the tree that lies on another server was not read, and is not passed over in silence."""
    entry = {"objectClass": [b"referral", b"extensibleObject"], "ou": [b"far"], "ref": [b"ldap://far.example.com/"]}
    corp.bound("admin").add_s(f"ou=far,{slapd.PEOPLE_DN}", list(entry.items()))

    inventory = corp.inventory()

    assert inventory.state_of(ArtefactKind.ACCOUNT) is ReadState.PARTIAL
    assert any("another server" in error for error in inventory.errors)


def test_a_server_that_hangs_is_given_up(corp: Company) -> None:
    """No answer within the time limit is an error that may be tried again, and the next read works again."""
    collector = corp.collector(timeout_seconds=0.3)
    alice = principal_of(corp.inventory(), ALICE)
    collector.read_principal(alice)
    corp.server.process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, corp.server.process.pid, os.WSTOPPED | os.WNOWAIT)
    try:
        with pytest.raises(Unavailable):
            collector.read_principal(alice)
    finally:
        corp.server.process.send_signal(signal.SIGCONT)

    assert collector.read_principal(alice).principal == alice


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        ("search_all", {ArtefactKind.GROUP_MEMBERSHIP}),
        ("first", {ArtefactKind.GROUP_MEMBERSHIP}),
        ("may_see", set(KINDS)),
    ],
)
def test_a_read_that_breaks_off_midway_is_partial(
    corp: Company, monkeypatch: pytest.MonkeyPatch, broken: str, expected: set[ArtefactKind]
) -> None:
    """Existence was read, the rest failed: what failed is partial, so nothing is acted upon or called gone."""
    carol = principal_of(corp.inventory(), CAROL)
    collector = corp.collector()

    def fail(*_: object) -> None:
        raise Unavailable("the line went dead")

    monkeypatch.setattr(collector._client, broken, fail)
    reading = collector.read_principal(carol)

    assert reading.principal is not None
    assert set(reading.principal.read.partial) == expected
    assert {entry.kind for entry in reading.coverage if entry.state is ReadState.PARTIAL} == expected


def test_an_owner_that_cannot_be_read_is_told(corp: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service account whose owner's entry fails to be read is not taken for one without owner."""
    backup = principal_of(corp.inventory(), f"uid=backup,{slapd.SERVICES_DN}")
    collector = corp.collector()
    read = collector._client.read

    def fail_for_the_owner(dn: str, attributes: Sequence[str]) -> Entry | None:
        if dn == ALICE:
            raise Unavailable("the line went dead")
        return read(dn, attributes)

    monkeypatch.setattr(collector._client, "read", fail_for_the_owner)
    reading = collector.read_principal(backup)

    assert reading.state_of(ArtefactKind.PRINCIPAL) is ReadState.PARTIAL


def test_a_leaver_who_cannot_be_read_singly_stays_partial(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the bulk read is cut off and the single read fails too, the leaver is known and nothing is acted upon."""
    with company(many(1200), paged_total="hard") as corp:
        collector = corp.collector()

        def fail(_: Principal) -> PrincipalReading:
            raise Unavailable("the line went dead")

        monkeypatch.setattr(collector, "read_principal", fail)
        (inventory,) = collector.collect(lambda one: "p7" in one.login_names)

    leaver = principal_of(inventory, person_dn("p7"))
    assert not leaver.read.whole
    assert items_of(inventory, person_dn("p7")) == ()
    assert "the line went dead" in inventory.errors
