"""What holds a finding back from becoming an action: everything that may never be taken away without a human.

Our own principals, break-glass, waived findings, ambiguous or uncertain owners, accounts that are no person's, keys
others depend on, last members, last administrators, and whatever was not read live and whole. Each answer is a code
and a sentence; `docs/cycle.md` lists the codes.
"""

import unicodedata
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from inventory.model import (
    AccessId,
    AccessItem,
    ArtefactKind,
    Credential,
    Grant,
    Principal,
    PrincipalId,
    PrincipalKind,
    ProviderName,
    ScopeId,
    Snapshot,
)
from reconciler.core.memory import PERSONAL_KINDS
from reconciler.core.model import (
    Action,
    Correlation,
    CorrelationState,
    CycleId,
    Effect,
    Finding,
    Mode,
    Need,
    Waiver,
)
from reconciler.core.waivers import HeldWaiver

QUARANTINE_FROM = 90
"""Least confidence, in percent, from which access is suspended."""


Stop = tuple[str, str] | None
"""A code and a sentence, or nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What can be carried out at one provider instance."""

    provider_type: str
    effects: frozenset[tuple[ArtefactKind, Effect]]
    account_contains: bool
    """Quarantine of the account stops every other item of the principal from being used."""
    mode: Mode
    """How far this instance may go. For a preview, what it would be if it enforced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Protection:
    """What the operator put out of reach."""

    principals: frozenset[tuple[ProviderName, str]] = frozenset()
    """Provider and principal id or login name."""
    workers: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanningWorld:
    """All that a plan is made of."""

    cycle_id: CycleId
    now: datetime
    """The instant that is decided as of."""
    planned_at: datetime
    """When the plan is made: its time to live and the time to revoke count from here."""
    snapshot: Snapshot
    correlations: tuple[Correlation, ...]
    findings: tuple[Finding, ...]
    undecided: frozenset[tuple[ProviderName, PrincipalId]] = frozenset()
    """Principals the policy engine could not decide on."""
    waivers: tuple[Waiver, ...] = ()
    held_waivers: tuple[HeldWaiver, ...] = ()
    """Those of files that became malformed lately."""
    reach: Mapping[ProviderName, Reach] = field(default_factory=dict)
    protection: Protection = Protection()
    min_admins: int = 2
    policy_digest: str
    roster_digest: str


@dataclass(frozen=True, slots=True)
class Tables:
    """The world, laid out for look-ups."""

    world: PlanningWorld
    principals: Mapping[tuple[ProviderName, PrincipalId], Principal]
    items: Mapping[tuple[ProviderName, AccessId], AccessItem]
    correlations: Mapping[tuple[ProviderName, PrincipalId], Correlation]
    own: frozenset[tuple[ProviderName, PrincipalId]]
    complete: frozenset[tuple[ProviderName, ScopeId]]
    objects: Mapping[tuple[object, ...], frozenset[tuple[ProviderName, PrincipalId]]]
    """Who holds each credential object, under its id and under its address: a group's one secret has many holders."""
    shared: frozenset[tuple[ProviderName, PrincipalId]]
    """Principals with a credential that the provider marks as shared."""
    protected: frozenset[tuple[ProviderName, str]]
    """Whom the operator protects, by id or login name, whatever its letter case."""


def lay_out(world: PlanningWorld) -> Tables:
    """Lay a world out for look-ups."""
    inventories = world.snapshot.inventories
    objects: dict[tuple[object, ...], set[tuple[ProviderName, PrincipalId]]] = defaultdict(set)
    for item in world.snapshot.items():
        if isinstance(item, Credential):
            for name in object_names(item):
                objects[name].add((item.provider, item.principal_id))
    return Tables(
        world=world,
        principals={(one.provider, one.principal_id): one for one in world.snapshot.principals()},
        items={(one.provider, one.access_id): one for one in world.snapshot.items()},
        correlations={(one.provider, one.principal_id): one for one in world.correlations},
        own=frozenset((inv.provider, one) for inv in inventories for one in inv.own_principals),
        complete=frozenset((inv.provider, inv.scope) for inv in inventories if inv.complete),
        objects={name: frozenset(holders) for name, holders in objects.items()},
        shared=frozenset(
            (one.provider, one.principal_id)
            for one in world.snapshot.items()
            if isinstance(one, Credential) and one.shared
        ),
        protected=frozenset((provider, _any_case(name)) for provider, name in world.protection.principals),
    )


def object_names(item: Credential) -> tuple[tuple[object, ...], ...]:
    """Return what tells that two principals hold one object, and not copies of their own of one public key."""
    by_id = (item.provider, item.access_id)
    return (by_id, (item.provider, item.scope, item.kind, item.address)) if item.address else (by_id,)


def claim_own(snapshot: Snapshot, names: frozenset[tuple[ProviderName, str]]) -> Snapshot:
    """Return the snapshot with more of our own principals: those whose id or part of the address is among the names.

    For whom the revoker signs in as, which the reader's own who-am-I call cannot tell.
    """
    ours = frozenset((provider, _any_case(name)) for provider, name in names)

    def own(principal: Principal) -> bool:
        known_by = (principal.principal_id, *(value for _, value in principal.address))
        return any((principal.provider, _any_case(name)) in ours for name in known_by)

    return replace(
        snapshot,
        inventories=tuple(
            replace(
                one,
                own_principals=tuple(
                    dict.fromkeys((*one.own_principals, *(who.principal_id for who in one.principals if own(who))))
                ),
            )
            for one in snapshot.inventories
        ),
    )


def _any_case(name: str) -> str:
    """Return a name as protection compares it: generously, because protecting one too many does no harm."""
    return unicodedata.normalize("NFKC", name).casefold().strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a finding is about, looked up in the snapshot."""

    finding: Finding
    principal: Principal
    item: AccessItem
    correlation: Correlation
    reach: Reach


def subject_of(finding: Finding, tables: Tables) -> Subject | None:
    """Look up what a finding names; None when it names nothing in this snapshot, or something of somebody else.

    Two principals may hold items with one id: what is looked up by it is then not what was found wrong.
    """
    key = (finding.provider, finding.principal_id)
    principal = tables.principals.get(key)
    item = tables.items.get((finding.provider, finding.access_id))
    correlation = tables.correlations.get(key)
    reach = tables.world.reach.get(finding.provider)
    if principal is None or item is None or correlation is None or reach is None:
        return None
    if (item.principal_id, item.scope, principal.scope) != (finding.principal_id, finding.scope, finding.scope):
        return None
    return Subject(finding=finding, principal=principal, item=item, correlation=correlation, reach=reach)


def stop_of(subject: Subject, tables: Tables) -> Stop:
    """Return what holds a finding back, whatever else is planned; None when nothing does."""
    finding, principal = subject.finding, subject.principal
    return (
        _protected(finding, principal, tables)
        or _excused(finding, tables)
        or _uncertain(finding, principal, subject.correlation)
        or _not_read(finding, principal, subject.item, tables)
        or _depended_upon(subject.item, tables)
    )


def _protected(finding: Finding, principal: Principal, tables: Tables) -> Stop:
    world = tables.world
    if (principal.provider, principal.principal_id) in tables.own:
        return ("own_principal", "this is the reconciler's own principal")
    if principal.kind is PrincipalKind.BREAK_GLASS:
        return ("break_glass", "emergency access is kept on purpose")
    names = (principal.principal_id, *principal.login_names)
    if any((principal.provider, _any_case(name)) in tables.protected for name in names):
        return ("protected", "the settings protect this principal")
    if finding.worker_id is not None and finding.worker_id in world.protection.workers:
        return ("protected", "the settings protect this worker")
    return None


def _excused(finding: Finding, tables: Tables) -> Stop:
    world = tables.world
    waiver = next((one for one in world.waivers if one.covers(finding, world.now)), None)
    if waiver is not None:
        return ("waived", f"waiver {waiver.waiver_id} is in force")
    held = next((one for one in world.held_waivers if one.waiver.covers(finding, world.now)), None)
    if held is not None:
        until = f"{held.until:%Y-%m-%d %H:%M} UTC"
        told = f"waiver {held.waiver.waiver_id} cannot be read in {held.path}: repair or remove it before {until}"
        return ("waiver_unread", told)
    if (finding.provider, finding.principal_id) in world.undecided:
        return ("undecided", "the policy engine could not decide on this principal")
    return None


def _uncertain(finding: Finding, principal: Principal, correlation: Correlation) -> Stop:
    if principal.kind not in PERSONAL_KINDS:
        return ("not_personal", f"a principal of kind {principal.kind.value} is handed over, not removed")
    if correlation.state is CorrelationState.AMBIGUOUS:
        return ("ambiguous", "more than one worker may be behind this principal")
    if finding.worker_id is None:
        return None
    if correlation.worker_id != finding.worker_id or not correlation.identity:
        return ("not_identity", "the worker is not known to be this principal")
    if correlation.confidence < QUARANTINE_FROM:
        return (
            "confidence",
            f"matched by {correlation.rule} with {correlation.confidence} %, {QUARANTINE_FROM} % are needed",
        )
    return None


def _not_read(finding: Finding, principal: Principal, item: AccessItem, tables: Tables) -> Stop:
    if finding.needs is Need.SCOPE and (item.provider, item.scope) not in tables.complete:
        return ("scope_incomplete", "rests on what was not seen, and this scope was not read whole")
    if not principal.read.whole or not item.live:
        return ("not_whole", "this principal was not read live and whole")
    return None


def _depended_upon(item: AccessItem, tables: Tables) -> Stop:
    if isinstance(item, Credential):
        holders = {holder for name in object_names(item) for holder in tables.objects[name]}
        others = [key for key in holders if not _same_person(key, (item.provider, item.principal_id), tables)]
        if item.shared or others:
            return ("shared_credential", "others depend on this credential: rotate it and hand it over")
    if isinstance(item, Grant) and (item.provider, item.principal_id) in tables.shared:
        return ("shared_credential", "others depend on a credential of this principal, which works by this grant")
    if isinstance(item, Grant) and not item.direct:
        return ("indirect", f"held through {item.via or 'a group'}; goes with the direct membership")
    return None


def _same_person(
    one: tuple[ProviderName, PrincipalId], other: tuple[ProviderName, PrincipalId], tables: Tables
) -> bool:
    left, right = tables.correlations.get(one), tables.correlations.get(other)
    if one == other:
        return True
    if left is None or right is None:
        return False
    return left.identity and right.identity and left.worker_id == right.worker_id


Stops = dict[tuple[ProviderName, AccessId], tuple[str, str]]


def last_members(actions: list[Action]) -> Stops:
    """Return the memberships that must stay: the groups would be empty once the others are gone, or may be.

    A group whose members nobody counted may have no other one, so an unknown number holds back like the last.
    """
    left: dict[tuple[str | None, ...], int] = {}
    stops: Stops = {}
    for action in actions:
        item = action.item
        if not isinstance(item, Grant) or item.kind is not ArtefactKind.GROUP_MEMBERSHIP:
            continue
        if item.holders is None:
            stops[item.provider, item.access_id] = ("last_member_unknown", "nobody counted the members of the group")
            continue
        group = (item.provider, item.scope, item.resource, item.role, dict(item.address).get("attribute"))
        remaining = left.get(group, item.holders) - 1
        if remaining < 1:
            stops[item.provider, item.access_id] = ("last_member", "the group would be left without a member")
        else:
            left[group] = remaining
    return stops


def last_admins(actions: list[Action], tables: Tables) -> Stops:
    """Return the actions on administrators of scopes where too few would remain, as predicted after the plan."""
    admins: dict[tuple[ProviderName, ScopeId], set[PrincipalId]] = defaultdict(set)
    for principal in tables.principals.values():
        if principal.privileged and principal.enabled is not False:
            admins[principal.provider, principal.scope].add(principal.principal_id)
    going: dict[tuple[ProviderName, ScopeId], set[PrincipalId]] = defaultdict(set)
    for action in actions:
        scope = (action.provider, action.scope)
        going[scope] |= {action.principal.principal_id} & admins[scope]
    least = tables.world.min_admins
    short = {scope for scope, leaving in going.items() if leaving and len(admins[scope] - leaving) < least}
    return {
        (action.provider, action.item.access_id): (
            "last_admins",
            f"fewer than {least} administrators would remain in this scope",
        )
        for action in actions
        if (action.provider, action.scope) in short
        and action.principal.principal_id in going[action.provider, action.scope]
    }
