"""Which policies and waivers count, and which engine decides: exactly the configured one, or an error.

There is no fallback.
"""

import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

from inventory.provider import Clock
from inventory.regular_files import read_regular
from reconciler.adapters.policy_files import PolicyFolder
from reconciler.adapters.waiver_memory import WaiverMemory
from reconciler.core.canonical import Json
from reconciler.core.errors import PolicyError, SettingsError
from reconciler.core.model import EngineInfo, Mode, PolicySet
from reconciler.ports import PolicyEngine
from reconciler.settings import EngineSettings, Settings

_MOST_TOKEN_BYTES: Final = 64 * 1024


def policy_folder(settings: Settings, clock: Clock, *, keep: bool) -> PolicyFolder:
    """Return the policy folder; one who only looks (`keep` is False) leaves no memory of its waivers."""
    grace = timedelta(seconds=settings.waivers.malformed_grace_seconds)
    memory = WaiverMemory(settings.state_dir / "waivers-last-whole.json", grace, keep=keep)
    return PolicyFolder(settings.policies, clock, settings.waiver_max_days, memory)


def find_opa(engine: EngineSettings) -> Path | None:
    """Return the `opa` binary: as set, on PATH, or in the project's tool folder."""
    if engine.executable is not None:
        return engine.executable if engine.executable.exists() else None
    tools = Path(sys.prefix).parent / ".tools" / "bin"
    found = shutil.which("opa") or shutil.which("opa", path=str(tools))
    return None if found is None else Path(found)


def build_engine(settings: Settings, mode: Mode) -> PolicyEngine:
    """Build the configured policy engine; never another one. Raises `SettingsError` when it cannot be used."""
    engine = settings.engine
    if engine.kind == "embedded":
        return _embedded(engine, mode)
    from reconciler.adapters.opa import ManagedOpa, OpaServer  # noqa: PLC0415 - loads HTTP clients: on demand

    if engine.kind == "url":
        if not engine.url:
            raise SettingsError("engine.url is not set", advice="name the OPA server, or use kind: managed")
        return OpaServer(
            engine.url,
            _token(engine.token_file),
            decide_timeout_seconds=engine.decide_timeout_seconds,
            control_timeout_seconds=engine.control_timeout_seconds,
        )
    executable = find_opa(engine)
    if executable is None:
        raise SettingsError(
            "engine: `opa` was not found on PATH or in .tools/bin",
            advice="install OPA 1.21.3 or later, or set engine.kind: url or embedded",
        )
    return ManagedOpa(
        executable,
        directory=settings.state_dir / "opa",
        decide_timeout_seconds=engine.decide_timeout_seconds,
        control_timeout_seconds=engine.control_timeout_seconds,
    )


def _token(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return read_regular(path, _MOST_TOKEN_BYTES).decode("ascii").strip()
    except OSError as error:
        raise SettingsError(
            f"engine.token_file: {path} cannot be read: {error.strerror}", advice="check its path and mode"
        ) from error
    except UnicodeDecodeError:
        # Without the cause: it holds the bytes.
        raise SettingsError(f"engine.token_file: {path} holds no token", advice="write the bare token") from None


def _embedded(engine: EngineSettings, mode: Mode) -> PolicyEngine:
    if mode is not Mode.OBSERVE and not engine.allow_enforce:
        raise SettingsError(
            "engine: the embedded engine is not OPA and grounds no actions by default",
            advice="use OPA, or set engine.allow_enforce: true knowing that",
        )
    from reconciler.adapters.embedded_rego import EmbeddedRego  # noqa: PLC0415 - opened on demand

    return EmbeddedRego(deadline_seconds=engine.decide_timeout_seconds)


@contextmanager
def engine_beside(settings: Settings) -> Iterator[PolicyEngine]:
    """Give an engine of its own, of the configured kind, until the end: the one that decides keeps what it holds.

    Beside an OPA by URL it is a managed one, for others may rest on what that server holds. Raises `SettingsError`.
    """
    own = settings.engine.model_copy(update={"kind": "managed"}) if settings.engine.kind == "url" else settings.engine
    beside = settings.model_copy(update={"engine": own, "state_dir": settings.state_dir / "opa-beside"})
    with closing(build_engine(beside, Mode.OBSERVE)) as engine:
        yield engine


class NoEngine:
    """Stands for an engine that could not be built: every cycle fails and says why, and is attested like any other."""

    def __init__(self, error: SettingsError) -> None:
        self._error = PolicyError(str(error), advice=error.advice)

    def load(self, policies: PolicySet, documents: Mapping[str, Json]) -> EngineInfo:
        """Raise what kept the engine from being built."""
        del policies, documents
        raise self._error

    def evaluate(self, request: Mapping[str, Json]) -> Mapping[str, Json]:
        """Raise what kept the engine from being built."""
        del request
        raise self._error

    def info(self) -> EngineInfo:
        """Raise what kept the engine from being built."""
        raise self._error

    def close(self) -> None:
        """Do nothing: there is nothing open."""


def engine_or_reason(settings: Settings, mode: Mode) -> PolicyEngine:
    """Build the configured engine for a cycle, or one that fails the cycle with the reason."""
    try:
        return build_engine(settings, mode)
    except SettingsError as error:
        return NoEngine(error)
