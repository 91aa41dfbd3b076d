"""The two passes of the daemon: over everything, and over a few leavers at once.

A whole pass reads every provider in a thread of its own, as long as that takes, and then decides and acts as every
cycle does. A leavers' pass runs beside that reading, on connections of its own, the moment that the roster names a
leaver whom no pass has dealt with: it reads only what is known to be theirs. A whole pass that has not begun to act
gives way to it and is decided again afterwards, on what it had read.
"""

import threading
from collections.abc import Callable, Container, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Final, Protocol

import structlog

from inventory.collection import Source, collect
from inventory.model import Principal, ProviderName, Snapshot
from inventory.provider import Interest
from inventory.roster.model import RosterVerdict, Worker, WorkerId
from reconciler.attestation import Attested
from reconciler.core.correlation import index_roster
from reconciler.core.model import Action, Mode
from reconciler.core.record import Breadth, CycleOutcome
from reconciler.core.standing import PrincipalKey, Standing, with_readings
from reconciler.core.verdicts import leavers_of
from reconciler.core.withholding import claim_own
from reconciler.cycle import run_cycle
from reconciler.daemon.health import CycleEnd
from reconciler.observation import CycleHouse, CycleRules, give_way, interest_in
from reconciler.surveys import (
    READ_SIDE_BY_SIDE,
    Ground,
    Sight,
    Survey,
    everything,
    of_leavers,
    read_again,
    whole_sight,
)

log = structlog.get_logger(__name__)

ASK_AGAIN_SECONDS: Final = 0.05
"""A pass that may have to give way looks at the roster at most this often."""
MOST_GIVEN_WAY: Final = 10
"""A whole pass gives way no more often than this: leavers that keep coming do not keep it from its end."""
MOST_READ_AGAIN: Final = 200
"""More principals than this are left for the next whole pass rather than read again one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workshop:
    """Everything that passes work with, kept warm between them."""

    house: CycleHouse
    rules: CycleRules
    quick: Mapping[ProviderName, Source]
    """Collectors for leavers' passes alone: what a whole pass has under way never stands in their way."""


class Workshops(Protocol):
    """Opens workshops, and knows when an open one is out of date."""

    def open(self) -> AbstractContextManager[Workshop]:
        """Build everything from the settings and the secret files as they are now."""

    def outdated(self) -> bool:
        """Say whether a secret file is another one than when the workshop was opened."""

    def check(self) -> None:
        """Raise `LeaseLost` when we are no longer the one writer."""


@dataclass(slots=True)
class _Reading:
    """One reading of all providers, in a thread of its own."""

    snapshot: Snapshot | None = None
    error: BaseException | None = None
    touched: set[PrincipalKey] = field(default_factory=set)
    """Principals that a leavers' pass acted upon since it began."""
    errors: tuple[str, ...] = ()
    """What failed when principals were read again."""


def _snapshot(workshop: Workshop) -> Snapshot | None:
    """Read every provider; None where the roster cannot be read, which the pass that follows says."""
    house, rules = workshop.house, workshop.rules
    roster = house.roster.load(house.journal.last_roster()).roster
    if roster is None:
        return None
    interest = interest_in(index_roster(roster, rules.correlation), roster, house.clock.now())
    return collect(house.sources, interest, house.clock, deadline_seconds=rules.collect_deadline_seconds)


def _as_read(reading: _Reading, workshop: Workshop, look_up: Callable[[], None]) -> Survey:
    """Return the survey that takes what was read, and reads again whom the world has caught up with since.

    `look_up` is called in between and raises `Superseded` to give way; who was read again by then stays read.
    """

    def survey(ground: Ground) -> Sight:
        if reading.error is not None:
            raise reading.error
        if reading.snapshot is None:
            return everything(ground)
        quick = replace(ground, sources=workshop.quick)
        again = _to_read_again(reading.snapshot, ground.interest, reading.touched)
        for start in range(0, len(again), READ_SIDE_BY_SIDE):
            look_up()
            some = again[start : start + READ_SIDE_BY_SIDE]
            readings, _, errors = read_again(quick, some)
            reading.snapshot = with_readings(reading.snapshot, readings)
            reading.touched -= {(one.provider, one.principal_id) for one in some}
            reading.errors += errors
        sight = whole_sight(claim_own(reading.snapshot, ground.own_names))
        reading.touched.clear()
        reading.snapshot = sight.snapshot
        return replace(sight, errors=(*sight.errors, *reading.errors))

    return survey


def _to_read_again(snapshot: Snapshot, interest: Interest, touched: Container[PrincipalKey]) -> list[Principal]:
    """Return who was acted upon since, and who is of interest only since; too many of these wait for the next pass."""
    acted = [one for one in snapshot.principals() if (one.provider, one.principal_id) in touched]
    new = [one for one in snapshot.principals() if not one.read.live and interest(one)]
    return acted + (new if len(new) <= MOST_READ_AGAIN else [])


def _key_of(action: Action) -> PrincipalKey:
    return action.provider, action.principal.principal_id


class Passes:
    """Runs passes for one loop. Only `urgent` and the reading thread come from elsewhere."""

    def __init__(self, workshops: Workshops, read: Callable[[], None]) -> None:
        """`read` is called from the reading thread when a reading has ended."""
        self._workshops = workshops
        self._read = read
        self._stack = ExitStack()
        self._open: Workshop | None = None
        self._doubtful = False
        self._reading: _Reading | None = None
        self._standing: Standing | None = None
        self._dealt_with: frozenset[WorkerId] = frozenset()
        self._roster: tuple[str, RosterVerdict] | None = None
        self._asked_at: float | None = None
        self._given_way = 0
        """How often the pass that waits to be decided gave way."""
        self.waiting: Callable[[], bool] = lambda: False
        """Says whether anything came in since the loop last looked; set by whoever owns the queue."""
        self.tell: Callable[[Attested, CycleHouse, CycleRules], None] = lambda *_: None
        """Is told of every pass that ended with a record; must not fail."""

    def close(self) -> None:
        """Release everything; a reading under way ends by itself."""
        self._stack.close()
        self._open = None

    @property
    def reading(self) -> bool:
        """Say whether a reading is under way, or waits to be decided upon."""
        return self._reading is not None

    def begin_reading(self) -> None:
        """Begin to read all providers; returns at once."""
        workshop = self._workshop(renew=self._doubtful or self._workshops.outdated())
        self._reading = _Reading()
        args = (workshop, self._reading)
        threading.Thread(target=self._collect, args=args, name="reading", daemon=True).start()

    def leavers_pass(self) -> CycleEnd | None:
        """Deal with leavers whom no pass has dealt with; None when there are none, or nothing is known of them yet."""
        if self._open is None or self._standing is None or self._open.rules.mode is Mode.OBSERVE:
            return None
        self._workshops.check()
        workers = self._new_leavers(self._open)
        if not workers:
            return None
        if self._reading is None and self._workshops.outdated():
            self._workshop(renew=True)
        log.info("leavers.began", leavers=len(workers))
        house = replace(self._open.house, sources=self._open.quick, urgent=lambda: False)
        attested = run_cycle(house, self._open.rules, of_leavers(self._standing, workers))
        if attested.record.outcome is not CycleOutcome.FAILED:
            self._dealt_with |= {one.worker_id for one in workers}
        if self._reading is not None:
            self._reading.touched |= {_key_of(result.action) for result in attested.record.results}
        return self._end_of(attested, self._open)

    def whole_pass(self) -> CycleEnd:
        """Decide upon what was read, act, and attest; gives way to leavers as long as it has not begun to act."""
        try:
            workshop = self._workshop(renew=False)
            reading = self._reading
            house = replace(workshop.house, urgent=lambda: self._urgent(workshop))
            survey = everything if reading is None else _as_read(reading, workshop, partial(give_way, house))
            attested = run_cycle(house, workshop.rules, survey)
            end = self._end_of(attested, workshop)
        except BaseException:
            # Whatever it was, the next pass begins with a reading of its own: one that stays would bar every other.
            self._reading, self._doubtful, self._given_way = None, True, 0
            raise
        if attested.gave_way:
            self._given_way += 1
            return end
        self._given_way = 0
        self._reading = None
        # Not where nothing was read, as under a refused roster: that says nothing of the clients.
        self._doubtful = any(not facts.complete for facts in attested.record.inventories)
        self._remember(attested)
        if attested.record.outcome is not CycleOutcome.FAILED:
            self._dealt_with = frozenset(one.worker_id for one in attested.record.leavers)
        return end

    def next_end(self) -> datetime | None:
        """Return the next access end that the roster names as it lies there now; None before anything was opened."""
        return None if self._open is None else self._end_after(self._open, self._open.house.clock.now())

    def _workshop(self, *, renew: bool) -> Workshop:
        self._workshops.check()
        if renew or self._open is None:
            self.close()
            self._stack = ExitStack()
            self._open = self._stack.enter_context(self._workshops.open())
            self._doubtful = False
        return self._open

    def _collect(self, workshop: Workshop, reading: _Reading) -> None:
        """Read all providers; runs in a thread of its own and never raises there."""
        try:
            reading.snapshot = _snapshot(workshop)
        except Exception as error:  # noqa: BLE001 - raised again by the pass that decides upon the reading
            reading.error = error
        self._read()

    def _urgent(self, workshop: Workshop) -> bool:
        """Say whether a leaver waits whom a leavers' pass could deal with. Cheap, for it is asked often."""
        if workshop.rules.mode is Mode.OBSERVE or self._given_way >= MOST_GIVEN_WAY:
            return False
        now = workshop.house.clock.monotonic_seconds()
        if not self.waiting() or (self._asked_at is not None and now - self._asked_at < ASK_AGAIN_SECONDS):
            return False
        self._asked_at = now
        return self._standing is not None and bool(self._new_leavers(workshop))

    def _new_leavers(self, workshop: Workshop) -> tuple[Worker, ...]:
        verdict = self._verdict(workshop)
        if verdict.roster is None or not verdict.accepted or self._standing is None:
            return ()
        leavers = leavers_of(verdict.roster.workers, workshop.house.clock.now())
        self._dealt_with &= {one.worker_id for one in leavers}  # who came back and leaves again is new
        return tuple(one for one in leavers if one.worker_id not in self._dealt_with and self._standing.of((one,)))

    def _verdict(self, workshop: Workshop) -> RosterVerdict:
        """Return the verdict on the roster as it lies there now.

        An accepted one is read again only when its bytes are others; a doubt may be lifted by something beside them.
        """
        source = workshop.house.roster
        found = source.fingerprint()
        if self._roster is None or self._roster[0] != found or not self._roster[1].accepted:
            self._roster = found, source.load(workshop.house.journal.last_roster())
        return self._roster[1]

    def _remember(self, attested: Attested) -> None:
        if attested.standing is None or attested.record.evaluated == 0:
            return  # nothing was decided upon: what stood before is still the best that is known
        self._standing = attested.standing
        coming = attested.record.armed
        if coming:
            first = coming[0]
            log.info(
                "leavers.armed",
                count=len(coming),
                worker=first.worker_id,
                at=first.access_end_at.isoformat(),
                principals=first.principals,
                items=first.items,
            )

    def _end_of(self, attested: Attested, workshop: Workshop) -> CycleEnd:
        self.tell(attested, workshop.house, workshop.rules)
        record = attested.record
        incomplete = {facts.provider for facts in record.inventories if not facts.complete}
        held = bool(record.guard.hold_reasons) and record.plan is not None
        whole = record.breadth is Breadth.WHOLE
        return CycleEnd(
            sequence=record.sequence,
            outcome=record.outcome,
            breadth=record.breadth,
            gave_way=attested.gave_way,
            started_at=record.started_at,
            finished_at=record.finished_at,
            complete=frozenset(facts.provider for facts in record.inventories if whole) - incomplete,
            held_plan=record.plan.digest if held and record.plan is not None else "",
            unsettled=len(workshop.house.journal.unsettled()),
            next_instant=self._end_after(workshop, record.started_at),
            errors=record.errors,
        )

    def _end_after(self, workshop: Workshop, instant: datetime) -> datetime | None:
        roster = self._verdict(workshop).roster
        ends = () if roster is None else (one.access_end_at for one in roster.workers)
        return min((end for end in ends if end is not None and end > instant), default=None)
