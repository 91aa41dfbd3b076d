"""Puts the policies into the wheel, as what `access-reconciler init` hands out to a new installation."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class StarterPolicies(BuildHookInterface[Any]):
    """Copies `policies/` to `reconciler/starter/policies` of a wheel.

    An editable install gets no copy, which would grow old unseen: it takes `policies/` of the checkout.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Ask for the copy; `version` says which kind of wheel is built."""
        if version == "standard":
            build_data["force_include"]["policies"] = "reconciler/starter/policies"
