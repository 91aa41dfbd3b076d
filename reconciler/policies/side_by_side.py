"""Two revisions of the policies decided on one recorded world, side by side, and nothing asked twice that need not be.

Both are asked the same units, made once. Of the second revision only the rules are asked that may answer otherwise
than in the first (see `narrowing`), where the caller has told them apart; what the others find, the first has found.
Where anybody stays undecided the whole second revision is asked about everybody: which rule failed is not known.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import tee
from threading import Lock

from inventory.model import PrincipalId, ProviderName
from reconciler.core.document import EvaluationWorld, Unit, Unreadable, units
from reconciler.core.entitlements import named_in
from reconciler.core.model import Evaluation, PolicySet
from reconciler.evaluation import PARALLEL, Manner, evaluate, finding_order
from reconciler.policies.deciding import Made, Revision, Side, Units, decide, laid_out, planned, world_of
from reconciler.policies.recording import Recording
from reconciler.ports import PolicyEngine


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A revision, and the engine that is asked by it."""

    revision: Revision
    engine: PolicyEngine


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The rules of a revision that may answer otherwise than those of the one before."""

    policies: PolicySet
    """With everything that these rules stand on."""
    engine: PolicyEngine
    """Another one than that of the whole revision."""


def decide_both(
    recording: Recording, base: Asked, head: Asked, part: Part | None = None, at_once: int = PARALLEL
) -> tuple[Side, Side]:
    """Decide a recorded world by two revisions at the same time, each with `at_once` requests under way.

    `part` are the rules of `head` that alone need be asked; None: all of them. Raises `PolicyError` where an engine
    cannot decide, or a revision answers the canaries wrongly.
    """
    made = Made(laid_out=laid_out(recording), at_once=at_once)
    if named_in(base.revision.policies.data) != named_in(head.revision.policies.data):
        first, second, part = made, made, None
        unreadable = set[_Who]()
    else:
        known = CommonUnits(world_of(recording, base.revision.policies, ()))
        one, other = known.for_two() if part is None or part.policies.rules else (known.units, ())
        first, second, unreadable = replace(made, units=one), replace(made, units=other), known.unreadable
    with ThreadPoolExecutor(max_workers=2) as pool:
        before = pool.submit(decide, recording, base.revision, base.engine, first)
        if part is None:
            after = pool.submit(decide, recording, head.revision, head.engine, second)
        else:
            narrow = _Narrow(recording, head, part, second, unreadable)
            after = pool.submit(narrow.decide, before.result)
        return before.result(), after.result()


_Who = tuple[ProviderName, PrincipalId]


@dataclass(frozen=True, slots=True)
class CommonUnits:
    """What two revisions are asked about: the same, where their thresholds name the same.

    A unit tells what the thresholds name, such as conflicting entitlements and the house's own mail domains. Two
    threads read at their own pace; each unit is made when the first of them comes to it, and let go when both have
    had it.
    """

    world: EvaluationWorld
    unreadable: set[_Who] = field(default_factory=set)
    """Who could not be asked about, as far as the units have been read."""
    lock: Lock = field(default_factory=Lock)

    @property
    def units(self) -> Iterator[Unit | Unreadable]:
        """Make the units, for one reader."""
        for one in units(self.world):
            if isinstance(one, Unreadable):
                self.unreadable.add((one.provider, one.principal_id))
            yield one

    def for_two(self) -> tuple[Units, Units]:
        """Make the units once for two threads."""
        first, second = tee(self.units)
        return self._one_at_a_time(first), self._one_at_a_time(second)

    def _one_at_a_time(self, source: Iterator[Unit | Unreadable]) -> Iterator[Unit | Unreadable]:
        while True:
            with self.lock:
                found = next(source, None)
            if found is None:
                return
            yield found


@dataclass(frozen=True, slots=True)
class _Narrow:
    """Decides by a revision of which only a part is asked about everybody."""

    recording: Recording
    head: Asked
    part: Part
    made: Made
    unreadable: set[_Who]

    def decide(self, before: Callable[[], Side]) -> Side:
        """Decide; `before` waits for the first revision and returns what it came to."""
        revision, made = self.head.revision, self.made
        whole = self._evaluate(self.head.engine, revision.policies, Manner(made=()))
        found = whole
        if self.part.policies.rules:
            manner = Manner(made=made.units, at_once=made.at_once, canaries=False)
            found = self._evaluate(self.part.engine, self.part.policies, manner)
        known = before().evaluation
        if not self.unreadable >= {*known.unknown, *found.unknown}:
            return decide(self.recording, revision, self.head.engine, replace(made, units=None))
        asked = {rule.rule_id for rule in self.part.policies.rules}
        same = {rule.rule_id for rule in revision.policies.rules} - asked
        findings = (*(one for one in known.findings if one.rule in same), *found.findings)
        joined = replace(known, engine=whole.engine, findings=tuple(sorted(findings, key=finding_order)))
        return planned(self.recording, revision, joined, made.laid_out)

    def _evaluate(self, engine: PolicyEngine, policies: PolicySet, manner: Manner) -> Evaluation:
        return evaluate(engine, world_of(self.recording, policies, self.head.revision.waivers), manner=manner)
