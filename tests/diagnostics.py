"""Diagnostics set up as the program sets them up, for as long as a test needs them so."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from reconciler.logs import configure_logs


@contextmanager
def logging_as_it_was() -> Iterator[None]:
    """Give the tests that follow their own logging back: what is set up within writes to a stream that ends."""
    before, level = logging.getLogger().handlers[:], logging.getLogger().level
    try:
        yield
    finally:
        structlog.reset_defaults()
        logging.captureWarnings(capture=False)
        logging.getLogger().handlers[:] = before
        logging.getLogger().setLevel(level)


@contextmanager
def diagnostics(level: str = "warning") -> Iterator[None]:
    """Log to stderr as the program does, so that stdout stays the answer."""
    with logging_as_it_was():
        configure_logs(level)
        yield
