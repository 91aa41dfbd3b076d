"""The composition root: joins settings, collectors, adapters and revokers."""

from inventory import registry

__all__ = ["registry"]
