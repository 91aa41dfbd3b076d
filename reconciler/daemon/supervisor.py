"""The main thread's part: runs the loop in a thread of its own, waits for an order to end, and bounds the draining."""

import queue
import threading

import structlog

from inventory.provider import Clock
from reconciler.daemon.health import Health
from reconciler.daemon.orders import Orders
from reconciler.daemon.service import Ended, Service

log = structlog.get_logger(__name__)


class Supervisor:
    """Runs the loop in a thread of its own, so that an order to stop is followed even while a cycle hangs."""

    def __init__(self, service: Service, health: Health, clock: Clock, drain_seconds: float) -> None:
        self._service = service
        self._health = health
        self._clock = clock
        self._drain_seconds = drain_seconds
        self._words: Orders[Ended | None] = Orders()

    def stop(self) -> None:
        """Ask for the end, once or many times; for signal handlers."""
        self._service.stop()
        self._words.put(None)

    def run(self) -> Ended:
        """Run until the loop ends; after `stop`, for as long as draining allows."""
        self._health.started()
        threading.Thread(target=self._run_loop, name="cycles", daemon=True).start()
        word = self._words.next()
        if word is not None:
            return word
        self._health.drain(self._drain_seconds)
        log.info("service.draining", seconds=self._drain_seconds)
        return self._drained()

    def _drained(self) -> Ended:
        until = self._clock.monotonic_seconds() + self._drain_seconds
        while True:
            try:
                word = self._words.next_within(until - self._clock.monotonic_seconds())
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
