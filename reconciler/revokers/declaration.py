"""How a revoker declares itself: the last lines of each file in this folder."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import BaseModel

from inventory.model import ProviderName
from inventory.provider import Clock
from reconciler.ports import Capabilities, Revoker

SettingsT = TypeVar("SettingsT", bound=BaseModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokerType(Generic[SettingsT]):
    """What can be taken away at one type of provider, and how the client that does so is built."""

    name: str
    """The provider type, the same as in `inventory/providers/`."""
    settings: type[SettingsT]
    """Validated form of the `revoker:` block: the revoker's own credentials, never the reader's."""
    build: Callable[[ProviderName, SettingsT, Clock], Revoker]
    longest_act_seconds: Callable[[SettingsT], float]
    """How long one act may take at most, with the reads that belong to it; whoever takes over waits longer."""
    capabilities: Capabilities
