"""What people are told of without asking, decided from plain values: what is so, what was told, and what is due.

Level-triggered: a message is the difference between what is so now and what a receiver was told last. So it is grouped
by itself, nothing is told twice, and a receiver that was down for a day gets the state of now, not a day of messages.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from inventory.model import PrincipalKind, Snapshot
from reconciler.core.canonical import digest_of
from reconciler.core.model import OutcomeState
from reconciler.core.record import CycleOutcome, CycleRecord

MOST_IDS: Final = 20
"""So many object ids are named in one paragraph; the rest is counted."""
_REFUSED: Final = ("PolicyError:", "Undecided:")
"""How an error line of a cycle begins whose policies could not be loaded or gave no answer."""


class Event(StrEnum):
    """What can be told."""

    PLAN_HELD = "plan_held"
    ACTION_FAILED = "action_failed"
    """An act failed, or nobody knows how it ended."""
    PROVIDER_INCOMPLETE = "provider_incomplete"
    BREAK_GLASS_USED = "break_glass_used"
    CYCLE_OVERDUE = "cycle_overdue"
    LEASE_LOST = "lease_lost"
    UNSIGNED_BACKLOG = "unsigned_backlog"
    POLICY_REFUSED = "policy_refused"
    WAIVER_ENDING = "waiver_ending"
    """A waiver ends within a week: what it keeps is dealt with from then on."""
    WAIVER_REFUSED = "waiver_refused"
    """A waiver is malformed and waives nothing."""


WAIVER_EVENTS: Final = frozenset({Event.WAIVER_ENDING, Event.WAIVER_REFUSED})
"""What only a cycle can tell that looked at the waivers."""


class Include(StrEnum):
    """How much a receiver is told."""

    COUNTS = "counts"
    """Numbers, provider instances, the digest of a plan, and the command to run next."""
    IDS = "ids"
    """Ids of principals and access items as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Something that is so, or that happened once."""

    event: Event
    about: str = ""
    """What tells it from others of its event: a provider instance, or nothing."""
    state: str
    """Another one is news; the same one is not told again before its time."""
    text: str
    advice: str
    ids: tuple[str, ...] = ()
    lasting: bool = True
    """False for what happened once: it is owed to each receiver, and never resolved."""

    @property
    def key(self) -> str:
        """Return what marks are kept under."""
        return f"{self.event.value}/{self.about}" if self.about else self.event.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What a receiver was told last under one key, and when."""

    state: str
    at: datetime
    lasting: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What is kept over a restart, so that one is no reason to tell everything again."""

    marks: Mapping[str, Mapping[str, Mark]] = field(default_factory=dict)
    """By receiver and key."""
    complete: Mapping[str, datetime] = field(default_factory=dict)
    """By provider, when a cycle last read it whole."""
    whole_cycle_at: datetime | None = None
    break_glass: Mapping[str, datetime | None] = field(default_factory=dict)
    """By provider and principal id, when it was last used as far as is known."""


def of_cycle(record: CycleRecord) -> tuple[Condition, ...]:
    """Return what the record of a cycle gives reason to tell."""
    return (*_held(record), *_failed(record), *_refused(record), *_waivers(record))


def _held(record: CycleRecord) -> Iterable[Condition]:
    plan, reasons = record.plan, record.guard.hold_reasons
    if plan is None or record.outcome is not CycleOutcome.HELD:
        return
    codes = ", ".join(sorted({reason.code.value for reason in reasons}))
    releasable = all(reason.code.releasable for reason in reasons)
    release = f"access-reconciler approve {plan.digest}" if releasable else "no approval lifts this: mend the cause"
    yield Condition(
        event=Event.PLAN_HELD,
        state=f"{plan.digest} {codes}",
        text=f"A plan of {_many(len(plan.actions), 'action')} is held ({codes}): {plan.digest}",
        advice=f"access-reconciler attestations show {record.sequence}, then {release}",
        ids=tuple(f"{one.provider}/{one.principal.principal_id}: {one.item.access_id}" for one in plan.actions),
    )


def _failed(record: CycleRecord) -> Iterable[Condition]:
    bad = [one for one in record.results if one.outcome in (OutcomeState.FAILED, OutcomeState.UNKNOWN)]
    for provider in sorted({one.action.provider for one in bad}):
        here = [one for one in bad if one.action.provider == provider]
        counts = Counter(one.outcome for one in here)
        ids = tuple(f"{one.action.principal.principal_id}: {one.action.item.access_id}" for one in here)
        failed, unknown = counts[OutcomeState.FAILED], counts[OutcomeState.UNKNOWN]
        yield Condition(
            event=Event.ACTION_FAILED,
            about=provider,
            state=digest_of(sorted((one, result.outcome.value) for one, result in zip(ids, here, strict=True))),
            text=f"{provider}: {_many(failed, 'act')} failed, {unknown} with an unknown end",
            advice=f"access-reconciler attestations show {record.sequence}",
            ids=ids,
        )


def _refused(record: CycleRecord) -> Iterable[Condition]:
    newer = [line for line in record.errors if line.startswith("Policies refused:")]
    if newer:
        yield Condition(
            event=Event.POLICY_REFUSED,
            state=digest_of(newer),
            text="A newer revision of the policies was refused: the last good one stays in force",
            advice="access-reconciler policies report, then mend the revision or adopt another one",
        )
        return
    lines = [line for line in record.errors if line.startswith(_REFUSED)]
    if record.outcome is CycleOutcome.FAILED and lines:
        yield Condition(
            event=Event.POLICY_REFUSED,
            state="refused",
            text="The policies were refused or gave no answer: nothing was decided",
            advice="access-reconciler doctor",
        )


def _waivers(record: CycleRecord) -> Iterable[Condition]:
    facts = record.waivers
    if facts.ending:
        yield Condition(
            event=Event.WAIVER_ENDING,
            state=str(facts.ending),
            text=f"{_many(facts.ending, 'waiver')} of {facts.in_force} in force to end within 7 days",
            advice="access-reconciler policies waivers, and settle or renew each",
        )
    if facts.refused:
        waiting = f"; acts on what {_many(facts.held, 'waiver')} covered wait for one grace" if facts.held else ""
        yield Condition(
            event=Event.WAIVER_REFUSED,
            state=f"{facts.refused} {facts.held}",
            text=f"{_many(facts.refused, 'place')} in the files of waivers malformed: nothing is waived there{waiting}",
            advice="access-reconciler policies check, and correct what it names",
        )


def break_glass_used(snapshot: Snapshot, before: Mapping[str, datetime | None]) -> tuple[Condition, ...]:
    """Return one condition for each provider whose emergency accounts were used since they were last looked at."""
    used: dict[str, list[tuple[str, str]]] = {}
    for key, at in last_uses(snapshot).items():
        earlier = before.get(key)
        if key in before and at is not None and (earlier is None or at > earlier):
            provider, _, principal_id = key.partition("/")
            used.setdefault(provider, []).append((principal_id, at.isoformat()))
    return tuple(
        Condition(
            event=Event.BREAK_GLASS_USED,
            about=provider,
            state=digest_of(sorted(uses)),
            text=f"{provider}: {_many(len(uses), 'emergency account')} used",
            advice=f"access-reconciler explain at {provider}, and ask who used it and why",
            ids=tuple(sorted(principal_id for principal_id, _ in uses)),
            lasting=False,
        )
        for provider, uses in sorted(used.items())
    )


def last_uses(snapshot: Snapshot) -> Mapping[str, datetime | None]:
    """Return when each emergency account that was seen was last used; the first sight of one is no use."""
    return {
        f"{one.provider}/{one.principal_id}": one.last_used_at
        for one in snapshot.principals()
        if one.kind is PrincipalKind.BREAK_GLASS
    }


def due(
    conditions: Sequence[Condition], marks: Mapping[str, Mark], now: datetime, repeat_seconds: float
) -> tuple[Condition, ...]:
    """Return what a receiver is to be told now: what is new or other than told, and what was told too long ago."""
    return tuple(one for one in conditions if _is_due(one, marks.get(one.key), now, repeat_seconds))


def _is_due(condition: Condition, mark: Mark | None, now: datetime, repeat_seconds: float) -> bool:
    return mark is None or mark.state != condition.state or (now - mark.at).total_seconds() >= repeat_seconds


def over(conditions: Sequence[Condition], marks: Mapping[str, Mark]) -> tuple[str, ...]:
    """Return the keys of what was told as lasting and is so no more."""
    current = {one.key for one in conditions}
    return tuple(sorted(key for key, mark in marks.items() if mark.lasting and key not in current))


def marked(
    told: Sequence[Condition], ended: Sequence[str], marks: Mapping[str, Mark], now: datetime, repeat_seconds: float
) -> Mapping[str, Mark]:
    """Return the marks after a message was delivered; what happened once is forgotten when it may be told again."""
    kept = {
        key: mark
        for key, mark in marks.items()
        if key not in ended and (mark.lasting or (now - mark.at).total_seconds() < repeat_seconds)
    }
    return kept | {one.key: Mark(state=one.state, at=now, lasting=one.lasting) for one in told}


def message(told: Sequence[Condition], ended: Sequence[str], include: Include) -> tuple[str, str]:
    """Return title and body of one message."""
    parts = [text for text in (_many(len(told), "notice"), f"{len(ended)} resolved" if ended else "") if text]
    paragraphs = [_paragraph(one, include) for one in told] + [f"Resolved: {key}" for key in ended]
    return f"access-reconciler: {', '.join(parts if told else parts[1:])}", "\n\n".join(paragraphs)


def _paragraph(condition: Condition, include: Include) -> str:
    lines = [f"{condition.event.value}: {condition.text}"]
    if include is Include.IDS and condition.ids:
        rest = len(condition.ids) - MOST_IDS
        lines += [*(f"- {one}" for one in condition.ids[:MOST_IDS]), *([f"- and {rest} more"] if rest > 0 else [])]
    return "\n".join((*lines, f"Next: {condition.advice}"))


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
