"""Which engine decides: exactly the configured one, or a reason."""

from pathlib import Path

import pytest

from inventory.roster.csv_settings import CsvRosterSettings
from reconciler.core.errors import PolicyError, SettingsError
from reconciler.core.model import Mode
from reconciler.engines import build_engine, engine_or_reason
from reconciler.settings import EngineSettings, Settings


def settings_with(tmp_path: Path, **engine: object) -> Settings:
    """Build settings with one engine block."""
    return Settings(
        state_dir=tmp_path,
        roster=CsvRosterSettings(path=tmp_path / "roster.csv"),
        engine=EngineSettings.model_validate(engine),
    )


def test_the_embedded_engine_grounds_no_actions_unless_allowed_by_name(tmp_path: Path) -> None:
    """Enforcing on the in-process engine is refused until the operator allows it; observing is not."""
    with pytest.raises(SettingsError, match="grounds no actions"):
        build_engine(settings_with(tmp_path, kind="embedded"), Mode.ENFORCE)
    build_engine(settings_with(tmp_path, kind="embedded"), Mode.OBSERVE).close()
    build_engine(settings_with(tmp_path, kind="embedded", allow_enforce=True), Mode.ENFORCE).close()


def test_a_missing_opa_is_never_replaced_by_another_engine(tmp_path: Path) -> None:
    """An `opa` that is not there fails every cycle with the reason; nothing steps in."""
    engine = engine_or_reason(settings_with(tmp_path, executable=tmp_path / "opa"), Mode.OBSERVE)
    for ask in (lambda: engine.evaluate({}), engine.info):
        with pytest.raises(PolicyError, match="`opa` was not found"):
            ask()


def test_a_server_without_an_address_is_refused(tmp_path: Path) -> None:
    """`kind: url` needs the address of the server."""
    with pytest.raises(SettingsError, match=r"engine\.url is not set"):
        build_engine(settings_with(tmp_path, kind="url"), Mode.OBSERVE)
