"""The waivers of a cycle: those that are whole, those that were refused, and what the record says of them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from reconciler.core.canonical import digest_of
from reconciler.core.model import Waiver
from reconciler.core.record import WaiverFacts

SOON: Final = timedelta(days=30)
"""A waiver that ends within this time is counted apart: somebody has to decide."""
ENDING: Final = timedelta(days=7)
"""A waiver that ends within this time is told of: what it keeps is dealt with from then on."""
REFUSED: Final = "Waiver refused"
"""How the error line of a refused waiver begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldWaiver:
    """A waiver that its file named when it was last whole, while the file cannot be read."""

    waiver: Waiver
    path: str
    until: datetime
    """From then on nothing is held back for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaiverSet:
    """What lies in the folder of waivers."""

    whole: tuple[Waiver, ...] = ()
    """Well-formed ones by id, those that have expired among them."""
    refused: tuple[str, ...] = ()
    """File, line and reason of each that is malformed: it waives nothing, and every cycle says so."""
    held: tuple[HeldWaiver, ...] = ()
    """By id; what they covered waits for a person, for one grace."""

    def errors(self) -> tuple[str, ...]:
        """Return a line for the record for each refused one."""
        return tuple(f"{REFUSED}: {reason}" for reason in self.refused)


def in_force(waivers: Iterable[Waiver], now: datetime) -> tuple[Waiver, ...]:
    """Return the waivers that waive something at this instant, by id."""
    return tuple(sorted((one for one in waivers if now < one.expires_at), key=lambda one: one.waiver_id))


def set_digest(waivers: Iterable[Waiver], now: datetime) -> str:
    """Return the digest of all that the waivers in force say; `policies waivers` gives the same for the same files."""
    return digest_of(in_force(waivers, now))


def waiver_facts(waivers: WaiverSet, now: datetime) -> WaiverFacts:
    """Return what the record of a cycle says of its waivers."""
    standing = in_force(waivers.whole, now)
    return WaiverFacts(
        in_force=len(standing),
        expiring_soon=sum(one.expires_at - now <= SOON for one in standing),
        ending=sum(one.expires_at - now <= ENDING for one in standing),
        refused=len(waivers.refused),
        held=len(waivers.held),
        digest=set_digest(waivers.whole, now),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RememberedFile:
    """What a file of waivers said when it was last whole."""

    waivers: tuple[Waiver, ...]
    malformed_since: datetime | None = None
    """When it was first seen malformed after that; None while it is whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenFile:
    """What a file of waivers says now."""

    whole: tuple[Waiver, ...]
    malformed: bool
    """Whether anything in it was refused: then nobody knows what else it would say."""


Remembered = Mapping[str, RememberedFile]
"""By path."""


def remember(before: Remembered, files: Mapping[str, SeenFile], now: datetime) -> Remembered:
    """Return what is to be remembered after a look at every file that is there; one that is gone is forgotten.

    So a waiver that somebody deletes ends at once. A file that stays malformed keeps the instant it became so.
    """
    return {path: _remembered(before.get(path), seen, now) for path, seen in sorted(files.items())}


def _remembered(known: RememberedFile | None, seen: SeenFile, now: datetime) -> RememberedFile:
    if not seen.malformed:
        return RememberedFile(waivers=seen.whole)
    said = {one.waiver_id: one for one in (known.waivers if known else ())}
    since = known.malformed_since if known and known.malformed_since else now
    waivers = said | {one.waiver_id: one for one in seen.whole}
    return RememberedFile(waivers=tuple(waivers[name] for name in sorted(waivers)), malformed_since=min(since, now))


def held_back(known: Remembered, whole: Iterable[Waiver], now: datetime, grace: timedelta) -> tuple[HeldWaiver, ...]:
    """Return the waivers for which acts wait: unread for less than the grace, not expired, and not given elsewhere."""
    given = {one.waiver_id for one in whole}
    found = [
        HeldWaiver(waiver=waiver, path=path, until=min(file.malformed_since + grace, waiver.expires_at))
        for path, file in known.items()
        if file.malformed_since is not None
        for waiver in file.waivers
        if waiver.waiver_id not in given
    ]
    return tuple(sorted((one for one in found if now < one.until), key=lambda one: one.waiver.waiver_id))
