"""To whom a user name belongs, asked once for all the acts on one user that are made at the same moment."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from inventory.last_look import HOLDS_SECONDS
from inventory.provider import Clock

_MANY: Final = 256
"""Answers beyond this number are forgotten once they no longer stand."""


@dataclass(slots=True)
class _Answer:
    asking: threading.Lock = field(default_factory=threading.Lock)
    user_id: str = ""
    asked_at: float | None = None


class UserNames:
    """Remembers, for a moment, the unique ids behind user names. Whoever asks while another does waits for that answer.

    Only an id is remembered: that nobody has a name, or that it could not be read, is asked anew each time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._answers: dict[tuple[str, str], _Answer] = {}

    def user_id(self, scope: str, user_name: str, ask: Callable[[], str]) -> str:
        """Return the unique id of the user who has this name in a scope; raises whatever `ask` raises."""
        answer = self._answer(scope, user_name)
        with answer.asking:
            now = self._clock.monotonic_seconds()
            if answer.asked_at is None or now - answer.asked_at > HOLDS_SECONDS:
                answer.asked_at = None
                answer.user_id = ask()
                answer.asked_at = now
            return answer.user_id

    def _answer(self, scope: str, user_name: str) -> _Answer:
        with self._lock:
            if len(self._answers) > _MANY:
                self._forget()
            return self._answers.setdefault((scope, user_name), _Answer())

    def _forget(self) -> None:
        now = self._clock.monotonic_seconds()
        self._answers = {
            key: one
            for key, one in self._answers.items()
            if one.asking.locked() or (one.asked_at is not None and now - one.asked_at <= HOLDS_SECONDS)
        }
