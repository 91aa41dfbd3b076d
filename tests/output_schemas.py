"""The published schemas of every JSON document, and a stricter form of them for tests.

Published, they let unknown fields pass: fields may be added. *Sealed*, they refuse them, so that no field is printed
that the schema does not describe.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource

import reconciler

FOLDER = Path(next(iter(reconciler.__path__))) / "schemas"
OUTPUTS = tuple(
    sorted(
        path.name.removesuffix(".schema.json")
        for path in FOLDER.glob("*.schema.json")
        if path.name not in ("access-reconciler.schema.json", "statement.schema.json")
    )
)
"""Names of the schemas of what commands print; the other two are the configuration's and the attestation's."""


@cache
def published(name: str) -> dict[str, Any]:
    """Return a schema as it lies in the package."""
    schema: dict[str, Any] = json.loads((FOLDER / f"{name}.schema.json").read_text(encoding="utf-8"))
    return schema


def seal(schema: Any) -> Any:
    """Return a schema that refuses fields it does not describe, at every depth."""
    if isinstance(schema, list):
        return [seal(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    sealed = {key: value if key == "not" else seal(value) for key, value in schema.items()}
    if "properties" in schema and "additionalProperties" not in schema:
        sealed["additionalProperties"] = False
    return sealed


def problems(name: str, document: object, *, sealed: bool = True) -> list[str]:
    """Return what is wrong with a document, as `path: message`; nothing when it is as its schema says."""
    schemas = {one: seal(published(one)) if sealed else published(one) for one in OUTPUTS}
    known = [(schema["$id"], Resource.from_contents(schema)) for schema in schemas.values()]
    registry: Registry[Any] = Registry().with_resources(known)
    found = Draft202012Validator(schemas[name], registry=registry).iter_errors(document)
    return [f"{error.json_path}: {error.message}" for error in found]
