"""All providers side by side, each under a deadline, into one snapshot.

A provider that fails or does not answer in time never empties the picture: its inventory says that it was not read.
Neither does one whose collector has a defect.
"""

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from traceback import extract_tb

import structlog

from inventory.errors import ProviderError
from inventory.model import (
    ArtefactKind,
    Coverage,
    Principal,
    PrincipalReading,
    ProviderInventory,
    ProviderName,
    ReadState,
    ScopeId,
    Snapshot,
)
from inventory.provider import Clock, Collector, Interest

log = structlog.get_logger(__name__)

WHOLE_INSTANCE = ScopeId("*")
"""The scope of an inventory that stands for a whole instance that could not be read."""


class Unbuilt:
    """Stands for a collector that could not be built: every read says why, and the other providers go on."""

    def __init__(self, error: ProviderError) -> None:
        self._error = error

    def collect(self, interest: Interest) -> tuple[ProviderInventory, ...]:
        """Raise what kept the collector from being built."""
        del interest
        raise self._error

    def read_principal(self, principal: Principal) -> PrincipalReading:
        """Raise what kept the collector from being built."""
        del principal
        raise self._error

    def close(self) -> None:
        """Do nothing: there is nothing open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A configured provider instance that is read."""

    provider: ProviderName
    provider_type: str
    collector: Collector


def collect(
    sources: Mapping[ProviderName, Source], interest: Interest, clock: Clock, *, deadline_seconds: float = 3600.0
) -> Snapshot:
    """Read all sources in parallel and return what is known when the last one ended or the deadline passed."""
    taken_at = clock.now()
    pool = ThreadPoolExecutor(max_workers=max(1, len(sources)), thread_name_prefix="collect")
    try:
        running = {name: pool.submit(source.collector.collect, interest) for name, source in sorted(sources.items())}
        until = clock.monotonic_seconds() + deadline_seconds
        inventories: list[ProviderInventory] = []
        for name, future in running.items():
            left = max(0.0, until - clock.monotonic_seconds())
            inventories.extend(_result(sources[name], future, clock, left))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return Snapshot(taken_at=taken_at, inventories=tuple(inventories))


def _result(
    source: Source, future: Future[tuple[ProviderInventory, ...]], clock: Clock, left_seconds: float
) -> tuple[ProviderInventory, ...]:
    if not wait((future,), timeout=left_seconds).done:
        return (_unread(source, clock, "the provider did not answer within the deadline"),)
    try:
        inventories = future.result()
    except ProviderError as error:
        return (_unread(source, clock, f"{type(error).__name__}: {error}"),)
    except Exception as error:  # noqa: BLE001 - a defect in one collector must not keep the others from being read
        return (_unread(source, clock, _defect(source, error)),)
    return inventories or (_unread(source, clock, "the provider reported no scope at all"),)


def _defect(source: Source, error: Exception) -> str:
    """Log a defect and return its type and place. Its message may hold anything that was read, so nobody is told it."""
    frames = [f"{Path(one.filename).name}:{one.lineno} {one.name}" for one in extract_tb(error.__traceback__)]
    kind = type(error).__name__
    log.error("collector_defect", provider=source.provider, type=source.provider_type, error=kind, frames=frames)
    return f"a defect in the collector: {kind} at {frames[-1]}"


def _unread(source: Source, clock: Clock, reason: str) -> ProviderInventory:
    return ProviderInventory(
        provider=source.provider,
        provider_type=source.provider_type,
        scope=WHOLE_INSTANCE,
        started_at=clock.now(),
        finished_at=clock.now(),
        principals=(),
        items=(),
        coverage=(Coverage(kind=ArtefactKind.PRINCIPAL, state=ReadState.PARTIAL, reason=reason),),
        errors=(reason,),
    )
