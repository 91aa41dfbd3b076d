"""Which engine decides: exactly the configured one, or a reason."""

from pathlib import Path

import pytest

from inventory.roster.csv_settings import CsvRosterSettings
from reconciler.adapters.embedded_rego import EmbeddedRego
from reconciler.adapters.opa import ManagedOpa
from reconciler.core.errors import PolicyError, SettingsError
from reconciler.core.model import Mode
from reconciler.engines import build_engine, engine_beside, engine_or_reason
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


@pytest.mark.parametrize("kind", ["managed", "url"])
def test_the_engine_beside_is_never_a_server_that_others_use(tmp_path: Path, kind: str) -> None:
    """What is only compared with is put into an OPA of its own, in a folder of its own, also beside one by URL."""
    opa = tmp_path / "opa"
    opa.touch()
    settings = settings_with(tmp_path, kind=kind, url="https://opa.example.com", executable=opa)
    with engine_beside(settings) as engine:
        assert isinstance(engine, ManagedOpa)
        assert engine._directory == tmp_path / "opa-beside" / "opa"
    opa.unlink()
    with pytest.raises(SettingsError, match="`opa` was not found"), engine_beside(settings):
        pass
    with engine_beside(settings_with(tmp_path, kind="embedded")) as engine:
        assert isinstance(engine, EmbeddedRego)


def test_a_server_without_an_address_is_refused(tmp_path: Path) -> None:
    """`kind: url` needs the address of the server."""
    with pytest.raises(SettingsError, match=r"engine\.url is not set"):
        build_engine(settings_with(tmp_path, kind="url"), Mode.OBSERVE)
