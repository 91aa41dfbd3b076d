"""Walks an approved plan: reads again, records the intent, acts once, records the outcome, reads until it is gone.

Providers go side by side, principals of one provider too, a few at a time, and so do the actions of one principal, with
the principal itself at last. Nothing is called before its intent is durable, and nothing is called again because no
answer came. What stops it: the journal or the lease failing stops everything, the plan's expiry stops what has not
begun, and a provider is left alone after its third failure in a row or the first time that it refuses our identity.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass, field

from inventory.model import PrincipalId, ProviderName
from inventory.provider import Clock, Collector
from reconciler.core.guard import ApprovedPlan
from reconciler.core.model import Action, ActionId, ActionResult, OutcomeState
from reconciler.ports import Journal, Observer, Progress, Revoker
from reconciler.principal_walk import Brake, PrincipalWalk, Seen, Tools
from reconciler.rereading import Patience, Rereader


@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """Whom the executor works with."""

    journal: Journal
    clock: Clock
    epoch: int
    """The journal's epoch that this process took; every intent is checked against it."""
    collectors: Mapping[ProviderName, Collector]
    revokers: Mapping[ProviderName, Revoker]
    """Only of the providers that may be acted upon: in observe mode there is none."""
    still_planned: Callable[[Action], str]
    """Asked of each action before its principal: "" or why worker, waiver, policy or mode no longer ask for it."""
    observer: Observer
    verification: Patience = field(default_factory=Patience)
    one_by_one: frozenset[ProviderName] = frozenset()
    """Providers where writes to different principals collide, such as two removals from one versioned group."""
    max_parallel_principals: int = 4
    """At one provider."""
    max_parallel_actions: int = 8
    """On one principal; its own removal waits for the others."""
    seen: Mapping[tuple[ProviderName, PrincipalId], Seen] = field(default_factory=dict)
    """Principals that were read a moment ago."""


def execute(approved: ApprovedPlan, crew: Crew) -> tuple[ActionResult, ...]:
    """Carry out an approved plan and return one result an action, in the plan's order.

    Raises `JournalError` or `LeaseLost` once the calls in flight have ended: what they left open is settled by
    `reconciler.recovery`. A failure at a provider raises nothing: it is a result.
    """
    brake = Brake()
    actions = approved.plan.actions
    results: dict[ActionId, ActionResult] = {}
    with ExitStack() as pools:
        try:
            walks: list[Future[tuple[ActionResult, ...]]] = []
            for provider, groups in _by_provider(actions).items():
                revoker = crew.revokers.get(provider)
                if revoker is None:
                    results.update(_without_revoker(approved, provider))
                    continue
                tools = _tools(provider, revoker, approved, crew, brake)
                side_by_side = 1 if provider in crew.one_by_one else min(crew.max_parallel_principals, len(groups))
                pool = pools.enter_context(ThreadPoolExecutor(side_by_side, thread_name_prefix=f"act-{provider}"))
                walks.extend(pool.submit(_walk, tools, group) for group in groups)
            for walk in as_completed(walks):
                if walk.exception() is None:
                    results |= {result.action.action_id: result for result in walk.result()}
                    crew.observer.progress(_step(walk.result(), len(results), len(actions)))
        except BaseException as error:
            brake.halt(error)
            raise
    if brake.error is not None:
        raise brake.error
    return tuple(results[action.action_id] for action in actions)


def _step(results: Sequence[ActionResult], done: int, total: int) -> Progress:
    principal = results[0].action.principal
    message = f"{principal.provider}: {principal.principal_id}"
    return Progress(stage="execute", message=message, done=done, total=total)


def _by_provider(actions: Sequence[Action]) -> Mapping[ProviderName, Sequence[Sequence[Action]]]:
    """Group actions by provider and principal; both, and the actions inside, keep the plan's order."""
    groups: dict[ProviderName, dict[PrincipalId, list[Action]]] = defaultdict(lambda: defaultdict(list))
    for action in actions:
        groups[action.provider][action.principal.principal_id].append(action)
    return {provider: tuple(principals.values()) for provider, principals in groups.items()}


def _without_revoker(approved: ApprovedPlan, provider: ProviderName) -> Mapping[ActionId, ActionResult]:
    return {
        action.action_id: ActionResult(
            action=action,
            outcome=OutcomeState.SKIPPED,
            detail="no revoker is configured for this provider",
            decided_at=approved.plan.created_at,
        )
        for action in approved.plan.actions
        if action.provider == provider
    }


def _tools(provider: ProviderName, revoker: Revoker, approved: ApprovedPlan, crew: Crew, brake: Brake) -> Tools:
    collector = crew.collectors[provider]
    return Tools(
        plan=approved.plan,
        expires_at=approved.expires_at,
        ends_at_seconds=_end_by_monotonic_clock(approved, crew.clock),
        journal=crew.journal,
        clock=crew.clock,
        epoch=crew.epoch,
        revoker=revoker,
        collector=collector,
        still_planned=crew.still_planned,
        rereader=Rereader(collector=collector, clock=crew.clock, patience=crew.verification, stopped=brake.halted),
        brake=brake,
        seen=crew.seen,
        side_by_side=crew.max_parallel_actions,
    )


def _end_by_monotonic_clock(approved: ApprovedPlan, clock: Clock) -> float:
    lifetime = approved.expires_at - approved.plan.created_at
    return clock.monotonic_seconds() + min(approved.expires_at - clock.now(), lifetime).total_seconds()


def _walk(tools: Tools, actions: Sequence[Action]) -> tuple[ActionResult, ...]:
    try:
        return PrincipalWalk(tools, actions).run()
    except BaseException as error:
        tools.brake.halt(error)
        raise
