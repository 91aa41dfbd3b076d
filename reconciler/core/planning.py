"""From findings to a plan: what would be done to whom, in which order, and what is withheld and why.

A finding's effect is a request. It is lowered to what confidence, mode and the revoker's capabilities allow, and what
`core.withholding` holds back is never dropped: it stays in the plan with its reason, for a human.

The plan does not depend on the order of its input, and its digest covers what it would do and what that rests on.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from inventory.model import AccessId, ArtefactKind, Credential, PrincipalId, ProviderName
from reconciler.core.canonical import digest_of, sha256_hex
from reconciler.core.canonical import dumps as canonical_bytes
from reconciler.core.evidence import item_evidence
from reconciler.core.model import Action, ActionId, CycleId, Effect, Finding, Mode, Plan, PlanDigest, Withheld
from reconciler.core.withholding import (
    PlanningWorld,
    Reach,
    Subject,
    Tables,
    last_admins,
    last_members,
    lay_out,
    stop_of,
    subject_of,
)

REVOKE_FROM = 98
"""Least confidence, in percent, from which access is removed."""
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


def make_plan(world: PlanningWorld, laid_out: Tables | None = None) -> Plan:
    """Return the plan of a world: deterministic, and empty once it has been carried out.

    `laid_out` are the tables of a world with the same snapshot, correlations and protection, where they are there.
    """
    tables = lay_out(world) if laid_out is None else replace(laid_out, world=world)
    actions: dict[tuple[ProviderName, AccessId], tuple[Action, Finding]] = {}
    reviews: list[Finding] = []
    withheld: list[Withheld] = []
    for finding in sorted(world.findings, key=_finding_order):
        if finding.effect is Effect.KEEP:
            continue
        if finding.applies_from is not None:
            withheld.append(_not_yet(finding, finding.applies_from))
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
    kept, spared = _spare_accounts(kept, actions, (*withheld, *held_back), reviews, tables)
    withheld += [*held_back, *spared]
    ordered = tuple(replace(one, action_id=action_id(world.cycle_id, one)) for one in sorted(kept, key=_action_order))
    return Plan(
        digest=_plan_digest(ordered, world.policy_digest),
        cycle_id=world.cycle_id,
        created_at=world.planned_at,
        policy_digest=world.policy_digest,
        roster_digest=world.roster_digest,
        actions=ordered,
        reviews=tuple(reviews),
        withheld=tuple(sorted(withheld, key=lambda one: (_finding_order(one.finding), one.code))),
    )


def _finding_order(finding: Finding) -> tuple[str, ...]:
    return (finding.provider, finding.scope, finding.principal_id, finding.access_id, finding.rule, finding.code)


def _action_order(action: Action) -> tuple[str, str, str, int, str]:
    item = action.item
    return (action.provider, item.scope, item.principal_id, action.phase, item.access_id)


def _not_yet(finding: Finding, applies_from: datetime) -> Withheld:
    message = f"will apply from {applies_from:%Y-%m-%d %H:%M} UTC, when the rule takes effect"
    return Withheld(finding=finding, code="not_in_effect", message=message)


def _propose(finding: Finding, tables: Tables) -> Action | Withheld:
    subject = subject_of(finding, tables)
    if subject is None:
        return Withheld(finding=finding, code="unknown_item", message="the finding names nothing in this snapshot")
    stop = stop_of(subject, tables)
    if stop is not None:
        return Withheld(finding=finding, code=stop[0], message=stop[1])
    return _within_reach(subject)


def _within_reach(subject: Subject) -> Action | Withheld:
    finding, item, reach = subject.finding, subject.item, subject.reach
    if reach.mode is Mode.OBSERVE:
        return Withheld(finding=finding, code="observe_mode", message="this provider is set to observe")
    certain = finding.worker_id is None or subject.correlation.confidence >= REVOKE_FROM
    ceiling = min(
        (finding.effect, reach.mode.highest_effect, Effect.REVOKE if certain else Effect.QUARANTINE),
        key=lambda effect: effect.rank,
    )
    for effect in (Effect.REVOKE, Effect.QUARANTINE):
        if effect.rank <= ceiling.rank and (item.kind, effect) in reach.effects:
            if effect is Effect.QUARANTINE and isinstance(item, Credential) and item.enabled is False:
                return Withheld(finding=finding, code="already_contained", message="suspended already")
            return _action(subject, effect)
    if ceiling is Effect.QUARANTINE and reach.account_contains:
        return Withheld(finding=finding, code="contained_with_account", message="suspended with its account")
    return Withheld(finding=finding, code="no_capability", message=f"{item.kind.value} cannot be taken away here")


def _action(subject: Subject, effect: Effect) -> Action:
    finding, item = subject.finding, subject.item
    contains = item.kind is ArtefactKind.ACCOUNT and effect is Effect.QUARANTINE
    return Action(
        action_id=ActionId(""),
        provider=item.provider,
        provider_type=subject.reach.provider_type,
        principal=subject.principal,
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


def _keep_last(proposals: _Proposals, tables: Tables) -> tuple[list[Action], list[Withheld]]:
    """Hold back what would empty a group or leave too few administrators, as predicted after the plan."""
    ordered = sorted((action for action, _ in proposals.values()), key=_action_order)
    stops = {**last_members(ordered), **last_admins(ordered, tables)}
    held = [Withheld(finding=proposals[key][1], code=code, message=message) for key, (code, message) in stops.items()]
    return [action for action in ordered if (action.provider, action.item.access_id) not in stops], held


_KEPT_ON_PURPOSE = frozenset(
    {
        "waived",
        "shared_credential",
        "last_member",
        "last_member_unknown",
        "last_admins",
        "not_whole",
        "unknown_item",
    }
)
"""What withholds an item because it is to stay, or is not known well enough; not because it cannot be taken."""


def _spare_accounts(
    actions: list[Action],
    proposals: _Proposals,
    withheld: Iterable[Withheld],
    reviews: Iterable[Finding],
    tables: Tables,
) -> tuple[list[Action], list[Withheld]]:
    """Hold back what would take an account from under an item that stays.

    Deleting a principal takes all it holds along, and suspending one may stop all that works by it: neither is done
    over an item that a waiver keeps, and no principal is deleted over an item that a human is asked about.
    """
    taken = {(one.provider, one.item.access_id) for one in actions}
    held = [one.finding for one in withheld if one.code in _KEPT_ON_PURPOSE]
    waived = {_owner(one.finding) for one in withheld if one.code in {"waived", "waiver_unread"}}
    staying = {_owner(one) for one in (*held, *reviews) if (one.provider, one.access_id) not in taken}
    kept: list[Action] = []
    spared: list[Withheld] = []
    for action in actions:
        owner = (action.provider, action.principal.principal_id)
        reach = tables.world.reach[action.provider]
        deletes = action.effect is Effect.REVOKE
        if action.item.kind is not ArtefactKind.ACCOUNT:
            kept.append(action)
        elif owner in waived and (deletes or reach.account_contains):
            spared.append(_spared(action, proposals, "a waiver keeps an item that works by this account"))
        elif owner in staying and deletes:
            contained = _contained(action, reach)
            kept += contained
            if not contained:
                spared.append(_spared(action, proposals, "deleting it would take items along that stay for now"))
        else:
            kept.append(action)
    return kept, spared


def _contained(action: Action, reach: Reach) -> list[Action]:
    """Return the suspension of an account in the place of its deletion, where that is possible and not done yet."""
    enabled = isinstance(action.item, Credential) and action.item.enabled is not False
    if not enabled or (action.item.kind, Effect.QUARANTINE) not in reach.effects:
        return []
    return [replace(action, effect=Effect.QUARANTINE, phase=CONTAIN_PHASE)]


def _spared(action: Action, proposals: _Proposals, message: str) -> Withheld:
    finding = proposals[action.provider, action.item.access_id][1]
    return Withheld(finding=finding, code="account_needed", message=message)


def _owner(finding: Finding) -> tuple[ProviderName, PrincipalId]:
    return (finding.provider, finding.principal_id)


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
