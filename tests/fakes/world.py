"""A world without latency: providers as dictionaries that can be read, acted upon, and made to fail.

A `FakeProvider` is a collector and a revoker in one. It records every effect it really has, and asks, when an intent
checker is set, whether the intent was in the journal at the time of the call.
"""

import json
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from inventory.errors import ObjectMissing, Unsupported
from inventory.model import (
    AccessId,
    AccessItem,
    ArtefactKind,
    Coverage,
    Credential,
    Principal,
    PrincipalId,
    PrincipalReading,
    ProviderInventory,
    ProviderName,
    ReadState,
)
from inventory.provider import Interest
from reconciler.core.canonical import digest_of
from reconciler.core.evidence import item_evidence
from reconciler.core.guard import ApprovedPlan, Circumstances, Limits, Population
from reconciler.core.model import (
    Action,
    ActionId,
    BeforeImage,
    CycleId,
    Effect,
    OutcomeState,
    Plan,
    PlanDigest,
    Receipt,
)
from reconciler.ports import Progress
from tests.builders import NOW, action, inventory

Effected = tuple[str, AccessId]
"""A verb (`quarantine`, `revoke`, `undo`) and the access item it changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What the next call of a verb does instead of answering."""

    error: Exception | None = None
    applied: bool = False
    """The provider carries the call out and its answer is lost."""
    ignored: bool = False
    """The provider says yes and does nothing."""


class FakeProvider:
    """One provider instance; implements `Collector` and `Revoker`."""

    def __init__(self, name: ProviderName, items: Sequence[AccessItem], principals: Sequence[Principal]) -> None:
        self.name = name
        self.principals: dict[PrincipalId, Principal] = {one.principal_id: one for one in principals}
        self.items: dict[AccessId, AccessItem] = {item.access_id: item for item in items}
        self.effects: list[Effected] = []
        self.calls: list[Effected] = []
        self.reads = 0
        self.states: dict[ArtefactKind, ReadState] = {}
        self.faults: dict[str, deque[Fault]] = defaultdict(deque)
        self.stale: deque[PrincipalReading] = deque()
        self.intent_exists: Callable[[ActionId], bool] = lambda _: True
        self.on_effect: Callable[[str, AccessId], None] = lambda *_: None
        self._removed: dict[AccessId, AccessItem] = {}

    def fail(self, verb: str, *faults: Fault | Exception) -> None:
        """Queue what the next calls of a verb do: `read`, `before_image`, `quarantine`, `revoke`, `undo`."""
        self.faults[verb].extend(one if isinstance(one, Fault) else Fault(error=one) for one in faults)

    def collect(self, interest: Interest) -> tuple[ProviderInventory, ...]:
        return (inventory(tuple(self.principals.values()), tuple(self.items.values()), provider=self.name),)

    def read_principal(self, principal: Principal) -> PrincipalReading:
        self.reads += 1
        self._fault("read")
        if self.stale:
            return self.stale.popleft()
        return self.reading(principal.principal_id)

    def reading(self, principal_id: PrincipalId) -> PrincipalReading:
        """Return what is true now, without any fault."""
        coverage = tuple(
            Coverage(kind=kind, state=self.states.get(kind, ReadState.COMPLETE)) for kind in sorted(ArtefactKind)
        )
        found = self.principals.get(principal_id)
        if found is None:
            return PrincipalReading(principal=None, items=(), coverage=coverage)
        items = tuple(item for item in self.items.values() if item.principal_id == principal_id)
        return PrincipalReading(principal=found, items=items, coverage=coverage)

    def identity(self) -> tuple[str, ...]:
        return ()

    def before_image(self, action: Action) -> BeforeImage:
        self._fault("before_image")
        if action.item.access_id not in self.items:
            raise ObjectMissing(f"{action.item.access_id} does not exist")
        restorable = action.effect is Effect.QUARANTINE or action.item.kind is ArtefactKind.GROUP_MEMBERSHIP
        return BeforeImage(restorable=restorable, document=json.dumps({"enabled": True}))

    def quarantine(self, action: Action) -> Receipt:
        return self._act("quarantine", action)

    def revoke(self, action: Action) -> Receipt:
        return self._act("revoke", action)

    def undo(self, action: Action, before: BeforeImage) -> Receipt:
        if not before.restorable:
            raise Unsupported("nothing to restore")
        fault = self._fault("undo")
        if not fault.ignored:
            self.apply("undo", action.item.access_id)
        return Receipt(outcome=OutcomeState.DONE, detail="given back")

    def close(self) -> None:
        return None

    def apply(self, verb: str, access_id: AccessId) -> None:
        """Have an effect on the world, and record it."""
        item = self.items.get(access_id) or self._removed[access_id]
        if verb == "undo":
            self.items[access_id] = self._removed.pop(access_id, _switched(item, enabled=True))
        elif verb == "quarantine":
            self.items[access_id] = _switched(item, enabled=False)
        elif item.kind is ArtefactKind.ACCOUNT:
            del self.principals[item.principal_id]
            self.items = {key: one for key, one in self.items.items() if one.principal_id != item.principal_id}
        else:
            self._removed[access_id] = self.items.pop(access_id)
        self.effects.append((verb, access_id))

    def _act(self, verb: str, action: Action) -> Receipt:
        access_id = action.item.access_id
        assert self.intent_exists(action.action_id), f"{verb} of {access_id} without an intent in the journal"
        self.calls.append((verb, access_id))
        fault = self._peek(verb)
        if fault.error is not None and not fault.applied:
            raise fault.error
        item = self.items.get(access_id)
        quarantined = verb == "quarantine" and isinstance(item, Credential) and item.enabled is False
        if item is None or quarantined:
            return Receipt(outcome=OutcomeState.ALREADY_ABSENT, detail="absent already")
        if not fault.ignored:
            self.on_effect(verb, access_id)
            self.apply(verb, access_id)
        if fault.error is not None:
            raise fault.error
        return Receipt(outcome=OutcomeState.DONE, detail="done", request_id=f"r{len(self.calls)}")

    def _peek(self, verb: str) -> Fault:
        return self.faults[verb].popleft() if self.faults[verb] else Fault()

    def _fault(self, verb: str) -> Fault:
        fault = self._peek(verb)
        if fault.error is not None:
            raise fault.error
        return fault


def _switched(item: AccessItem, *, enabled: bool) -> AccessItem:
    return replace(item, enabled=enabled) if isinstance(item, Credential) else item


class Watcher:
    """Implements `reconciler.ports.Observer`; keeps what it was told."""

    def __init__(self) -> None:
        self.steps: list[Progress] = []

    def progress(self, step: Progress) -> None:
        self.steps.append(step)


def plan_of(*actions: Action, cycle_id: str = "cycle-1", created_at: datetime = NOW) -> Plan:
    """Build a plan of these actions, with ids of their cycle."""
    named = tuple(
        replace(one, action_id=ActionId(digest_of([cycle_id, one.action_id]).removeprefix("sha256:")))
        for one in actions
    )
    return Plan(
        digest=PlanDigest(digest_of([one.action_id for one in actions])),
        cycle_id=CycleId(cycle_id),
        created_at=created_at,
        policy_digest="sha256:" + "b" * 64,
        roster_digest="sha256:" + "a" * 64,
        actions=named,
        reviews=(),
        withheld=(),
    )


def approve(plan: Plan) -> ApprovedPlan:
    """Pass a plan through the guard of a world of many principals that we know ourselves in."""
    populations = tuple(
        Population(
            provider=provider,
            principals=1000,
            identity_known=True,
            complete_scopes=tuple({one.item.scope for one in plan.actions}),
        )
        for provider in sorted({one.provider for one in plan.actions})
    )
    return ApprovedPlan(
        plan=plan, circumstances=Circumstances(now=plan.created_at, limits=Limits(), populations=populations)
    )


def proposals(provider: FakeProvider) -> tuple[Action, ...]:
    """Propose what a naive planner would: accounts are disabled first, everything else is removed."""
    wanted = []
    for item in provider.items.values():
        account = item.kind is ArtefactKind.ACCOUNT
        if account and isinstance(item, Credential) and item.enabled is False:
            continue
        wanted.append(
            action(
                provider.principals[item.principal_id],
                item,
                Effect.QUARANTINE if account else Effect.REVOKE,
                phase=0 if account else 1,
                evidence=item_evidence(item),
            )
        )
    return tuple(sorted(wanted, key=lambda one: (one.principal.principal_id, one.phase, one.item.access_id)))
