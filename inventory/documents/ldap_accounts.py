"""From directory entries to principals and access items, as pure functions of what was read."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypedDict

from inventory.documents.ldap import (
    Entry,
    Group,
    GroupGraph,
    Membership,
    SshKey,
    generalized_time,
    normal_dn,
    permanently_locked,
    ssh_key,
    within,
)
from inventory.model import (
    AccessId,
    AccessItem,
    Address,
    ArtefactKind,
    Credential,
    Grant,
    Principal,
    PrincipalId,
    PrincipalKind,
    PrincipalRead,
    ProviderName,
    ScopeId,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountSchema:
    """Where a directory keeps what; every DN in the form of `normal_dn`."""

    id_attribute: str
    employee_id: str
    mail: str
    login: str
    display: str
    ssh_key: str
    owner: tuple[str, ...]
    break_glass: tuple[str, ...]
    shared: tuple[str, ...]
    service_bases: tuple[str, ...]
    service_classes: tuple[str, ...]
    human_bases: tuple[str, ...]
    admin_groups: frozenset[str]

    @property
    def account_attributes(self) -> tuple[str, ...]:
        """Return what is asked of an account entry; operational attributes come only when named."""
        named = (self.id_attribute, self.employee_id, self.mail, self.login, self.display, self.ssh_key, *self.owner)
        operational = ("pwdAccountLockedTime", "pwdLastSuccess", "authTimestamp", "createTimestamp", "entryCSN")
        return tuple(dict.fromkeys(("objectClass", *named, *operational)))

    @property
    def group_attributes(self) -> tuple[str, ...]:
        """Return what is asked of a group entry."""
        return ("objectClass", "cn", self.id_attribute, "entryCSN", "member", "uniqueMember", "memberUid")

    def kind_of(self, entry: Entry) -> PrincipalKind:
        """Return what stands behind an account; the first rule that fits wins, break-glass before all.

        An employee id makes a person; without one, and outside every configured subtree, the kind is unknown.
        """
        key = normal_dn(entry.dn)
        for kind, bases in (
            (PrincipalKind.BREAK_GLASS, self.break_glass),
            (PrincipalKind.SHARED, self.shared),
            (PrincipalKind.SERVICE, self.service_bases),
        ):
            if any(within(key, base) for base in bases):
                return kind
        if entry.has_class(*self.service_classes):
            return PrincipalKind.SERVICE
        if entry.texts(self.employee_id) or any(within(key, base) for base in self.human_bases):
            return PrincipalKind.HUMAN
        return PrincipalKind.UNKNOWN

    def principal_id_of(self, entry: Entry) -> PrincipalId:
        """Return the entry's immutable id, or its DN where the reader is not shown one.

        A DN changes with a rename and may later name somebody else, so nothing is ever written on the ground of one.
        """
        return PrincipalId(entry.text(self.id_attribute) or entry.dn)

    def owner_names(self, entry: Entry) -> tuple[str, ...]:
        """Return who is written down as owner, as it stands; of a person nobody is: `manager` is no ownership."""
        if self.kind_of(entry) is PrincipalKind.HUMAN:
            return ()
        return tuple(name for attribute in self.owner for name in entry.texts(attribute))

    def hints_of(self, owner: Entry) -> tuple[str, ...]:
        """Return what an owner's own entry is known by in the roster."""
        return (*owner.texts(self.employee_id), *(mail.lower() for mail in owner.texts(self.mail)))


class _Base(TypedDict):
    """The fields that every access item begins with."""

    provider: ProviderName
    scope: ScopeId
    principal_id: PrincipalId


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """The groups of one account."""

    direct: tuple[Membership, ...]
    above: tuple[tuple[Group, Group], ...]
    """Groups held only through another one, with that one."""
    privileged: frozenset[str]
    """Keys of those groups that are, or are held by, an administrators' group."""

    @classmethod
    def of(cls, graph: GroupGraph, direct: Iterable[Membership], privileged: frozenset[str]) -> "Held":
        """Follow the groups of an account upwards; `privileged` are the keys of all groups that give such rights."""
        own = tuple(sorted(direct, key=lambda one: (one.group.key, one.attribute)))
        above = graph.above({one.group.key: one.group for one in own}.values())
        keys = {one.group.key for one in own} | above.keys()
        return cls(direct=own, above=tuple(above[key] for key in sorted(above)), privileged=privileged & keys)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountParser:
    """Turns entries into principals and access items of one provider instance."""

    provider: ProviderName
    scope: ScopeId
    schema: AccountSchema

    def principal(self, entry: Entry, held: Held, owners: Iterable[str], read: PrincipalRead) -> Principal:
        """Return the principal that an account entry stands for."""
        schema = self.schema
        last_used = [generalized_time(entry.text(name)) for name in ("pwdLastSuccess", "authTimestamp")]
        return Principal(
            provider=self.provider,
            scope=self.scope,
            principal_id=schema.principal_id_of(entry),
            kind=schema.kind_of(entry),
            address=self._address(entry),
            display_name=entry.text(schema.display),
            login_names=entry.texts(schema.login),
            emails=tuple(mail.lower() for mail in entry.texts(schema.mail)),
            employee_ids=entry.texts(schema.employee_id),
            owner_hints=tuple(dict.fromkeys(owners)),
            enabled=not permanently_locked(entry),
            privileged=bool(held.privileged),
            created_at=generalized_time(entry.text("createTimestamp")),
            last_used_at=max((at for at in last_used if at is not None), default=None),
            revision=entry.text("entryCSN"),
            read=read,
        )

    def items(self, entry: Entry, held: Held) -> tuple[AccessItem, ...]:
        """Return the account itself, its SSH keys and its memberships, in this order."""
        keys = {ssh_key(value).digest: ssh_key(value) for value in entry.values(self.schema.ssh_key)}
        return (
            self._account(entry),
            *(self._ssh_key(entry, keys[digest]) for digest in sorted(keys)),
            *(self._membership(entry, one, held) for one in held.direct),
            *(self._inherited(entry, group, through, held) for group, through in held.above),
        )

    def _address(self, entry: Entry) -> Address:
        found = entry.text(self.schema.id_attribute)
        identity = (("id_attribute", self.schema.id_attribute), ("id", found)) if found else ()
        return (("dn", entry.dn), *identity)

    def _base(self, entry: Entry) -> _Base:
        return {
            "provider": self.provider,
            "scope": self.scope,
            "principal_id": self.schema.principal_id_of(entry),
        }

    def _account(self, entry: Entry) -> Credential:
        return Credential(
            **self._base(entry),
            access_id=AccessId(f"{self.schema.principal_id_of(entry)}/account"),
            kind=ArtefactKind.ACCOUNT,
            address=self._address(entry),
            label="account",
            enabled=not permanently_locked(entry),
            created_at=generalized_time(entry.text("createTimestamp")),
        )

    def _ssh_key(self, entry: Entry, key: SshKey) -> Credential:
        return Credential(
            **self._base(entry),
            access_id=AccessId(f"{self.schema.principal_id_of(entry)}/ssh_key/{key.digest[:32]}"),
            kind=ArtefactKind.SSH_KEY,
            address=(
                *self._address(entry),
                ("attribute", self.schema.ssh_key),
                ("value_sha256", key.digest),
            ),
            label=f"{key.key_type} {key.fingerprint}" if key.fingerprint else "unreadable SSH key",
            enabled=True,
            fingerprint=key.fingerprint,
        )

    def _group_address(self, entry: Entry, group: Group) -> Address:
        return (*self._address(entry), ("group_dn", group.dn), ("group_id", group.group_id))

    def _membership(self, entry: Entry, one: Membership, held: Held) -> Grant:
        group = one.group
        return Grant(
            **self._base(entry),
            access_id=AccessId(f"{self.schema.principal_id_of(entry)}/group/{group.group_id}/{one.attribute}"),
            kind=ArtefactKind.GROUP_MEMBERSHIP,
            address=(*self._group_address(entry, group), ("attribute", one.attribute), ("value", one.value)),
            role=group.name,
            resource=group.dn,
            privileged=group.key in held.privileged,
            holders=one.holders,
            revision=group.revision,
        )

    def _inherited(self, entry: Entry, group: Group, through: Group, held: Held) -> Grant:
        return Grant(
            **self._base(entry),
            access_id=AccessId(f"{self.schema.principal_id_of(entry)}/group/{group.group_id}/inherited"),
            kind=ArtefactKind.GROUP_MEMBERSHIP,
            address=self._group_address(entry, group),
            role=group.name,
            resource=group.dn,
            direct=False,
            via=through.dn,
            privileged=group.key in held.privileged,
            revision=group.revision,
        )


def owner_hints(schema: AccountSchema, entry: Entry, look_up: Callable[[str], Entry | None]) -> tuple[str, ...]:
    """Return the owners of an account by what the roster knows them by.

    A DN is looked up; a name that is no DN (an e-mail, a worker id in a site's own attribute) is taken as it stands.
    """
    hints: list[str] = []
    for name in schema.owner_names(entry):
        try:
            normal_dn(name)
        except ValueError:
            hints.append(name)
            continue
        owner = look_up(name)
        hints.extend(schema.hints_of(owner) if owner is not None else ())
    return tuple(dict.fromkeys(hints))


@dataclass(frozen=True, slots=True, kw_only=True)
class Joining:
    """What the joining of one account to its groups depends on beyond the two."""

    disputed: frozenset[str] = frozenset()
    """Case-folded login names that several accounts have."""
    privileged: frozenset[str] = frozenset()
    """Keys of the groups that give administrator rights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One account entry with the groups that hold it."""

    entry: Entry
    held: Held
    ambiguous: bool
    """A group names its login name, and another account has the same one: that membership is nobody's."""

    @classmethod
    def of(cls, entry: Entry, graph: GroupGraph, schema: AccountSchema, joining: Joining) -> "Account":
        """Join an account to its groups."""
        direct = list(graph.naming_dn(normal_dn(entry.dn)))
        disputed = False
        for uid in entry.texts(schema.login):
            if uid.casefold() in joining.disputed:
                disputed = disputed or bool(graph.naming_uid(uid))
            else:
                direct.extend(graph.naming_uid(uid))
        return cls(entry=entry, held=Held.of(graph, direct, joining.privileged), ambiguous=disputed)


def join(entries: Iterable[Entry], graph: GroupGraph, schema: AccountSchema) -> tuple[list[Account], int]:
    """Join all accounts to their groups; also return how many membership values name no account and no group."""
    accounts = list(entries)
    holders: dict[str, int] = {}
    for entry in accounts:
        for uid in {text.casefold() for text in entry.texts(schema.login)}:
            holders[uid] = holders.get(uid, 0) + 1
    joining = Joining(
        disputed=frozenset(uid for uid, count in holders.items() if count > 1),
        privileged=graph.within_any(schema.admin_groups),
    )
    keys = {normal_dn(entry.dn) for entry in accounts} | {group.key for group in graph.groups}
    dangling = graph.named_dns() - keys
    strangers = {uid for uid in graph.named_uids() if uid.casefold() not in holders}
    return [Account.of(entry, graph, schema, joining) for entry in accounts], len(dangling) + len(strangers)
