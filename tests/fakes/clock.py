"""A clock that moves only when told, or when somebody sleeps on it."""

from datetime import UTC, datetime, timedelta


class FakeClock:
    """Implements `inventory.provider.Clock`; `sleep` moves it at once and is recorded."""

    def __init__(self, at: datetime = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)) -> None:
        self.at = at
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self.at

    def monotonic_seconds(self) -> float:
        return self.at.timestamp()

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += timedelta(seconds=seconds)
