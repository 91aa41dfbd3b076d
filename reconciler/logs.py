"""Diagnostics: JSON lines on stderr, constant events with keys, and nothing secret.

Quiet by default; `ACCESS_RECONCILER_LOG=debug` turns more on. Not the audit trail: that is the journal.
"""

import contextlib
import logging
import sys
from typing import TextIO, cast

import structlog
from structlog.tracebacks import ExceptionDictTransformer

_SECRET_WORDS = ("secret", "password", "token", "authorization", "credential_value")


class _Patient:
    """Passes lines on to stderr as it is now; one that cannot be written is lost, and nothing else is.

    A log on a full disk, or whose reader has gone, must not end the watch over leavers. There is nobody to be told:
    this is where one tells. The journal and the attestations do not rest on it.
    """

    def write(self, text: str) -> int:
        """Write, or do without."""
        with contextlib.suppress(OSError):
            return sys.stderr.write(text)
        return 0

    def flush(self) -> None:
        """Flush, or do without."""
        with contextlib.suppress(OSError):
            sys.stderr.flush()


def redact(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Replace the value of every key that by its name may hold a secret."""
    return {
        key: "[redacted]" if any(word in key.lower() for word in _SECRET_WORDS) else value
        for key, value in event.items()
    }


def configure_logs(level_name: str) -> None:
    """Set up structlog and the standard library's logging for this process."""
    level = getattr(logging, level_name.upper(), logging.WARNING)
    logging.basicConfig(stream=sys.stderr, level=level, format="%(message)s")
    # These log whole payloads at DEBUG, and at INFO each request with its address, in which a filter may name a person.
    for name in ("sigstore", "botocore", "urllib3", "httpx", "httpcore", "apscheduler", "alembic"):
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            redact,
            # Without local variables: a token may be one of them.
            structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", _Patient())),
    )
