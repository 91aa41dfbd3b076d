"""What SCIM 2.0 services send (RFC 7643, RFC 7644): tolerantly where harmless, strictly where it counts.

Pure functions of our own, because strict models refuse what real vendors send: attributes and schemas that they did
not announce, numbers as ids, `"True"` for true, e-mail addresses without a dot. None of that changes who has access.
A missing id or an unreadable member does, so it is reported and the read counts as partial.

>>> quoted("alice")
'"alice"'
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

USER_SCHEMA: Final = "urn:ietf:params:scim:schemas:core:2.0:User"
ENTERPRISE_SCHEMA: Final = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
PATCH_SCHEMA: Final = "urn:ietf:params:scim:api:messages:2.0:PatchOp"

Document = Mapping[str, Any]


class Malformed(ValueError):
    """A part of an answer that cannot be skipped over; the message quotes no value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of a listing (RFC 7644, section 3.4.2)."""

    total: int
    start: int | None
    """What the provider says the page begins with; None where it does not say."""
    resources: tuple[Document, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A SCIM user, as far as access goes."""

    user_id: str
    user_name: str
    display_name: str
    user_type: str
    active: bool | None
    """None where the provider does not say."""
    external_id: str
    emails: tuple[str, ...]
    """The primary one first."""
    roles: tuple[str, ...]
    created_at: datetime | None
    version: str
    document: Document
    """The whole, for attributes that the settings name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A member of a group."""

    value: str
    is_group: bool
    """The provider says so by type or reference; a member that says nothing may still be one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A SCIM group with its members."""

    group_id: str
    name: str
    members: tuple[Member, ...]
    tells_members: bool
    """The answer carried a `members` attribute at all; an empty group may leave it out, some vendors always do."""
    version: str
    created_at: datetime | None


def quoted(value: str) -> str:
    """Return a value as a filter writes it: a JSON string (RFC 7644, section 3.4.2.2), which nothing inside can end."""
    return json.dumps(value, ensure_ascii=False)


def attribute(document: Document, path: str) -> Any:  # noqa: ANN401 - JSON of any kind
    """Return what a document holds at `name`, `name.sub` or `urn:…:name`; None where there is nothing.

    Names are matched without regard to case, as RFC 7643, section 2.1, asks.
    """
    if path.lower().startswith("urn:"):
        schema, _, name = path.rpartition(":")
        extension = _named(document, schema)
        return attribute(extension, name) if isinstance(extension, Mapping) else None
    name, _, rest = path.partition(".")
    found = _named(document, name)
    if not rest:
        return found
    return attribute(found, rest) if isinstance(found, Mapping) else None


def _named(document: Document, name: str) -> Any:  # noqa: ANN401 - JSON of any kind
    if name in document:
        return document[name]
    wanted = name.lower()
    return next((value for key, value in document.items() if key.lower() == wanted), None)


def texts(document: Document, path: str) -> tuple[str, ...]:
    """Return the texts at a path: of one value, or of a list of values or of objects with a `value`."""
    found = attribute(document, path) if path else None
    values = found if isinstance(found, list) else [found]
    plain = (attribute(entry, "value") if isinstance(entry, Mapping) else entry for entry in values)
    return tuple(dict.fromkeys(text for text in map(_text, plain) if text))


def _text(value: object) -> str:
    """Return text that can be written as UTF-8; numbers as their digits, everything else as nothing."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        return ""
    try:
        value.encode()
    except UnicodeEncodeError:
        return ""
    return value.strip()


def _identifier(document: Document) -> str:
    found = _named(document, "id")
    text = _text(found)
    if not text or text in {".", ".."} or (isinstance(found, str) and text != found):
        msg = "an entry has no usable id"
        raise Malformed(msg)
    return text


def page(document: Document) -> Page:
    """Read a page; raises `Malformed` where its total or its entries are not what a listing has."""
    total = _count(_named(document, "totalResults"))
    resources = _named(document, "Resources")
    if total is None:
        msg = "the page does not say totalResults"
        raise Malformed(msg)
    if resources is None:
        resources = []
    if not isinstance(resources, list) or not all(isinstance(entry, Mapping) for entry in resources):
        msg = "the page holds something else than objects"
        raise Malformed(msg)
    return Page(total=total, start=_count(_named(document, "startIndex")), resources=tuple(resources))


def _count(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= len(str(2**53)):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 2**53:
        return value
    return None


def user(document: Document) -> User:
    """Read a user; raises `Malformed` without an id."""
    return User(
        user_id=_identifier(document),
        user_name=_first(texts(document, "userName")),
        display_name=_first((*texts(document, "displayName"), *texts(document, "name.formatted"))),
        user_type=_first(texts(document, "userType")),
        active=_boolean(_named(document, "active")),
        external_id=_first(texts(document, "externalId")),
        emails=_emails(document),
        roles=texts(document, "roles"),
        created_at=_instant(attribute(document, "meta.created")),
        version=_version(document),
        document=document,
    )


def _first(values: tuple[str, ...]) -> str:
    return values[0] if values else ""


def _boolean(value: object) -> bool | None:
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.strip().lower())
    return value if isinstance(value, bool) else None


def _emails(document: Document) -> tuple[str, ...]:
    found = _named(document, "emails")
    entries = found if isinstance(found, list) else []
    primary_first = sorted(entries, key=lambda entry: not (isinstance(entry, Mapping) and entry.get("primary") is True))
    return texts({"emails": primary_first}, "emails")


def _instant(value: object) -> datetime | None:
    """Return an RFC 3339 instant in UTC; one without a zone says nothing."""
    if not isinstance(value, str):
        return None
    try:
        instant = datetime.fromisoformat(value)
        return instant.astimezone(UTC) if instant.tzinfo else None
    except (ValueError, OverflowError):
        return None


def _version(document: Document) -> str:
    """Return the entity tag; one that cannot stand in a header is none."""
    version = _text(attribute(document, "meta.version"))
    return version if version.isascii() and version.isprintable() else ""


def group(document: Document) -> Group:
    """Read a group; raises `Malformed` without an id, or with a member that names nobody."""
    group_id = _identifier(document)
    found = _named(document, "members")
    if found is not None and not isinstance(found, list):
        msg = "a group's members are not a list"
        raise Malformed(msg)
    members = {entry.value: entry for entry in (_member(item) for item in found or ())}
    return Group(
        group_id=group_id,
        name=_first((*texts(document, "displayName"), group_id)),
        members=tuple(members.values()),
        tells_members=found is not None,
        version=_version(document),
        created_at=_instant(attribute(document, "meta.created")),
    )


def _member(entry: object) -> Member:
    value = _text(_named(entry, "value")) if isinstance(entry, Mapping) else ""
    if not value or not isinstance(entry, Mapping):
        msg = "a group's member has no value"
        raise Malformed(msg)
    reference = _text(_named(entry, "$ref"))
    is_group = _text(_named(entry, "type")).lower() == "group" or "/groups/" in reference.lower()
    return Member(value=value, is_group=is_group)


def patch(operation: str, path: str, value: object = None) -> dict[str, Any]:
    """Return a PATCH document with one operation (RFC 7644, section 3.5.2)."""
    step: dict[str, Any] = {"op": operation, "path": path}
    if operation != "remove":
        step["value"] = value
    return {"schemas": [PATCH_SCHEMA], "Operations": [step]}


def member_path(user_id: str) -> str:
    """Return the path of one member of a group, so that a removal can hit nobody else."""
    return f"members[value eq {quoted(user_id)}]"
