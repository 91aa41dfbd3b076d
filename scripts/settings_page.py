"""Writes the tables of docs/settings.md from the settings themselves: `python scripts/settings_page.py`."""

import re
import sys
from collections.abc import Iterator, Mapping
from enum import Enum
from importlib import import_module
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "settings.md"
MARK = "<!-- From here on written by scripts/settings_page.py. -->"


def sections() -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield name and model of every block of a configuration, those of all provider types included."""
    registry = import_module("inventory.registry")
    yield from _below("", import_module("reconciler.settings").Settings)
    for name in registry.provider_types():
        yield from _below(f"reader of {name}", registry.load_provider(name).settings)
        yield from _below(f"revoker of {name}", import_module(f"reconciler.revokers.{name}").REVOKER.settings)


def _below(path: str, model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    yield path, model
    for name, field in model.model_fields.items():
        for inner in _models(field.annotation):
            origin = get_origin(field.annotation)
            many = ".NAME" if origin is dict else "[]" if origin is tuple else ""
            yield from _below(f"{path}{': ' if ' ' in path else '.' if path else ''}{name}{many}", inner)


def _models(annotation: Any) -> list[type[BaseModel]]:  # noqa: ANN401 - an annotation is any expression
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def page(old: str) -> str:
    """Return the page with its tables written anew; what stands above the mark is left as it is."""
    told = old.split(MARK, maxsplit=1)[0]
    return f"{told}{MARK}\n" + "".join(_section(path, model) for path, model in sections())


def _section(path: str, model: type[BaseModel]) -> str:
    rows = [_row(name, field) for name, field in model.model_fields.items()]
    title = f"`{path}`" if path else "The top of the file"
    return "\n".join(("", f"## {title}", "", "| setting | default | meaning |", "| --- | --- | --- |", *rows, ""))


def _row(name: str, field: FieldInfo) -> str:
    meaning = re.sub(r"(`[^`]*`)|<", lambda found: found[1] or "&lt;", field.description or "").replace("|", "\\|")
    return f"| `{name}` | {_default(field).replace('|', chr(92) + '|')} | {meaning[:1].upper()}{meaning[1:]} |"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "**required**"
    value = field.get_default(call_default_factory=True)
    return "below" if isinstance(value, BaseModel) else _shown(value)


def _shown(value: object) -> str:
    if value is None or value in ("", (), {}):
        return "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{_shown(key)}: {_shown(one)}" for key, one in value.items())
    if isinstance(value, tuple):
        return ", ".join(map(_shown, value))
    plain = value.value if isinstance(value, Enum) else str(value).lower() if isinstance(value, bool) else value
    return f"`{plain}`"


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
