"""Reading a principal again until it shows what was hoped for, or a window of time has passed.

The read shares nothing with the write: another credential, another client. Providers are eventually consistent, so
one read that disagrees is no answer yet; when the window ends, the last read that succeeded is.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from inventory.errors import Denied, ProviderError
from inventory.model import Principal
from inventory.provider import Clock, Collector
from reconciler.core.model import Action, ActionId, VerificationState
from reconciler.core.verification import judge

Judgements = Mapping[ActionId, VerificationState]


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long, and how often, a principal is read again."""

    window_seconds: float = 60.0
    """From the first read; AWS IAM shows most changes well within it. 0 or less reads once."""
    first_interval_seconds: float = 0.2
    growth: float = 2.0
    longest_interval_seconds: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rereading:
    """What reading again showed."""

    judgements: Judgements
    """One for each action asked about; `unknown` where no read told."""
    read_at: datetime
    """When the read ended that the judgements come from; of the last attempt where none succeeded."""
    problem: str = ""
    """Why the last read failed, without personal data; empty when it did not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rereader:
    """Reads principals of one provider again."""

    collector: Collector
    clock: Clock
    patience: Patience
    stopped: Callable[[], bool] = lambda: False
    """Ends the wait early: the journal cannot take the answer any more."""

    def read_until(
        self, principal: Principal, actions: Sequence[Action], satisfied: Callable[[Judgements], bool]
    ) -> Rereading:
        """Read at once and then at growing intervals until `satisfied`, the window's end, or a refused reader."""
        until = self.clock.monotonic_seconds() + self.patience.window_seconds
        interval = self.patience.first_interval_seconds
        judgements: Judgements = {action.action_id: VerificationState.UNKNOWN for action in actions}
        read_at = None
        while True:
            problem = ""
            try:
                reading = self.collector.read_principal(principal)
            except ProviderError as error:
                problem = f"{type(error).__name__}: {error}"
                final = isinstance(error, Denied)
            else:
                judgements = {action.action_id: judge(action, reading) for action in actions}
                read_at = self.clock.now()
                final = satisfied(judgements)
            left = until - self.clock.monotonic_seconds()
            if final or left <= 0 or self.stopped():
                return Rereading(judgements=judgements, read_at=read_at or self.clock.now(), problem=problem)
            self.clock.sleep(min(interval, left))
            interval = min(interval * self.patience.growth, self.patience.longest_interval_seconds)
