"""The LDAP collector against a real OpenLDAP server."""

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ldap
import pytest

from inventory.errors import Unsupported
from inventory.model import (
    ArtefactKind,
    Credential,
    Grant,
    PrincipalKind,
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
    READER_NONE,
    Company,
    action,
    company,
    grants_of,
    group_dn,
    items_of,
    names,
    person,
    person_dn,
    principal_of,
    service,
    unique,
)

pytestmark = pytest.mark.peer("slapd")


@pytest.fixture
def corp() -> Iterator[Company]:
    """Run the sample company."""
    with company() as running:
        yield running


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
    grants = grants_of(corp.inventory(), ALICE)

    assert {key: grant.holders for key, grant in grants.items() if grant.direct} == {
        ("developers", "member"): 2,
        ("lonely", "member"): 1,
        ("approvers", "uniqueMember"): 2,
        ("wheel", "memberUid"): 3,
    }


def test_groups_within_groups_are_inherited(corp: Company) -> None:
    """What is held only through another group is not direct, says through which, and carries privilege down."""
    inventory = corp.inventory()
    grants = grants_of(inventory, BOB)

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

    assert set(grants_of(inventory, ALICE)) == {("a", "member"), ("b", "inherited")}
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


def test_many_may_read_at_once(corp: Company) -> None:
    """One collector serves several threads; each gets its own principal, whole.

    The reader's own account is left out: every connection it opens writes the time of its last login there.
    """
    inventory = corp.inventory()
    collector = corp.collector()
    people = [one for one in inventory.principals if one.principal_id not in inventory.own_principals] * 5
    assert len(people) == 20
    with ThreadPoolExecutor(max_workers=8) as pool:
        readings = list(pool.map(collector.read_principal, people))

    assert [reading.principal for reading in readings] == people


def test_without_an_immutable_id_the_dn_stands_in() -> None:
    """Accounts are still told, yet carry no id in their address: reported and looked at, never written to."""
    with company(extra_access=f"access to attrs=entryUUID {READER_NONE}") as corp:
        inventory = corp.inventory()
        alice, bob = principal_of(inventory, ALICE), principal_of(inventory, BOB)
        corp.bound("admin").delete_s(BOB)
        collector = corp.collector()
        still, gone = collector.read_principal(alice), collector.read_principal(bob)
        planned = action(inventory, ALICE, ArtefactKind.ACCOUNT)
        with pytest.raises(Unsupported, match="id_attribute"):
            corp.revoker().revoke(planned)

    assert (alice.principal_id, dict(alice.address)) == (ALICE, {"dn": ALICE})
    assert still.principal == alice
    assert gone.principal is None


def test_service_accounts_are_told_by_their_class_too(corp: Company) -> None:
    """Outside every service subtree, an application process is a service all the same."""
    inventory = corp.inventory(account_bases=(), service_bases=())

    assert principal_of(inventory, slapd.READER_DN).kind is PrincipalKind.SERVICE
    assert principal_of(inventory, ALICE).kind is PrincipalKind.HUMAN


def test_an_owner_may_be_written_down_as_an_e_mail() -> None:
    """What an owner attribute holds that is no DN is a hint as it stands."""
    shown = f'access to attrs=description by dn.exact="{slapd.READER_DN}" read by * break\n'
    with company(person("alice", "E1") + service("backup", description="bob@example.com"), extra_access=shown) as corp:
        inventory = corp.inventory(owner_attributes=("description",))

    assert principal_of(inventory, f"uid=backup,{slapd.SERVICES_DN}").owner_hints == ("bob@example.com",)
