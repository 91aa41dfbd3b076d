"""The built-in providers and those of installed entry points; the only module that opens `inventory.providers`."""

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

from inventory.errors import Misconfigured
from inventory.provider import Provider

ENTRY_POINT_GROUP = "access_reconciler.providers"

AnyProvider = Provider[Any]


def _aws_iam() -> AnyProvider:
    from inventory.providers.aws_iam import PROVIDER  # noqa: PLC0415 - opened only when configured

    return PROVIDER


def _ldap() -> AnyProvider:
    from inventory.providers.ldap import PROVIDER  # noqa: PLC0415 - its client library is an optional extra

    return PROVIDER


def _scim() -> AnyProvider:
    from inventory.providers.scim import PROVIDER  # noqa: PLC0415 - opened only when configured

    return PROVIDER


def _builtin() -> dict[str, Callable[[], AnyProvider]]:
    return {"aws_iam": _aws_iam, "ldap": _ldap, "scim": _scim}


def provider_types() -> tuple[str, ...]:
    """Return the provider types that a configuration may name, sorted."""
    return tuple(sorted({*_builtin(), *(point.name for point in entry_points(group=ENTRY_POINT_GROUP))}))


def load_provider(provider_type: str) -> AnyProvider:
    """Import and return one provider; a built-in name cannot be taken over by an entry point.

    Raises `Misconfigured` for an unknown type and for a provider whose client library is not installed.
    """
    builtin = _builtin().get(provider_type)
    if builtin is not None:
        return _opened(provider_type, builtin)
    for point in entry_points(group=ENTRY_POINT_GROUP, name=provider_type):
        return _opened(provider_type, point.load)
    known = ", ".join(provider_types())
    raise Misconfigured(f"there is no provider type {provider_type!r}", advice=f"use one of: {known}")


def _opened(provider_type: str, load: Callable[[], AnyProvider]) -> AnyProvider:
    try:
        return load()
    except ImportError as error:
        raise Misconfigured(
            f"provider {provider_type!r} needs the package {error.name!r}, which is not installed",
            advice=f"install the extra of that name: pip install 'access-reconciler[{provider_type}]'",
        ) from error
