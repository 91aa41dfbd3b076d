"""AWS IAM: users, their credentials, memberships, policies, and the roles that trust them, in one or many accounts.

Bulk reads give the picture of an account in a handful of calls; per-user calls are made for principals of interest
only, and always live, because the credential report may be four hours old and never proves anyone clean. Sessions
already issued cannot be listed in AWS: see `docs/providers/aws_iam.md`.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from botocore.config import Config
from pydantic import Field, field_validator

from inventory.aws import iam
from inventory.aws.account import REPORT_KINDS, Account, Told, coverage_of, not_read
from inventory.aws.connection import AccountId, AwsAccounts, AwsConnection, Caller
from inventory.aws.user_reading import UserReader
from inventory.documents import aws_iam_items as items
from inventory.documents.aws_iam import Conventions, UserFacts
from inventory.documents.aws_iam_items import Holder
from inventory.errors import ProviderError
from inventory.model import (
    AccessItem,
    ArtefactKind,
    Coverage,
    Credential,
    Principal,
    PrincipalId,
    PrincipalKind,
    PrincipalReading,
    ProviderInventory,
    ProviderName,
    ReadState,
    ScopeId,
)
from inventory.provider import Clock, Interest, Permission, Provider

NAME: Final = "aws_iam"


_AT_ONCE: Final = 12
"""Calls in flight for one user who is read alone: about one an artefact kind, and as many for details."""


class Settings(AwsConnection):
    """The `reader:` block of an `aws_iam` provider."""

    exclude: tuple[ArtefactKind, ...] = Field(
        default=(), description="Artefact kinds not to read; each is a coverage gap, named in every attestation."
    )
    kind_tag: str = Field(
        default="access-reconciler:kind",
        description="Tag that says what stands behind a user: human, service, shared, break_glass, external, unknown.",
    )
    kind_paths: dict[str, PrincipalKind] = Field(
        default={"/service/": PrincipalKind.SERVICE, "/break-glass/": PrincipalKind.BREAK_GLASS},
        description="Kind of the users under an IAM path, where no kind tag says so.",
    )
    employee_id_tags: tuple[str, ...] = Field(
        default=("employee-id", "EmployeeId"), description="Tags that hold the worker id of HR."
    )
    email_tags: tuple[str, ...] = Field(default=("email", "Email"), description="Tags that hold a work e-mail.")
    owner_tags: tuple[str, ...] = Field(
        default=("owner", "created-by"), description="Tags that name the owner of a user that is no person."
    )
    shared_tag: str = Field(
        default="access-reconciler:shared",
        description="Tag of a user whose keys others depend on: `true`, or the ids of the shared keys with spaces.",
    )
    admin_policies: tuple[str, ...] = Field(
        default=("AdministratorAccess",), description="Names of policies that make an administrator."
    )
    own_user_names: tuple[str, ...] = Field(
        default=(), description="IAM users that the product itself uses besides the reader's, such as the revoker's."
    )
    report_wait_seconds: float = Field(
        default=10.0, ge=0, description="Seconds to wait for a credential report; without one the rest goes on."
    )
    max_workers: int = Field(default=8, ge=1, le=64, description="Calls for single users in flight at a time.")
    max_attempts: int = Field(default=10, ge=1, description="Times a read is tried, the first included.")

    @field_validator("exclude")
    @classmethod
    def _excludable(cls, exclude: tuple[ArtefactKind, ...]) -> tuple[ArtefactKind, ...]:
        fixed = {ArtefactKind.PRINCIPAL, ArtefactKind.ACCOUNT} & set(exclude)
        if fixed:
            msg = f"{', '.join(sorted(fixed))} cannot be excluded: nothing stands without them"
            raise ValueError(msg)
        return exclude

    def conventions(self) -> Conventions:
        """Return what tags, paths and policy names mean."""
        return Conventions(
            kind_tag=self.kind_tag,
            employee_id_tags=self.employee_id_tags,
            email_tags=self.email_tags,
            owner_tags=self.owner_tags,
            shared_tag=self.shared_tag,
            kind_paths=tuple(self.kind_paths.items()),
            admin_policies=frozenset(self.admin_policies),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Person:
    """A user of the bulk read, as principal and as holder of items."""

    facts: UserFacts
    holder: Holder
    principal: Principal


@dataclass(slots=True)
class _Known:
    """What was made of what the bulk reads told."""

    told: Told
    person: _Person
    reading: PrincipalReading | None = None


class AwsIamCollector:
    """Reads IAM; holds no right to change anything. Safe to use from many threads."""

    def __init__(self, name: ProviderName, settings: Settings, clock: Clock) -> None:
        self._name = name
        self._settings = settings
        self._clock = clock
        conventions = settings.conventions()
        self._admin = conventions.admin_policies
        self._users = UserReader(name, conventions, settings.exclude)
        retries = {"mode": "adaptive", "total_max_attempts": settings.max_attempts}
        config = Config(retries=retries, max_pool_connections=settings.max_workers + 2 * _AT_ONCE)
        self._accounts = AwsAccounts(settings, clock, config=config)
        self._known: dict[ScopeId, dict[str, _Known]] = {}
        """By account and unique user id, as of the last reading."""
        self._pool = ThreadPoolExecutor(max_workers=settings.max_workers, thread_name_prefix=f"{name}-user")
        self._kinds = ThreadPoolExecutor(max_workers=_AT_ONCE, thread_name_prefix=f"{name}-kind")
        self._details = ThreadPoolExecutor(max_workers=_AT_ONCE, thread_name_prefix=f"{name}-detail")

    def collect(self, interest: Interest) -> tuple[ProviderInventory, ...]:
        """Read every configured account, several at a time."""
        scopes: tuple[AccountId | None, ...] = self._settings.scopes() or (None,)
        before = {scope: self._accounts.calls(scope) for scope in scopes}
        slowed = {scope: self._accounts.throttles(scope) for scope in scopes}
        who = self._whoami(scopes[0])

        def read(scope: AccountId | None) -> ProviderInventory:
            inventory = self._collect_account(scope, who, interest)
            return replace(
                inventory,
                api_calls=self._accounts.calls(scope) - before[scope],
                throttles=self._accounts.throttles(scope) - slowed[scope],
            )

        with ThreadPoolExecutor(max_workers=min(len(scopes), self._settings.max_workers)) as accounts:
            return tuple(accounts.map(read, scopes))

    def read_principal(self, principal: Principal) -> PrincipalReading:
        """Read one user live and whole, all artefact kinds side by side."""
        client = self._accounts.reaching(principal.scope)
        return self._users.whole(client, principal, self._kinds.map, self._details.map)

    def close(self) -> None:
        """End the reading threads and close connections."""
        for pool in (self._pool, self._kinds, self._details):
            pool.shutdown(wait=True, cancel_futures=True)
        self._accounts.close()

    def _whoami(self, scope: AccountId | None) -> Caller | ProviderError:
        try:
            return self._accounts.caller(scope)
        except ProviderError as error:
            return error

    def _collect_account(
        self, scope: AccountId | None, who: Caller | ProviderError, interest: Interest
    ) -> ProviderInventory:
        started = self._clock.now()
        try:
            client = self._accounts.iam(None) if scope is None else self._accounts.reaching(scope)
            bulk = iam.read_bulk(client, scope or "our own account", self._admin)
        except ProviderError as error:
            if scope is None:
                raise
            return self._unread(scope, started, error)
        account = Account(client=client, scope=_scope_of(scope, who, bulk), bulk=bulk)
        if bulk.failure is not None:
            account.errors.append(str(bulk.failure))
        if bulk.users:
            self._read_account_wide(account)
        return self._assemble(account, who, started, self._read_people(account, interest))

    def _read_account_wide(self, account: Account) -> None:
        """Read what IAM lists for a whole account besides the bulk read; each may fail without the others."""
        client, scope = account.client, account.scope
        if set(REPORT_KINDS) - set(self._settings.exclude):
            try:
                account.report = iam.read_report(client, scope, self._clock, self._settings.report_wait_seconds)
            except ProviderError as error:
                account.errors.append(f"no credential report: {error}")
        if ArtefactKind.MFA_DEVICE not in self._settings.exclude:
            try:
                account.devices = iam.read_virtual_devices(client, scope)
            except ProviderError as error:
                account.errors.append(f"no list of virtual MFA devices: {error}")
        if ArtefactKind.SERVICE_CREDENTIAL not in self._settings.exclude:
            try:
                account.service_credentials = iam.read_all_service_credentials(client, scope)
            except ProviderError as error:
                account.service_failure = error
                account.errors.append(f"no account-wide list of service-specific credentials: {error}")

    def _read_people(self, account: Account, interest: Interest) -> tuple[PrincipalReading, ...]:
        """Return a reading of every user: live for those of interest, from the bulk reads for the others.

        What the bulk reads tell of a user in the same words as the last time is not put together anew.
        """
        earlier = self._known.get(account.scope, {})
        people = [self._known_of(account, facts, earlier) for facts in account.bulk.users]
        self._known[account.scope] = {one.told.facts.user_id: one for one in people}
        live = [one.person for one in people if interest(one.person.principal)]
        readings = dict(
            zip(
                (person.facts.user_id for person in live),
                self._pool.map(lambda person: self._read_live(account, person), live),
                strict=True,
            )
        )
        return tuple(readings.get(one.told.facts.user_id) or self._from_bulk(account, one) for one in people)

    def _known_of(self, account: Account, facts: UserFacts, earlier: Mapping[str, _Known]) -> _Known:
        told = account.told(facts)
        known = earlier.get(facts.user_id)
        return known if known is not None and known.told == told else _Known(told, self._person(account, told))

    def _person(self, account: Account, told: Told) -> _Person:
        holder = self._users.holder(account.scope, told.facts)
        principal = self._users.principal(holder, told.facts, account.bulk.groups)
        if told.row is not None:
            principal = replace(principal, last_used_at=told.row.last_used_at)
        return _Person(facts=told.facts, holder=holder, principal=principal)

    def _from_bulk(self, account: Account, known: _Known) -> PrincipalReading:
        if known.reading is None:
            known.reading = self._put_together(account, known.told, known.person)
        return known.reading

    def _put_together(self, account: Account, told: Told, person: _Person) -> PrincipalReading:
        holder, bulk = person.holder, replace(account.bulk, roles=told.roles)
        found: list[AccessItem] = list(self._users.standing(holder, told.facts, bulk))
        found += [items.mfa_device(holder, raw) for raw in told.devices]
        found += [items.service_credential(holder, raw) for raw in told.service]
        for item in items.report_items(holder, told.row) if told.row is not None else ():
            if item.kind not in self._settings.exclude and not (told.devices and item.kind is ArtefactKind.MFA_DEVICE):
                found.append(item)
        return PrincipalReading(principal=person.principal, items=tuple(found), coverage=())

    def _read_live(self, account: Account, person: _Person) -> PrincipalReading:
        if account.bulk.failure is None:
            everyone = account.service_credentials
            service = None if everyone is None else everyone.get(person.facts.user_name, ())
            reading = self._users.beside_bulk(account.client, person.holder, person.facts, account.bulk, service)
        else:
            try:
                reading = self._users.whole(account.client, person.principal, map, map)
            except ProviderError as error:
                return self._users.unread(person.principal, error)
        if reading.principal is None:
            return reading
        principal = replace(reading.principal, last_used_at=person.principal.last_used_at)
        dated = tuple(self._dated(account, person, item) for item in reading.items)
        return replace(reading, principal=principal, items=dated)

    def _dated(self, account: Account, person: _Person, item: AccessItem) -> AccessItem:
        """Say when an access key or password was last used; the report knows, and is asked for a key by its age."""
        row = account.row(person.facts)
        if not isinstance(item, Credential) or item.kind not in {ArtefactKind.ACCESS_KEY, ArtefactKind.PASSWORD}:
            return item
        if item.kind is ArtefactKind.PASSWORD:
            return item if row is None else replace(item, last_used_at=row.password_last_used_at)
        made = None if item.created_at is None else item.created_at.replace(microsecond=0)
        slots = [key for key in row.keys if key.rotated_at == made] if row is not None and made is not None else []
        if len(slots) == 1:
            return replace(item, last_used_at=slots[0].last_used_at)
        try:
            used = iam.last_used(account.client, account.scope, dict(item.address)["access_key_id"])
        except ProviderError as error:
            account.errors.append(f"last use of access keys: {error}")
            return item
        return replace(item, last_used_at=used)

    def _assemble(
        self,
        account: Account,
        who: Caller | ProviderError,
        started: datetime,
        readings: tuple[PrincipalReading, ...],
    ) -> ProviderInventory:
        own = {facts.user_id for facts in account.bulk.users if facts.user_name in self._settings.own_user_names}
        if isinstance(who, Caller) and who.user_id is not None and who.account_id == account.scope:
            own.add(who.user_id)
        errors = [*account.errors, *([str(who)] if isinstance(who, ProviderError) else [])]
        coverage = coverage_of(account, readings, self._settings.exclude)
        errors += [f"{entry.kind.value}: {entry.reason}" for entry in coverage if _failed(entry)]
        return ProviderInventory(
            provider=self._name,
            provider_type=NAME,
            scope=account.scope,
            started_at=started,
            finished_at=self._clock.now(),
            principals=tuple(reading.principal for reading in readings if reading.principal is not None),
            items=tuple(item for reading in readings for item in reading.items),
            coverage=coverage,
            own_principals=tuple(PrincipalId(one) for one in sorted(own)),
            identity_known=isinstance(who, Caller),
            errors=tuple(dict.fromkeys(errors)),
        )

    def _unread(self, scope: AccountId, started: datetime, error: ProviderError) -> ProviderInventory:
        return ProviderInventory(
            provider=self._name,
            provider_type=NAME,
            scope=ScopeId(scope),
            started_at=started,
            finished_at=self._clock.now(),
            principals=(),
            items=(),
            coverage=not_read(error, self._settings.exclude),
            errors=(str(error),),
        )


def _failed(entry: Coverage) -> bool:
    return entry.state not in {ReadState.COMPLETE, ReadState.EXCLUDED}


def _scope_of(configured: AccountId | None, who: Caller | ProviderError, bulk: iam.Bulk) -> ScopeId:
    """Return the account's id: configured, or from the who-am-I call, or from the ARN of a user."""
    if configured is not None:
        return ScopeId(configured)
    if isinstance(who, Caller):
        return ScopeId(who.account_id)
    for facts in bulk.users:
        return ScopeId(facts.arn.split(":")[4])
    raise who


PROVIDER: Final = Provider(
    name=NAME,
    summary="AWS IAM users: credentials, group memberships, policies and role trust, in one or many accounts",
    settings=Settings,
    build=AwsIamCollector,
    read_permissions=(
        Permission(name="sts:AssumeRole", purpose="enter the configured accounts"),
        Permission(name="iam:GetAccountAuthorizationDetails", purpose="users, groups, policies and role trust in bulk"),
        Permission(name="iam:GenerateCredentialReport", purpose="ask for a credential report"),
        Permission(name="iam:GetCredentialReport", purpose="when credentials were last used"),
        Permission(name="iam:GetAccessKeyLastUsed", purpose="the same for keys younger than the report"),
        Permission(name="iam:ListServiceSpecificCredentials", purpose="CodeCommit, Keyspaces and Bedrock credentials"),
        Permission(name="iam:ListVirtualMFADevices", purpose="virtual MFA devices in bulk"),
        Permission(name="iam:GetUser", purpose="whether a user still exists"),
        Permission(name="iam:ListUsers", purpose="find a user who was renamed"),
        Permission(name="iam:GetLoginProfile", purpose="console passwords"),
        Permission(name="iam:ListAccessKeys", purpose="access keys"),
        Permission(name="iam:ListMFADevices", purpose="MFA devices"),
        Permission(name="iam:ListSSHPublicKeys", purpose="SSH public keys"),
        Permission(name="iam:GetSSHPublicKey", purpose="fingerprints of SSH public keys"),
        Permission(name="iam:ListSigningCertificates", purpose="signing certificates"),
        Permission(name="iam:ListGroupsForUser", purpose="group memberships of one user"),
        Permission(name="iam:GetGroup", purpose="how many members a group has"),
        Permission(name="iam:ListAttachedGroupPolicies", purpose="whether a group gives administrator rights"),
        Permission(name="iam:ListGroupPolicies", purpose="the same, inline policies"),
        Permission(name="iam:GetGroupPolicy", purpose="the same, their documents"),
        Permission(name="iam:ListAttachedUserPolicies", purpose="attached policies of one user"),
        Permission(name="iam:ListUserPolicies", purpose="inline policies of one user, and whether it is quarantined"),
        Permission(name="iam:GetUserPolicy", purpose="whether an inline policy gives every right"),
        Permission(name="iam:ListRoles", purpose="roles whose trust policy names one user"),
    ),
)
