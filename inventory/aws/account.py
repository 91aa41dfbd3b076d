"""One account while it is being read, and what can be said of its completeness afterwards."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from botocore.client import BaseClient

from inventory.aws import iam
from inventory.aws.user_reading import KINDS, state_after
from inventory.documents.aws_iam import GroupFacts, Raw, ReportRow, RoleTrust, UserFacts
from inventory.errors import ProviderError
from inventory.model import ArtefactKind, Coverage, Extent, PrincipalReading, ReadState, ScopeId

REPORT_KINDS: Final = (
    ArtefactKind.PASSWORD,
    ArtefactKind.ACCESS_KEY,
    ArtefactKind.SIGNING_CERTIFICATE,
    ArtefactKind.MFA_DEVICE,
)
"""What the credential report tells of everybody, hours late and without ids."""

_WORST_FIRST: Final = (ReadState.PARTIAL, ReadState.DENIED, ReadState.UNSUPPORTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """All that the bulk reads of an account told of one user."""

    facts: UserFacts
    groups: tuple[GroupFacts | None, ...]
    row: ReportRow | None
    roles: tuple[RoleTrust, ...]
    devices: tuple[Raw, ...]
    service: tuple[Raw, ...]


@dataclass(slots=True, kw_only=True)
class Account:
    """What the bulk reads of one account gave, and what failed."""

    client: BaseClient
    scope: ScopeId
    bulk: iam.Bulk
    report: iam.Report | None = None
    devices: dict[str, list[Raw]] = field(default_factory=dict)
    """Assigned virtual MFA devices by unique user id."""
    service_credentials: dict[str, list[Raw]] | None = None
    """Service-specific credentials by user name; None when there is no account-wide list."""
    service_failure: ProviderError | None = None
    errors: list[str] = field(default_factory=list)
    _by_trusted: dict[str, list[RoleTrust]] | None = None

    def told(self, facts: UserFacts) -> Told:
        """Return all that was told of a user."""
        return Told(
            facts=facts,
            groups=tuple(self.bulk.groups.get(name) for name in facts.groups),
            row=self.row(facts),
            roles=self._trusting(facts),
            devices=tuple(self.devices.get(facts.user_id, ())),
            service=tuple((self.service_credentials or {}).get(facts.user_name, ())),
        )

    def _trusting(self, facts: UserFacts) -> tuple[RoleTrust, ...]:
        """Return the roles whose trust policy names a user, by ARN or by unique id."""
        if self._by_trusted is None:
            found: dict[str, list[RoleTrust]] = defaultdict(list)
            for role in self.bulk.roles:
                for name in role.trusted:
                    found[name].append(role)
            self._by_trusted = dict(found)
        named = (*self._by_trusted.get(facts.arn, ()), *self._by_trusted.get(facts.user_id, ()))
        return tuple(dict.fromkeys(named))

    def row(self, facts: UserFacts) -> ReportRow | None:
        """Return a user's line of the credential report."""
        return None if self.report is None else self.report.rows.get(facts.arn)


def coverage_of(
    account: Account, readings: Iterable[PrincipalReading], exclude: Collection[ArtefactKind]
) -> tuple[Coverage, ...]:
    """Return the completeness of every artefact kind of an account.

    A kind of which nothing is known without asking each user covers the principals of interest only. When the bulk
    read broke off, users are missing, so no kind is complete.
    """
    whole = tuple(readings)
    counts = Counter(item.kind for reading in whole for item in reading.items)
    counts[ArtefactKind.PRINCIPAL] = sum(reading.principal is not None for reading in whole)
    live = [reading for reading in whole if reading.coverage]
    return tuple(_covered(account, kind, live, counts[kind], exclude) for kind in KINDS)


def not_read(error: ProviderError, exclude: Collection[ArtefactKind]) -> tuple[Coverage, ...]:
    """Return the completeness of an account that could not even be entered."""
    return tuple(
        _excluded(kind) if kind in exclude else Coverage(kind=kind, state=state_after(error), reason=str(error))
        for kind in KINDS
    )


def _excluded(kind: ArtefactKind) -> Coverage:
    return Coverage(kind=kind, state=ReadState.EXCLUDED, reason="excluded in the settings")


def _covered(
    account: Account,
    kind: ArtefactKind,
    live: Sequence[PrincipalReading],
    count: int,
    exclude: Collection[ArtefactKind],
) -> Coverage:
    if kind in exclude:
        return _excluded(kind)
    extent, as_of = _extent(account, kind)
    state, reason = _broken(account, kind, live)
    return Coverage(kind=kind, state=state, count=count, extent=extent, reason=reason, as_of=as_of)


def _extent(account: Account, kind: ArtefactKind) -> tuple[Extent, datetime | None]:
    if kind in REPORT_KINDS:
        if account.report is None:
            return Extent.OF_INTEREST, None
        return Extent.ALL, account.report.generated_at
    if kind is ArtefactKind.SSH_KEY:
        return Extent.OF_INTEREST, None
    if kind is ArtefactKind.SERVICE_CREDENTIAL and account.service_credentials is None:
        return Extent.OF_INTEREST, None
    return Extent.ALL, None


def _broken(account: Account, kind: ArtefactKind, live: Sequence[PrincipalReading]) -> tuple[ReadState, str]:
    failure = account.bulk.failure
    if failure is not None:
        state = ReadState.PARTIAL if account.bulk.users else state_after(failure)
        return state, str(failure)
    if kind is ArtefactKind.SERVICE_CREDENTIAL and account.service_failure is not None and not live:
        return state_after(account.service_failure), str(account.service_failure)
    entries = [entry for reading in live for entry in reading.coverage if entry.kind is kind]
    for state in _WORST_FIRST:
        failed = [entry for entry in entries if entry.state is state]
        if failed:
            return state, f"{failed[0].reason} ({len(failed)} of {len(live)} principals read live)"
    return ReadState.COMPLETE, ""
