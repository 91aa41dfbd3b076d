"""What a provider must offer: the reading protocol, its declaration, and what it is handed.

A provider is one file under `inventory/providers/`: docstring, NAME, Settings, Collector, parsers, PROVIDER.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Protocol, TypeVar

from pydantic import BaseModel

from inventory.errors import Misconfigured
from inventory.model import Principal, PrincipalReading, ProviderInventory, ProviderName, ScopeId


class Clock(Protocol):
    """Time, handed in so that tests can move it."""

    def now(self) -> datetime:
        """Return the current instant, timezone-aware, in UTC."""

    def monotonic_seconds(self) -> float:
        """Return seconds of a clock that never goes back."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


Interest = Callable[[Principal], bool]
"""Says of a principal known from a bulk read whether it must be read live: leavers and unmatched ones are."""


class Collector(Protocol):
    """Reads one provider instance. Never writes; holds the reader's credentials only."""

    def collect(self, interest: Interest) -> tuple[ProviderInventory, ...]:
        """Read every scope and return one inventory each.

        A scope that could not be read at all is returned with its coverage saying so. Only a failure that hits the
        whole instance raises: `inventory.errors.ProviderError`.
        """

    def read_principal(self, principal: Principal) -> PrincipalReading:
        """Read one principal live and whole, past every cache.

        Raises `inventory.errors.ProviderError` when not even its existence could be read.
        """

    def close(self) -> None:
        """Release connections."""


SettingsT = TypeVar("SettingsT", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    """A right that a reader or revoker needs at the provider, with what it is for."""

    name: str
    purpose: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider(Generic[SettingsT]):
    """The declaration at the end of each provider file."""

    name: str
    """The `type` that a configuration names."""
    summary: str
    settings: type[SettingsT]
    """Validated form of the `reader:` block; unknown keys are refused."""
    build: Callable[[ProviderName, SettingsT, Clock], Collector]
    read_permissions: tuple[Permission, ...]


def require_scope(principal: Principal, scope: ScopeId) -> None:
    """Raise `Misconfigured` when a principal is of another scope than the one that a collector reads.

    An instance name that was pointed elsewhere would find nobody there, and everybody would look gone.
    """
    if principal.scope != scope:
        raise Misconfigured(
            f"{principal.provider} reads {scope} now, and principal {principal.principal_id} is of another scope",
            advice="give another tenant or directory an instance name of its own",
        )
