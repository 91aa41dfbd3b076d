"""One form of bytes for one value: RFC 8785 canonical JSON, and SHA-256 over it.

RFC 8785 refuses integers beyond 2**53: nanosecond instants never enter a digested document, RFC 3339 text does.

>>> dumps({"b": 1, "a": ["x"]})
b'{"a":["x"],"b":1}'
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import cache
from typing import Final

import rfc8785

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]

_LARGEST_INTEGER: Final = 2**53 - 1
"""The largest integer of RFC 8785's domain: larger ones are no exact doubles."""
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def rfc3339(instant: datetime) -> str:
    """Return an instant as RFC 3339 in UTC with `Z` and microseconds; a naive one is refused with ValueError."""
    if instant.tzinfo is None:
        msg = "an instant without a zone has no canonical form"
        raise ValueError(msg)
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def plain(value: object) -> Json:
    """Turn frozen values into JSON: dataclasses by field name, enums by value, instants as RFC 3339."""
    if value is None or type(value) is str or isinstance(value, bool | int | float):
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
        return {name: plain(getattr(value, name)) for name in _field_names(type(value))}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    msg = f"no canonical form for {type(value).__name__}"
    raise TypeError(msg)


@cache
def _field_names(kind: type) -> tuple[str, ...]:
    """Return a dataclass's fields; asked for every object of a snapshot, and the same for all of a kind."""
    return tuple(field.name for field in fields(kind))


def dumps(value: object) -> bytes:
    """Return the RFC 8785 bytes of a value. Raises ValueError for numbers outside the domain of RFC 8785."""
    return encoded(plain(value))


def encoded(value: Json) -> bytes:
    """Return the RFC 8785 bytes of plain JSON, such as was just read from a file. Raises ValueError as `dumps` does.

    The standard library writes the same bytes about ten times as fast for what we hold: text, safe integers, keys that
    sort alike by code point and by UTF-16 unit. Everything else, refusals included, is left to the reference.
    """
    if not _written_alike(value):
        return rfc8785.dumps(value)
    try:
        return _ENCODER.encode(value).encode()
    except UnicodeEncodeError:
        return rfc8785.dumps(value)  # a lone surrogate, which the reference refuses in its own words


def _written_alike(value: Json) -> bool:
    """Say whether the standard library and RFC 8785 have one form for a value.

    By exact type, as it is asked for everything that is digested; what is a kind of text or number is the reference's.
    """
    waiting: list[Json] = [value]
    for one in waiting:  # grows meanwhile
        if type(one) is dict:
            if not "".join(one).isascii():
                return False
            waiting += [item for item in one.values() if type(item) is not str]
        elif type(one) is list:
            waiting += [item for item in one if type(item) is not str]
        elif type(one) is int:
            if not -_LARGEST_INTEGER <= one <= _LARGEST_INTEGER:
                return False
        elif not (one is None or type(one) is bool or type(one) is str):
            return False
    return True


def sha256_hex(data: bytes) -> str:
    """Return the SHA-256 of bytes in lower-case hex."""
    return hashlib.sha256(data).hexdigest()


def digest_of(value: object) -> str:
    """Return `sha256:` and the hex digest of the canonical bytes of a value."""
    return digest_of_plain(plain(value))


def digest_of_plain(value: Json) -> str:
    """Return the same of what is plain JSON already."""
    return "sha256:" + sha256_hex(encoded(value))
