"""The waivers of a cycle: those that are whole, those that were refused, and what the record says of them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from reconciler.core.canonical import digest_of
from reconciler.core.model import Waiver
from reconciler.core.record import WaiverFacts

SOON: Final = timedelta(days=30)
"""A waiver that ends within this time is counted apart: somebody has to decide."""
REFUSED: Final = "Waiver refused"
"""How the error line of a refused waiver begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaiverSet:
    """What lies in the folder of waivers."""

    whole: tuple[Waiver, ...] = ()
    """Well-formed ones by id, those that have expired among them."""
    refused: tuple[str, ...] = ()
    """File, line and reason of each that is malformed: it waives nothing, and every cycle says so."""

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
        refused=len(waivers.refused),
        digest=set_digest(waivers.whole, now),
    )
