"""A recorded snapshot: all that decisions rest on besides the policies, in one file.

So two revisions of the policies can be compared on the same world at the same instant.
"""

import errno
import gzip
import io
import zlib
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from inventory.model import AccessItem, Credential, Grant, ProviderName, ScopeId, Session, Snapshot
from inventory.regular_files import read_regular
from inventory.roster.model import Roster
from reconciler.core.errors import PolicyError
from reconciler.core.guard import Limits
from reconciler.core.memory import Memory
from reconciler.core.model import Correlation, Touch, Waiver
from reconciler.core.withholding import Protection, Reach

SCHEMA: Final = "access.recording/v1"
MOST_BYTES: Final = 2_000_000_000
"""Largest file that is read: about five million access items."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """One instant: who holds what, whose it is, who works here, and how far the guard lets a plan go."""

    now: datetime
    pseudonymised: bool
    snapshot: Snapshot
    roster: Roster
    correlations: tuple[Correlation, ...]
    memory: Memory
    waivers: tuple[Waiver, ...]
    """Those in force when it was recorded; read instead of the folder's where ids are pseudonyms."""
    reach: dict[ProviderName, Reach]
    protection: Protection
    limits: Limits
    touched: tuple[Touch, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """A recording as it is written: access items by their types, for a reader cannot tell them apart otherwise."""

    schema: str
    recording: Recording
    credentials: tuple[Credential, ...]
    grants: tuple[Grant, ...]
    sessions: tuple[Session, ...]


_FORM: Final = TypeAdapter(_File)


def to_bytes(recording: Recording) -> bytes:
    """Return a recording as JSON."""
    items = tuple(recording.snapshot.items())
    bare = tuple(replace(one, items=()) for one in recording.snapshot.inventories)
    file = _File(
        schema=SCHEMA,
        recording=replace(recording, snapshot=replace(recording.snapshot, inventories=bare)),
        credentials=tuple(one for one in items if isinstance(one, Credential)),
        grants=tuple(one for one in items if isinstance(one, Grant)),
        sessions=tuple(one for one in items if isinstance(one, Session)),
    )
    return _FORM.dump_json(file)


def _content(path: Path) -> bytes:
    """Return the JSON of a recording, unpacked where the name says that it is packed."""
    content = read_regular(path, MOST_BYTES)
    if path.suffix != ".gz":
        return content
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as packed:
        unpacked = packed.read(MOST_BYTES + 1)
    if len(unpacked) > MOST_BYTES:
        raise OSError(errno.EFBIG, "unpacks to more than a recording may hold")
    return unpacked


def read_recording(path: Path) -> Recording:
    """Return a recording; raises `PolicyError` naming the file when it cannot be read or is none."""
    advice = "record one with `access-reconciler inventory export FILE`"
    try:
        file = _FORM.validate_json(_content(path))
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise PolicyError(f"{path}: cannot be read: {reason}", advice=advice) from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        what = ": ".join(filter(None, (place, first["msg"])))
        raise PolicyError(f"{path}: is no recorded snapshot: {what}", advice=advice) from None
    if file.schema != SCHEMA:
        raise PolicyError(f"{path}: is of schema {file.schema!r}, not {SCHEMA!r}", advice=advice)
    items: dict[tuple[ProviderName, ScopeId], list[AccessItem]] = {}
    found: tuple[AccessItem, ...] = (*file.credentials, *file.grants, *file.sessions)
    for item in found:
        items.setdefault((item.provider, item.scope), []).append(item)
    whole = tuple(
        replace(one, items=tuple(items.get((one.provider, one.scope), ())))
        for one in file.recording.snapshot.inventories
    )
    return replace(file.recording, snapshot=replace(file.recording.snapshot, inventories=whole))
