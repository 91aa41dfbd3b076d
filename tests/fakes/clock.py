"""A clock that moves only when told, or when somebody sleeps on it."""

import threading
from datetime import UTC, datetime, timedelta


class FakeClock:
    """Implements `inventory.provider.Clock`; `sleep` moves it at once and is recorded. Many threads may sleep on it."""

    def __init__(self, at: datetime = datetime(2026, 3, 2, 9, 0, tzinfo=UTC), *, remember: bool = True) -> None:
        """Start at an instant; `remember` keeps every sleep, which a run of days does without."""
        self.at = at
        self.slept: list[float] = []
        self._remember = remember
        self._jumped = timedelta(0)
        self._lock = threading.Lock()

    def now(self) -> datetime:
        return self.at

    def monotonic_seconds(self) -> float:
        return (self.at - self._jumped).timestamp()

    def sleep(self, seconds: float) -> None:
        with self._lock:
            if self._remember:
                self.slept.append(seconds)
            self.at += timedelta(seconds=seconds)

    def jump(self, by: timedelta) -> None:
        """Set the time of day to another one, as an operator or a bad time server does; no time passes."""
        with self._lock:
            self.at += by
            self._jumped += by
