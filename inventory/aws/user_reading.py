"""Reading one IAM user whole: side by side, each artefact kind failing on its own, nothing failing silently."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from botocore.client import BaseClient

from inventory.aws import iam
from inventory.documents.aws_iam import Conventions, GroupFacts, Raw, RoleTrust, UserFacts, user_facts
from inventory.documents.aws_iam_items import (
    Holder,
    holder_of,
    principal_of,
    service_credential,
    standing_items,
    trust_items,
)
from inventory.errors import Denied, ProviderError, Unsupported
from inventory.model import (
    AccessItem,
    ArtefactKind,
    Coverage,
    Credential,
    Principal,
    PrincipalRead,
    PrincipalReading,
    ProviderName,
    ReadState,
    ScopeId,
)

BULK_KINDS: Final = (
    ArtefactKind.PRINCIPAL,
    ArtefactKind.ACCOUNT,
    ArtefactKind.GROUP_MEMBERSHIP,
    ArtefactKind.ATTACHED_POLICY,
    ArtefactKind.INLINE_POLICY,
    ArtefactKind.ROLE_TRUST,
)
"""What GetAccountAuthorizationDetails tells of everybody, live."""
KINDS: Final = (*BULK_KINDS, *iam.LIVE_READS)
"""Every artefact kind that this provider reads."""

_ASKED_TWICE: Final = frozenset({ArtefactKind.SSH_KEY, ArtefactKind.GROUP_MEMBERSHIP, ArtefactKind.INLINE_POLICY})
"""Kinds of which IAM gives a list of names, and the rest by name."""

Failures = Mapping[ArtefactKind, ProviderError]


def state_after(error: ProviderError) -> ReadState:
    """Say what a failed read leaves: refused, not offered, or merely begun."""
    if isinstance(error, Denied):
        return ReadState.DENIED
    if isinstance(error, Unsupported):
        return ReadState.UNSUPPORTED
    return ReadState.PARTIAL


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """All that one read saw of a user."""

    facts: UserFacts
    groups: Mapping[str, GroupFacts]
    roles: Iterable[RoleTrust]
    credentials: Sequence[Credential]
    failures: Failures


class UserReader:
    """Reads single users of any account; keeps nothing from one read to the next."""

    def __init__(self, name: ProviderName, conventions: Conventions, exclude: Iterable[ArtefactKind]) -> None:
        self._name = name
        self._conventions = conventions
        self._exclude = frozenset(exclude)

    def holder(self, scope: ScopeId, facts: UserFacts) -> Holder:
        """Return the holder that a user's items belong to."""
        return holder_of(self._name, scope, facts, self._conventions)

    def whole(self, client: BaseClient, principal: Principal, mapper: iam.Mapper, each: iam.Mapper) -> PrincipalReading:
        """Read everything about one user from the provider itself, past every bulk read.

        Asked for at once are the user and, under the name it was last known by, everything else; another user than the
        planned one, or another name, makes it asked for again. `mapper` asks for the kinds, and `each` for the details
        of one of them: another pool, or nobody would ever end. Raises `inventory.errors.ProviderError` when not even
        the existence of the user could be read.
        """
        scope = principal.scope
        likely = Holder(
            provider=self._name,
            scope=scope,
            user_id=principal.principal_id,
            user_name=dict(principal.address)["user_name"],
            shared=frozenset(),
        )
        find = partial(iam.find_user, client, scope, user_id=likely.user_id, user_name=likely.user_name)
        tasks = self._tasks(client, likely, each)
        *answered, user = mapper(_attempt, (*tasks.values(), find))
        if isinstance(user, ProviderError):
            raise user
        if user is None:
            return PrincipalReading(principal=None, items=(), coverage=self._coverage({}, ()))
        holder = self.holder(scope, user_facts(user))
        if holder != likely:  # renamed, somebody else's name by now, or with shared credentials: asked for again
            tasks = self._tasks(client, holder, each)
            answered = list(mapper(_attempt, tasks.values()))
        answers = dict(zip(tasks, answered, strict=True))
        failures = {kind: answer for kind, answer in answers.items() if isinstance(answer, ProviderError)}
        if ArtefactKind.INLINE_POLICY in failures:
            # Whether the account is quarantined is known by an inline policy.
            failures[ArtefactKind.ACCOUNT] = failures[ArtefactKind.INLINE_POLICY]
        good = {kind: answer for kind, answer in answers.items() if kind not in failures}
        groups: list[GroupFacts] = good.get(ArtefactKind.GROUP_MEMBERSHIP, [])
        detail: Raw = {
            **user,
            "GroupList": [group.name for group in groups],
            "AttachedManagedPolicies": good.get(ArtefactKind.ATTACHED_POLICY, []),
            "UserPolicyList": good.get(ArtefactKind.INLINE_POLICY, []),
        }
        return self._reading(
            holder,
            _Seen(
                facts=user_facts(detail),
                groups={group.name: group for group in groups},
                roles=good.get(ArtefactKind.ROLE_TRUST, []),
                credentials=[item for kind in iam.LIVE_READS for item in good.get(kind, ())],
                failures=failures,
            ),
        )

    def beside_bulk(
        self, client: BaseClient, holder: Holder, facts: UserFacts, bulk: iam.Bulk, service: Sequence[Raw] | None
    ) -> PrincipalReading:
        """Read live what a whole bulk read just now does not tell of a user: the credentials.

        `service` are the user's service-specific credentials of an account-wide read; None asks for them again.
        """
        tasks = self._credential_tasks(client, holder)
        if service is not None:
            tasks.pop(ArtefactKind.SERVICE_CREDENTIAL, None)
        answers = {kind: _attempt(task) for kind, task in tasks.items()}
        credentials = [item for answer in answers.values() if not isinstance(answer, ProviderError) for item in answer]
        credentials += [service_credential(holder, raw) for raw in service or ()]
        return self._reading(
            holder,
            _Seen(
                facts=facts,
                groups=bulk.groups,
                roles=bulk.roles,
                credentials=credentials,
                failures={kind: answer for kind, answer in answers.items() if isinstance(answer, ProviderError)},
            ),
        )

    def standing(self, holder: Holder, facts: UserFacts, bulk: iam.Bulk) -> tuple[AccessItem, ...]:
        """Return what the bulk read alone tells of a user, leaving out the excluded kinds."""
        found = (
            *standing_items(holder, facts, bulk.groups, self._conventions.admin_policies),
            *trust_items(holder, facts, bulk.roles),
        )
        return tuple(item for item in found if item.kind not in self._exclude)

    def principal(self, holder: Holder, facts: UserFacts, groups: Mapping[str, GroupFacts]) -> Principal:
        """Make the principal of a user, not yet read live."""
        admin = self._conventions.admin_policies
        privileged = (
            any(name in admin for name, _ in facts.attached)
            or any(everything for _, everything in facts.inline)
            or any(groups[name].privileged for name in facts.groups if name in groups)
        )
        principal = principal_of(holder, facts, self._conventions, privileged=privileged)
        return replace(principal, read=PrincipalRead(live=False, gaps=tuple(sorted(self._exclude))))

    def unread(self, principal: Principal, error: ProviderError) -> PrincipalReading:
        """Return the reading of a user of whom nothing could be read live."""
        coverage = self._coverage(dict.fromkeys(KINDS, error), ())
        return PrincipalReading(principal=_with_read(principal, coverage, live=False), items=(), coverage=coverage)

    def _tasks(self, client: BaseClient, holder: Holder, each: iam.Mapper) -> dict[ArtefactKind, Callable[[], Any]]:
        """Return what to ask of each kind; first those that are asked for more when the first answer is there."""
        tasks = self._standing_tasks(client, holder, each) | self._credential_tasks(client, holder)
        return dict(sorted(tasks.items(), key=lambda task: task[0] not in _ASKED_TWICE))

    def _standing_tasks(
        self, client: BaseClient, holder: Holder, each: iam.Mapper
    ) -> dict[ArtefactKind, Callable[[], Any]]:
        scope, name = holder.scope, holder.user_name
        tasks: dict[ArtefactKind, Callable[[], Any]] = {
            ArtefactKind.GROUP_MEMBERSHIP: partial(
                iam.read_groups, client, scope, name, self._conventions.admin_policies, each
            ),
            ArtefactKind.ATTACHED_POLICY: partial(iam.read_attached_policies, client, scope, name),
            ArtefactKind.ROLE_TRUST: partial(iam.read_roles, client, scope),
        }
        asked = {kind: task for kind, task in tasks.items() if kind not in self._exclude}
        # Asked for even when excluded: the standing of the account is read from it.
        return asked | {ArtefactKind.INLINE_POLICY: partial(iam.read_inline_policies, client, scope, name, each)}

    def _credential_tasks(self, client: BaseClient, holder: Holder) -> dict[ArtefactKind, Callable[[], Any]]:
        return {
            kind: partial(read, client, holder) for kind, read in iam.LIVE_READS.items() if kind not in self._exclude
        }

    def _reading(self, holder: Holder, seen: _Seen) -> PrincipalReading:
        admin = self._conventions.admin_policies
        found = (
            *standing_items(holder, seen.facts, seen.groups, admin),
            *trust_items(holder, seen.facts, seen.roles),
            *seen.credentials,
        )
        items = tuple(item for item in found if item.kind not in seen.failures and item.kind not in self._exclude)
        coverage = self._coverage(seen.failures, items)
        principal = self.principal(holder, seen.facts, seen.groups)
        return PrincipalReading(principal=_with_read(principal, coverage, live=True), items=items, coverage=coverage)

    def _coverage(self, failures: Failures, items: Sequence[AccessItem]) -> tuple[Coverage, ...]:
        return tuple(self._covered(kind, failures.get(kind), items) for kind in KINDS)

    def _covered(self, kind: ArtefactKind, error: ProviderError | None, items: Sequence[AccessItem]) -> Coverage:
        if kind in self._exclude:
            return Coverage(kind=kind, state=ReadState.EXCLUDED, reason="excluded in the settings")
        if error is not None:
            return Coverage(kind=kind, state=state_after(error), reason=str(error))
        return Coverage(kind=kind, state=ReadState.COMPLETE, count=sum(item.kind is kind for item in items))


def _attempt(task: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever the task gives, or the error that stopped it
    try:
        return task()
    except ProviderError as error:
        return error


def _with_read(principal: Principal, coverage: Iterable[Coverage], *, live: bool) -> Principal:
    states = {entry.kind: entry.state for entry in coverage}
    partial_kinds = tuple(kind for kind, state in states.items() if state is ReadState.PARTIAL)
    gaps = tuple(kind for kind, state in states.items() if state not in {ReadState.PARTIAL, ReadState.COMPLETE})
    return replace(principal, read=PrincipalRead(live=live, partial=partial_kinds, gaps=gaps))
