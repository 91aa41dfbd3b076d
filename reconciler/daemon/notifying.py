"""Tells people of what they must know, in threads of its own: the cycle only leaves word of how it ended.

Each receiver has a thread, so that a slow one holds up no other. What happened once waits in a bounded list until every
receiver that wants it was told; everything else is looked at as it is when a message can be sent.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Protocol

import structlog

from inventory.model import ProviderName
from inventory.provider import Clock
from reconciler.core.errors import EvidenceError, JournalError, LeaseLost, NotifyError, SigningError
from reconciler.core.notices import (
    WAIVER_EVENTS,
    Condition,
    Event,
    Include,
    Memory,
    break_glass_used,
    due,
    last_uses,
    marked,
    message,
    of_cycle,
    over,
)
from reconciler.core.record import Breadth, CycleOutcome
from reconciler.core.spooling import Backlog
from reconciler.ports import Notifier
from reconciler.told import CycleTold

log = structlog.get_logger(__name__)

MOST_OWED: Final = 100
"""Single events that wait to be told; beyond it the oldest is dropped and counted."""
_BREAKS: Final = frozenset(one.__name__ for one in (SigningError, EvidenceError, JournalError))
_WHOLE: Final = frozenset({CycleOutcome.COMPLETE, CycleOutcome.HELD})
"""Outcomes of cycles that saw everything: a held one waits for a human, of which its own event tells."""
_TURN_SECONDS: Final = 5.0
"""Receivers look at least this often whether something is due: ages grow without any event."""
_LONGEST_PAUSE: Final = 3600.0
"""Longest pause after sending failed; it doubles up to this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiver:
    """Who is told what."""

    name: str
    """What its marks are kept under; no secret."""
    notifier: Notifier
    events: frozenset[Event]
    include: Include


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long things may last before they are told, and how often; seconds."""

    quiet_seconds: float
    repeat_seconds: float
    incomplete_seconds: float
    overdue_seconds: float
    unsigned_seconds: float


class NoticeFile(Protocol):
    """Keeps the memory over a restart; neither call raises."""

    def load(self) -> Memory:
        """Return what was kept last; an empty memory when there is nothing that can be read."""

    def save(self, memory: Memory) -> None:
        """Keep it durably."""


@dataclass(slots=True)
class _Turns:
    """Where one receiver stands."""

    receiver: Receiver
    news: threading.Event
    not_before: float = float("-inf")
    failures: int = 0


class Notifications:
    """Implements `reconciler.told.Listener`. Threads run from `start` to `close`; `turn` is what they do."""

    def __init__(
        self,
        receivers: Sequence[Receiver],
        providers: Sequence[ProviderName],
        patience: Patience,
        file: NoticeFile,
        clock: Clock,
    ) -> None:
        self._patience = patience
        self._file = file
        self._clock = clock
        self._lock = threading.Lock()
        self._memory = file.load()
        self._started_at = clock.now()
        self._first_seen = {str(name): self._memory.complete.get(name, self._started_at) for name in providers}
        self._ended = False
        self._of_cycle: tuple[Condition, ...] = ()
        self._owed: dict[str, tuple[Condition, frozenset[str]]] = {}
        self._lease_lost = False
        self._unstated_since: datetime | None = None
        self._backlog = Backlog()
        self._turns = tuple(_Turns(receiver=one, news=threading.Event()) for one in receivers)
        self._threads: tuple[threading.Thread, ...] = ()
        self._closing = threading.Event()
        self.counts: dict[str, int] = {"sent": 0, "failed": 0, "dropped": 0}
        """Messages by outcome; a failed one is made anew and tried again."""

    def start(self) -> None:
        """Begin to tell."""
        self._threads = tuple(
            threading.Thread(target=self._run, args=(turns,), name="notify", daemon=True) for turns in self._turns
        )
        for thread in self._threads:
            thread.start()

    def close(self, seconds: float) -> None:
        """Tell what is due once more, for as long as this, and end."""
        self._closing.set()
        self._wake()
        until = self._clock.monotonic_seconds() + seconds
        for thread in self._threads:
            thread.join(max(until - self._clock.monotonic_seconds(), 0))

    def cycle_ended(self, told: CycleTold) -> None:
        """Take note of a cycle that ended with a record."""
        record = told.record
        if told.gave_way:
            return
        broad = record.breadth is Breadth.WHOLE
        names = {facts.provider for facts in record.inventories if broad}
        whole = names - {facts.provider for facts in record.inventories if not facts.complete}
        with self._lock:
            before = self._memory
            used = break_glass_used(told.snapshot, before.break_glass) if told.snapshot else ()
            uses = last_uses(told.snapshot) if told.snapshot else {}
            self._memory = replace(
                before,
                complete={**before.complete, **dict.fromkeys(whole, record.finished_at)},
                whole_cycle_at=record.finished_at if broad and record.outcome in _WHOLE else before.whole_cycle_at,
                break_glass={
                    **before.break_glass,
                    **{key: at for key, at in uses.items() if at or key not in before.break_glass},
                },
            )
            self._ended, self._unstated_since = True, None
            # A pass over a few leavers says nothing of what a whole one found: that stays as it is.
            # Nor does a cycle say anything of waivers that ended before it came to look at them.
            unsaid = frozenset() if record.waivers.digest else WAIVER_EVENTS
            kept = {one.key: one for one in self._of_cycle if not broad or one.event in unsaid}
            self._of_cycle = tuple((kept | {one.key: one for one in of_cycle(record)}).values())
            for one in used:
                self._owe(one)
            self._file.save(self._memory)
        self._wake()

    def cycle_broke(self, error: str) -> None:
        """Take note of a cycle that could not be recorded or attested."""
        with self._lock:
            self._lease_lost = error == LeaseLost.__name__
            if error in _BREAKS:
                self._unstated_since = self._unstated_since or self._clock.now()
        self._wake()

    def signing(self, backlog: Backlog) -> None:
        """Take note of what waits for its signature; that a limit is passed is seen when a receiver looks."""
        with self._lock:
            self._backlog = backlog

    def turn(self, number: int) -> bool:
        """Tell one receiver what is due, if anything is and it may be told now; say whether a message was sent."""
        turns = self._turns[number]
        receiver, patience = turns.receiver, self._patience
        now = self._clock.now()
        with self._lock:
            marks = self._memory.marks.get(receiver.name, {})
            conditions = [one for one in self._conditions(now, receiver.name) if one.event in receiver.events]
            # Before the first cycle has ended nobody knows whether what was told before a restart is over.
            ended = over(conditions, marks) if self._ended else ()
        told = due(conditions, marks, now, patience.repeat_seconds)
        if not (told or ended) or self._clock.monotonic_seconds() < turns.not_before:
            return False
        try:
            receiver.notifier.send(*message(told, ended, receiver.include))
        except NotifyError as error:
            self._note_failure(turns, error)
            return False
        turns.failures = 0
        turns.not_before = self._clock.monotonic_seconds() + patience.quiet_seconds
        with self._lock:
            self.counts["sent"] += 1
            after = marked(told, ended, marks, now, patience.repeat_seconds)
            self._memory = replace(self._memory, marks={**self._memory.marks, receiver.name: after})
            self._settle(receiver.name, told)
            self._file.save(self._memory)
        return True

    def _run(self, turns: _Turns) -> None:
        number = self._turns.index(turns)
        while not self._closing.is_set():
            turns.news.wait(_TURN_SECONDS)
            turns.news.clear()
            if self._closing.is_set():
                turns.not_before = float("-inf")
            self.turn(number)

    def _wake(self) -> None:
        for turns in self._turns:
            turns.news.set()

    def _note_failure(self, turns: _Turns, error: NotifyError) -> None:
        turns.failures += 1
        pause = min(self._patience.quiet_seconds * 2 ** min(turns.failures, 16), _LONGEST_PAUSE)
        turns.not_before = self._clock.monotonic_seconds() + pause
        with self._lock:
            self.counts["failed"] += 1
        log.warning("notify.failed", receiver=turns.receiver.name, error=str(error), advice=error.advice)

    def _owe(self, condition: Condition) -> None:
        wanting = frozenset(one.receiver.name for one in self._turns if condition.event in one.receiver.events)
        if not wanting:
            return
        self._owed.pop(condition.key, None)
        self._owed[condition.key] = (condition, wanting)
        if len(self._owed) > MOST_OWED:
            del self._owed[next(iter(self._owed))]
            self.counts["dropped"] += 1

    def _settle(self, name: str, told: Sequence[Condition]) -> None:
        for one in told:
            owed = self._owed.get(one.key)
            if owed is not None and owed[0] == one:
                rest = owed[1] - {name}
                if rest:
                    self._owed[one.key] = (one, rest)
                else:
                    del self._owed[one.key]

    def _conditions(self, now: datetime, name: str) -> list[Condition]:
        """Return what is so now, and what this receiver is owed."""
        owed = [condition for condition, wanting in self._owed.values() if name in wanting]
        return [*self._of_cycle, *self._by_age(now), *owed]

    def _by_age(self, now: datetime) -> list[Condition]:
        patience, found = self._patience, []
        if self._lease_lost:
            found.append(_LEASE_LOST)
        if self._unstated_since and (now - self._unstated_since).total_seconds() >= patience.unsigned_seconds:
            found.append(_UNSTATED)
        elif self._backlog.age_seconds(now) >= patience.unsigned_seconds:
            found.append(_unsigned(self._backlog))
        # What was long ago before a restart is not told before the first cycle had its chance.
        since = self._memory.whole_cycle_at or self._started_at
        if self._late(since, now, patience.overdue_seconds):
            found.append(_overdue(since))
        for provider, seen in sorted(self._first_seen.items()):
            read = self._memory.complete.get(provider, seen)
            if self._late(read, now, patience.incomplete_seconds):
                found.append(_incomplete(provider, read))
        return found

    def _late(self, since: datetime, now: datetime, allowed: float) -> bool:
        waited = (now - self._started_at).total_seconds() > allowed
        return (self._ended or waited) and (now - since).total_seconds() > allowed


_LEASE_LOST: Final = Condition(
    event=Event.LEASE_LOST,
    state="lost",
    text="The lease is lost: another process writes, or the lock file was replaced. This daemon ends",
    advice="find out which process holds the state folder, then start one daemon",
)
_UNSTATED: Final = Condition(
    event=Event.UNSIGNED_BACKLOG,
    state="unstated",
    text="Cycles cannot be recorded or signed",
    advice="access-reconciler doctor",
)


def _unsigned(backlog: Backlog) -> Condition:
    return Condition(
        event=Event.UNSIGNED_BACKLOG,
        state="behind",
        text=f"{len(backlog.waiting)} statements wait for their signature, the oldest since "
        f"{backlog.since:%Y-%m-%d %H:%M} UTC. What is taken away is not affected",
        advice="access-reconciler attestations pending",
    )


def _overdue(since: datetime) -> Condition:
    return Condition(
        event=Event.CYCLE_OVERDUE,
        state=since.isoformat(),
        text=f"No cycle has been whole since {since:%Y-%m-%d %H:%M} UTC",
        advice="access-reconciler doctor, and the log of the daemon",
    )


def _incomplete(provider: str, since: datetime) -> Condition:
    return Condition(
        event=Event.PROVIDER_INCOMPLETE,
        about=provider,
        state=since.isoformat(),
        text=f"{provider} has not been read whole since {since:%Y-%m-%d %H:%M} UTC",
        advice="access-reconciler providers check",
    )
