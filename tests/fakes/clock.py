"""A clock that moves only when told, or when somebody sleeps on it."""

from datetime import UTC, datetime, timedelta


class FakeClock:
    """Implements `inventory.provider.Clock`; `sleep` moves it at once and is recorded."""

    def __init__(self, at: datetime = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)) -> None:
        self.at = at
        self.slept: list[float] = []
        self._skew = 0.0

    def now(self) -> datetime:
        return self.at

    def monotonic_seconds(self) -> float:
        return self.at.timestamp() - self._skew

    def jump(self, by: timedelta) -> None:
        """Set the wall clock to another time, as an operator or NTP does; the monotonic clock goes on."""
        self.at += by
        self._skew += by.total_seconds()

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += timedelta(seconds=seconds)
