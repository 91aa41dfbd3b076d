"""What can be taken away at an OpenLDAP directory, by one modify or delete each.

Quarantine of an account sets `pwdAccountLockedTime` to the permanent lock of slapo-ppolicy(5): binds are refused until
it is taken off. That stops binds at this directory only. Hosts that read `sshPublicKey` or groups from it go on
letting a locked account in, so keys and memberships are removed on their own, and the account never *contains* them.

Every write carries an assertion (RFC 4528) that the entry still has the planned immutable id, so that a renamed or
re-created entry is never touched; the lock also asserts the value that it replaces.
"""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

import ldap
import ldap.dn
from ldap.controls import AssertionControl
from ldap.filter import escape_filter_chars
from pydantic import Field

from inventory.documents.ldap import LOCK_ATTRIBUTE, PERMANENT_LOCK, Entry, ssh_key
from inventory.errors import Denied, ObjectChanged, ObjectMissing, ProviderError, Unsupported
from inventory.last_look import LastLook
from inventory.ldap_client import ConnectionSettings, LdapClient, LdapObject
from inventory.model import Address, ArtefactKind, ProviderName
from inventory.provider import Clock, Permission
from reconciler.core.canonical import Json, dumps
from reconciler.core.model import Action, BeforeImage, Effect, OutcomeState, Receipt
from reconciler.ports import Capabilities
from reconciler.revokers.declaration import RevokerType

NAME = "ldap"
_ENTRY_ID = "entryUUID"

_SECRET_MARKS = ("password", "passwd", "secret", "krbprincipalkey", "pwdhistory", "hash")
"""An attribute whose name holds one of these never enters a before-image."""


class Settings(ConnectionSettings):
    """The `revoker:` block of an LDAP provider instance: an identity of its own, never the reader's."""

    base_dn: str = Field(min_length=1, description="top of the tree, as in the reader's settings")
    login_attribute: str = Field(default="uid", description="login names, as in the reader's settings")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """An entry as the plan addresses it."""

    dn: str
    id_attribute: str
    entry_id: str

    @property
    def is_it(self) -> str:
        """Return the filter that is true of this very entry."""
        return f"({self.id_attribute}={escape_filter_chars(self.entry_id)})"


class LdapRevoker:
    """Locks and deletes accounts, removes SSH keys and memberships; each by one conditional write."""

    def __init__(self, provider: ProviderName, settings: Settings, clock: Clock) -> None:
        self._provider = provider
        self._settings = settings
        self._clock = clock
        self._client = LdapClient(settings, clock)
        self._accounts: LastLook[Entry | None] = LastLook(clock)
        """The account, as the look for the before-image showed it."""

    def identity(self) -> tuple[str, ...]:
        """Ask whom the server takes us for (RFC 4532): the DN, and the entry's immutable id where we may see it."""
        dn = self._client.who_am_i()
        if not dn:
            return ()
        try:
            entry = self._client.read(dn, (_ENTRY_ID,))
        except Denied:
            entry = None  # the DN alone will do: the reader sees whose it is
        entry_id = "" if entry is None else entry.text(_ENTRY_ID)
        return (dn, entry_id) if entry_id else (dn,)

    def before_image(self, action: Action) -> BeforeImage:
        """Read what `undo` needs; a deleted account keeps its readable attributes for people, secrets left out.

        A deleted account is not restorable: neither its immutable id nor its password can be given back.
        """
        target = _account_target(action)
        match (action.item.kind, action.effect):
            case (ArtefactKind.ACCOUNT, Effect.QUARANTINE):
                entry = self._look(action, LOCK_ATTRIBUTE)
                return _image(restorable=True, document={"lock": None if entry is None else entry.text(LOCK_ATTRIBUTE)})
            case (ArtefactKind.ACCOUNT, Effect.REVOKE):
                entry = self._read(target, ("*",))
                attributes = {} if entry is None else _public_attributes(entry)
                return _image(restorable=False, document={"dn": target.dn, "attributes": attributes})
            case (ArtefactKind.SSH_KEY, Effect.REVOKE):
                key = _key_in(self._look(action, _part(action.item.address, "attribute")), action.item.address)
                return _image(restorable=key is not None, document={"value": None if key is None else _encoded(key)})
            case (ArtefactKind.GROUP_MEMBERSHIP, Effect.REVOKE):
                value = self._member_value(action)
                return _image(restorable=value is not None, document={"value": value})
        raise _impossible(action)

    def quarantine(self, action: Action) -> Receipt:
        """Lock an account for good; what was there before must not have changed in between."""
        if action.item.kind is not ArtefactKind.ACCOUNT:
            raise _impossible(action)
        target = _account_target(action)
        entry = self._looked_at(action, LOCK_ATTRIBUTE)
        if entry is None:
            return Receipt(outcome=OutcomeState.ALREADY_ABSENT, detail="the account does not exist any more")
        before = entry.text(LOCK_ATTRIBUTE)
        if before == PERMANENT_LOCK:
            return Receipt(outcome=OutcomeState.ALREADY_ABSENT, detail="the account is locked already")
        change = (ldap.MOD_REPLACE, LOCK_ATTRIBUTE, [PERMANENT_LOCK.encode("ascii")])
        self._modify(target, change, f"(&{target.is_it}{_lock_is(before)})")
        return Receipt(outcome=OutcomeState.DONE, detail=f"{LOCK_ATTRIBUTE} set to {PERMANENT_LOCK}")

    def revoke(self, action: Action) -> Receipt:
        """Remove an SSH key or a membership by its value, or delete an account."""
        match action.item.kind:
            case ArtefactKind.ACCOUNT:
                return self._delete_account(_account_target(action))
            case ArtefactKind.SSH_KEY:
                return self._remove_key(action)
            case ArtefactKind.GROUP_MEMBERSHIP:
                return self._remove_membership(action)
        raise _impossible(action)

    def undo(self, action: Action, before: BeforeImage) -> Receipt:
        """Take off the lock, or put back a key or membership, if account and group are still the same entries."""
        if not before.restorable:
            raise Unsupported(f"{action.item.access_id} cannot be given back", advice="create it anew")
        document = cast("Mapping[str, str | None]", json.loads(before.document))
        target = _account_target(action)
        if self._read(target, ("objectClass",)) is None:
            raise ObjectMissing(f"{target.dn} does not exist any more", advice="create the account anew")
        match action.item.kind:
            case ArtefactKind.ACCOUNT:
                return self._unlock(target, document.get("lock") or "")
            case ArtefactKind.SSH_KEY:
                key = base64.b64decode(document["value"] or "", validate=True)
                return self._add(target, _part(action.item.address, "attribute"), key)
            case ArtefactKind.GROUP_MEMBERSHIP:
                group = _group_target(action)
                value = (document["value"] or "").encode("utf-8")
                self._still_named(target, _part(action.item.address, "attribute"), value)
                return self._add(group, _part(action.item.address, "attribute"), value)
        raise _impossible(action)

    def close(self) -> None:
        """Unbind."""
        self._client.close()

    def _delete_account(self, target: _Target) -> Receipt:
        def delete(connection: LdapObject) -> None:
            control = AssertionControl(criticality=True, filterstr=target.is_it)
            connection.delete_ext_s(target.dn, serverctrls=[control])

        try:
            self._write(f"delete {target.dn}", delete)
        except ObjectMissing:
            return self._absent(target)
        return Receipt(outcome=OutcomeState.DONE, detail="entry deleted")

    def _remove_key(self, action: Action) -> Receipt:
        attribute = _part(action.item.address, "attribute")
        value = _key_in(self._looked_at(action, attribute), action.item.address)
        if value is None:
            return Receipt(outcome=OutcomeState.ALREADY_ABSENT, detail="the entry does not hold this key")
        return self._remove(_account_target(action), attribute, value)

    def _remove_membership(self, action: Action) -> Receipt:
        group, value = _group_target(action), _part(action.item.address, "value")
        if self._looked_at(action, "objectClass") is None:
            raise ObjectChanged(
                f"{_account_target(action).dn}: the account is gone, its name stands in {group.dn}",
                advice="remove the dangling member by hand: a new account of that name would inherit it",
            )
        return self._remove(group, _part(action.item.address, "attribute"), value.encode("utf-8"))

    def _remove(self, target: _Target, attribute: str, value: bytes) -> Receipt:
        try:
            self._modify(target, (ldap.MOD_DELETE, attribute, [value]), target.is_it)
        except ObjectMissing:
            entry = self._read(target, (attribute,))
            if entry is not None and value in entry.values(attribute):
                raise
            return Receipt(outcome=OutcomeState.ALREADY_ABSENT, detail=f"{attribute} does not hold the value any more")
        return Receipt(outcome=OutcomeState.DONE, detail=f"value removed from {attribute}")

    def _add(self, target: _Target, attribute: str, value: bytes) -> Receipt:
        entry = self._read(target, (attribute,))
        if entry is None:
            raise ObjectMissing(f"{target.dn} does not exist any more", advice="create it anew, then give access anew")
        if value in entry.values(attribute):
            return Receipt(outcome=OutcomeState.ALREADY_ABSENT, detail=f"{attribute} holds the value already")
        self._modify(target, (ldap.MOD_ADD, attribute, [value]), target.is_it)
        return Receipt(outcome=OutcomeState.DONE, detail=f"value given back to {attribute}")

    def _unlock(self, target: _Target, before: str) -> Receipt:
        entry = self._read(target, (LOCK_ATTRIBUTE,))
        if entry is None or entry.text(LOCK_ATTRIBUTE) != PERMANENT_LOCK or before == PERMANENT_LOCK:
            return Receipt(outcome=OutcomeState.ALREADY_ABSENT, detail="there is no lock of ours to take off")
        values = [before.encode("ascii")] if before else []
        check = f"(&{target.is_it}{_lock_is(PERMANENT_LOCK)})"
        self._modify(target, (ldap.MOD_REPLACE, LOCK_ATTRIBUTE, values), check)
        return Receipt(outcome=OutcomeState.DONE, detail="lock taken off")

    def _member_value(self, action: Action) -> str | None:
        """Return the value by which the group names the account; None when it does not, so that undo gives nothing.

        The account is looked at in the same round trip: the act has to know that it is there.
        """
        attribute, value = _part(action.item.address, "attribute"), _part(action.item.address, "value")
        group, account = _group_target(action), _account_target(action)
        asked_at = self._clock.monotonic_seconds()
        entry, holder = self._client.read_together([_asked(group, attribute), _asked(account, "objectClass")])
        self._accounts.keep(action.action_id, holder, asked_at)
        entry = self._planned(group, entry)
        return value if entry is not None and value.encode("utf-8") in entry.values(attribute) else None

    def _still_named(self, target: _Target, attribute: str, value: bytes) -> None:
        """Refuse to put a name back into a group when it has become another account's."""
        if attribute != "memberUid":
            return  # the DN was just read, and is this account's
        login = self._settings.login_attribute
        entry = self._read(target, (login,))
        if entry is None or value not in entry.values(login):
            raise ObjectChanged(f"{target.dn} has another login name now", advice="give the membership by hand")

    def _look(self, action: Action, attribute: str) -> Entry | None:
        """Read the account for the before-image, and keep what was seen for the act; as `_read`."""
        target, asked_at = _account_target(action), self._clock.monotonic_seconds()
        found = self._client.read(*_asked(target, attribute))
        return self._planned(target, self._accounts.keep(action.action_id, found, asked_at))

    def _looked_at(self, action: Action, attribute: str) -> Entry | None:
        """Return the account as the look for the before-image showed it just now, or read it; as `_read`."""
        target = _account_target(action)
        seen = self._accounts.take(action.action_id)
        return self._read(target, (attribute,)) if seen is None else self._planned(target, seen[0])

    def _read(self, target: _Target, attributes: tuple[str, ...]) -> Entry | None:
        """Return the planned entry, None when the directory positively has none.

        Raises `ObjectChanged` when the DN belongs to another entry, or the entry to another DN.
        """
        return self._planned(target, self._client.read(*_asked(target, *attributes)))

    def _planned(self, target: _Target, entry: Entry | None) -> Entry | None:
        """Return what was found under the DN if it is the planned entry; as `_read`."""
        if entry is not None and entry.text(target.id_attribute) == target.entry_id:
            return entry
        moved = self._client.read_by_id(self._settings.base_dn, target.id_attribute, target.entry_id, ("objectClass",))
        if entry is not None or moved is not None:
            raise ObjectChanged(
                f"{target.dn} is not the planned entry any more: renamed or created anew",
                advice="nothing was done; the next cycle decides afresh",
            )
        return None

    def _absent(self, target: _Target) -> Receipt:
        if self._read(target, ("objectClass",)) is not None:
            raise ProviderError(f"{target.dn} is there, yet the server says it is not", advice="check the access rules")
        return Receipt(outcome=OutcomeState.ALREADY_ABSENT, detail="the entry does not exist any more")

    def _modify(self, target: _Target, change: tuple[int, str, list[bytes]], check: str) -> None:
        def modify(connection: LdapObject) -> None:
            control = AssertionControl(criticality=True, filterstr=check)
            connection.modify_ext_s(target.dn, [change], serverctrls=[control])

        self._write(f"modify {change[1]} of {target.dn}", modify)

    def _write(self, what: str, write: Callable[[LdapObject], None]) -> None:
        with self._client.raw(what) as connection:
            self._client.count()
            try:
                write(connection)
            except ldap.OBJECT_CLASS_VIOLATION as error:
                raise ProviderError(
                    f"{what}: the entry would break its object class, as a group does that loses its last member",
                    advice="name another member or delete the group by hand; no placeholder is ever put in",
                ) from error
            except ldap.NOT_ALLOWED_ON_NONLEAF as error:
                raise ProviderError(f"{what}: the entry has entries below it", advice="move or delete them") from error


def _part(address: Address, name: str) -> str:
    value = dict(address).get(name)
    if value is None:
        raise Unsupported(
            f"the planned item has no {name!r} in its address",
            advice="let the reader see entryUUID (id_attribute): nothing is written on the ground of a DN alone",
        )
    return value


def _account_target(action: Action) -> _Target:
    address = action.item.address
    return _Target(dn=_part(address, "dn"), id_attribute=_part(address, "id_attribute"), entry_id=_part(address, "id"))


def _group_target(action: Action) -> _Target:
    address = action.item.address
    return _Target(
        dn=_part(address, "group_dn"), id_attribute=_part(address, "id_attribute"), entry_id=_part(address, "group_id")
    )


def _asked(target: _Target, *attributes: str) -> tuple[str, tuple[str, ...]]:
    """Return what to read of a target: its DN, and with the attributes the one that it is known by."""
    return target.dn, (target.id_attribute, *attributes)


def _key_in(entry: Entry | None, address: Address) -> bytes | None:
    attribute, digest = _part(address, "attribute"), _part(address, "value_sha256")
    values = () if entry is None else entry.values(attribute)
    return next((value for value in values if ssh_key(value).digest == digest), None)


def _lock_is(value: str) -> str:
    return f"({LOCK_ATTRIBUTE}={escape_filter_chars(value)})" if value else f"(!({LOCK_ATTRIBUTE}=*))"


def _impossible(action: Action) -> Unsupported:
    return Unsupported(f"{action.effect.value} of {action.item.kind.value} is not possible in LDAP")


def _encoded(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


def _public_attributes(entry: Entry) -> dict[str, Json]:
    """Return an entry's attributes in base64, without those that hold secrets or their hashes."""
    public = {name: values for name, values in entry.attributes.items() if not any(m in name for m in _SECRET_MARKS)}
    return {name: [_encoded(value) for value in values] for name, values in sorted(public.items())}


def _image(*, restorable: bool, document: dict[str, Json]) -> BeforeImage:
    return BeforeImage(restorable=restorable, document=dumps(document).decode("utf-8"))


def _longest_act(settings: Settings) -> float:
    """Return the bound of one act: connecting, binding, two looks and the write."""
    return 5 * settings.timeout_seconds


REVOKER = RevokerType(
    name=NAME,
    settings=Settings,
    build=LdapRevoker,
    longest_act_seconds=_longest_act,
    capabilities=Capabilities(
        effects=frozenset(
            {
                (ArtefactKind.ACCOUNT, Effect.QUARANTINE),
                (ArtefactKind.ACCOUNT, Effect.REVOKE),
                (ArtefactKind.SSH_KEY, Effect.REVOKE),
                (ArtefactKind.GROUP_MEMBERSHIP, Effect.REVOKE),
            }
        ),
        account_contains=False,
        revoke_permissions=(
            Permission(name="read entry", purpose="look at the entry before writing to it"),
            Permission(name="read objectClass", purpose="see that the base and an entry exist"),
            Permission(name="read entryUUID", purpose="assert that the entry is the planned one"),
            Permission(name="read uid", purpose="give a memberUid back only to the account that still has the name"),
            Permission(name="write pwdAccountLockedTime", purpose="quarantine an account, and undo it"),
            Permission(name="write sshPublicKey", purpose="remove an SSH key, and undo it"),
            Permission(name="write member", purpose="remove a membership, and undo it"),
            Permission(name="write uniqueMember", purpose="remove a membership, and undo it"),
            Permission(name="write memberUid", purpose="remove a membership, and undo it"),
            Permission(name="delete entry", purpose="revoke an account (optional: deploy/ldap/revoker-delete.conf)"),
        ),
    ),
)
