"""Any service with a SCIM 2.0 API: its users as accounts, and their group memberships.

Two listings give the whole picture. Membership is read from the groups, never from the user. What a SCIM service keeps
besides (its own API tokens, sign-in sessions, roles in its application) is not in the protocol and not seen here.
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from pydantic import Field

from inventory.documents.scim import (
    ENTERPRISE_SCHEMA,
    Document,
    Group,
    Malformed,
    User,
    group,
    page,
    quoted,
    user,
)
from inventory.documents.scim_listing import Listing, Parser, Read, read_listing
from inventory.documents.scim_membership import Memberships
from inventory.documents.scim_shape import Conventions, Shape
from inventory.errors import (
    Denied,
    Misconfigured,
    ObjectMissing,
    ProviderError,
    Unavailable,
    Unsupported,
)
from inventory.http import HttpSettings, ReadingClient, segment
from inventory.model import (
    ArtefactKind,
    Coverage,
    Principal,
    PrincipalId,
    PrincipalKind,
    PrincipalReading,
    ProviderInventory,
    ProviderName,
    ReadState,
    ScopeId,
)
from inventory.provider import Clock, Interest, Permission, Provider, require_scope

NAME: Final = "scim"
T = TypeVar("T")


class Settings(HttpSettings):
    """How to read a SCIM service."""

    scope: str = Field(default="", description="Name of the tenant in findings and attestations; the host by default.")
    page_size: int = Field(default=100, ge=1, le=1000, description="Entries asked for in one page.")
    max_objects: int = Field(default=500_000, ge=1, description="A longer listing is cut here and counts as partial.")
    exclude: tuple[ArtefactKind, ...] = Field(default=(), description="Artefact kinds left out; a named coverage gap.")
    employee_id_attribute: str = Field(
        default=f"{ENTERPRISE_SCHEMA}:employeeNumber",
        description="Attribute that holds the worker id, as `name`, `name.sub` or `urn:…:name`.",
    )
    owner_attribute: str = Field(
        default="", description="Attribute that names who owns a service or shared account: worker id or e-mail."
    )
    kinds: dict[str, PrincipalKind] = Field(
        default={
            "employee": PrincipalKind.HUMAN,
            "contractor": PrincipalKind.HUMAN,
            "intern": PrincipalKind.HUMAN,
            "service": PrincipalKind.SERVICE,
            "shared": PrincipalKind.SHARED,
            "external": PrincipalKind.EXTERNAL,
            "guest": PrincipalKind.EXTERNAL,
            "break-glass": PrincipalKind.BREAK_GLASS,
            "break_glass": PrincipalKind.BREAK_GLASS,
            "breakglass": PrincipalKind.BREAK_GLASS,
        },
        description="What a userType says of the account; upper and lower case are the same.",
    )
    break_glass_user_names: tuple[str, ...] = Field(default=(), description="Emergency accounts, by userName.")
    admin_groups: tuple[str, ...] = Field(default=(), description="Groups, by name or id, that make administrators.")
    admin_roles: tuple[str, ...] = Field(default=(), description="Values of a user's `roles` that make administrators.")
    own_user_names: tuple[str, ...] = Field(
        default=(), description="The SCIM users that our own tokens belong to, reader and revoker, by userName."
    )
    service_token: bool = Field(
        default=False, description="Our tokens belong to no SCIM user, so no listed account is ours."
    )

    def conventions(self) -> Conventions:
        """Return what this service's attributes mean."""
        return Conventions(
            scope=ScopeId(self.scope or self.host),
            exclude=frozenset(self.exclude),
            employee_id_attribute=self.employee_id_attribute,
            owner_attribute=self.owner_attribute,
            kinds=tuple((name.casefold(), kind) for name, kind in self.kinds.items()),
            break_glass_user_names=frozenset(name.casefold() for name in self.break_glass_user_names),
            admin_groups=frozenset(self.admin_groups),
            admin_roles=frozenset(self.admin_roles),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Identity:
    own: tuple[PrincipalId, ...]
    known: bool
    errors: tuple[str, ...]


_READ_AT_ONCE: Final = 8
"""Principals whose groups are asked for side by side."""
_USERS: Final[Parser[User]] = Parser(parse=user, identify=lambda entry: entry.user_id)
_GROUPS: Final[Parser[Group]] = Parser(parse=group, identify=lambda entry: entry.group_id)


class ScimCollector:
    """Reads one SCIM service with the reader's token."""

    def __init__(self, provider: ProviderName, settings: Settings, clock: Clock, client: ReadingClient) -> None:
        self._provider = provider
        self._settings = settings
        self._clock = clock
        self._client = client
        self._shape = Shape(provider, settings.conventions())
        self._filter_proven: bool | None = None
        """Whether groups can be found by member; None before anybody looked."""
        self._pool = ThreadPoolExecutor(max_workers=_READ_AT_ONCE, thread_name_prefix=f"{provider}-groups")
        self._page_capacity = 0
        self._members_told = False

    def collect(self, interest: Interest) -> tuple[ProviderInventory, ...]:
        """Read users and groups once; where a listing is not whole, read the principals of interest one by one.

        Raises `Misconfigured` when no SCIM service answers at the configured URL.
        """
        started, calls, throttles = self._clock.now(), self._client.calls, self._client.throttles
        users = self._listing("Users", _USERS)
        if users.state is ReadState.UNSUPPORTED:
            raise Misconfigured(f"there is no SCIM service: {users.reason}", advice="url must end before /Users")
        groups = self._groups()
        memberships = Memberships(groups.entries)
        self._filter_proven = self._prove_filter(memberships)
        identity = self._identity(users)
        failures: list[str] = []
        coverage = self._shape.coverage(users, groups)
        readings = [self._shape.reading(entry, memberships, coverage) for entry in users.entries]
        if ReadState.PARTIAL in {users.state, groups.state}:
            readings = [self._again(reading, interest, coverage, failures) for reading in readings]
        return (
            ProviderInventory(
                provider=self._provider,
                provider_type=NAME,
                scope=self._shape.scope,
                started_at=started,
                finished_at=self._clock.now(),
                principals=tuple(reading.principal for reading in readings if reading.principal is not None),
                items=tuple(item for reading in readings for item in reading.items),
                coverage=_counted(coverage, readings),
                own_principals=identity.own,
                identity_known=identity.known,
                api_calls=self._client.calls - calls,
                throttles=self._client.throttles - throttles,
                errors=(*_errors(users, groups), *identity.errors, *failures),
            ),
        )

    def read_principal(self, principal: Principal) -> PrincipalReading:
        """Read one user and the groups that hold it, live.

        Raises `inventory.errors.ProviderError` when the user could neither be read nor be proven absent.
        """
        require_scope(principal, self._shape.scope)
        user_id = principal.principal_id
        asked = self._pool.submit(self._groups_of, user_id)
        try:
            entry = self._user(user_id)
        except ObjectMissing:
            self._prove_service(user_id)
            nothing: Read[Group] = Read()
            return PrincipalReading(principal=None, items=(), coverage=self._shape.coverage(nothing, nothing))
        groups = asked.result()
        return self._shape.reading(
            entry, Memberships(groups.entries), self._shape.coverage(Read(entries=(entry,)), groups)
        )

    def close(self) -> None:
        """Release connections."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._client.close()

    def _user(self, user_id: str) -> User:
        answer = self._client.get(f"Users/{segment(user_id)}")
        try:
            entry = user(answer.document)
        except Malformed as error:
            raise Unavailable(f"user {user_id!r} was answered with something else: {error}") from error
        if entry.user_id != user_id:
            raise Unavailable(f"user {user_id!r} was asked for and another one was answered")
        return entry if entry.version else replace(entry, version=answer.etag)

    def _prove_service(self, user_id: str) -> None:
        """Believe that a user is gone only of a service that still lists users.

        A moved tenant or a wrong path answers 404 to everything; nobody has left for that.
        """
        try:
            page(self._client.get("Users", {"startIndex": "1", "count": "1"}).document)
        except (Malformed, ObjectMissing, Unsupported) as error:
            raise Unavailable(
                f"user {user_id!r} was not found, yet neither was the list of users", advice="check the url"
            ) from error

    def _again(
        self, reading: PrincipalReading, interest: Interest, coverage: tuple[Coverage, ...], failures: list[str]
    ) -> PrincipalReading:
        """Read a principal of interest live when the listings were not whole; the picture so far where that fails."""
        principal = reading.principal
        if principal is None or not interest(principal):
            return reading
        groups_partial = any(c.kind is ArtefactKind.GROUP_MEMBERSHIP and c.state is ReadState.PARTIAL for c in coverage)
        if groups_partial and not self._filter_proven:
            return reading  # Its groups would have to be read by the very listing that has just failed.
        try:
            return self.read_principal(principal)
        except ProviderError as error:
            failures.append(str(error))
            kinds = (ArtefactKind.ACCOUNT, ArtefactKind.GROUP_MEMBERSHIP)
            return replace(reading, principal=replace(principal, read=replace(principal.read, partial=kinds)))

    def _groups(self) -> Read[Group]:
        if ArtefactKind.GROUP_MEMBERSHIP in self._settings.exclude:
            return Read(state=ReadState.EXCLUDED, reason="left out in the settings")
        groups = self._listing("Groups", _GROUPS)
        self._page_capacity = max(self._page_capacity, groups.page_capacity)
        self._members_told = self._members_told or any(entry.tells_members for entry in groups.entries)
        if groups.state is ReadState.COMPLETE and groups.entries and not self._members_told:
            return replace(groups, state=ReadState.UNSUPPORTED, reason="Groups: no group tells its members")
        return groups

    def _groups_of(self, user_id: str) -> Read[Group]:
        if self._filter_proven and ArtefactKind.GROUP_MEMBERSHIP not in self._settings.exclude:
            return self._filtered(user_id)
        groups = self._groups()
        if self._filter_proven is None:
            self._filter_proven = self._prove_filter(Memberships(groups.entries))
        return groups

    def _filtered(self, user_id: str) -> Read[Group]:
        return self._listing("Groups", _GROUPS, {"filter": f"members.value eq {quoted(user_id)}"}, self._page_capacity)

    def _prove_filter(self, memberships: Memberships) -> bool:
        """Say whether the service finds groups by member, shown on a membership that is known.

        A service may ignore such a filter or answer it with nothing, in silence; the second would look like a removed
        membership. Nested groups need all groups anyway.
        """
        member = memberships.someone()
        if member is None or memberships.nested:
            return False
        found = self._filtered(member)
        return found.state is ReadState.COMPLETE and (
            Memberships(found.entries).direct_groups(member) >= memberships.direct_groups(member)
        )

    def _listing(
        self, path: str, parser: Parser[T], filters: Mapping[str, str] | None = None, page_capacity: int = 0
    ) -> Read[T]:
        def fetch(start: int) -> Document:
            asked = {**(filters or {}), "startIndex": str(start), "count": str(self._settings.page_size)}
            return self._client.get(path, asked).document

        listing = Listing(parser, limit=self._settings.max_objects, page_capacity=page_capacity)
        return read_listing(path, listing, fetch)

    def _identity(self, users: Read[User]) -> _Identity:
        """Find out which listed accounts are our own (RFC 7644, section 3.11, and the settings)."""
        own, errors, told = [], [], False
        try:
            own.append(PrincipalId(user(self._client.get("Me").document).user_id))
            told = True
        except (ObjectMissing, Unsupported, Denied):
            pass  # The service has no /Me, or our token belongs to no user: the settings have to tell.
        except (Malformed, ProviderError) as error:
            errors.append(f"Me: {error}")
        named = {entry.user_name.casefold(): entry.user_id for entry in users.entries}
        wanted = [name.casefold() for name in self._settings.own_user_names]
        own.extend(PrincipalId(named[name]) for name in wanted if name in named)
        missing = sum(name not in named for name in wanted)
        if missing:
            errors.append(f"{missing} of own_user_names are no users here")
        known = not missing and (told or bool(wanted) or self._settings.service_token)
        return _Identity(own=tuple(dict.fromkeys(own)), known=known, errors=tuple(errors))


def _errors(users: Read[User], groups: Read[Group]) -> Iterator[str]:
    for read in (users, groups):
        if read.state not in {ReadState.COMPLETE, ReadState.EXCLUDED}:
            yield read.reason


def _counted(coverage: tuple[Coverage, ...], readings: list[PrincipalReading]) -> tuple[Coverage, ...]:
    counts = dict.fromkeys(ArtefactKind, 0) | {ArtefactKind.PRINCIPAL: len(readings)}
    for reading in readings:
        for item in reading.items:
            counts[item.kind] += 1
    return tuple(replace(entry, count=counts[entry.kind]) for entry in coverage)


def build(provider: ProviderName, settings: Settings, clock: Clock) -> ScimCollector:
    """Build the collector; raises `Misconfigured` when the CA file cannot be used."""
    return ScimCollector(provider, settings, clock, ReadingClient(settings, clock))


PROVIDER: Final = Provider(
    name=NAME,
    summary="Users and group memberships of any service with a SCIM 2.0 API.",
    settings=Settings,
    build=build,
    read_permissions=(
        Permission(name="GET /Users", purpose="list the accounts and read one"),
        Permission(name="GET /Groups", purpose="list the groups with their members"),
        Permission(name="GET /Me", purpose="find out which account is our own, where the service tells"),
    ),
)
