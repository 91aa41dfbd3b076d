"""Which policy folder a command is about, and what to check it with."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from reconciler.adapters.waiver_files import MAX_WAIVER_DAYS
from reconciler.cli.exits import DEFAULT_CONFIG
from reconciler.policies import standing
from reconciler.policies.check import Tools
from reconciler.settings import EngineSettings, load_settings

FolderArgument = Annotated[
    Path | None, typer.Argument(metavar="[DIR]", help="Policy folder; without it, that of the configuration.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyPlace:
    """A policy folder, and where `opa` is looked for."""

    folder: Path
    engine: EngineSettings
    max_waiver_days: int = MAX_WAIVER_DAYS
    providers: frozenset[str] | None = None
    """The configured instances; None without a configuration."""


def policy_place(folder: Path | None, config: Path) -> PolicyPlace:
    """Return the folder that is named, or that of the configuration.

    A named folder needs no configuration, so that a pull request can be checked without one; where one is named or lies
    in the current folder, it is heeded. Raises `SettingsError` for a configuration that cannot be used.
    """
    if folder is not None and config == DEFAULT_CONFIG and not config.exists():
        return PolicyPlace(folder=folder, engine=EngineSettings())
    settings = load_settings(config)
    return PolicyPlace(
        folder=folder or settings.policies,
        engine=settings.engine,
        max_waiver_days=settings.waiver_max_days,
        providers=frozenset(settings.providers),
    )


def find_tools(place: PolicyPlace) -> Tools:
    """Return what policies are checked with. Raises `SettingsError` without OPA."""
    return standing.find_tools(place.engine)
