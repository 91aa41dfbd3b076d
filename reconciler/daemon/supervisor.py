"""The main thread's part: runs the loop in a thread of its own, waits for an order to end, and bounds the draining."""

import queue
import threading
from typing import Final

import structlog

from inventory.provider import Clock
from reconciler.daemon.health import Health
from reconciler.daemon.service import Ended, Service

log = structlog.get_logger(__name__)

SIGNAL_SECONDS: Final = 1.0
"""A signal that the system handed to another thread than the main one is followed after this long at the latest."""


class Supervisor:
    """Runs the loop in a thread of its own, so that an order to stop is followed even while a cycle hangs."""

    def __init__(self, service: Service, health: Health, clock: Clock, drain_seconds: float) -> None:
        self._service = service
        self._health = health
        self._clock = clock
        self._drain_seconds = drain_seconds
        # Reentrant and without a lock that a signal handler could find held by the thread it interrupts.
        self._words: queue.SimpleQueue[Ended | None] = queue.SimpleQueue()

    def stop(self) -> None:
        """Ask for the end, once or many times; for signal handlers."""
        self._service.stop()
        self._words.put(None)

    def run(self) -> Ended:
        """Run until the loop ends; after `stop`, for as long as draining allows."""
        self._health.started()
        threading.Thread(target=self._run_loop, name="cycles", daemon=True).start()
        word = self._first_word()
        if word is not None:
            return word
        self._health.drain(self._drain_seconds)
        log.info("service.draining", seconds=self._drain_seconds)
        return self._drained()

    def _first_word(self) -> Ended | None:
        """Wait for the end of the loop, or for the order to end.

        Not in one wait: handlers run in this thread, and the system may hand a signal to another one (while this one is
        traced, or has another signal waiting), which does not end a wait in here. It is followed one beat later.
        """
        while True:
            try:
                return self._words.get(timeout=SIGNAL_SECONDS)
            except queue.Empty:
                continue

    def _drained(self) -> Ended:
        until = self._clock.monotonic_seconds() + self._drain_seconds
        while True:
            try:
                word = self._words.get(timeout=max(until - self._clock.monotonic_seconds(), 0))
            except queue.Empty:
                return Ended.OVERDUE
            if word is not None:
                return word

    def _run_loop(self) -> None:
        ended = Ended.BROKEN
        try:
            ended = self._service.run()
        finally:
            self._words.put(ended)
