"""Takes access away at a SCIM 2.0 service: suspends an account, removes it from a group, deletes it.

Every act writes against the version of the object that the revoker's own token was just shown (`If-Match`), so that a
change in between makes the write fail instead of being overwritten. A reply of 204 says that the service took
the request, no more: some accept `active` and ignore it. Whether access is gone is decided by reading again elsewhere.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeVar

from inventory.documents.scim import Group, Malformed, User, group, member_path, patch, user
from inventory.errors import Denied, Misconfigured, ObjectChanged, ObjectMissing, Unavailable, Unsupported
from inventory.http import HttpSettings, segment
from inventory.last_look import LastLook
from inventory.model import ArtefactKind, Grant, ProviderName
from inventory.provider import Clock, Permission
from reconciler.core.canonical import Json, dumps
from reconciler.core.model import Action, BeforeImage, Effect, OutcomeState, Receipt
from reconciler.ports import Capabilities
from reconciler.revokers.declaration import RevokerType
from reconciler.revokers.rest import RestClient

NAME: Final = "scim"
_ABSENT: Final = "absent"
Seen = TypeVar("Seen", User, Group)


class Settings(HttpSettings):
    """How to write to a SCIM service, with a token of its own: never the reader's."""


class ScimRevoker:
    """Acts on one SCIM service, one item a call. Building it raises `Misconfigured` when the CA file cannot be used."""

    def __init__(self, provider: ProviderName, settings: Settings, clock: Clock) -> None:
        self._provider = provider
        self._client = RestClient(settings, clock)
        self._clock = clock
        self._users: LastLook[User] = LastLook(clock)
        self._groups: LastLook[Group] = LastLook(clock)
        """What the looks for the before-images showed."""

    def identity(self) -> tuple[str, ...]:
        """Ask /Me (RFC 7644, section 3.11); nothing is known where a service has none, or our token is no user's."""
        try:
            answer = self._client.get("Me")
        except (ObjectMissing, Unsupported, Denied):
            return ()
        try:
            return (user(answer.document).user_id,)
        except Malformed as error:
            raise Unavailable(f"Me was answered with something else: {error}") from error

    def before_image(self, action: Action) -> BeforeImage:
        """Read what undo needs: whether the account was active, or that the membership was there.

        A deleted account cannot be given back: another one with the same name would be another object.
        """
        try:
            if action.item.kind is ArtefactKind.ACCOUNT:
                account = _look(action, self._user, self._users, self._clock)
                document: dict[str, Json] = {"active": account.active}
                return _image(action, document, restorable=action.effect is Effect.QUARANTINE)
            member = _holds(_look(action, self._group, self._groups, self._clock), action)
        except ObjectMissing:
            return _image(action, {_ABSENT: True}, restorable=False)
        return _image(action, {"member": member}, restorable=member)

    def quarantine(self, action: Action) -> Receipt:
        """Suspend an account: `active` becomes false, nothing else changes."""
        if action.item.kind is not ArtefactKind.ACCOUNT:
            raise Unsupported(f"SCIM cannot suspend a {action.item.kind.value}")
        try:
            found = _looked_at(action, self._user, self._users)
            if found.active is False:
                return _already("the account is suspended already")
            return self._patch_user(action, found, patch("replace", "active", value=False))
        except ObjectMissing:
            return _already("the account does not exist")

    def revoke(self, action: Action) -> Receipt:
        """Delete an account, or remove it from a group that holds it directly."""
        try:
            if action.item.kind is ArtefactKind.ACCOUNT:
                return self._delete(action)
            return self._leave(action)
        except ObjectMissing:
            return _already("the object does not exist")

    def undo(self, action: Action, before: BeforeImage) -> Receipt:
        """Give a suspended account its former `active` back, or a member its place in the group."""
        if not before.restorable:
            raise Unsupported(f"{action.item.access_id!r} cannot be given back", advice="create the access anew")
        document = json.loads(before.document)
        if action.item.kind is ArtefactKind.ACCOUNT:
            return self._restore_active(action, document["active"])
        return self._restore_member(action)

    def close(self) -> None:
        """Release connections."""
        self._client.close()

    def _restore_active(self, action: Action, active: bool | None) -> Receipt:  # noqa: FBT001 - a SCIM value, not a flag
        found = self._user(action)
        if found.active is active:
            return _already("the account is as it was")
        document = patch("remove", "active") if active is None else patch("replace", "active", active)
        return self._patch_user(action, found, document)

    def _restore_member(self, action: Action) -> Receipt:
        found = self._group(action)
        if _holds(found, action):
            return _already("the membership is there")
        document = patch("add", "members", [{"value": _part(action, "user_id")}])
        return self._patch_group(found, document)

    def _delete(self, action: Action) -> Receipt:
        found = self._user(action)
        answer = self._client.write("DELETE", _user_path(action), if_match=found.version)
        return Receipt(outcome=OutcomeState.DONE, detail="account deleted", request_id=answer.request_id)

    def _leave(self, action: Action) -> Receipt:
        item = action.item
        if not isinstance(item, Grant) or item.kind is not ArtefactKind.GROUP_MEMBERSHIP:
            raise Unsupported(f"SCIM cannot remove a {item.kind.value}")
        if not item.direct:
            raise Unsupported(
                f"{item.access_id!r} is held through another group", advice="the direct membership has to go"
            )
        found = _looked_at(action, self._group, self._groups)
        if not _holds(found, action):
            return _already("the account is not in the group")
        if item.holders != 1 and sum(not member.is_group for member in found.members) == 1:
            raise ObjectChanged(
                f"the account has become the last member of group {found.group_id!r}",
                advice="the next cycle asks for a review",
            )
        return self._patch_group(found, patch("remove", member_path(_part(action, "user_id"))))

    def _user(self, action: Action) -> User:
        path = _user_path(action)
        answer = self._client.get(path)
        try:
            found = user(answer.document)
        except Malformed as error:
            raise Unavailable(f"{path} was answered with something else: {error}") from error
        if found.user_id != _part(action, "user_id"):
            raise Unavailable(f"{path} was asked for and another user was answered")
        return found if found.version else replace(found, version=answer.etag)

    def _group(self, action: Action) -> Group:
        path = f"Groups/{segment(_part(action, 'group_id'))}"
        answer = self._client.get(path)
        try:
            found = group(answer.document)
        except Malformed as error:
            raise Unavailable(f"{path} was answered with something else: {error}") from error
        if found.group_id != _part(action, "group_id"):
            raise Unavailable(f"{path} was asked for and another group was answered")
        return found if found.version else replace(found, version=answer.etag)

    def _patch_user(self, action: Action, found: User, document: dict[str, Json]) -> Receipt:
        answer = self._client.write("PATCH", _user_path(action), document=document, if_match=found.version)
        return Receipt(outcome=OutcomeState.DONE, detail="active set", request_id=answer.request_id)

    def _patch_group(self, found: Group, document: dict[str, Json]) -> Receipt:
        path = f"Groups/{segment(found.group_id)}"
        answer = self._client.write("PATCH", path, document=document, if_match=found.version)
        return Receipt(outcome=OutcomeState.DONE, detail="members changed", request_id=answer.request_id)


def _look(action: Action, read: Callable[[Action], Seen], looks: LastLook[Seen], clock: Clock) -> Seen:
    """Read an object for the before-image; the act is given what was seen, if a write can be tied to its version."""
    asked_at = clock.monotonic_seconds()
    found = read(action)
    return looks.keep(action.action_id, found, asked_at) if found.version else found


def _looked_at(action: Action, read: Callable[[Action], Seen], looks: LastLook[Seen]) -> Seen:
    """Return what the look for the before-image showed just now, or read the object."""
    seen = looks.take(action.action_id)
    return read(action) if seen is None else seen[0]


def _part(action: Action, name: str) -> str:
    for key, value in action.item.address:
        if key == name:
            return value
    raise Misconfigured(f"{action.item.access_id!r} has no {name} in its address", advice="this is a defect: report it")


def _user_path(action: Action) -> str:
    return f"Users/{segment(_part(action, 'user_id'))}"


def _holds(found: Group, action: Action) -> bool:
    return any(member.value == _part(action, "user_id") for member in found.members)


def _image(action: Action, facts: dict[str, Json], *, restorable: bool) -> BeforeImage:
    document: dict[str, Json] = {"kind": action.item.kind.value, **facts}
    return BeforeImage(restorable=restorable, document=dumps(document).decode())


def _already(detail: str) -> Receipt:
    return Receipt(outcome=OutcomeState.ALREADY_ABSENT, detail=detail)


def _longest_act(settings: Settings) -> float:
    """Return the bound of one act: a look and a write, each with a connection of its own."""
    return 2 * (settings.connect_timeout_seconds + settings.read_timeout_seconds + settings.deadline_seconds)


REVOKER: Final = RevokerType(
    name=NAME,
    settings=Settings,
    build=ScimRevoker,
    longest_act_seconds=_longest_act,
    capabilities=Capabilities(
        effects=frozenset(
            {
                (ArtefactKind.ACCOUNT, Effect.QUARANTINE),
                (ArtefactKind.ACCOUNT, Effect.REVOKE),
                (ArtefactKind.GROUP_MEMBERSHIP, Effect.REVOKE),
            }
        ),
        account_contains=True,
        one_by_one=True,  # a group is one versioned object: two removals side by side would refuse each other
        revoke_permissions=(
            Permission(name="GET /Users", purpose="read the account just before the act"),
            Permission(name="PATCH /Users", purpose="suspend an account and give it back"),
            Permission(name="DELETE /Users", purpose="delete an account, where the policy asks for it"),
            Permission(name="GET /Groups", purpose="read the group just before the act"),
            Permission(name="PATCH /Groups", purpose="remove a member and give the place back"),
        ),
    ),
)
