"""What the LDAP revoker does not do: refusals of its own and of the server, each leaving the world as it was."""

from collections.abc import Iterator
from dataclasses import replace

import ldap
import pytest

from inventory.documents.ldap import Entry
from inventory.errors import Denied, ObjectChanged, ObjectMissing, ProviderError, Unsupported
from inventory.model import ArtefactKind
from reconciler.core.model import Action, Effect, OutcomeState
from reconciler.demo import slapd
from reconciler.revokers.ldap import _account_target
from tests.ldap_company import (
    ALICE,
    BOB,
    KEY_OF_ALICE,
    PASSWORD,
    Company,
    action,
    company,
    group_dn,
    key_of_alice,
    lock_of_alice,
    membership_of_alice,
    names,
    person,
    person_dn,
    values_of,
)

pytestmark = pytest.mark.peer("slapd")


@pytest.fixture
def corp() -> Iterator[Company]:
    """Run the sample company; its revoker may delete accounts."""
    with company(may_delete=True) as running:
        yield running


def test_the_last_member_stays_and_a_human_is_asked(corp: Company) -> None:
    """A group that cannot be empty refuses; nothing is put in place of the member, and the advice says what to do."""
    before = corp.dump()
    with pytest.raises(ProviderError, match="last member") as raised:
        corp.revoker().revoke(membership_of_alice(corp, group_dn("lonely")))

    assert "placeholder" in raised.value.advice
    assert corp.dump() == before


def test_deleting_is_refused_without_its_own_access_rule() -> None:
    """The rules for locks, keys and memberships do not let the revoker delete anybody."""
    with company() as corp:
        planned = action(corp.inventory(), ALICE, ArtefactKind.ACCOUNT)
        with pytest.raises(Denied):
            corp.revoker().revoke(planned)
        assert corp.may_bind(ALICE)


def test_an_entry_with_entries_below_it_is_not_deleted(corp: Company) -> None:
    """The server refuses, and so do we: what lies below may be somebody else's."""
    corp.bound("admin").add_s(f"cn=phone,{ALICE}", [("objectClass", [b"device"]), ("cn", [b"phone"])])

    with pytest.raises(ProviderError, match="below it"):
        corp.revoker().revoke(action(corp.inventory(), ALICE, ArtefactKind.ACCOUNT))


def _recreate(corp: Company, dn: str) -> None:
    """Delete a person and give the name to another one."""
    admin = corp.bound("admin")
    admin.delete_s(dn)
    new = {"objectClass": [b"inetOrgPerson", b"ldapPublicKey"], "sn": [b"x"], "cn": [b"x"], "uid": [b"alice"]}
    new |= {"userPassword": [PASSWORD.encode()], "sshPublicKey": [KEY_OF_ALICE.encode()]}
    admin.add_s(dn, list(new.items()))


@pytest.mark.parametrize(
    ("kind", "effect", "part"),
    [
        (ArtefactKind.ACCOUNT, Effect.QUARANTINE, ""),
        (ArtefactKind.ACCOUNT, Effect.REVOKE, ""),
        (ArtefactKind.SSH_KEY, Effect.REVOKE, ""),
        (ArtefactKind.GROUP_MEMBERSHIP, Effect.REVOKE, "cn=developers"),
        (ArtefactKind.GROUP_MEMBERSHIP, Effect.REVOKE, "cn=wheel"),
    ],
)
def test_somebody_new_under_the_old_name_is_left_alone(
    corp: Company, kind: ArtefactKind, effect: Effect, part: str
) -> None:
    """A DN that has become another entry's refuses every act, and nothing of the directory changes."""
    planned, revoker = action(corp.inventory(), ALICE, kind, part, effect=effect), corp.revoker()
    _recreate(corp, ALICE)
    before = corp.dump()

    with pytest.raises(ObjectChanged):
        (revoker.quarantine if effect is Effect.QUARANTINE else revoker.revoke)(planned)

    assert corp.dump() == before


def test_the_server_itself_refuses_another_entry(corp: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even when the entry is swapped after our read, the assertion in the write stops it."""
    planned, revoker = key_of_alice(corp, readable=True), corp.revoker()
    stale = Entry.of(
        ALICE,
        {"entryUUID": [planned.principal.principal_id.encode()], "sshPublicKey": [KEY_OF_ALICE.encode()]},
    )
    _recreate(corp, ALICE)
    monkeypatch.setattr(revoker._client, "read", lambda dn, attributes: stale)

    with pytest.raises(ObjectChanged):
        revoker.revoke(planned)
    with pytest.raises(ObjectChanged):
        revoker._delete_account(_account_target(planned))

    assert values_of(corp, ALICE, "sshPublicKey") == [KEY_OF_ALICE.encode()]


def test_a_renamed_account_goes_back_to_the_next_cycle(corp: Company) -> None:
    """A rename after the plan refuses the act instead of following the entry."""
    planned = lock_of_alice(corp)
    corp.bound("admin").rename_s(ALICE, "uid=alice.smith")

    with pytest.raises(ObjectChanged):
        corp.revoker().quarantine(planned)


@pytest.mark.parametrize("part", ["cn=developers", "cn=wheel"])
def test_undo_never_gives_a_membership_to_somebody_new(corp: Company, part: str) -> None:
    """A name that became another entry's is not put back into a group."""
    planned, revoker = membership_of_alice(corp, part), corp.revoker()
    before = revoker.before_image(planned)
    revoker.revoke(planned)
    _recreate(corp, ALICE)

    with pytest.raises(ObjectChanged):
        revoker.undo(planned, before)


def test_undo_checks_that_the_login_name_is_still_the_account_s(corp: Company) -> None:
    """A memberUid is not put back when the account has given its login name up."""
    planned, revoker = membership_of_alice(corp, "cn=wheel"), corp.revoker()
    before = revoker.before_image(planned)
    revoker.revoke(planned)
    corp.bound("admin").modify_s(ALICE, [(ldap.MOD_ADD, "uid", [b"asmith"])])
    corp.bound("admin").rename_s(ALICE, "uid=asmith")
    moved = replace(planned, item=replace(planned.item, address=_readdressed(planned, "uid=asmith")))

    with pytest.raises(ObjectChanged, match="another login name"):
        revoker.undo(moved, before)


def _readdressed(planned: Action, rdn: str) -> tuple[tuple[str, str], ...]:
    parts = dict(planned.item.address) | {"dn": f"{rdn},{slapd.PEOPLE_DN}"}
    return tuple(parts.items())


def test_undo_of_somebody_gone_is_refused(corp: Company) -> None:
    """What belonged to a deleted account is given to nobody."""
    planned, revoker = membership_of_alice(corp, "cn=developers"), corp.revoker()
    before = revoker.before_image(planned)
    revoker.revoke(planned)
    corp.bound("admin").delete_s(ALICE)

    with pytest.raises(ObjectMissing):
        revoker.undo(planned, before)


def test_a_value_without_its_account_is_left_to_a_human(corp: Company) -> None:
    """When the account is gone and its name still stands in the group, nobody is touched and the advice says why."""
    planned = membership_of_alice(corp, "cn=developers")
    corp.bound("admin").delete_s(ALICE)

    with pytest.raises(ObjectChanged, match="the account is gone"):
        corp.revoker().revoke(planned)


def test_absence_behind_closed_doors_is_refused() -> None:
    """A revoker that may not see the tree gets no `already absent` out of it."""
    with company() as corp:
        planned = lock_of_alice(corp)
    hidden = f'access to dn.subtree="{slapd.BASE_DN}" by dn.exact="{slapd.REVOKER_DN}" none by * break\n'
    with company(extra_access=hidden) as closed, pytest.raises(Denied):
        closed.revoker().quarantine(planned)


def test_an_account_without_an_immutable_id_is_never_written_to(corp: Company) -> None:
    """Where the reader is shown no entryUUID, the plan has only a DN, and that is not enough."""
    planned = lock_of_alice(corp)
    bare = replace(planned, item=replace(planned.item, address=(("dn", ALICE),)))

    with pytest.raises(Unsupported, match="id_attribute"):
        corp.revoker().quarantine(bare)


def test_effects_that_ldap_has_not_are_refused(corp: Company) -> None:
    """A key cannot be suspended: it is removed or left."""
    planned = replace(key_of_alice(corp, readable=True), effect=Effect.QUARANTINE)

    with pytest.raises(Unsupported):
        corp.revoker().quarantine(planned)
    with pytest.raises(Unsupported):
        corp.revoker().before_image(planned)


def test_the_revoker_cannot_write_anything_else() -> None:
    """Its rules end at locks, keys and memberships within their subtrees."""
    with company(names("outside", ALICE) + person("alice", "E1")) as corp:
        revoker = corp.bound("revoker")
        for dn, attribute, value in (
            (ALICE, "mail", b"mallory@example.com"),
            (ALICE, "userPassword", b"mine now"),
            (ALICE, "employeeNumber", b"E9"),
            (group_dn("outside"), "description", b"x"),
            (slapd.READER_DN, "userPassword", b"mine now"),
            (f"cn=default,ou=policies,{slapd.BASE_DN}", "pwdLockout", b"FALSE"),
        ):
            with pytest.raises((ldap.INSUFFICIENT_ACCESS, ldap.NO_SUCH_OBJECT)):
                revoker.modify_s(dn, [(ldap.MOD_REPLACE, attribute, [value])])
        with pytest.raises(ldap.INSUFFICIENT_ACCESS):
            revoker.add_s(person_dn("mallory"), [("objectClass", [b"account"]), ("uid", [b"mallory"])])
        with pytest.raises(ldap.INSUFFICIENT_ACCESS):
            revoker.rename_s(ALICE, "uid=mallory")


def test_undo_gives_nothing_that_we_did_not_take(corp: Company) -> None:
    """What was absent before the act has an image that cannot be restored, so undo never grants anew."""
    membership, key, revoker = (
        membership_of_alice(corp, "cn=developers"),
        key_of_alice(corp, readable=True),
        corp.revoker(),
    )
    admin = corp.bound("admin")
    admin.modify_s(group_dn("developers"), [(ldap.MOD_DELETE, "member", [ALICE.encode()])])
    admin.modify_s(ALICE, [(ldap.MOD_DELETE, "sshPublicKey", None)])

    for planned in (membership, key):
        before = revoker.before_image(planned)
        assert not before.restorable
        assert revoker.revoke(planned).outcome is OutcomeState.ALREADY_ABSENT
        with pytest.raises(Unsupported):
            revoker.undo(planned, before)
    assert values_of(corp, group_dn("developers"), "member") == [BOB.encode()]


def test_undo_needs_the_group(corp: Company) -> None:
    """A membership of a group that was deleted meanwhile is given back to nothing."""
    planned, revoker = membership_of_alice(corp, "cn=developers"), corp.revoker()
    before = revoker.before_image(planned)
    revoker.revoke(planned)
    corp.bound("admin").delete_s(group_dn("developers"))

    with pytest.raises(ObjectMissing):
        revoker.undo(planned, before)
