"""What the guard must know besides the plan, and what is looked at again right before an act."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from inventory.model import ProviderInventory, ProviderName, ScopeId, Snapshot
from inventory.provider import Clock
from inventory.roster.model import AcceptedRoster, RosterProblem, RosterVerdict, WorkerId
from inventory.roster.source import RosterSource
from reconciler.core.errors import PolicyError
from reconciler.core.guard import Population
from reconciler.core.model import Action, HoldCode, HoldReason, Plan, PolicySet, Waiver
from reconciler.core.verdicts import leavers_of
from reconciler.core.waivers import WaiverSet
from reconciler.ports import Journal

RELEASABLE_ROSTER_CODES = frozenset({"roster_shrunken", "mass_termination"})
"""Roster problems that a human may confirm by approving the plan: a lay-off looks like them."""


def populations(snapshot: Snapshot) -> tuple[Population, ...]:
    """Return how many principals each provider has, who of them we are, and which scopes were read whole."""
    by_name: dict[ProviderName, list[ProviderInventory]] = {}
    for inventory in snapshot.inventories:
        by_name.setdefault(inventory.provider, []).append(inventory)
    return tuple(
        Population(
            provider=name,
            principals=sum(len(one.principals) for one in scopes),
            own_principals=tuple(own for one in scopes for own in one.own_principals),
            identity_known=all(one.identity_known for one in scopes),
            complete_scopes=tuple(one.scope for one in scopes if one.complete),
        )
        for name, scopes in sorted(by_name.items())
    )


def roster_holds(verdict: RosterVerdict | None) -> tuple[HoldReason, ...]:
    """Return the reasons for which a readable roster may not ground actions."""
    if verdict is None:
        return ()
    return tuple(HoldReason(code=_roster_hold_code(one), message=one.message) for one in verdict.held)


def _roster_hold_code(problem: RosterProblem) -> HoldCode:
    """Too small may be a real lay-off, which a human can confirm; anything else needs a better feed."""
    return HoldCode.ROSTER_SHRUNKEN if problem.code in RELEASABLE_ROSTER_CODES else HoldCode.ROSTER_STALE


def novelties(journal: Journal, version: str, plan: Plan, *, previewed: bool = False) -> tuple[HoldReason, ...]:
    """Name what is new: its first cycle observes, so a plan that meets it is held.

    Policies that are `previewed` were adopted by the digest of what they change, and need not observe first.
    """
    holds = []
    if not previewed and not journal.observed("policy", plan.policy_digest):
        holds.append(HoldReason(code=HoldCode.NEW_POLICY, message="this policy revision has not observed a cycle yet"))
    if not journal.observed("version", version):
        holds.append(HoldReason(code=HoldCode.NEW_VERSION, message=f"version {version} has not observed yet"))
    holds += [
        HoldReason(code=HoldCode.NEW_PROVIDER, provider=name, message=f"{name}/{scope} has not been observed yet")
        for name, scope in sorted({(action.provider, action.scope) for action in plan.actions})
        if not journal.observed("provider", scope_key(name, scope))
    ]
    return tuple(holds)


def scope_key(provider: ProviderName, scope: ScopeId) -> str:
    """Return under what a scope is remembered as observed: another account behind a known name is new."""
    return f"{provider}/{scope}"


def moved_approvals(journal: Journal, plan: Plan, now: datetime) -> tuple[HoldReason, ...]:
    """Return a reason for every approval that waits for another plan than this one."""
    return tuple(
        HoldReason(
            code=HoldCode.APPROVAL_MOVED,
            message=f"the approval of {approval.plan_digest} does not cover this plan: the world has moved",
        )
        for approval in journal.pending_approvals(now)
        if approval.plan_digest != plan.digest
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What a plan was made on, and where to look whether it still holds."""

    clock: Clock
    roster: RosterSource
    last_roster: AcceptedRoster | None
    load_policies: Callable[[], PolicySet]
    load_waivers: Callable[[datetime], WaiverSet]
    policy_digest: str
    roster_digest: str
    refused: tuple[str, ...] = ()
    """The waivers that were refused when the plan was made."""


_LOOK_AGAIN_SECONDS = 1.0
"""Policies and waivers are read again at most this often while acting, however many threads ask."""


def recheck(ground: Ground) -> Callable[[Action], str]:
    """Return a check for use right before an act: empty text, or what has moved since the plan was made.

    Safe to call from many threads.
    """
    rules = _Rules(ground)

    def still_planned(action: Action) -> str:
        reason = rules.stopped(action)
        if reason or ground.roster.fingerprint() == ground.roster_digest:
            return reason
        if action.worker_id is None:
            return "the roster has changed, and this rests on nobody in it owning the principal"
        return _left_still(ground.roster.load(ground.last_roster), action.worker_id, ground.clock.now())

    return still_planned


class _Rules:
    """The policies and waivers as they lie there now, looked at once a second."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._lock = threading.Lock()
        self._looked_at: float | None = None
        self._moved = ""
        self._waivers: tuple[Waiver, ...] = ()

    def stopped(self, action: Action) -> str:
        now = self._ground.clock.now()
        with self._lock:
            if (
                self._looked_at is None
                or self._ground.clock.monotonic_seconds() - self._looked_at > _LOOK_AGAIN_SECONDS
            ):
                self._look(now)
            if self._moved:
                return self._moved
            waived = any(waiver.covers_action(action, now) for waiver in self._waivers)
        return "a waiver is in force now" if waived else ""

    def _look(self, now: datetime) -> None:
        try:
            digest = self._ground.load_policies().digest
            waivers = self._ground.load_waivers(now)
        except PolicyError as error:
            self._moved = f"the policies cannot be read now: {error}"
            return
        self._waivers = waivers.whole
        if set(waivers.refused) - set(self._ground.refused):
            self._moved = "a waiver that was written since cannot be read: it may be about this"
            return
        self._moved = "" if digest == self._ground.policy_digest else "the policy revision has changed"


def _left_still(verdict: RosterVerdict, worker_id: WorkerId, now: datetime) -> str:
    if verdict.roster is None or not verdict.accepted:
        return "the roster has changed and the new one is not acceptable"
    found = next((one for one in leavers_of(verdict.roster.workers, now) if one.worker_id == worker_id), None)
    if found is None:
        return "the worker is no longer a leaver"
    return "the worker may have been hired anew" if found.possible_rehire_of else ""
