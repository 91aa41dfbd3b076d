"""The values an inventory is made of: who can authenticate where, with what, and holding which rights.

Frozen to the bottom and standard library only. Three things that other tools answer with an `if` are types here:
*not seen is not gone* (`ReadState`, `PrincipalRead`), *absent is not departed* (a roster matter, see
`inventory.roster.model`), and *incomplete is never clean* (`ProviderInventory.complete`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NewType

ProviderName = NewType("ProviderName", str)
"""Name of a configured provider instance, such as `corp-aws`; unique in one configuration."""
ScopeId = NewType("ScopeId", str)
"""One account, domain or organisation of a provider instance, such as an AWS account id."""
PrincipalId = NewType("PrincipalId", str)
"""Identifies a principal within a provider instance; immutable at the provider where it has such an id."""
AccessId = NewType("AccessId", str)
"""Identifies an access item within a provider instance; stable from one inventory to the next."""

Address = tuple[tuple[str, str], ...]
"""Named parts by which the provider's API addresses an object; never parsed back out of an id."""


class ArtefactKind(StrEnum):
    """Everything a provider may hold, one by one, so that each can be complete or not on its own."""

    PRINCIPAL = "principal"
    ACCOUNT = "account"
    """The principal's own standing: an account that is enabled or not."""
    PASSWORD = "password"  # noqa: S105 - the name of a kind
    ACCESS_KEY = "access_key"
    SSH_KEY = "ssh_key"
    SERVICE_CREDENTIAL = "service_credential"
    SIGNING_CERTIFICATE = "signing_certificate"
    MFA_DEVICE = "mfa_device"
    GROUP_MEMBERSHIP = "group_membership"
    ATTACHED_POLICY = "attached_policy"
    INLINE_POLICY = "inline_policy"
    ROLE_TRUST = "role_trust"
    """A role whose trust policy names the principal."""
    SESSION = "session"


class ReadState(StrEnum):
    """How much of one artefact kind could be read."""

    COMPLETE = "complete"
    PARTIAL = "partial"
    """The read began and did not end: a page is missing, a call was throttled or timed out."""
    DENIED = "denied"
    """The provider refused our reader."""
    UNSUPPORTED = "unsupported"
    """The provider has no way to list it."""
    EXCLUDED = "excluded"
    """The operator left it out in the settings."""


class Extent(StrEnum):
    """Whom a complete read of an artefact kind covers."""

    ALL = "all"
    OF_INTEREST = "of_interest"
    """Read for the principals of interest only (leavers and unmatched ones); says nothing about the others."""


class PrincipalKind(StrEnum):
    """What stands behind a principal. A reviewed fact; `unknown` is never acted upon."""

    HUMAN = "human"
    SERVICE = "service"
    SHARED = "shared"
    BREAK_GLASS = "break_glass"
    EXTERNAL = "external"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """What was read of one artefact kind in one scope."""

    kind: ArtefactKind
    state: ReadState
    count: int = 0
    extent: Extent = Extent.ALL
    reason: str = ""
    """Why the state is not complete; empty when it is."""
    as_of: datetime | None = None
    """UTC time of the oldest datum when it is not live, such as a cached report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrincipalRead:
    """How one principal was read: the ground that `needs: item` findings stand on."""

    live: bool
    """Every artefact kind was asked for this principal in this read, not taken from a cached report."""
    partial: tuple[ArtefactKind, ...] = ()
    """Kinds whose read began and failed: the picture of this principal is not whole."""
    gaps: tuple[ArtefactKind, ...] = ()
    """Kinds denied, unsupported or excluded: known coverage gaps, which do not hide what was read."""

    @property
    def whole(self) -> bool:
        """Say whether a positive fact about this principal may be acted upon."""
        return self.live and not self.partial


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Whoever can authenticate at one provider: person, service, shared or external account."""

    provider: ProviderName
    scope: ScopeId
    principal_id: PrincipalId
    kind: PrincipalKind
    address: Address
    display_name: str = ""
    login_names: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    external_ids: tuple[str, ...] = ()
    """Immutable links set by HR or the identity provider (SCIM externalId)."""
    employee_ids: tuple[str, ...] = ()
    """Employee ids found in a tag or attribute."""
    owner_hints: tuple[str, ...] = ()
    """Owner or created-by tags: worker ids or e-mails. Ownership, never identity."""
    enabled: bool | None = None
    privileged: bool = False
    """Holds administrator rights in its scope."""
    created_at: datetime | None = None
    last_used_at: datetime | None = None
    revision: str = ""
    """The provider's version of the object (ETag), for compare-and-set; empty where it has none."""
    read: PrincipalRead


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """What authenticates a principal: key, password, certificate, MFA device, or the enabled account itself."""

    provider: ProviderName
    scope: ScopeId
    principal_id: PrincipalId
    access_id: AccessId
    kind: ArtefactKind
    address: Address
    label: str = ""
    """Short text for people; holds no secret."""
    enabled: bool | None = None
    created_at: datetime | None = None
    last_used_at: datetime | None = None
    expires_at: datetime | None = None
    fingerprint: str = ""
    """Public fingerprint by which the same key is known on two systems (`SHA256:…` for SSH keys)."""
    shared: bool = False
    """Others depend on it, as the provider tells (a tag); the same fingerprint elsewhere is found by correlation."""
    live: bool = True
    """Read from the provider itself in this read; false for facts of a cached report. Never acted upon when false."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The fact that a principal holds an entitlement: a role on a resource, direct or via a group."""

    provider: ProviderName
    scope: ScopeId
    principal_id: PrincipalId
    access_id: AccessId
    kind: ArtefactKind
    address: Address
    role: str
    resource: str
    direct: bool = True
    via: str = ""
    """The group through which the grant is held, when it is not direct."""
    privileged: bool = False
    holders: int | None = None
    """How many principals hold it, this one included; None when unknown. 1 means: the last member."""
    created_at: datetime | None = None
    revision: str = ""
    """Version of the object that carries the grant (a group's ETag), for compare-and-set."""
    live: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A live sign-in or refresh token, where the provider lists them."""

    provider: ProviderName
    scope: ScopeId
    principal_id: PrincipalId
    access_id: AccessId
    address: Address
    kind: ArtefactKind = ArtefactKind.SESSION
    created_at: datetime | None = None
    last_used_at: datetime | None = None
    expires_at: datetime | None = None
    live: bool = True


AccessItem = Credential | Grant | Session


@dataclass(frozen=True, slots=True, kw_only=True)
class PrincipalReading:
    """One principal, read live: the precondition of an act and its verification.

    `principal` is None only after the provider positively said that it does not exist.
    """

    principal: Principal | None
    items: tuple[AccessItem, ...]
    coverage: tuple[Coverage, ...]
    """The state of every artefact kind for this one principal."""

    def state_of(self, kind: ArtefactKind) -> ReadState:
        """Return how the kind was read; a kind that nobody mentions counts as partial."""
        for entry in self.coverage:
            if entry.kind is kind:
                return entry.state
        return ReadState.PARTIAL

    def item(self, access_id: AccessId) -> AccessItem | None:
        """Return the item with this id, or None when the reading does not hold it."""
        return next((item for item in self.items if item.access_id == access_id), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderInventory:
    """All that one scope of one provider instance reported in one read."""

    provider: ProviderName
    provider_type: str
    scope: ScopeId
    started_at: datetime
    finished_at: datetime
    principals: tuple[Principal, ...]
    items: tuple[AccessItem, ...]
    coverage: tuple[Coverage, ...]
    own_principals: tuple[PrincipalId, ...] = ()
    """Who we are here, from the provider's who-am-I call."""
    identity_known: bool = False
    """The who-am-I call answered: `own_principals` can be trusted, even when empty (we are no listed principal)."""
    api_calls: int = 0
    throttles: int = 0
    """How many of the calls were answered with: slow down."""
    errors: tuple[str, ...] = ()
    """One line for each read that failed, without personal data."""

    @property
    def complete(self) -> bool:
        """Say whether every artefact kind that the operator did not exclude was read to its end."""
        asked = [entry for entry in self.coverage if entry.state is not ReadState.EXCLUDED]
        return bool(asked) and all(entry.state is ReadState.COMPLETE for entry in asked)

    def state_of(self, kind: ArtefactKind) -> ReadState:
        """Return how the kind was read; a kind that nobody mentions counts as partial."""
        for entry in self.coverage:
            if entry.kind is kind:
                return entry.state
        return ReadState.PARTIAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The inventories of one instant: what every later stage of a cycle looks at, and nothing else."""

    taken_at: datetime
    inventories: tuple[ProviderInventory, ...]

    @property
    def complete(self) -> bool:
        """Say whether every scope is complete; a snapshot of nothing is not."""
        return bool(self.inventories) and all(inventory.complete for inventory in self.inventories)

    def principals(self) -> Iterator[Principal]:
        """Yield the principals of all scopes."""
        for inventory in self.inventories:
            yield from inventory.principals

    def items(self) -> Iterator[AccessItem]:
        """Yield the access items of all scopes."""
        for inventory in self.inventories:
            yield from inventory.items
