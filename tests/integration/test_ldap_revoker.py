"""The LDAP revoker against a real OpenLDAP server."""

import json
import signal
import time
from collections.abc import Iterator, Sequence
from typing import Any

import ldap
import pytest

from inventory.documents.ldap import Entry
from inventory.errors import Misconfigured, ObjectChanged, Unavailable, Unsupported
from inventory.model import ArtefactKind, Grant
from reconciler.core.model import Action, OutcomeState
from reconciler.demo import slapd
from reconciler.revokers.ldap import LdapRevoker
from tests.ldap_company import (
    ALICE,
    BOB,
    KEY_OF_ALICE,
    Company,
    action,
    company,
    group_dn,
    items_of,
    key_of_alice,
    lock_of_alice,
    membership_of_alice,
    principal_of,
    values_of,
)

pytestmark = pytest.mark.peer("slapd")
MOVING = ("entryCSN", "modifyTimestamp", "modifiersName", "pwdLastSuccess")
"""Operational attributes that every write to an entry moves."""


@pytest.fixture
def corp() -> Iterator[Company]:
    """Run the sample company; its revoker may delete accounts."""
    with company(may_delete=True) as running:
        yield running


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
    planned, revoker = lock_of_alice(corp), corp.revoker()
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
    planned, revoker = lock_of_alice(corp), corp.revoker()
    before = revoker.before_image(planned)

    revoker.quarantine(planned)
    locked = values_of(corp, ALICE, "pwdAccountLockedTime")
    revoker.undo(planned, before)

    assert locked == [b"000001010000Z"]
    assert values_of(corp, ALICE, "pwdAccountLockedTime") == [b"20260301120000Z"]


def test_undo_leaves_a_lock_that_was_there_before_us(corp: Company) -> None:
    """An account that an administrator had locked before stays locked."""
    corp.bound("admin").modify_s(ALICE, [(ldap.MOD_ADD, "pwdAccountLockedTime", [b"000001010000Z"])])
    planned, revoker = lock_of_alice(corp), corp.revoker()
    before = revoker.before_image(planned)

    assert revoker.quarantine(planned).outcome is OutcomeState.ALREADY_ABSENT
    assert revoker.undo(planned, before).outcome is OutcomeState.ALREADY_ABSENT
    assert not corp.may_bind(ALICE)


def test_the_lock_is_a_compare_and_set(corp: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the lock changes between our read and our write, the server refuses the write."""
    planned, revoker = lock_of_alice(corp), corp.revoker()
    stale = Entry.of(ALICE, {"entryUUID": [planned.principal.principal_id.encode()]})
    monkeypatch.setattr(revoker._client, "read", lambda dn, attributes: stale)
    corp.bound("admin").modify_s(ALICE, [(ldap.MOD_ADD, "pwdAccountLockedTime", [b"20260301120000Z"])])

    with pytest.raises(ObjectChanged):
        revoker.quarantine(planned)

    assert values_of(corp, ALICE, "pwdAccountLockedTime") == [b"20260301120000Z"]


@pytest.mark.parametrize("kind", [ArtefactKind.ACCOUNT, ArtefactKind.SSH_KEY, ArtefactKind.GROUP_MEMBERSHIP])
def test_a_look_just_taken_serves_the_act(corp: Company, kind: ArtefactKind) -> None:
    """A leaver's act does not wait for a second reading of what the before-image has just shown; a repeat looks."""
    planned = {
        ArtefactKind.ACCOUNT: lock_of_alice(corp),
        ArtefactKind.SSH_KEY: key_of_alice(corp, readable=True),
        ArtefactKind.GROUP_MEMBERSHIP: membership_of_alice(corp, "developers"),
    }[kind]
    revoker = corp.revoker()
    act = revoker.quarantine if kind is ArtefactKind.ACCOUNT else revoker.revoke
    revoker.before_image(planned)
    looked = revoker._client.calls

    assert act(planned).outcome is OutcomeState.DONE
    assert revoker._client.calls == looked + 1
    assert act(planned).outcome is OutcomeState.ALREADY_ABSENT
    assert revoker._client.calls >= looked + 2


def test_a_lock_that_changed_since_the_look_is_not_overwritten(corp: Company) -> None:
    """The write asserts what the look showed, so that the server refuses it when that is not so any more."""
    planned, revoker = lock_of_alice(corp), corp.revoker()
    revoker.before_image(planned)
    corp.bound("admin").modify_s(ALICE, [(ldap.MOD_ADD, "pwdAccountLockedTime", [b"20260301120000Z"])])

    with pytest.raises(ObjectChanged):
        revoker.quarantine(planned)

    assert values_of(corp, ALICE, "pwdAccountLockedTime") == [b"20260301120000Z"]


def test_a_dangling_name_is_seen_by_the_look(corp: Company) -> None:
    """Where the account is gone when its membership is looked at, the name in the group is left for people."""
    planned, revoker = membership_of_alice(corp, "developers"), corp.revoker()
    corp.bound("admin").delete_s(ALICE)
    assert revoker.before_image(planned).restorable

    with pytest.raises(ObjectChanged, match="its name stands in"):
        revoker.revoke(planned)


def test_several_entries_are_read_in_one_go(corp: Company) -> None:
    """Each with its own attributes, in the order asked for; one that is not there is None, a refusal is raised."""
    client = corp.revoker()._client
    asked = [(ALICE, ("uid",)), (f"uid=nobody,{slapd.PEOPLE_DN}", ("uid",)), (group_dn("developers"), ("member",))]

    first, missing, last = client.read_together(asked)

    assert missing is None
    assert first == client.read(ALICE, ("uid",))
    assert last is not None
    assert ALICE.encode() in last.values("member")
    with pytest.raises(Misconfigured):
        client.read_together([("no dn at all", ("uid",)), (ALICE, ("uid",))])
    assert client.read_together([(BOB, ("uid",))]) == (client.read(BOB, ("uid",)),)


def test_without_lockout_in_its_policy_the_server_ignores_a_lock() -> None:
    """OpenLDAP looks at locks only where `pwdLockout` is TRUE: why the documentation asks for it."""
    with company(lockout=False) as corp:
        assert corp.revoker().quarantine(lock_of_alice(corp)).outcome is OutcomeState.DONE
        assert corp.may_bind(ALICE)


def test_one_ssh_key_goes_and_comes_back(corp: Company) -> None:
    """The planned key alone is removed; a repeat says so; undo puts the same bytes back."""
    planned = key_of_alice(corp, readable=True)
    revoker = corp.revoker()
    before = revoker.before_image(planned)

    first, again = revoker.revoke(planned), revoker.revoke(planned)

    assert (first.outcome, again.outcome) == (OutcomeState.DONE, OutcomeState.ALREADY_ABSENT)
    assert values_of(corp, ALICE, "sshPublicKey") == [b"no key at all"]
    assert revoker.undo(planned, before).outcome is OutcomeState.DONE
    assert set(values_of(corp, ALICE, "sshPublicKey")) == {b"no key at all", KEY_OF_ALICE.encode()}
    assert revoker.undo(planned, before).outcome is OutcomeState.ALREADY_ABSENT


def test_a_value_that_is_no_key_can_be_removed_too(corp: Company) -> None:
    """A malformed value is removed by its bytes."""
    assert corp.revoker().revoke(key_of_alice(corp, readable=False)).outcome is OutcomeState.DONE
    assert values_of(corp, ALICE, "sshPublicKey") == [KEY_OF_ALICE.encode()]


@pytest.mark.parametrize(
    ("group", "attribute", "left"),
    [("developers", "member", BOB), ("approvers", "uniqueMember", BOB), ("wheel", "memberUid", "bob")],
)
def test_one_membership_goes_and_comes_back(corp: Company, group: str, attribute: str, left: str) -> None:
    """Each way of membership is removed by its value; a repeat says so; undo gives it back."""
    planned, revoker = membership_of_alice(corp, group_dn(group)), corp.revoker()
    held = set(values_of(corp, group_dn(group), attribute))
    before = revoker.before_image(planned)

    first, again = revoker.revoke(planned), revoker.revoke(planned)
    after = values_of(corp, group_dn(group), attribute)

    assert (first.outcome, again.outcome) == (OutcomeState.DONE, OutcomeState.ALREADY_ABSENT)
    assert left.encode() in after
    assert len(after) == len(held) - 1
    assert revoker.undo(planned, before).outcome is OutcomeState.DONE
    assert set(values_of(corp, group_dn(group), attribute)) == held
    assert revoker.undo(planned, before).outcome is OutcomeState.ALREADY_ABSENT


def test_member_and_member_uid_are_two_memberships(corp: Company) -> None:
    """Taking away the DN leaves the login name in the posixGroup, and the next inventory still tells it."""
    corp.revoker().revoke(membership_of_alice(corp, group_dn("developers")))

    grants = [item for item in items_of(corp.inventory(), ALICE) if isinstance(item, Grant) and item.direct]
    assert {(grant.role, grant.access_id.rsplit("/", 1)[1]) for grant in grants} == {
        ("lonely", "member"),
        ("approvers", "uniqueMember"),
        ("wheel", "memberUid"),
    }


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


def test_a_group_that_is_gone_holds_nobody(corp: Company) -> None:
    """A membership of a deleted group is absent already."""
    planned = membership_of_alice(corp, "cn=developers")
    corp.bound("admin").delete_s(group_dn("developers"))

    assert corp.revoker().revoke(planned).outcome is OutcomeState.ALREADY_ABSENT


def test_a_leaver_loses_everything_and_nobody_else_changes(corp: Company) -> None:
    """Lock, keys and memberships of one account are gone; the server's own log shows no write beyond them."""
    inventory, revoker, before = corp.inventory(), corp.revoker(), corp.dump()
    revoker.quarantine(lock_of_alice(corp))
    parts = ("cn=developers", "cn=approvers", "cn=wheel")
    for planned in [
        key_of_alice(corp, readable=True),
        key_of_alice(corp, readable=False),
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


def _removed_after_the_first_read(corp: Company, revoker: LdapRevoker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let somebody else take the membership away between the revoker's read and its write."""
    read, admin = revoker._client.read, corp.bound("admin")
    met: list[str] = []

    def read_then_lose(dn: str, attributes: Sequence[str]) -> Entry | None:
        found = read(dn, attributes)
        if dn == ALICE and not met:
            met.append(dn)
            admin.modify_s(group_dn("developers"), [(ldap.MOD_DELETE, "member", [ALICE.encode()])])
        return found

    monkeypatch.setattr(revoker._client, "read", read_then_lose)


def test_a_membership_that_somebody_else_removes_meanwhile_is_absent(
    corp: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server has no such value any more; a read confirms it, and it counts as absent, not as done by us."""
    planned, revoker = membership_of_alice(corp, "cn=developers"), corp.revoker()
    _removed_after_the_first_read(corp, revoker, monkeypatch)

    assert revoker.revoke(planned).outcome is OutcomeState.ALREADY_ABSENT
    assert values_of(corp, group_dn("developers"), "member") == [BOB.encode()]


def test_acts_on_a_deleted_account_are_absent_already(corp: Company) -> None:
    """Where the whole account is gone, its lock, key and deletion have nothing left to do."""
    revoker, deletion = corp.revoker(), action(corp.inventory(), ALICE, ArtefactKind.ACCOUNT)
    lock, key = lock_of_alice(corp), key_of_alice(corp, readable=True)
    corp.bound("admin").delete_s(ALICE)

    assert revoker.quarantine(lock).outcome is OutcomeState.ALREADY_ABSENT
    assert revoker.revoke(key).outcome is OutcomeState.ALREADY_ABSENT
    assert revoker.revoke(deletion).outcome is OutcomeState.ALREADY_ABSENT


def _asked_until_settled(revoker: LdapRevoker, planned: Action) -> OutcomeState:
    """Ask again while the write whose reply was lost comes in between a look and the write that follows it."""
    for _ in range(2):
        try:
            return revoker.quarantine(planned).outcome
        except (ObjectChanged, Unavailable):
            time.sleep(0.5)
    return revoker.quarantine(planned).outcome


def test_a_lost_reply_is_not_called_a_failure(corp: Company) -> None:
    """A server that hangs in the middle of a write leaves the outcome open; reading again settles it."""
    planned, revoker = lock_of_alice(corp), corp.revoker(timeout_seconds=0.3)
    revoker.before_image(planned)
    corp.server.process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(Unavailable):
            revoker.quarantine(planned)
    finally:
        corp.server.process.send_signal(signal.SIGCONT)

    settled = [OutcomeState.DONE, OutcomeState.ALREADY_ABSENT]
    assert _asked_until_settled(revoker, planned) in settled
    assert not corp.may_bind(ALICE)
