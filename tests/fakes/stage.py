"""A stage to execute on: providers, a journal with a cycle begun, a clock, and whoever watches."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

from inventory.model import PrincipalId, ProviderName
from reconciler.core.model import Action, ActionId, ActionResult, Mode, OutcomeState, Plan, VerificationState
from reconciler.execution import Crew, execute
from reconciler.ports import Intent
from reconciler.rereading import Patience
from tests.builders import NOW, PROVIDER, action, credential, grant, principal
from tests.fakes.clock import FakeClock
from tests.fakes.journal import MemoryJournal
from tests.fakes.world import FakeProvider, Watcher, approve, plan_of

DONE, ABSENT, FAILED = OutcomeState.DONE, OutcomeState.ALREADY_ABSENT, OutcomeState.FAILED
LOST, SKIPPED = OutcomeState.UNKNOWN, OutcomeState.SKIPPED
GONE, THERE, UNKNOWN = VerificationState.GONE, VerificationState.STILL_THERE, VerificationState.UNKNOWN
LDAP = ProviderName("corp-ldap")


class Stage:
    """A world, a journal with a cycle begun, and whoever executes."""

    def __init__(self, *names: str, provider: ProviderName = PROVIDER) -> None:
        self.clock = FakeClock(NOW)
        self.journal = MemoryJournal()
        self.epoch = self.journal.take_over(NOW)
        self.watcher = Watcher()
        self.providers: dict[ProviderName, FakeProvider] = {}
        self.why: Callable[[Action], str] = lambda _: ""
        self.parallel = 1
        self.add(provider, *(names or ("alice",)))

    def add(self, name: ProviderName, *people: str) -> FakeProvider:
        """Add a provider where each principal has a key and a membership."""
        principals = [principal(one, provider=name) for one in people]
        items = [made(one, provider=name) for one in people for made in (credential, grant)]
        provider = FakeProvider(name, items, principals)
        provider.intent_exists = lambda action_id: self.journal.entry(action_id) is not None
        self.providers[name] = provider
        return provider

    @property
    def aws(self) -> FakeProvider:
        return self.providers[PROVIDER]

    def plan(self, *actions: Action) -> Plan:
        """Plan these actions, or the removal of everything there is."""
        everything = [
            action(provider.principals[item.principal_id], item)
            for provider in self.providers.values()
            for item in provider.items.values()
        ]
        plan = plan_of(*(actions or everything))
        if not self.journal.cycles():
            self.journal.begin_cycle(plan.cycle_id, Mode.ENFORCE, NOW)
        return plan

    def crew(self, **changes: object) -> Crew:
        values = {
            "journal": self.journal,
            "clock": self.clock,
            "epoch": self.epoch,
            "collectors": self.providers,
            "revokers": self.providers,
            "still_planned": self.why,
            "observer": self.watcher,
            "verification": Patience(window_seconds=10),
            "max_parallel_principals": self.parallel,
            "max_parallel_actions": self.parallel,
        }
        return Crew(**(values | changes))  # type: ignore[arg-type]  # a builder takes whatever is asked

    def run(self, *actions: Action) -> tuple[ActionResult, ...]:
        return execute(approve(self.plan(*actions)), self.crew())

    def key(self, who: str = "alice") -> Action:
        return action(self.aws.principals[PrincipalId(who)], credential(who))

    def member(self, who: str = "alice") -> Action:
        return action(self.aws.principals[PrincipalId(who)], grant(who))


def ends(results: Sequence[ActionResult]) -> list[tuple[OutcomeState, VerificationState | None]]:
    """Return outcome and verification of each result."""
    return [(result.outcome, result.verification) for result in results]


class Breaking(MemoryJournal):
    """Fails at the n-th write of one kind."""

    def __init__(self, verb: str, at: int, error: Exception) -> None:
        super().__init__()
        self._countdown = {verb: at}
        self._error = error
        self._counting = threading.Lock()

    def _tick(self, verb: str) -> None:
        with self._counting:
            self._countdown[verb] = self._countdown.get(verb, 0) - 1
            if self._countdown[verb] == 0:
                raise self._error

    def record_intent(self, intent: Intent) -> None:
        self._tick("intent")
        super().record_intent(intent)

    def record_outcome(self, action_id: ActionId, *rest: Any) -> None:
        self._tick("outcome")
        super().record_outcome(action_id, *rest)

    def record_verification(self, action_id: ActionId, *rest: Any) -> None:
        self._tick("verification")
        super().record_verification(action_id, *rest)
