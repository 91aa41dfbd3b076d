"""Writes `policies/schemas` anew from the Python types: `PYTHONPATH=. python tests/policy/write_schemas.py`."""

from pathlib import Path

from reconciler.core.schemas import published_schemas

SCHEMAS = Path(__file__).resolve().parents[2] / "policies" / "schemas"

if __name__ == "__main__":
    SCHEMAS.mkdir(exist_ok=True)
    for name, text in published_schemas().items():
        (SCHEMAS / name).write_text(text)
