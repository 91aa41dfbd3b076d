"""The LDAP collector against a real OpenLDAP server."""

import signal
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ldap
import pytest

from inventory.documents.ldap import Entry
from inventory.documents.ldap_coverage import KINDS
from inventory.errors import Denied, Misconfigured, Unavailable
from inventory.model import (
    ArtefactKind,
    Credential,
    Grant,
    Principal,
    PrincipalKind,
    PrincipalReading,
    ProviderInventory,
    ReadState,
)
from reconciler.demo import slapd
from tests import peers
from tests.ldap_company import (
    ALICE,
    BOB,
    CAROL,
    COMPANY,
    KEY_OF_ALICE,
    Company,
    company,
    group_dn,
    items_of,
    names,
    person,
    person_dn,
    posix,
    principal_of,
    unique,
)

pytestmark = pytest.mark.peer("slapd")
READER_NONE = f'by dn.exact="{slapd.READER_DN}" none by * break\n'


@pytest.fixture
def corp() -> Iterator[Company]:
    """Run the sample company."""
    with company() as running:
        yield running


def _grants(inventory: ProviderInventory, dn: str) -> dict[tuple[str, str], Grant]:
    grants = [item for item in items_of(inventory, dn) if isinstance(item, Grant)]
    return {(grant.role, grant.access_id.rsplit("/", 1)[1]): grant for grant in grants}


def _many(count: int) -> str:
    return "".join(person(f"p{number}", f"E{number}") for number in range(count))


def test_accounts_are_read_with_their_kind_and_links(corp: Company) -> None:
    """Employee number, subtree and nothing tell person, service and unknown apart; owners are told by their links."""
    inventory = corp.inventory()

    alice, backup = principal_of(inventory, ALICE), principal_of(inventory, f"uid=backup,{slapd.SERVICES_DN}")
    assert inventory.complete
    assert (alice.kind, alice.employee_ids, alice.emails) == (PrincipalKind.HUMAN, ("E1",), ("alice@example.com",))
    assert alice.login_names == ("alice",)
    assert alice.read.whole
    assert alice.created_at is not None
    assert principal_of(inventory, CAROL).kind is PrincipalKind.UNKNOWN
    assert backup.kind is PrincipalKind.SERVICE
    assert backup.owner_hints == ("E1", "alice@example.com")
    assert principal_of(inventory, BOB).owner_hints == ()


def test_the_id_is_the_immutable_one(corp: Company) -> None:
    """A principal is known by entryUUID, as the server gives it."""
    ((_, attributes),) = corp.bound("admin").search_s(ALICE, ldap.SCOPE_BASE, attrlist=["entryUUID"])

    assert principal_of(corp.inventory(), ALICE).principal_id == attributes["entryUUID"][0].decode()


def test_ssh_keys_are_told_by_the_fingerprint_that_ssh_keygen_prints(corp: Company, tmp_path: Path) -> None:
    """A key has ssh-keygen's fingerprint; a value that is no key is an item all the same, without one."""
    file = tmp_path / "key.pub"
    file.write_text(KEY_OF_ALICE + "\n")
    printed = subprocess.run(
        [peers.require("ssh-keygen"), "-lf", str(file)], capture_output=True, text=True, check=True
    ).stdout

    keys = [item for item in items_of(corp.inventory(), ALICE) if item.kind is ArtefactKind.SSH_KEY]

    assert {key.fingerprint for key in keys if isinstance(key, Credential)} == {printed.split()[1], ""}


def test_each_way_of_membership_is_a_grant_of_its_own(corp: Company) -> None:
    """A member of member, uniqueMember and memberUid holds three grants, with the number of values beside each."""
    grants = _grants(corp.inventory(), ALICE)

    assert {key: grant.holders for key, grant in grants.items() if grant.direct} == {
        ("developers", "member"): 2,
        ("lonely", "member"): 1,
        ("approvers", "uniqueMember"): 2,
        ("wheel", "memberUid"): 3,
    }


def test_groups_within_groups_are_inherited(corp: Company) -> None:
    """What is held only through another group is not direct, says through which, and carries privilege down."""
    inventory = corp.inventory()
    grants = _grants(inventory, BOB)

    assert grants["staff", "inherited"].via == group_dn("developers")
    assert grants["admins", "inherited"].via == group_dn("staff")
    assert not grants["admins", "inherited"].direct
    assert grants["developers", "member"].privileged
    assert not grants["approvers", "uniqueMember"].privileged
    assert principal_of(inventory, BOB).privileged
    assert not principal_of(inventory, f"uid=backup,{slapd.SERVICES_DN}").privileged


def test_groups_that_hold_each_other_end() -> None:
    """A circle of groups is walked once."""
    circle = names("a", group_dn("b"), ALICE) + names("b", group_dn("a"))
    with company(person("alice", "E1") + circle) as corp:
        inventory = corp.inventory()
        reading = corp.collector().read_principal(principal_of(inventory, ALICE))

    assert set(_grants(inventory, ALICE)) == {("a", "member"), ("b", "inherited")}
    assert set(reading.items) == set(items_of(inventory, ALICE))


def test_reading_one_principal_shows_what_the_bulk_read_showed(corp: Company) -> None:
    """The searches of one principal and of all agree on every item, so a precondition never sees another world."""
    inventory = corp.inventory()
    collector = corp.collector()

    for principal in inventory.principals:
        reading = collector.read_principal(principal)
        own = {item for item in inventory.items if item.principal_id == principal.principal_id}
        assert set(reading.items) == own
        assert reading.principal == principal
        assert all(entry.state is ReadState.COMPLETE for entry in reading.coverage)


def test_odd_names_are_escaped() -> None:
    """Names with the special characters of DNs and filters, and other scripts, are found in bulk and singly."""
    odd = ["o'neil, (jr.)*", '#plus+"quote"', "Žofie=Ünal\\x", "李小龙", " lead and trail "]
    seed = "".join(person(uid, f"E{number}", mail="odd@example.com") for number, uid in enumerate(odd))
    seed += names("all", *map(person_dn, odd)) + unique("some", *map(person_dn, odd))
    with company(seed) as corp:
        inventory = corp.inventory()
        collector = corp.collector()
        for uid in odd:
            people = [one for one in inventory.principals if uid.strip() in [name.strip() for name in one.login_names]]
            assert len(people) == 1, uid
            reading = collector.read_principal(people[0])
            roles = sorted(item.role for item in reading.items if isinstance(item, Grant))
            assert roles == ["all", "some"], uid
            assert set(reading.items) == {i for i in inventory.items if i.principal_id == people[0].principal_id}


def test_a_member_that_no_search_finds_again_makes_the_scope_partial() -> None:
    """A uniqueMember with the optional bit string (RFC 4517) is nobody's grant, and the scope says that it is there."""
    tagged = unique("old", f"{ALICE}#'0101'B") + unique("new", ALICE)
    with company(person("alice", "E1") + tagged) as corp:
        inventory = corp.inventory()
        reading = corp.collector().read_principal(principal_of(inventory, ALICE))

    assert set(_grants(inventory, ALICE)) == {("new", "uniqueMember")}
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
        assert _grants(inventory, dn) == {}
        assert principal_of(inventory, dn).read.gaps == (ArtefactKind.GROUP_MEMBERSHIP,)
    assert ("wheel", "memberUid") in _grants(inventory, BOB)
    assert principal_of(inventory, BOB).read.gaps == ()
    assert inventory.state_of(ArtefactKind.GROUP_MEMBERSHIP) is ReadState.PARTIAL
    assert reading.state_of(ArtefactKind.GROUP_MEMBERSHIP) is ReadState.UNSUPPORTED
    assert not [item for item in reading.items if isinstance(item, Grant)]


def test_pages_reach_what_one_answer_cannot() -> None:
    """1,200 entries are read whole by pages, where a search in one piece stops at the server's limit."""
    with company(_many(1200)) as corp:
        inventory = corp.inventory()
        with pytest.raises(ldap.SIZELIMIT_EXCEEDED):
            corp.bound("reader").search_s(slapd.PEOPLE_DN, ldap.SCOPE_SUBTREE, "(objectClass=person)", ["uid"])

    assert sum(one.kind is PrincipalKind.HUMAN for one in inventory.principals) == 1200
    assert inventory.complete


def test_a_search_that_is_cut_off_is_partial_and_the_interesting_are_read_singly() -> None:
    """When a later page is refused, the scope is partial; a leaver among those seen is read whole all the same."""
    with company(_many(1200), paged_total="hard") as corp:
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


def test_our_own_principals_are_known(corp: Company) -> None:
    """Who-am-I and the configured other bind are our own; one that is not there leaves our identity unknown."""
    inventory = corp.inventory()
    wrong = corp.inventory(own_dns=(f"cn=nobody,{slapd.SERVICES_DN}",))
    as_admin = corp.inventory(
        own_dns=(), bind_dn=slapd.ADMIN_DN, password_file=corp.server.details["admin_password_file"]
    )

    ours = {principal_of(inventory, dn).principal_id for dn in (slapd.READER_DN, slapd.REVOKER_DN)}
    assert set(inventory.own_principals) == ours
    assert inventory.identity_known
    assert not wrong.identity_known
    assert as_admin.identity_known
    assert as_admin.own_principals == ()


def test_a_renamed_entry_is_found_by_its_id(corp: Company) -> None:
    """A rename between two reads loses nobody: the reading has the new name and the same id."""
    alice = principal_of(corp.inventory(), ALICE)
    corp.bound("admin").rename_s(ALICE, "uid=alice.smith", slapd.SERVICES_DN)

    reading = corp.collector().read_principal(alice)

    assert reading.principal is not None
    assert reading.principal.principal_id == alice.principal_id
    assert dict(reading.principal.address)["dn"] == f"uid=alice.smith,{slapd.SERVICES_DN}"


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


def test_a_permanent_lock_disables_and_a_time_out_does_not(corp: Company) -> None:
    """Only an administrator's lock is a quarantine; a lock-out after wrong passwords ends by itself."""
    admin = corp.bound("admin")
    admin.modify_s(ALICE, [(ldap.MOD_ADD, "pwdAccountLockedTime", [b"000001010000Z"])])
    admin.modify_s(BOB, [(ldap.MOD_ADD, "pwdAccountLockedTime", [b"20260301120000Z"])])

    inventory = corp.inventory()

    assert principal_of(inventory, ALICE).enabled is False
    assert principal_of(inventory, BOB).enabled is True
    assert [item.enabled for item in items_of(inventory, ALICE) if item.kind is ArtefactKind.ACCOUNT] == [False]  # type: ignore[union-attr] # an ACCOUNT is a Credential


def test_the_last_bind_is_the_last_use(corp: Company) -> None:
    """An account that never bound has no last use; after a bind it has one."""
    before = principal_of(corp.inventory(), ALICE)

    assert corp.may_bind(ALICE)

    after = principal_of(corp.inventory(), ALICE)
    assert before.last_used_at is None
    assert after.last_used_at is not None


def test_settings_tell_kinds(corp: Company) -> None:
    """Break-glass wins over everything; shared entries and human subtrees are as configured."""
    inventory = corp.inventory(break_glass=(ALICE.upper(),), shared=(BOB,), human_bases=(slapd.PEOPLE_DN,))

    kinds = [principal_of(inventory, dn).kind for dn in (ALICE, BOB, CAROL)]
    assert kinds == [PrincipalKind.BREAK_GLASS, PrincipalKind.SHARED, PrincipalKind.HUMAN]


def test_what_the_operator_excludes_is_named_so(corp: Company) -> None:
    """An excluded kind has no items, says excluded, and costs no search."""
    inventory = corp.inventory(exclude=("group_membership", "ssh_key"))
    reading = corp.collector(exclude=("group_membership",)).read_principal(principal_of(inventory, ALICE))

    assert {item.kind for item in inventory.items} == {ArtefactKind.ACCOUNT}
    assert inventory.state_of(ArtefactKind.GROUP_MEMBERSHIP) is ReadState.EXCLUDED
    assert reading.state_of(ArtefactKind.GROUP_MEMBERSHIP) is ReadState.EXCLUDED
    assert ArtefactKind.GROUP_MEMBERSHIP not in {item.kind for item in reading.items}
    assert inventory.complete


def test_a_directory_that_refuses_us_or_does_not_answer_raises(corp: Company, tmp_path: Path) -> None:
    """Wrong password, empty password (which LDAP would take as nobody) and a stopped server are errors of the whole."""
    for text, expected in (("wrong", Denied), ("\n", Misconfigured)):
        (tmp_path / "password").write_text(text)
        with pytest.raises(expected):
            corp.inventory(password_file=tmp_path / "password")
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


def test_members_that_name_nobody_are_left_out_and_counted(corp: Company, caplog: pytest.LogCaptureFixture) -> None:
    """A dangling value is no access item; its number is in the log."""
    with caplog.at_level("INFO", logger="inventory.providers.ldap"):
        inventory = corp.inventory()

    assert "corp-ldap: 1 membership values name no account" in caplog.text
    assert inventory.complete


def test_the_reader_cannot_write(corp: Company) -> None:
    """The reader's identity is refused every kind of change."""
    reader = corp.bound("reader")
    for dn, attribute in ((ALICE, "sshPublicKey"), (ALICE, "pwdAccountLockedTime"), (group_dn("wheel"), "memberUid")):
        with pytest.raises(ldap.INSUFFICIENT_ACCESS):
            reader.modify_s(dn, [(ldap.MOD_DELETE, attribute, None)])
    with pytest.raises(ldap.INSUFFICIENT_ACCESS):
        reader.delete_s(ALICE)


def test_the_reader_is_shown_no_password(corp: Company) -> None:
    """Not even the hash of a password reaches the reader."""
    ((_, attributes),) = corp.bound("reader").search_s(ALICE, ldap.SCOPE_BASE, attrlist=["*", "userPassword"])

    assert "uid" in attributes
    assert "userPassword" not in attributes


def test_the_sample_company_is_what_the_tests_say(corp: Company) -> None:
    """The seed holds four accounts of its own beside our two binds."""
    assert COMPANY.count("dn::") == 10
    assert len(corp.inventory().principals) == 6


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
    try:
        with pytest.raises(Unavailable):
            collector.read_principal(alice)
    finally:
        corp.server.process.send_signal(signal.SIGCONT)

    assert collector.read_principal(alice).principal == alice


def test_many_may_read_at_once(corp: Company) -> None:
    """One collector serves several threads; each gets its own principal, whole."""
    inventory = corp.inventory()
    collector = corp.collector()
    people = inventory.principals * 5
    with ThreadPoolExecutor(max_workers=8) as pool:
        readings = list(pool.map(collector.read_principal, people))

    assert [reading.principal for reading in readings] == list(people)


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
    with company(_many(1200), paged_total="hard") as corp:
        collector = corp.collector()

        def fail(_: Principal) -> PrincipalReading:
            raise Unavailable("the line went dead")

        monkeypatch.setattr(collector, "read_principal", fail)
        (inventory,) = collector.collect(lambda one: "p7" in one.login_names)

    leaver = principal_of(inventory, person_dn("p7"))
    assert not leaver.read.whole
    assert items_of(inventory, person_dn("p7")) == ()
    assert "the line went dead" in inventory.errors
