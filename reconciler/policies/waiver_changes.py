"""What a change does to the waivers, and which of it a recording can show.

Under pseudonyms nobody without the key can tell whose a waiver of the folder is. The recording holds those of its
instant, by their own ids: one that is taken out or runs longer is therefore known there, and a new or wider one is not.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from reconciler.core.model import Waiver


class WaiverTurn(StrEnum):
    """How a waiver changes."""

    ADDED = "added"
    REMOVED = "removed"
    ALTERED = "altered"


@dataclass(frozen=True, slots=True, kw_only=True)
class WaiverChange:
    """One waiver that the change makes, takes out or alters."""

    waiver_id: str
    rule: str
    turn: WaiverTurn
    expires_at: datetime
    """After the change; of one that is taken out, before it."""
    shown: bool
    """Whether the comparison has what it does; otherwise nobody has looked whom it touches."""


Waivers = tuple[Waiver, ...]


def waivers_compared(base: Waivers, head: Waivers, recorded: Waivers | None) -> tuple[Waivers, Waivers]:
    """Return the waivers to decide by, before and after: the folders' own, or under pseudonyms the recorded ones.

    `recorded` is None where ids are no pseudonyms. Of the recorded ones those are gone that the change takes out or
    gives another scope, and those that it dates otherwise are; all else stands as it was recorded.
    """
    if recorded is None:
        return base, head
    before, after = _by_id(base), _by_id(head)
    left = [one for one in recorded if one.waiver_id not in before or _kept(before, after, one.waiver_id)]
    return (
        tuple(_dated(one, before.get(one.waiver_id)) for one in recorded),
        tuple(_dated(one, after.get(one.waiver_id)) for one in left),
    )


def waiver_changes(base: Waivers, head: Waivers, recorded: Waivers | None) -> tuple[WaiverChange, ...]:
    """Return every waiver that is added, taken out, or altered in what it covers or how long, by id."""
    return tuple(_changes(_by_id(base), _by_id(head), None if recorded is None else _by_id(recorded)))


_Known = dict[str, Waiver]


def _changes(before: _Known, after: _Known, recorded: _Known | None) -> Iterator[WaiverChange]:
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if old is not None and new is not None and _scope(old) == _scope(new) and old.expires_at == new.expires_at:
            continue
        turn = WaiverTurn.ALTERED if old and new else WaiverTurn.ADDED if new else WaiverTurn.REMOVED
        known = new or old
        if known is None:
            continue
        yield WaiverChange(
            waiver_id=name,
            rule=known.rule,
            turn=turn,
            expires_at=known.expires_at,
            shown=recorded is None or (_alike(old, recorded.get(name)) and (new is None or _kept(before, after, name))),
        )


def _by_id(waivers: Waivers) -> _Known:
    return {one.waiver_id: one for one in waivers}


def _scope(waiver: Waiver) -> tuple[str | None, ...]:
    return waiver.rule, waiver.provider, waiver.principal_id, waiver.access_id, waiver.worker_id


def _kept(before: _Known, after: _Known, name: str) -> bool:
    """Say whether a waiver covers after the change what it covered before."""
    return name in before and name in after and _scope(before[name]) == _scope(after[name])


def _alike(one: Waiver | None, recorded: Waiver | None) -> bool:
    """Say whether a waiver is the recorded one as far as pseudonyms let that be seen."""
    if one is None or recorded is None:
        return False
    same = one.rule == recorded.rule and one.provider == recorded.provider
    return same and [part is None for part in _scope(one)] == [part is None for part in _scope(recorded)]


def _dated(recorded: Waiver, own: Waiver | None) -> Waiver:
    return replace(recorded, expires_at=own.expires_at) if own and _alike(own, recorded) else recorded
