"""What an evidence pack is asked to hold, and what its manifest says of it."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from reconciler.adapters.evidence_files import Entry
from reconciler.core.canonical import dumps
from reconciler.core.errors import EvidenceError, WrongUsage

MANIFEST: Final = "manifest.json"
SIGNATURE: Final = "manifest.sigstore.json"
"""Signs the manifest, where somebody did; not listed in it."""
PACK_FORMAT: Final = "evidence-pack/1"
"""Names the layout of a pack and the form of every table that is made from its statements."""
_SAMPLE = re.compile(r"sample=(?P<count>[1-9][0-9]{0,5})\Z")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")


class Profile(StrEnum):
    """For whom a pack is made: which controls its `controls.csv` speaks of."""

    SOC2 = "soc2"
    ISO27001 = "iso27001"
    GDPR = "gdpr"


class Extent(StrEnum):
    """Of which records a pack says whom they are about."""

    NONE = "none"
    SAMPLE = "sample"
    FULL = "full"


@dataclass(frozen=True, slots=True, kw_only=True)
class Disclosing:
    """How much of the records is opened."""

    extent: Extent = Extent.NONE
    count: int = 0
    """Leavers, and decisions, of a sample."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `none`, `full` or `sample=COUNT`. Raises `EvidenceError`."""
        match = _SAMPLE.match(text)
        if match is not None:
            return cls(extent=Extent.SAMPLE, count=int(match["count"]))
        if text in {Extent.NONE, Extent.FULL}:
            return cls(extent=Extent(text))
        raise WrongUsage(f"{text!r} says not how much to disclose", advice="give none, full, or such as sample=25")

    def __str__(self) -> str:
        return f"sample={self.count}" if self.extent is Extent.SAMPLE else self.extent.value


@dataclass(frozen=True, slots=True, kw_only=True)
class PackOrder:
    """What somebody asks a pack to hold."""

    profile: Profile
    disclosing: Disclosing = Disclosing()
    seed: str = ""
    """Draws the sample; the auditor's choice. Empty: the digest of the last statement."""
    since: datetime | None = None
    """Cycles that began before are left out."""
    until: datetime | None = None
    """Cycles that began then or later are left out."""


def instant(text: str, *, end: bool) -> datetime:
    """Read a day or an instant with its zone; a day stands for its beginning, or with `end` for all of it.

    Raises `EvidenceError`.
    """
    try:
        if _DAY.match(text):
            day = date.fromisoformat(text) + timedelta(days=end)
            return datetime.combine(day, time(), UTC)
        found = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise WrongUsage(f"{text!r} is no day and no instant", advice=_INSTANT) from error
    if found.tzinfo is None:
        raise WrongUsage(f"{text!r} has no zone", advice=_INSTANT)
    return found.astimezone(UTC)


_INSTANT = "write such as 2026-03-31, a day in UTC, or 2026-03-31T12:00:00Z"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", alias_generator=to_camel, populate_by_name=True)


class Cycle(_Model):
    """A cycle of the chain, and the digest of its statement."""

    sequence: Annotated[int, Field(ge=1)]
    cycle_id: str
    digest: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


class Manifest(_Model):
    """What a pack says of itself. Nothing in it is trusted: everything that matters follows from signed statements."""

    type: Literal["evidence-pack/1"]
    profile: str
    disclose: str
    seed: str
    since: str | None
    until: str | None
    cycles: Annotated[int, Field(ge=1)]
    first: Cycle
    after: Cycle | None
    """The cycle before the first one, which is not part of the pack; None where the chain begins with the first."""
    last: Cycle
    signer: str
    signing_mode: str
    files: Mapping[str, str]
    """SHA-256 (hex) of every file but this one and its signature."""

    def content(self) -> bytes:
        """Return the bytes of the file, as an export writes it."""
        return dumps(self.model_dump(mode="json", by_alias=True)) + b"\n"


def read_manifest(folder: Entry) -> Manifest | None:
    """Read the manifest of a pack; None in a folder that has none. Raises `EvidenceError` for an unusable one."""
    path = folder / MANIFEST
    advice = "ask for the pack anew"
    try:
        return Manifest.model_validate(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EvidenceError(f"{path} cannot be read: {error.strerror}", advice=advice) from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise EvidenceError(f"the pack's manifest is not usable: {place}: {first['msg']}", advice=advice) from error
    except (ValueError, RecursionError) as error:
        raise EvidenceError("the pack's manifest is not JSON", advice=advice) from error
