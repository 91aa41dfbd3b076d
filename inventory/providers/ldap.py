"""LDAP directories (OpenLDAP with the ppolicy overlay): accounts, SSH keys in entries, memberships of groups.

Every read is a paged search or a read of one entry, live from the server: nothing here comes from a cache. Facts behind
the choices stand in `docs/providers/ldap.md`.
"""

import logging
from dataclasses import replace
from typing import Self

from pydantic import Field, field_validator, model_validator

from inventory.documents.ldap import Entry, GroupGraph, normal_dn, parse_group, within
from inventory.documents.ldap_accounts import Account, AccountParser, AccountSchema, join, owner_hints
from inventory.documents.ldap_coverage import ACCOUNT_KINDS, KINDS, ReadStates
from inventory.errors import Misconfigured, ProviderError
from inventory.ldap_client import ConnectionSettings, LdapClient
from inventory.ldap_single import Places, SingleReader
from inventory.ldap_visibility import Visibility
from inventory.model import (
    AccessItem,
    ArtefactKind,
    Principal,
    PrincipalId,
    PrincipalRead,
    PrincipalReading,
    ProviderInventory,
    ProviderName,
    ReadState,
    ScopeId,
)
from inventory.provider import Clock, Interest, Permission, Provider, require_scope

NAME = "ldap"

_LOG = logging.getLogger(__name__)


class Settings(ConnectionSettings):
    """The `reader:` block of an LDAP provider instance."""

    base_dn: str = Field(min_length=1, description="top of the tree; its DN is the scope")
    account_bases: tuple[str, ...] = Field(default=(), description="subtrees of accounts; none: the whole base_dn")
    service_bases: tuple[str, ...] = Field(default=(), description="subtrees of service accounts (kind service)")
    group_bases: tuple[str, ...] = Field(default=(), description="subtrees of groups; none: the whole base_dn")
    account_filter: str = Field(
        default="(|(objectClass=person)(objectClass=account)(objectClass=posixAccount)(objectClass=simpleSecurityObject))",
        description="which entries are accounts (RFC 4515)",
    )
    group_filter: str = Field(
        default="(|(objectClass=groupOfNames)(objectClass=groupOfUniqueNames)(objectClass=posixGroup))",
        description="which entries are groups (RFC 4515)",
    )
    id_attribute: str = Field(default="entryUUID", description="immutable id of an entry")
    employee_id_attribute: str = Field(default="employeeNumber", description="HR's worker id; makes a person")
    mail_attribute: str = Field(default="mail", description="e-mail addresses")
    login_attribute: str = Field(default="uid", description="login names; also what memberUid names")
    display_attribute: str = Field(default="cn", description="name for people")
    ssh_key_attribute: str = Field(default="sshPublicKey", description="OpenSSH public keys, one a value")
    owner_attributes: tuple[str, ...] = Field(
        default=("owner", "manager", "seeAlso"),
        description="who owns an account that is no person's: a DN or an e-mail",
    )
    service_classes: tuple[str, ...] = Field(
        default=("applicationProcess",), description="object classes of service accounts (kind service)"
    )
    human_bases: tuple[str, ...] = Field(default=(), description="subtrees of people even without an employee id")
    shared: tuple[str, ...] = Field(default=(), description="entries or subtrees that several people use (kind shared)")
    break_glass: tuple[str, ...] = Field(default=(), description="emergency entries or subtrees: never touched")
    admin_groups: tuple[str, ...] = Field(default=(), description="groups whose members administer this directory")
    own_dns: tuple[str, ...] = Field(default=(), description="our other bind DNs, such as the revoker's: never touched")
    password_policy: str | None = Field(
        default=None, description="DN of the default password policy; without its pwdLockout no lock has an effect"
    )
    exclude: tuple[ArtefactKind, ...] = Field(default=(), description="kinds to leave out: ssh_key, group_membership")

    @field_validator("exclude")
    @classmethod
    def _accounts_stay(cls, value: tuple[ArtefactKind, ...]) -> tuple[ArtefactKind, ...]:
        if not set(value) <= {ArtefactKind.SSH_KEY, ArtefactKind.GROUP_MEMBERSHIP}:
            msg = "only ssh_key and group_membership can be excluded"
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _one_tree(self) -> Self:
        base = _dn(self.base_dn)
        for dn in (*self.account_bases, *self.service_bases, *self.group_bases):
            if not within(_dn(dn), base):
                msg = f"{dn} does not lie within base_dn {self.base_dn}"
                raise ValueError(msg)
        named = (*self.human_bases, *self.shared, *self.break_glass, *self.admin_groups, *self.own_dns)
        for dn in (*named, *([self.password_policy] if self.password_policy else [])):
            _dn(dn)
        return self

    @property
    def account_search_bases(self) -> tuple[str, ...]:
        """Return the subtrees searched for accounts, each once."""
        return tuple(dict.fromkeys((*(self.account_bases or (self.base_dn,)), *self.service_bases)))

    @property
    def group_search_bases(self) -> tuple[str, ...]:
        """Return the subtrees searched for groups, each once."""
        return tuple(dict.fromkeys(self.group_bases or (self.base_dn,)))

    def places(self) -> Places:
        """Return where accounts and groups are looked for."""
        return Places(
            base_dn=self.base_dn,
            account_bases=self.account_search_bases,
            account_filter=self.account_filter,
            group_bases=self.group_search_bases,
            group_filter=self.group_filter,
            password_policy=self.password_policy,
        )

    def schema_of_accounts(self) -> AccountSchema:
        """Return the part of these settings that the parsers need."""
        return AccountSchema(
            id_attribute=self.id_attribute,
            employee_id=self.employee_id_attribute,
            mail=self.mail_attribute,
            login=self.login_attribute,
            display=self.display_attribute,
            ssh_key=self.ssh_key_attribute,
            owner=self.owner_attributes,
            break_glass=tuple(map(_dn, self.break_glass)),
            shared=tuple(map(_dn, self.shared)),
            service_bases=tuple(map(_dn, self.service_bases)),
            service_classes=self.service_classes,
            human_bases=tuple(map(_dn, self.human_bases)),
            admin_groups=frozenset(map(_dn, self.admin_groups)),
        )


def _dn(text: str) -> str:
    try:
        return normal_dn(text)
    except ValueError as error:
        msg = f"{text!r} is not a DN (RFC 4514)"
        raise ValueError(msg) from error


class LdapCollector:
    """Reads one directory: accounts and groups by paged searches, one principal by its entry and a reverse search."""

    def __init__(self, provider: ProviderName, settings: Settings, clock: Clock, client: LdapClient) -> None:
        self._settings = settings
        self._schema = settings.schema_of_accounts()
        self._parser = AccountParser(provider=provider, scope=ScopeId(settings.base_dn), schema=self._schema)
        self._clock = clock
        self._client = client
        self._visibility = Visibility(
            client=client,
            ssh_key=settings.ssh_key_attribute,
            group_bases=settings.group_search_bases,
            group_filter=settings.group_filter,
        )
        self._single = SingleReader(client, self._visibility, self._schema, settings.places())

    def collect(self, interest: Interest) -> tuple[ProviderInventory, ...]:
        """Read the whole directory; raises `ProviderError` only when not even a bind succeeds."""
        started, calls, throttles = self._clock.now(), self._client.calls, self._client.throttles
        self._client.connect()
        states = ReadStates(self._settings.exclude)
        own, identity_known, errors = self._identity()
        self._visibility.of_locks(self._settings.password_policy, states)
        entries = self._accounts(states)
        graph = self._groups(states)
        accounts, strangers = join(entries, graph, self._schema)
        if strangers:
            _LOG.info("%s: %d membership values name no account", self._parser.provider, strangers)
        principals, items = self._assemble(accounts, states, interest, errors)
        self._note_unattributed(accounts, graph, states)
        errors.extend(states.reasons())
        inventory = ProviderInventory(
            provider=self._parser.provider,
            provider_type=NAME,
            scope=self._parser.scope,
            started_at=started,
            finished_at=self._clock.now(),
            principals=tuple(principals),
            items=tuple(items),
            coverage=states.coverage(len(principals), items),
            own_principals=own,
            identity_known=identity_known,
            api_calls=self._client.calls - calls,
            throttles=self._client.throttles - throttles,
            errors=tuple(dict.fromkeys(errors)),
        )
        return (inventory,)

    def read_principal(self, principal: Principal) -> PrincipalReading:
        """Read an entry by its DN, else find it by its immutable id, and search the groups that name it."""
        require_scope(principal, self._parser.scope)
        states = ReadStates(self._settings.exclude)
        found = self._single.read(principal, states)
        if found is None:
            return PrincipalReading(principal=None, items=(), coverage=states.coverage(0, ()))
        entry, account = found
        hints = owner_hints(self._schema, entry, lambda dn: self._owner(dn, states))
        items = states.keep(self._parser.items(entry, account.held))
        current = self._parser.principal(entry, account.held, hints, states.read())
        return PrincipalReading(principal=current, items=items, coverage=states.coverage(1, items))

    def close(self) -> None:
        """Unbind."""
        self._single.close()
        self._client.close()

    def _identity(self) -> tuple[tuple[PrincipalId, ...], bool, list[str]]:
        """Return our own principals: whoever the server says we are, and the configured other bind DNs."""
        own: list[PrincipalId] = []
        try:
            me = self._client.who_am_i()
            for dn in (me, *self._settings.own_dns):
                entry = self._client.read(dn, (self._settings.id_attribute,)) if dn else None
                if entry is not None:
                    own.append(self._schema.principal_id_of(entry))
                elif dn in self._settings.own_dns:
                    raise Misconfigured(f"own_dns: {dn} is not visible", advice="correct it or let the reader see it")
        except ProviderError as error:
            return tuple(dict.fromkeys(own)), False, [str(error)]
        return tuple(dict.fromkeys(own)), True, []

    def _accounts(self, states: ReadStates) -> tuple[Entry, ...]:
        settings, schema = self._settings, self._schema
        bases = settings.account_search_bases
        found = self._client.search_all(bases, settings.account_filter, schema.account_attributes)
        if found.error is not None:
            states.error((*ACCOUNT_KINDS, ArtefactKind.GROUP_MEMBERSHIP), found.error)
        if not found.entries:  # an emptied or hidden tree is not believed
            states.failed(KINDS, ReadState.PARTIAL, "no account is visible under the account bases")
        return found.entries

    def _groups(self, states: ReadStates) -> GroupGraph:
        if ArtefactKind.GROUP_MEMBERSHIP in states.exclude:
            return GroupGraph(())
        settings, schema = self._settings, self._schema
        found = self._client.search_all(settings.group_search_bases, settings.group_filter, schema.group_attributes)
        if found.error is not None:
            states.error((ArtefactKind.GROUP_MEMBERSHIP,), found.error)
        self._visibility.of_members(found.entries, states)
        return GroupGraph(tuple(parse_group(entry, schema.id_attribute) for entry in found.entries))

    def _assemble(
        self, accounts: list[Account], states: ReadStates, interest: Interest, errors: list[str]
    ) -> tuple[list[Principal], list[AccessItem]]:
        """Build principals and items; those of interest are read singly when the bulk read was not whole."""
        known = {normal_dn(one.entry.dn): one.entry for one in accounts}
        drafts = [(one, self._draft(one, known, states)) for one in accounts]
        interesting = {draft.principal_id for _, draft in drafts if interest(draft)}
        for number, (one, draft) in enumerate(drafts):
            if number == 0 or draft.principal_id in interesting:
                self._visibility.of_account(one.entry, states)
        whole = states.read()
        principals: list[Principal] = []
        items: list[AccessItem] = []
        for one, draft in drafts:
            if not whole.whole and draft.principal_id in interesting:
                principal, own = self._alone(draft, errors)
            else:
                gaps = (*whole.gaps, ArtefactKind.GROUP_MEMBERSHIP) if one.ambiguous else whole.gaps
                principal = replace(draft, read=replace(whole, gaps=tuple(dict.fromkeys(gaps))))
                own = states.keep(self._parser.items(one.entry, one.held))
            principals.extend([principal] if principal is not None else [])
            items.extend(own)
        return principals, items

    def _draft(self, one: Account, known: dict[str, Entry], states: ReadStates) -> Principal:
        hints = owner_hints(self._schema, one.entry, lambda dn: known.get(normal_dn(dn)) or self._owner(dn, states))
        return self._parser.principal(one.entry, one.held, hints, PrincipalRead(live=True))

    def _alone(self, draft: Principal, errors: list[str]) -> tuple[Principal | None, tuple[AccessItem, ...]]:
        try:
            reading = self.read_principal(draft)
        except ProviderError as error:
            errors.append(str(error))
            return replace(draft, read=PrincipalRead(live=True, partial=KINDS)), ()
        return reading.principal, reading.items

    def _note_unattributed(self, accounts: list[Account], graph: GroupGraph, states: ReadStates) -> None:
        """Note memberships that are somebody's, nobody can say whose: the scope is not clean, the principals stay."""
        disputed = sum(one.ambiguous for one in accounts)
        unreadable = sum(group.unreadable for group in graph.groups)
        if disputed:
            reason = f"memberUid names {disputed} accounts by a login name that another account has too"
            states.failed((ArtefactKind.GROUP_MEMBERSHIP,), ReadState.PARTIAL, reason)
        if unreadable:
            reason = f"{unreadable} membership values cannot be searched for (a uniqueMember with a bit string)"
            states.failed((ArtefactKind.GROUP_MEMBERSHIP,), ReadState.PARTIAL, reason)

    def _owner(self, dn: str, states: ReadStates) -> Entry | None:
        try:
            return self._client.read(dn, (self._schema.employee_id, self._schema.mail))
        except ProviderError as error:
            states.error((ArtefactKind.PRINCIPAL,), error)
            return None


def _build(provider: ProviderName, settings: Settings, clock: Clock) -> LdapCollector:
    return LdapCollector(provider, settings, clock, LdapClient(settings, clock))


PROVIDER = Provider(
    name=NAME,
    summary="OpenLDAP: accounts and their lock, SSH keys, groups by member, uniqueMember and memberUid",
    settings=Settings,
    build=_build,
    read_permissions=(
        Permission(name="read entry", purpose="find accounts and groups; also `search` on the base's own entry"),
        Permission(name="read ref", purpose="be told that a part of the tree is on another server"),
        Permission(name="read objectClass", purpose="tell accounts, groups and service accounts apart"),
        Permission(
            name="read entryUUID", purpose="know an entry again after a rename, and a new one under an old name"
        ),
        Permission(name="read entryCSN", purpose="tell versions of an entry apart"),
        Permission(name="read createTimestamp", purpose="age of an account"),
        Permission(name="read pwdAccountLockedTime", purpose="tell locked accounts"),
        Permission(name="read pwdLockout", purpose="know whether locks have an effect (password_policy)"),
        Permission(name="read pwdLastSuccess", purpose="last use of an account (`lastbind on`)"),
        Permission(name="read uid", purpose="login names, which memberUid names"),
        Permission(name="read cn", purpose="names of accounts and groups"),
        Permission(name="read mail", purpose="correlation by e-mail"),
        Permission(name="read employeeNumber", purpose="correlation by worker id"),
        Permission(name="read owner", purpose="owners of service accounts"),
        Permission(name="read manager", purpose="owners of service accounts"),
        Permission(name="read seeAlso", purpose="owners of service accounts"),
        Permission(name="read sshPublicKey", purpose="list SSH keys"),
        Permission(name="read member", purpose="memberships of groupOfNames"),
        Permission(name="read uniqueMember", purpose="memberships of groupOfUniqueNames"),
        Permission(name="read memberUid", purpose="memberships of posixGroup"),
    ),
)
