"""Turns SCIM users and groups into the values of an inventory: pure, and the same for one principal as for all."""

from dataclasses import dataclass
from typing import TypeVar

from inventory.documents.scim import Group, User, texts
from inventory.documents.scim_listing import Read
from inventory.documents.scim_membership import Held, Memberships
from inventory.http import segment
from inventory.model import (
    AccessId,
    AccessItem,
    ArtefactKind,
    Coverage,
    Credential,
    Grant,
    Principal,
    PrincipalId,
    PrincipalKind,
    PrincipalRead,
    PrincipalReading,
    ProviderName,
    ReadState,
    ScopeId,
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Conventions:
    """What one service's attributes mean, as the operator says."""

    scope: ScopeId
    exclude: frozenset[ArtefactKind]
    employee_id_attribute: str
    owner_attribute: str
    kinds: tuple[tuple[str, PrincipalKind], ...]
    """What a userType, case-folded, says of the account."""
    break_glass_user_names: frozenset[str]
    """Case-folded."""
    admin_groups: frozenset[str]
    """Names or ids."""
    admin_roles: frozenset[str]


class Shape:
    """The inventory of one SCIM service, item by item."""

    def __init__(self, provider: ProviderName, conventions: Conventions) -> None:
        self._provider = provider
        self._conventions = conventions
        self.scope = conventions.scope
        self._kinds = dict(conventions.kinds)

    def coverage(self, users: Read[T], groups: Read[Group]) -> tuple[Coverage, ...]:
        """Return the state of every artefact kind."""
        accounts: Read[T] = users
        if ArtefactKind.ACCOUNT in self._conventions.exclude:
            accounts = Read(state=ReadState.EXCLUDED, reason="left out in the settings")
        if ArtefactKind.GROUP_MEMBERSHIP in self._conventions.exclude:
            groups = Read(state=ReadState.EXCLUDED, reason="left out in the settings")
        return (
            Coverage(kind=ArtefactKind.PRINCIPAL, state=users.state, reason=users.reason),
            Coverage(kind=ArtefactKind.ACCOUNT, state=accounts.state, reason=accounts.reason),
            Coverage(kind=ArtefactKind.GROUP_MEMBERSHIP, state=groups.state, reason=groups.reason),
        )

    def reading(self, entry: User, memberships: Memberships, coverage: tuple[Coverage, ...]) -> PrincipalReading:
        """Return a user with its items, and say for which kinds its picture is not whole."""
        states = {part.kind: part.state for part in coverage}
        # A user that a partial listing did bring was itself read whole: only its groups may be missing.
        groups = states[ArtefactKind.GROUP_MEMBERSHIP]
        gaps = (kind for kind, state in states.items() if state not in {ReadState.COMPLETE, ReadState.PARTIAL})
        grants = tuple(self._grant(entry, held) for held in memberships.of(entry.user_id))
        items: tuple[AccessItem, ...] = grants
        if states[ArtefactKind.ACCOUNT] is not ReadState.EXCLUDED:
            items = (self._account(entry), *grants)
        partial = (ArtefactKind.GROUP_MEMBERSHIP,) if groups is ReadState.PARTIAL else ()
        principal = self._principal(
            entry,
            privileged=any(grant.privileged for grant in grants),
            read=PrincipalRead(live=True, partial=partial, gaps=tuple(gaps)),
        )
        return PrincipalReading(principal=principal, items=items, coverage=coverage)

    def _principal(self, entry: User, *, privileged: bool, read: PrincipalRead) -> Principal:
        employee_ids = texts(entry.document, self._conventions.employee_id_attribute)
        return Principal(
            provider=self._provider,
            scope=self.scope,
            principal_id=PrincipalId(entry.user_id),
            kind=self._kind(entry, employee_ids),
            address=(("user_id", entry.user_id),),
            display_name=entry.display_name,
            login_names=(entry.user_name,) if entry.user_name else (),
            emails=entry.emails,
            external_ids=(entry.external_id,) if entry.external_id else (),
            employee_ids=employee_ids,
            owner_hints=texts(entry.document, self._conventions.owner_attribute),
            enabled=entry.active,
            privileged=privileged or not self._conventions.admin_roles.isdisjoint(entry.roles),
            created_at=entry.created_at,
            revision=entry.version,
            read=read,
        )

    def _kind(self, entry: User, employee_ids: tuple[str, ...]) -> PrincipalKind:
        if entry.user_name.casefold() in self._conventions.break_glass_user_names:
            return PrincipalKind.BREAK_GLASS
        named = self._kinds.get(entry.user_type.casefold())
        if named is not None:
            return named
        return PrincipalKind.HUMAN if entry.external_id or employee_ids else PrincipalKind.UNKNOWN

    def _account(self, entry: User) -> Credential:
        return Credential(
            provider=self._provider,
            scope=self.scope,
            principal_id=PrincipalId(entry.user_id),
            access_id=AccessId(f"{segment(entry.user_id)}/account"),
            kind=ArtefactKind.ACCOUNT,
            address=(("user_id", entry.user_id),),
            label=entry.user_name,
            enabled=entry.active,
            created_at=entry.created_at,
        )

    def _grant(self, entry: User, held: Held) -> Grant:
        access_id = f"{segment(entry.user_id)}/group_membership/{segment(held.group.group_id)}"
        address: tuple[tuple[str, str], ...] = (("user_id", entry.user_id), ("group_id", held.group.group_id))
        if held.via is not None:
            access_id = f"{access_id}/via/{segment(held.via.group_id)}"
            address = (*address, ("via_group_id", held.via.group_id))
        return Grant(
            provider=self._provider,
            scope=self.scope,
            principal_id=PrincipalId(entry.user_id),
            access_id=AccessId(access_id),
            kind=ArtefactKind.GROUP_MEMBERSHIP,
            address=address,
            role=held.group.name,
            resource=self.scope,
            direct=held.via is None,
            via="" if held.via is None else held.via.name,
            privileged=not self._conventions.admin_groups.isdisjoint({held.group.name, held.group.group_id}),
            holders=held.holders,
            revision=held.group.version,
        )
