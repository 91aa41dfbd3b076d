"""From findings to a plan: what would be done to whom, in which order, and what is withheld and why.

A finding's effect is a request. Here it meets what may never happen: our own principals, break-glass, waived findings,
ambiguous or uncertain owners, accounts that are no person's, keys others depend on, last members and last
administrators, and anything that was not read live and whole. What is withheld is never dropped: it stays in the plan
with its reason, for a human.

The plan does not depend on the order of its input, and its digest covers what it would do and what that rests on.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
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
from reconciler.core.canonical import digest_of, sha256_hex
from reconciler.core.canonical import dumps as canonical_bytes
from reconciler.core.evidence import item_evidence
from reconciler.core.model import (
    Action,
    ActionId,
    Correlation,
    CorrelationState,
    CycleId,
    Effect,
    Finding,
    Mode,
    Need,
    Plan,
    PlanDigest,
    Waiver,
    Withheld,
)

REVOKE_FROM = 98
"""Least confidence, in percent, from which access is removed."""
QUARANTINE_FROM = 90
"""Least confidence, in percent, from which access is suspended."""

CONTAIN_PHASE = 0
DELETE_ORDER = (
    ArtefactKind.SESSION,
    ArtefactKind.PASSWORD,
    ArtefactKind.ACCESS_KEY,
    ArtefactKind.SIGNING_CERTIFICATE,
    ArtefactKind.SSH_KEY,
    ArtefactKind.SERVICE_CREDENTIAL,
    ArtefactKind.MFA_DEVICE,
    ArtefactKind.INLINE_POLICY,
    ArtefactKind.ATTACHED_POLICY,
    ArtefactKind.ROLE_TRUST,
    ArtefactKind.GROUP_MEMBERSHIP,
    ArtefactKind.ACCOUNT,
)
"""Order inside one principal after the account is contained: that of AWS's DeleteUser, which suits the others too."""

_PERSONAL_KINDS = (PrincipalKind.HUMAN, PrincipalKind.EXTERNAL)


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
    reach: Mapping[ProviderName, Reach] = field(default_factory=dict)
    protection: Protection = Protection()
    min_admins: int = 2
    policy_digest: str
    roster_digest: str


@dataclass(frozen=True, slots=True)
class _Tables:
    """The world, laid out for look-ups."""

    world: PlanningWorld
    principals: Mapping[tuple[ProviderName, PrincipalId], Principal]
    items: Mapping[tuple[ProviderName, AccessId], AccessItem]
    correlations: Mapping[tuple[ProviderName, PrincipalId], Correlation]
    own: frozenset[tuple[ProviderName, PrincipalId]]
    complete: frozenset[tuple[ProviderName, ScopeId]]
    fingerprints: Mapping[str, frozenset[tuple[ProviderName, PrincipalId]]]
    shared: frozenset[tuple[ProviderName, PrincipalId]]
    """Principals with a credential that the provider marks as shared."""


def make_plan(world: PlanningWorld) -> Plan:
    """Return the plan of a world: deterministic, and empty once it has been carried out."""
    tables = _lay_out(world)
    actions: dict[tuple[ProviderName, AccessId], tuple[Action, Finding]] = {}
    reviews: list[Finding] = []
    withheld: list[Withheld] = []
    for finding in sorted(world.findings, key=_finding_order):
        if finding.effect is Effect.KEEP:
            continue
        if finding.effect is Effect.REVIEW:
            reviews.append(finding)
            continue
        proposed = _propose(finding, tables)
        if isinstance(proposed, Withheld):
            withheld.append(proposed)
            continue
        known = actions.get((finding.provider, finding.access_id))
        if known is None or proposed.effect.rank > known[0].effect.rank:
            actions[finding.provider, finding.access_id] = (proposed, finding)
    kept, held_back = _keep_last(actions, tables)
    ordered = tuple(replace(one, action_id=action_id(world.cycle_id, one)) for one in sorted(kept, key=_action_order))
    return Plan(
        digest=_plan_digest(ordered, world.policy_digest),
        cycle_id=world.cycle_id,
        created_at=world.planned_at,
        policy_digest=world.policy_digest,
        roster_digest=world.roster_digest,
        actions=ordered,
        reviews=tuple(reviews),
        withheld=tuple(sorted((*withheld, *held_back), key=lambda one: (_finding_order(one.finding), one.code))),
    )


def _finding_order(finding: Finding) -> tuple[str, ...]:
    return (finding.provider, finding.scope, finding.principal_id, finding.access_id, finding.rule, finding.code)


def _action_order(action: Action) -> tuple[str, str, str, int, str]:
    item = action.item
    return (action.provider, item.scope, item.principal_id, action.phase, item.access_id)


def _lay_out(world: PlanningWorld) -> _Tables:
    inventories = world.snapshot.inventories
    fingerprints: dict[str, set[tuple[ProviderName, PrincipalId]]] = defaultdict(set)
    for item in world.snapshot.items():
        if isinstance(item, Credential) and item.fingerprint:
            fingerprints[item.fingerprint].add((item.provider, item.principal_id))
    return _Tables(
        world=world,
        principals={(one.provider, one.principal_id): one for one in world.snapshot.principals()},
        items={(one.provider, one.access_id): one for one in world.snapshot.items()},
        correlations={(one.provider, one.principal_id): one for one in world.correlations},
        own=frozenset((inv.provider, one) for inv in inventories for one in inv.own_principals),
        complete=frozenset((inv.provider, inv.scope) for inv in inventories if inv.complete),
        fingerprints={key: frozenset(holders) for key, holders in fingerprints.items()},
        shared=frozenset(
            (one.provider, one.principal_id)
            for one in world.snapshot.items()
            if isinstance(one, Credential) and one.shared
        ),
    )


def _propose(finding: Finding, tables: _Tables) -> Action | Withheld:
    key = (finding.provider, finding.principal_id)
    principal = tables.principals.get(key)
    item = tables.items.get((finding.provider, finding.access_id))
    correlation = tables.correlations.get(key)
    reach = tables.world.reach.get(finding.provider)
    if principal is None or item is None or correlation is None or reach is None:
        return Withheld(finding=finding, code="unknown_item", message="the finding names nothing in this snapshot")
    for stop in (
        _protected(finding, principal, tables),
        _excused(finding, tables),
        _uncertain(finding, principal, correlation),
        _not_read(finding, principal, item, tables),
        _depended_upon(item, tables),
    ):
        if stop is not None:
            return Withheld(finding=finding, code=stop[0], message=stop[1])
    return _within_reach(finding, principal, item, correlation, reach)


Stop = tuple[str, str] | None


def _protected(finding: Finding, principal: Principal, tables: _Tables) -> Stop:
    world = tables.world
    if (principal.provider, principal.principal_id) in tables.own:
        return ("own_principal", "this is the reconciler's own principal")
    if principal.kind is PrincipalKind.BREAK_GLASS:
        return ("break_glass", "emergency access is kept on purpose")
    names = (principal.principal_id, *principal.login_names)
    if any((principal.provider, name) in world.protection.principals for name in names):
        return ("protected", "the settings protect this principal")
    if finding.worker_id is not None and finding.worker_id in world.protection.workers:
        return ("protected", "the settings protect this worker")
    return None


def _excused(finding: Finding, tables: _Tables) -> Stop:
    world = tables.world
    waiver = next((one for one in world.waivers if one.covers(finding, world.now)), None)
    if waiver is not None:
        return ("waived", f"waiver {waiver.waiver_id} is in force")
    if (finding.provider, finding.principal_id) in world.undecided:
        return ("undecided", "the policy engine could not decide on this principal")
    return None


def _uncertain(finding: Finding, principal: Principal, correlation: Correlation) -> Stop:
    if principal.kind not in _PERSONAL_KINDS:
        return ("not_personal", f"a principal of kind {principal.kind.value} is handed over, not removed")
    if finding.worker_id is None:
        return None
    if correlation.state is CorrelationState.AMBIGUOUS:
        return ("ambiguous", "more than one worker may be behind this principal")
    if correlation.worker_id != finding.worker_id or not correlation.identity:
        return ("not_identity", "the worker is not known to be this principal")
    if correlation.confidence < QUARANTINE_FROM:
        return (
            "confidence",
            f"matched by {correlation.rule} with {correlation.confidence} %, {QUARANTINE_FROM} % are needed",
        )
    return None


def _not_read(finding: Finding, principal: Principal, item: AccessItem, tables: _Tables) -> Stop:
    if finding.needs is Need.SCOPE and (item.provider, item.scope) not in tables.complete:
        return ("scope_incomplete", "rests on what was not seen, and this scope was not read whole")
    if not principal.read.whole or not item.live:
        return ("not_whole", "this principal was not read live and whole")
    return None


def _depended_upon(item: AccessItem, tables: _Tables) -> Stop:
    if isinstance(item, Credential):
        holders = tables.fingerprints.get(item.fingerprint, frozenset()) if item.fingerprint else frozenset()
        others = [key for key in holders if not _same_person(key, (item.provider, item.principal_id), tables)]
        if item.shared or others:
            return ("shared_credential", "others depend on this credential: rotate it and hand it over")
    if isinstance(item, Grant) and (item.provider, item.principal_id) in tables.shared:
        return ("shared_credential", "others depend on a credential of this principal, which works by this grant")
    if isinstance(item, Grant) and not item.direct:
        return ("indirect", f"held through {item.via or 'a group'}; goes with the direct membership")
    return None


def _same_person(
    one: tuple[ProviderName, PrincipalId], other: tuple[ProviderName, PrincipalId], tables: _Tables
) -> bool:
    left, right = tables.correlations.get(one), tables.correlations.get(other)
    if one == other:
        return True
    if left is None or right is None:
        return False
    return left.identity and right.identity and left.worker_id == right.worker_id


def _within_reach(
    finding: Finding, principal: Principal, item: AccessItem, correlation: Correlation, reach: Reach
) -> Action | Withheld:
    if reach.mode is Mode.OBSERVE:
        return Withheld(finding=finding, code="observe_mode", message="this provider is set to observe")
    certain = finding.worker_id is None or correlation.confidence >= REVOKE_FROM
    ceiling = min(
        (finding.effect, reach.mode.highest_effect, Effect.REVOKE if certain else Effect.QUARANTINE),
        key=lambda effect: effect.rank,
    )
    for effect in (Effect.REVOKE, Effect.QUARANTINE):
        if effect.rank <= ceiling.rank and (item.kind, effect) in reach.effects:
            if effect is Effect.QUARANTINE and isinstance(item, Credential) and item.enabled is False:
                return Withheld(finding=finding, code="already_contained", message="suspended already")
            return _action(finding, principal, item, effect, reach)
    if ceiling is Effect.QUARANTINE and reach.account_contains:
        return Withheld(finding=finding, code="contained_with_account", message="suspended with its account")
    return Withheld(finding=finding, code="no_capability", message=f"{item.kind.value} cannot be taken away here")


def _action(finding: Finding, principal: Principal, item: AccessItem, effect: Effect, reach: Reach) -> Action:
    contains = item.kind is ArtefactKind.ACCOUNT and effect is Effect.QUARANTINE
    return Action(
        action_id=ActionId(""),
        provider=item.provider,
        provider_type=reach.provider_type,
        principal=principal,
        item=item,
        effect=effect,
        worker_id=finding.worker_id,
        rule=finding.rule,
        code=finding.code,
        needs=finding.needs,
        reason=finding.reason,
        phase=CONTAIN_PHASE if contains else 1 + DELETE_ORDER.index(item.kind),
        evidence=item_evidence(item),
    )


_Proposals = Mapping[tuple[ProviderName, AccessId], tuple[Action, Finding]]


def _keep_last(proposals: _Proposals, tables: _Tables) -> tuple[list[Action], list[Withheld]]:
    """Hold back what would empty a group or leave too few administrators, as predicted after the plan."""
    ordered = sorted((action for action, _ in proposals.values()), key=_action_order)
    stops = {**_last_members(ordered), **_last_admins(ordered, tables)}
    held = [Withheld(finding=proposals[key][1], code=code, message=message) for key, (code, message) in stops.items()]
    return [action for action in ordered if (action.provider, action.item.access_id) not in stops], held


_Stops = dict[tuple[ProviderName, AccessId], tuple[str, str]]


def _last_members(actions: list[Action]) -> _Stops:
    left: dict[tuple[str, ...], int] = {}
    stops: _Stops = {}
    for action in actions:
        item = action.item
        if not isinstance(item, Grant) or item.kind is not ArtefactKind.GROUP_MEMBERSHIP or item.holders is None:
            continue
        group = (item.provider, item.scope, item.resource, item.role, dict(item.address).get("attribute", ""))
        remaining = left.get(group, item.holders) - 1
        if remaining < 1:
            stops[item.provider, item.access_id] = ("last_member", "the group would be left without a member")
        else:
            left[group] = remaining
    return stops


def _last_admins(actions: list[Action], tables: _Tables) -> _Stops:
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


def _plan_digest(actions: Iterable[Action], policy_digest: str) -> PlanDigest:
    """Digest what the plan would do and what that rests on: the same world gives the same digest in any cycle."""
    steps = [
        [
            action.provider,
            action.scope,
            action.principal.principal_id,
            action.item.access_id,
            action.effect.value,
            action.worker_id,
            action.rule,
            action.evidence,
        ]
        for action in actions
    ]
    return PlanDigest(digest_of({"actions": steps, "policy": policy_digest}))


def action_id(cycle_id: CycleId, action: Action) -> ActionId:
    """Return the id of an action: it names one effect on one access item in one cycle."""
    parts = [cycle_id, action.provider, action.principal.principal_id, action.item.access_id, action.effect.value]
    return ActionId(sha256_hex(canonical_bytes(parts)))


def count_effects(plan: Plan) -> Mapping[Effect, int]:
    """Return how many actions a plan holds of each effect."""
    return Counter(action.effect for action in plan.actions)
