"""A day at the company, written down before it begins: who comes, who goes and what breaks, at which second.

The same seed gives the same day, so that a day with interruptions can be compared with the same one without.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from random import Random

from reconciler.core.guard import Limits
from reconciler.core.record import CycleOutcome, CycleRecord
from tests.simulation.company import Company
from tests.simulation.counts import COUNTS
from tests.simulation.interruptions import live_and_die
from tests.simulation.office import Office
from tests.simulation.people import ZONES
from tests.simulation.vendor import Vendor, lost_reply, no_effect

DAY_SECONDS = 24 * 3600
OPEN_LIMITS = Limits(max_principals=100_000, max_percent=100)
"""Caps have tests of their own; here everybody who leaves must be dealt with on the day."""
PUBLISH_SECONDS = 6 * 3600.0
"""HR writes the feed at least this often; a day is shorter than the age that makes it stale."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How much happens."""

    hours: int
    cycle_seconds: float
    leavers: int
    joiners: int
    faults_per_cycle: float
    """How many faults begin at the vendors, on average."""


class Day:
    """Lives a day: what is due happens, a cycle runs, time passes until the next one."""

    def __init__(self, company: Company, pace: Pace, seed: int) -> None:
        self.company = company
        self.pace = pace
        self.outcomes: Counter[str] = Counter()
        self.starts = 0
        self._random = Random(seed)  # noqa: S311 - a simulation repeats itself from a seed
        self._begin = company.clock.monotonic_seconds()
        self._events: list[tuple[float, Callable[[], None]]] = []
        self._write_people(len(company.hr.people))
        self._write_faults()
        self._events.sort(key=lambda one: one[0], reverse=True)
        self._published = self._begin
        self.office = self.start()

    def start(self) -> Office:
        """Start another process."""
        self.starts += 1
        return Office(self.company, limits=OPEN_LIMITS, seed=self.starts)

    def live(self, kills: int = 0, after: Callable[[CycleRecord], None] = lambda _: None) -> None:
        """Live to the end of the day; `kills` processes die on the way, spread over the cycles."""
        slots = round(self.pace.hours * 3600 / self.pace.cycle_seconds)
        chances = Random(kills)  # noqa: S311 - a simulation repeats itself from a seed
        due = Counter(chances.randrange(2, slots) for _ in range(kills))
        for slot in range(slots):
            self._let_happen()
            for _ in range(due[slot]):
                self._die(chances)
            record = self.office.cycle()
            COUNTS["cycles, over days"] += 1
            self.outcomes[record.outcome.value] += 1
            after(record)
            rest = self._begin + (slot + 1) * self.pace.cycle_seconds - self.company.clock.monotonic_seconds()
            self.company.clock.sleep(max(rest, 1.0))
        COUNTS["virtual hours"] += self.pace.hours

    def calm_down(self, cycles: int) -> int:
        """Let all faults cease and return after how many cycles nobody holds what they should not."""
        for vendor in self.company.vendors.values():
            vendor.clear()
        self.company.publish()
        for number in range(1, cycles + 1):
            self.company.clock.sleep(self.pace.cycle_seconds)
            if self.office.cycle().outcome is CycleOutcome.COMPLETE:
                return number
        return cycles

    def _die(self, chances: Random) -> None:
        """Die at some place of a cycle; where a cycle has fewer places, the next one dies earlier."""
        at = chances.randrange(1, 160)
        while live_and_die(self.office, at) is not None:
            at = 1 + at // 2
        self.office = self.start()

    def _let_happen(self) -> None:
        passed = self.company.clock.monotonic_seconds() - self._begin
        happened = False
        while self._events and self._events[-1][0] <= passed:
            self._events.pop()[1]()
            happened = True
        if happened or passed + self._begin - self._published > PUBLISH_SECONDS:
            self.company.publish()
            self._published = passed + self._begin

    def _write_people(self, people: int) -> None:
        span = self.pace.hours * 3600
        going = self._random.sample(range(4, people), self.pace.leavers)
        for number in going:
            at = self._random.uniform(0, span * 0.9)
            self._events.append((at, self._leaving(number, by_date=self._random.random() < 0.2)))
            if self._random.random() < 0.1:
                self._events.append((at + 3 * 3600, self._rehired(number)))
        for _ in range(self.pace.joiners):
            self._events.append((self._random.uniform(0, span), self._join))
            person = self.company.hr.people[self._random.randrange(4, people)]
            self._events.append((self._random.uniform(0, span), partial(self.company.rename, person)))

    def _join(self) -> None:
        self.company.join()

    def _leaving(self, number: int, *, by_date: bool) -> Callable[[], None]:
        zone = self._random.choice(ZONES)

        def leave() -> None:
            last, now = self.company.hr.people[number].last, self.company.clock.now()
            if by_date:
                last.end_after(now.date() - timedelta(days=1), zone)
            else:
                last.end_now(now)

        return leave

    def _rehired(self, number: int) -> Callable[[], None]:
        new_id = self._random.random() < 0.5
        return lambda: self.company.hr.rehire(self.company.hr.people[number], new_id=new_id)

    def _write_faults(self) -> None:
        span = self.pace.hours * 3600
        names = sorted(self.company.vendors)
        for _ in range(round(self.pace.faults_per_cycle * span / self.pace.cycle_seconds)):
            at, name = self._random.uniform(self.pace.cycle_seconds * 2, span), self._random.choice(names)
            self._events.append((at, self._fault(self.company.vendors[name])))

    def _fault(self, vendor: Vendor) -> Callable[[], None]:
        weather, draw = vendor.weather, self._random
        lasting = self.pace.cycle_seconds * draw.uniform(0.1, 2)
        what = draw.choice(
            ("outage", "denied", "nameless", "throttle", "partial", "truncated", "doubled", "lag", "lie")
        )
        lie = draw.choice((lost_reply, no_effect))
        verb = draw.choice(("quarantine", "revoke"))
        seconds = draw.choice((2.0, 15.0, 90.0))

        def begin() -> None:
            COUNTS["faults, over days"] += 1
            if what in {"outage", "denied", "nameless"}:
                setattr(weather, f"{what}_until", self.company.clock.monotonic_seconds() + lasting)
            elif what in {"partial", "truncated", "doubled"}:
                setattr(weather, what, True)
            elif what == "throttle":
                weather.throttles = 3
            elif what == "lag":
                weather.lag_seconds = seconds
            else:
                vendor.fail(verb, lie())

        return begin
