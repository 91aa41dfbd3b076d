"""What the environment of the process says beside the settings; importing this costs nothing, as every command does."""

import os
from typing import Final

ENV_PREFIX: Final = "ACCESS_RECONCILER_"
"""Begins the name of every variable of ours."""


def log_level(default: str = "warning") -> str:
    """Return the level of diagnostics that `ACCESS_RECONCILER_LOG` asks for; `default` when it does not."""
    return os.environ.get(f"{ENV_PREFIX}LOG", default)


def notify_address() -> str:
    """Return the socket on which the service manager wants to be told how we are; empty when there is none."""
    return os.environ.get("NOTIFY_SOCKET", "")
