"""One principal's part of a plan: read, record the intent, act once, record the outcome, read until it is gone.

Answers of a provider become outcomes here. `failed` is kept for a call that was positively refused; where no answer
came, or none that can be trusted, the outcome is `unknown`, and only reading again tells. Nothing is retried, with one
exception: a call refused for its rate was positively not made, so after one bounded wait and a fresh read it is made
once more.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import groupby
from typing import Final

from inventory.errors import Denied, Misconfigured, ObjectChanged, ObjectMissing, ProviderError, Throttled, Unsupported
from inventory.model import ArtefactKind, PrincipalId, PrincipalReading, ProviderName
from inventory.provider import Clock, Collector
from reconciler.core.model import (
    Action,
    ActionId,
    ActionResult,
    BeforeImage,
    Effect,
    OutcomeState,
    Plan,
    Receipt,
    VerificationState,
)
from reconciler.core.verification import Ground, GroundState, effective_by, ground
from reconciler.ports import Intent, Journal, Revoker
from reconciler.rereading import Rereader

FAILURES_IN_A_ROW: Final = 3
"""After so many a provider is left alone for the rest of the cycle."""
LONGEST_THROTTLE_SECONDS: Final = 30.0
"""A provider that asks for a longer wait is not waited for."""
DEFAULT_THROTTLE_SECONDS: Final = 1.0
"""The wait where the provider names none."""

FRESH_SECONDS: Final = 2.0
"""A read that began no longer ago stands for the read right before an act, whoever made it."""

_NOTHING_TO_RESTORE: Final = BeforeImage(restorable=False, document="{}")
_NOT_MADE: Final = (Denied, Misconfigured, ObjectChanged, Throttled, Unsupported)
"""Errors by which a provider says that it did not do what was asked."""
_UNSURE: Final = frozenset({OutcomeState.DONE, OutcomeState.ALREADY_ABSENT, OutcomeState.UNKNOWN})
"""Outcomes that reading again has to confirm."""


class Brake:
    """Stops one provider, or everything; shared by all threads of one execution."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stopped: dict[ProviderName, str] = {}
        self._streaks: Counter[tuple[ProviderName, str]] = Counter()
        self.error: BaseException | None = None
        """The first error that stopped everything."""

    def halt(self, error: BaseException) -> None:
        """Stop everything; a later error is noted on the first."""
        with self._lock:
            if self.error is None:
                self.error = error
            elif self.error is not error:
                self.error.add_note(f"afterwards: {type(error).__name__}: {error}")

    def halted(self) -> bool:
        """Say whether everything is stopped."""
        return self.error is not None

    def stop(self, provider: ProviderName, reason: str) -> None:
        """Leave a provider alone; the first reason stays."""
        with self._lock:
            self._stopped.setdefault(provider, reason)

    def went_well(self, provider: ProviderName, step: str) -> None:
        """End the row of failures of a step, `act` or `verify`."""
        with self._lock:
            self._streaks[provider, step] = 0

    def failed(self, provider: ProviderName, step: str) -> None:
        """Count a failure of a step; the third in a row stops the provider."""
        with self._lock:
            self._streaks[provider, step] += 1
            if self._streaks[provider, step] >= FAILURES_IN_A_ROW:
                self._stopped.setdefault(provider, f"{FAILURES_IN_A_ROW} failures in a row ({step})")

    def why(self, provider: ProviderName) -> str:
        """Return why nothing may begin at a provider, or nothing."""
        with self._lock:
            return "everything was stopped" if self.error is not None else self._stopped.get(provider, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A principal as it was read a moment ago, by whoever planned."""

    reading: PrincipalReading
    began_seconds: float
    """Monotonic time at which the read began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What the walk over one provider's principals uses."""

    plan: Plan
    expires_at: datetime
    ends_at_seconds: float
    """The same by the monotonic clock: a wall clock that is set back does not make a plan live longer."""
    journal: Journal
    clock: Clock
    epoch: int
    revoker: Revoker
    collector: Collector
    still_planned: Callable[[Action], str]
    rereader: Rereader
    brake: Brake
    seen: Mapping[tuple[ProviderName, PrincipalId], Seen] = field(default_factory=dict)
    side_by_side: int = 1
    """Actions made at once."""


class PrincipalWalk:
    """Carries out the actions of one principal, wave by wave, and verifies them together."""

    def __init__(self, tools: Tools, actions: Sequence[Action]) -> None:
        self._tools = tools
        self._actions = actions
        self._provider = actions[0].provider
        self._results: dict[ActionId, ActionResult] = {}
        self._seen = tools.seen.get((self._provider, actions[0].principal.principal_id))
        self._reading_once = threading.Lock()

    def run(self) -> tuple[ActionResult, ...]:
        """Return one result an action. Raises `JournalError` and `LeaseLost` only."""
        planned = [action for action in self._actions if self._still_planned(action)]
        for wave in _waves(planned, self._tools.side_by_side):
            self._together(wave)
        self._verify()
        return tuple(self._results[action.action_id] for action in self._actions)

    def _together(self, wave: Sequence[Action]) -> None:
        """Make the actions of a wave, side by side where there are several; a stop raises when all have ended."""
        if len(wave) == 1:
            self._step(wave[0])
            return
        with ThreadPoolExecutor(min(len(wave), self._tools.side_by_side), thread_name_prefix="wave") as pool:
            for step in [pool.submit(self._step, action) for action in wave]:
                step.result()

    def _still_planned(self, action: Action) -> bool:
        reason = self._barred() or self._tools.still_planned(action)
        if reason:
            self._skip(action, reason)
        return not reason

    def _barred(self) -> str:
        """Return why no call may begin now, or nothing."""
        clock = self._tools.clock
        if clock.now() >= self._tools.expires_at or clock.monotonic_seconds() >= self._tools.ends_at_seconds:
            return "the plan has expired"
        return self._tools.brake.why(self._provider)

    def _step(self, action: Action) -> None:
        reason = self._barred() or self._must_wait(action)
        if reason:
            self._skip(action, reason)
            return
        try:
            found = self._ground(action)
        except ProviderError as error:
            self._provider_failed(error)
            self._skip(action, f"could not be read just before the act: {_told(error)}")
            return
        if found.state is GroundState.MOVED:
            self._skip(action, found.reason)
        elif found.state is GroundState.ABSENT:
            self._absent(found.action, found.reason)
        else:
            self._act(found.action)

    def _must_wait(self, action: Action) -> str:
        """Keep a principal from being removed while something of it could not be taken."""
        if not _removes_principal(action):
            return ""
        settled = {OutcomeState.DONE, OutcomeState.ALREADY_ABSENT}
        open_ones = [result for result in self._results.values() if result.outcome not in settled]
        return f"{len(open_ones)} earlier actions on this principal did not succeed" if open_ones else ""

    def _ground(self, action: Action) -> Ground:
        """Compare with the world, by a read that is a moment old at most: one serves all actions of a wave."""
        with self._reading_once:
            now = self._tools.clock.monotonic_seconds()
            if self._seen is None or now - self._seen.began_seconds > FRESH_SECONDS:
                reading = self._tools.collector.read_principal(action.principal)
                self._seen = Seen(reading=reading, began_seconds=now)
            reading = self._seen.reading
        return ground(action, reading)

    def _act(self, action: Action) -> None:
        try:
            before = self._tools.revoker.before_image(action)
        except ObjectMissing:
            self._absent(action, "the access item does not exist")
            return
        except ProviderError as error:
            self._provider_failed(error)
            self._keep(action, OutcomeState.FAILED, f"not called, no before-image: {_told(error)}")
            return
        self._intend(action, before)
        outcome, detail = self._call(action)
        now = self._tools.clock.now()
        self._tools.journal.record_outcome(action.action_id, outcome, detail, now)
        self._keep(action, outcome, detail, acted_at=now)

    def _intend(self, action: Action, before: BeforeImage) -> None:
        plan = self._tools.plan
        self._tools.journal.record_intent(
            Intent(
                action=action,
                before=before,
                cycle_id=plan.cycle_id,
                epoch=self._tools.epoch,
                plan_digest=plan.digest,
                policy_digest=plan.policy_digest,
                recorded_at=self._tools.clock.now(),
            )
        )

    def _call(self, action: Action) -> tuple[OutcomeState, str]:
        try:
            return self._answered(self._once(action))
        except ObjectMissing as error:
            return self._answered(Receipt(outcome=OutcomeState.ALREADY_ABSENT, detail=_told(error)))
        except Throttled as error:
            return self._once_more(action, error)
        except ProviderError as error:
            return self._failed(error)

    def _once(self, action: Action) -> Receipt:
        if action.effect is Effect.QUARANTINE:
            return self._tools.revoker.quarantine(action)
        if action.effect is Effect.REVOKE:
            return self._tools.revoker.revoke(action)
        msg = f"action {action.action_id} asks for {action.effect}, which is no act"
        raise ValueError(msg)

    def _once_more(self, action: Action, refused: Throttled) -> tuple[OutcomeState, str]:
        asked = refused.retry_after_seconds
        wait = DEFAULT_THROTTLE_SECONDS if asked is None else max(asked, 0.0)
        if wait > LONGEST_THROTTLE_SECONDS:
            return self._failed(refused)
        self._tools.clock.sleep(wait)
        try:
            reason = self._barred()
            found = ground(action, self._tools.collector.read_principal(action.principal))
            if found.state is GroundState.ABSENT:
                return self._answered(Receipt(outcome=OutcomeState.ALREADY_ABSENT, detail=found.reason))
            if reason or found.state is GroundState.MOVED:
                return self._failed(Throttled(f"not called again: {reason or found.reason}"))
            return self._answered(self._once(found.action))
        except ObjectMissing as error:
            return self._answered(Receipt(outcome=OutcomeState.ALREADY_ABSENT, detail=_told(error)))
        except ProviderError as error:
            return self._failed(error)

    def _answered(self, receipt: Receipt) -> tuple[OutcomeState, str]:
        if receipt.outcome not in {OutcomeState.DONE, OutcomeState.ALREADY_ABSENT}:
            self._tools.brake.failed(self._provider, "act")
            return OutcomeState.UNKNOWN, f"the revoker answered {receipt.outcome}: {receipt.detail}"
        self._tools.brake.went_well(self._provider, "act")
        return receipt.outcome, receipt.detail

    def _failed(self, error: ProviderError) -> tuple[OutcomeState, str]:
        self._provider_failed(error)
        outcome = OutcomeState.FAILED if isinstance(error, _NOT_MADE) else OutcomeState.UNKNOWN
        return outcome, ("changed: " if isinstance(error, ObjectChanged) else "") + _told(error)

    def _provider_failed(self, error: ProviderError) -> None:
        self._tools.brake.failed(self._provider, "act")
        if isinstance(error, Denied):
            self._tools.brake.stop(self._provider, f"the provider refused our identity: {_told(error)}")

    def _absent(self, action: Action, reason: str) -> None:
        """Record what needs no call: it has an intent, an outcome and a verification like every other action."""
        self._intend(action, _NOTHING_TO_RESTORE)
        now = self._tools.clock.now()
        self._tools.journal.record_outcome(action.action_id, OutcomeState.ALREADY_ABSENT, reason, now)
        self._keep(action, OutcomeState.ALREADY_ABSENT, reason)

    def _verify(self) -> None:
        """Read until everything taken is gone; a refused call is judged by the same reads, not waited for."""
        called = [result for result in self._results.values() if self._to_verify(result)]
        if not called:
            return
        waited_for = [result.action.action_id for result in called if result.outcome in _UNSURE]
        seen = self._tools.rereader.read_until(
            self._actions[0].principal,
            [result.action for result in called],
            lambda states: all(states[one] is VerificationState.GONE for one in waited_for),
        )
        if self._tools.brake.halted():
            return
        for result in called:
            action_id = result.action.action_id
            state = seen.judgements[action_id]
            self._tools.journal.record_verification(action_id, state, seen.read_at)
            detail = "; ".join(part for part in (result.detail, seen.problem) if part)
            self._results[action_id] = replace(result, verification=state, verified_at=seen.read_at, detail=detail)
        if not waited_for:
            return  # every call was refused: that nothing is gone says nothing of reading again
        gone = all(seen.judgements[one] is VerificationState.GONE for one in waited_for)
        (self._tools.brake.went_well if gone else self._tools.brake.failed)(self._provider, "verify")

    @staticmethod
    def _to_verify(result: ActionResult) -> bool:
        return result.outcome in _UNSURE or result.acted_at is not None

    def _skip(self, action: Action, reason: str) -> None:
        self._keep(action, OutcomeState.SKIPPED, reason)

    def _keep(self, action: Action, outcome: OutcomeState, detail: str, *, acted_at: datetime | None = None) -> None:
        planned = next(one for one in self._actions if one.action_id == action.action_id)
        self._results[action.action_id] = ActionResult(
            action=planned,
            outcome=outcome,
            detail=detail,
            decided_at=self._tools.plan.created_at,
            acted_at=acted_at,
            effective_by=effective_by(action, acted_at) if acted_at and outcome is not OutcomeState.FAILED else None,
        )


def _waves(actions: Sequence[Action], side_by_side: int) -> Iterator[Sequence[Action]]:
    """Yield what may be done at once, in the plan's order: everything, and at last the principal itself."""
    if side_by_side == 1:
        yield from ((action,) for action in actions)
        return
    for _, wave in groupby(sorted(actions, key=_removes_principal), key=_removes_principal):
        yield tuple(wave)


def _removes_principal(action: Action) -> bool:
    return action.item.kind is ArtefactKind.ACCOUNT and action.effect is Effect.REVOKE


def _told(error: ProviderError) -> str:
    return f"{type(error).__name__}: {error}"
