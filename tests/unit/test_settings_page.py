"""docs/settings.md names every setting of every block, with its default, and its example is valid."""

from pathlib import Path

import pytest
import yaml

from reconciler.settings import load_settings
from scripts.settings_page import PAGE, page, sections
from tests.architecture import tree


def test_the_tables_are_current() -> None:
    """Each table is what the settings say now: write them anew by `python scripts/settings_page.py`."""
    text = PAGE.read_text(encoding="utf-8")
    assert page(text) == text


def test_every_setting_has_a_meaning() -> None:
    """No setting is left to be guessed from its name: each has a description, which the tables show."""
    mute = [
        f"{path}.{name}"
        for path, model in sections()
        for name, field in model.model_fields.items()
        if not field.description
    ]
    assert mute == []


def test_every_block_is_walked() -> None:
    """Blocks inside blocks, lists of blocks, and both sides of every provider type are there."""
    names = {path for path, _ in sections()}
    assert {
        "",
        "roster",
        "engine",
        "guard",
        "providers.NAME",
        "protected.principals[]",
        "correlation.explicit[]",
    } <= names
    assert {f"{side} of {kind}" for side in ("reader", "revoker") for kind in ("aws_iam", "ldap", "scim")} <= names
    assert "reader of aws_iam: accounts[]" in names


def test_the_example_loads(tmp_path: Path) -> None:
    """What the page shows can be copied: the settings accept it, and so do the provider's own."""
    example = tree.text("docs/settings.md").split("```yaml\n")[1].split("```")[0]
    file = tmp_path / "access-reconciler.yaml"
    file.write_text(example)
    loaded = load_settings(file)
    blocks = dict(sections())
    for instance in loaded.providers.values():
        blocks[f"reader of {instance.type}"].model_validate(instance.reader)
        blocks[f"revoker of {instance.type}"].model_validate(instance.revoker)
    assert yaml.safe_load(example)["guard"]["max_principals"] == loaded.guard.max_principals


def test_the_environment_overrides_as_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both forms that the page names: a setting of the file's top, and one inside a block."""
    file = tmp_path / "access-reconciler.yaml"
    file.write_text("roster: {path: roster.csv}\nguard: {max_principals: 3}\n")
    monkeypatch.setenv("ACCESS_RECONCILER_STATE_DIR", "/var/lib/access-reconciler")
    monkeypatch.setenv("ACCESS_RECONCILER_GUARD__MAX_PRINCIPALS", "10")
    loaded = load_settings(file)
    assert loaded.state_dir == Path("/var/lib/access-reconciler")
    assert loaded.guard.max_principals == 10
