"""One form of bytes for one value: RFC 8785 canonical JSON, and SHA-256 over it.

RFC 8785 refuses integers beyond 2**53: nanosecond instants never enter a digested document, RFC 3339 text does.

>>> dumps({"b": 1, "a": ["x"]})
b'{"a":["x"],"b":1}'
"""

import hashlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum

import rfc8785

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


def rfc3339(instant: datetime) -> str:
    """Return an instant as RFC 3339 in UTC with `Z` and microseconds; a naive one is refused with ValueError."""
    if instant.tzinfo is None:
        msg = "an instant without a zone has no canonical form"
        raise ValueError(msg)
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def plain(value: object) -> Json:
    """Turn frozen values into JSON: dataclasses by field name, enums by value, instants as RFC 3339."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, datetime):
        return rfc3339(value)
    return _plain_container(value)


def _plain_container(value: object) -> Json:
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    msg = f"no canonical form for {type(value).__name__}"
    raise TypeError(msg)


def dumps(value: object) -> bytes:
    """Return the RFC 8785 bytes of a value. Raises ValueError for numbers outside the domain of RFC 8785."""
    return rfc8785.dumps(plain(value))


def digest_of_plain(value: Json) -> str:
    """Return the digest of a value that `plain` made already: large documents are walked once."""
    return "sha256:" + sha256_hex(rfc8785.dumps(value))


def sha256_hex(data: bytes) -> str:
    """Return the SHA-256 of bytes in lower-case hex."""
    return hashlib.sha256(data).hexdigest()


def digest_of(value: object) -> str:
    """Return `sha256:` and the hex digest of the canonical bytes of a value."""
    return "sha256:" + sha256_hex(dumps(value))
