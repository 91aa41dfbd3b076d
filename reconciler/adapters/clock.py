"""The one place that asks what time it is."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
"""Linux names each start of the machine there (random(4)); its monotonic clock counts from it in every process."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the current instant in UTC."""
        return datetime.now(UTC)

    def monotonic_seconds(self) -> float:
        """Return seconds of a clock that never goes back."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


def boot_id(path: Path = _BOOT_ID) -> str:
    """Return the name of this start of the machine; empty on a system that gives it none."""
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return ""
