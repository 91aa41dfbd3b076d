"""The LDAP revoker against a real OpenLDAP server."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import ldap
import pytest

from inventory.documents.ldap import Entry
from inventory.errors import Denied, ObjectChanged, ObjectMissing, ProviderError, Unsupported
from inventory.model import ArtefactKind, Grant
from reconciler.core.model import Action, Effect, OutcomeState
from reconciler.demo import slapd
from tests.ldap_company import (
    ALICE,
    BOB,
    KEY_OF_ALICE,
    PASSWORD,
    Company,
    action,
    company,
    group_dn,
    items_of,
    names,
    person,
    person_dn,
    principal_of,
)

pytestmark = pytest.mark.peer("slapd")
MOVING = ("entryCSN", "modifyTimestamp", "modifiersName", "pwdLastSuccess")
"""Operational attributes that every write to an entry moves."""


@pytest.fixture
def corp() -> Iterator[Company]:
    """Run the sample company; its revoker may delete accounts."""
    with company(may_delete=True) as running:
        yield running


def _lock(corp: Company) -> Action:
    return action(corp.inventory(), ALICE, ArtefactKind.ACCOUNT, effect=Effect.QUARANTINE)


def _membership(corp: Company, part: str) -> Action:
    return action(corp.inventory(), ALICE, ArtefactKind.GROUP_MEMBERSHIP, part)


def _values(corp: Company, dn: str, attribute: str) -> list[bytes]:
    ((_, attributes),) = corp.bound("admin").search_s(dn, ldap.SCOPE_BASE, attrlist=[attribute])
    return list(attributes.get(attribute, []))


def _differences(before: dict[str, dict[str, list[bytes]]], after: dict[str, dict[str, list[bytes]]]) -> set[Any]:
    """Return (DN, attribute) of all that differs, the attributes that every write moves left out."""
    return {
        (dn, name)
        for dn in before.keys() | after.keys()
        for name in before.get(dn, {}).keys() | after.get(dn, {}).keys()
        if name not in MOVING and before.get(dn, {}).get(name) != after.get(dn, {}).get(name)
    }


def test_a_locked_account_cannot_bind_until_it_is_given_back(corp: Company) -> None:
    """The lock refuses the bind at once, a repeat says so, undo lets the same password in again, and again says so."""
    planned, revoker = _lock(corp), corp.revoker()
    assert corp.may_bind(ALICE)

    before = revoker.before_image(planned)
    first, again = revoker.quarantine(planned), revoker.quarantine(planned)

    assert (first.outcome, again.outcome) == (OutcomeState.DONE, OutcomeState.ALREADY_ABSENT)
    assert not corp.may_bind(ALICE)
    assert corp.may_bind(BOB)
    assert principal_of(corp.inventory(), ALICE).enabled is False
    assert before.restorable
    assert revoker.undo(planned, before).outcome is OutcomeState.DONE
    assert corp.may_bind(ALICE)
    assert revoker.undo(planned, before).outcome is OutcomeState.ALREADY_ABSENT


def test_a_time_out_is_given_back_as_it_was(corp: Company) -> None:
    """A lock-out by wrong passwords is overwritten by the lock, and undo restores its time."""
    corp.bound("admin").modify_s(ALICE, [(ldap.MOD_ADD, "pwdAccountLockedTime", [b"20260301120000Z"])])
    planned, revoker = _lock(corp), corp.revoker()
    before = revoker.before_image(planned)

    revoker.quarantine(planned)
    locked = _values(corp, ALICE, "pwdAccountLockedTime")
    revoker.undo(planned, before)

    assert locked == [b"000001010000Z"]
    assert _values(corp, ALICE, "pwdAccountLockedTime") == [b"20260301120000Z"]


def test_undo_leaves_a_lock_that_was_there_before_us(corp: Company) -> None:
    """An account that an administrator had locked before stays locked."""
    corp.bound("admin").modify_s(ALICE, [(ldap.MOD_ADD, "pwdAccountLockedTime", [b"000001010000Z"])])
    planned, revoker = _lock(corp), corp.revoker()
    before = revoker.before_image(planned)

    assert revoker.quarantine(planned).outcome is OutcomeState.ALREADY_ABSENT
    assert revoker.undo(planned, before).outcome is OutcomeState.ALREADY_ABSENT
    assert not corp.may_bind(ALICE)


def test_the_lock_is_a_compare_and_set(corp: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the lock changes between our read and our write, the server refuses the write."""
    planned, revoker = _lock(corp), corp.revoker()
    stale = Entry.of(ALICE, {"entryUUID": [planned.principal.principal_id.encode()]})
    monkeypatch.setattr(revoker._client, "read", lambda dn, attributes: stale)
    corp.bound("admin").modify_s(ALICE, [(ldap.MOD_ADD, "pwdAccountLockedTime", [b"20260301120000Z"])])

    with pytest.raises(ObjectChanged):
        revoker.quarantine(planned)

    assert _values(corp, ALICE, "pwdAccountLockedTime") == [b"20260301120000Z"]


def test_without_lockout_in_its_policy_the_server_ignores_a_lock() -> None:
    """OpenLDAP looks at locks only where `pwdLockout` is TRUE: why the documentation asks for it."""
    with company(lockout=False) as corp:
        assert corp.revoker().quarantine(_lock(corp)).outcome is OutcomeState.DONE
        assert corp.may_bind(ALICE)


def test_one_ssh_key_goes_and_comes_back(corp: Company) -> None:
    """The planned key alone is removed; a repeat says so; undo puts the same bytes back."""
    planned = _key(corp, readable=True)
    revoker = corp.revoker()
    before = revoker.before_image(planned)

    first, again = revoker.revoke(planned), revoker.revoke(planned)

    assert (first.outcome, again.outcome) == (OutcomeState.DONE, OutcomeState.ALREADY_ABSENT)
    assert _values(corp, ALICE, "sshPublicKey") == [b"no key at all"]
    assert revoker.undo(planned, before).outcome is OutcomeState.DONE
    assert set(_values(corp, ALICE, "sshPublicKey")) == {b"no key at all", KEY_OF_ALICE.encode()}
    assert revoker.undo(planned, before).outcome is OutcomeState.ALREADY_ABSENT


def _key(corp: Company, *, readable: bool) -> Action:
    inventory = corp.inventory()
    keys = [item for item in items_of(inventory, ALICE) if item.kind is ArtefactKind.SSH_KEY]
    (chosen,) = [item for item in keys if bool(getattr(item, "fingerprint", "")) is readable]
    return action(inventory, ALICE, ArtefactKind.SSH_KEY, chosen.access_id)


def test_a_value_that_is_no_key_can_be_removed_too(corp: Company) -> None:
    """A malformed value is removed by its bytes."""
    assert corp.revoker().revoke(_key(corp, readable=False)).outcome is OutcomeState.DONE
    assert _values(corp, ALICE, "sshPublicKey") == [KEY_OF_ALICE.encode()]


@pytest.mark.parametrize(
    ("group", "attribute", "left"),
    [("developers", "member", BOB), ("approvers", "uniqueMember", BOB), ("wheel", "memberUid", "bob")],
)
def test_one_membership_goes_and_comes_back(corp: Company, group: str, attribute: str, left: str) -> None:
    """Each way of membership is removed by its value; a repeat says so; undo gives it back."""
    planned, revoker = _membership(corp, group_dn(group)), corp.revoker()
    held = set(_values(corp, group_dn(group), attribute))
    before = revoker.before_image(planned)

    first, again = revoker.revoke(planned), revoker.revoke(planned)
    after = _values(corp, group_dn(group), attribute)

    assert (first.outcome, again.outcome) == (OutcomeState.DONE, OutcomeState.ALREADY_ABSENT)
    assert left.encode() in after
    assert len(after) == len(held) - 1
    assert revoker.undo(planned, before).outcome is OutcomeState.DONE
    assert set(_values(corp, group_dn(group), attribute)) == held
    assert revoker.undo(planned, before).outcome is OutcomeState.ALREADY_ABSENT


def test_member_and_member_uid_are_two_memberships(corp: Company) -> None:
    """Taking away the DN leaves the login name in the posixGroup, and the next inventory still tells it."""
    corp.revoker().revoke(_membership(corp, group_dn("developers")))

    grants = [item for item in items_of(corp.inventory(), ALICE) if isinstance(item, Grant) and item.direct]
    assert {(grant.role, grant.access_id.rsplit("/", 1)[1]) for grant in grants} == {
        ("lonely", "member"),
        ("approvers", "uniqueMember"),
        ("wheel", "memberUid"),
    }


def test_the_last_member_stays_and_a_human_is_asked(corp: Company) -> None:
    """A group that cannot be empty refuses; nothing is put in place of the member, and the advice says what to do."""
    before = corp.dump()
    with pytest.raises(ProviderError, match="last member") as raised:
        corp.revoker().revoke(_membership(corp, group_dn("lonely")))

    assert "placeholder" in raised.value.advice
    assert corp.dump() == before


def test_a_deleted_account_leaves_an_image_without_secrets(corp: Company) -> None:
    """Revoking the account deletes the entry; the image holds its attributes, no password, and cannot be undone."""
    planned, revoker = action(corp.inventory(), ALICE, ArtefactKind.ACCOUNT), corp.revoker()
    before = revoker.before_image(planned)

    first, again = revoker.revoke(planned), revoker.revoke(planned)

    assert (first.outcome, again.outcome) == (OutcomeState.DONE, OutcomeState.ALREADY_ABSENT)
    assert corp.collector().read_principal(planned.principal).principal is None
    kept = json.loads(before.document)["attributes"]
    assert {"uid", "mail", "employeenumber", "sshpublickey"} <= kept.keys()
    assert "userpassword" not in kept
    assert not before.restorable
    with pytest.raises(Unsupported):
        revoker.undo(planned, before)


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
    planned, revoker = _key(corp, readable=True), corp.revoker()
    stale = Entry.of(
        ALICE,
        {"entryUUID": [planned.principal.principal_id.encode()], "sshPublicKey": [KEY_OF_ALICE.encode()]},
    )
    _recreate(corp, ALICE)
    monkeypatch.setattr(revoker._client, "read", lambda dn, attributes: stale)

    with pytest.raises(ObjectChanged):
        revoker.revoke(planned)
    with pytest.raises(ObjectChanged):
        revoker._delete_account(_target(planned))

    assert _values(corp, ALICE, "sshPublicKey") == [KEY_OF_ALICE.encode()]


def _target(planned: Action) -> Any:
    from reconciler.revokers.ldap import _account_target  # noqa: PLC0415 - one test looks inside

    return _account_target(planned)


def test_a_renamed_account_goes_back_to_the_next_cycle(corp: Company) -> None:
    """A rename after the plan refuses the act instead of following the entry."""
    planned = _lock(corp)
    corp.bound("admin").rename_s(ALICE, "uid=alice.smith")

    with pytest.raises(ObjectChanged):
        corp.revoker().quarantine(planned)


@pytest.mark.parametrize("part", ["cn=developers", "cn=wheel"])
def test_undo_never_gives_a_membership_to_somebody_new(corp: Company, part: str) -> None:
    """A name that became another entry's is not put back into a group."""
    planned, revoker = _membership(corp, part), corp.revoker()
    before = revoker.before_image(planned)
    revoker.revoke(planned)
    _recreate(corp, ALICE)

    with pytest.raises(ObjectChanged):
        revoker.undo(planned, before)


def test_undo_checks_that_the_login_name_is_still_the_account_s(corp: Company) -> None:
    """A memberUid is not put back when the account has given its login name up."""
    planned, revoker = _membership(corp, "cn=wheel"), corp.revoker()
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
    planned, revoker = _membership(corp, "cn=developers"), corp.revoker()
    before = revoker.before_image(planned)
    revoker.revoke(planned)
    corp.bound("admin").delete_s(ALICE)

    with pytest.raises(ObjectMissing):
        revoker.undo(planned, before)


def test_a_group_that_is_gone_holds_nobody(corp: Company) -> None:
    """A membership of a deleted group is absent already."""
    planned = _membership(corp, "cn=developers")
    corp.bound("admin").delete_s(group_dn("developers"))

    assert corp.revoker().revoke(planned).outcome is OutcomeState.ALREADY_ABSENT


def test_a_value_without_its_account_is_left_to_a_human(corp: Company) -> None:
    """When the account is gone and its name still stands in the group, nobody is touched and the advice says why."""
    planned = _membership(corp, "cn=developers")
    corp.bound("admin").delete_s(ALICE)

    with pytest.raises(ObjectChanged, match="the account is gone"):
        corp.revoker().revoke(planned)


def test_absence_behind_closed_doors_is_refused() -> None:
    """A revoker that may not see the tree gets no `already absent` out of it."""
    with company() as corp:
        planned = _lock(corp)
    hidden = f'access to dn.subtree="{slapd.BASE_DN}" by dn.exact="{slapd.REVOKER_DN}" none by * break\n'
    with company(extra_access=hidden) as closed, pytest.raises(Denied):
        closed.revoker().quarantine(planned)


def test_an_account_without_an_immutable_id_is_never_written_to(corp: Company) -> None:
    """Where the reader is shown no entryUUID, the plan has only a DN, and that is not enough."""
    planned = _lock(corp)
    bare = replace(planned, item=replace(planned.item, address=(("dn", ALICE),)))

    with pytest.raises(Unsupported, match="id_attribute"):
        corp.revoker().quarantine(bare)


def test_effects_that_ldap_has_not_are_refused(corp: Company) -> None:
    """A key cannot be suspended: it is removed or left."""
    planned = replace(_key(corp, readable=True), effect=Effect.QUARANTINE)

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


def test_a_leaver_loses_everything_and_nobody_else_changes(corp: Company) -> None:
    """Lock, keys and memberships of one account are gone; the server's own log shows no write beyond them."""
    inventory, revoker, before = corp.inventory(), corp.revoker(), corp.dump()
    revoker.quarantine(_lock(corp))
    parts = ("cn=developers", "cn=approvers", "cn=wheel")
    for planned in [
        _key(corp, readable=True),
        _key(corp, readable=False),
        *(action(inventory, ALICE, ArtefactKind.GROUP_MEMBERSHIP, part) for part in parts),
    ]:
        assert revoker.revoke(planned).outcome is OutcomeState.DONE

    after = corp.dump()
    assert _differences(before, after) == {
        (ALICE, "sshPublicKey"),
        (ALICE, "pwdAccountLockedTime"),
        (group_dn("developers"), "member"),
        (group_dn("approvers"), "uniqueMember"),
        (group_dn("wheel"), "memberUid"),
    }
    untouched = before.keys() - {ALICE, *map(group_dn, ("developers", "approvers", "wheel"))}
    assert {dn: before[dn] for dn in untouched} == {dn: after[dn] for dn in untouched}
    written = corp.bound("admin").search_s(
        "cn=accesslog", ldap.SCOPE_SUBTREE, f"(&(objectClass=auditWriteObject)(reqAuthzID={slapd.REVOKER_DN}))"
    )
    assert sorted(row["reqDN"][0].decode() for _, row in written) == sorted(
        [ALICE, ALICE, ALICE, *map(group_dn, ("developers", "approvers", "wheel"))]
    )
    left = [item for item in items_of(corp.inventory(), ALICE) if isinstance(item, Grant) and item.direct]
    assert [grant.role for grant in left] == ["lonely"]
