"""All providers side by side, each under a deadline, into one snapshot.

A provider that fails or does not answer in time never empties the picture: its inventory says that it was not read.
"""

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

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
    try:
        inventories = future.result(timeout=left_seconds)
    except TimeoutError:
        return (_unread(source, clock, "the provider did not answer within the deadline"),)
    except ProviderError as error:
        return (_unread(source, clock, f"{type(error).__name__}: {error}"),)
    return inventories or (_unread(source, clock, "the provider reported no scope at all"),)


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
