"""Diagnostics: JSON lines on stderr, constant events with keys, and nothing secret.

Quiet by default; `ACCESS_RECONCILER_LOG=debug` turns more on. Not the audit trail: that is the journal.
"""

import logging
import sys

import structlog
from structlog.tracebacks import ExceptionDictTransformer

_SECRET_WORDS = ("secret", "password", "token", "authorization", "credential_value")


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
    # What these say of a failure may hold the address or what the other side answered; our adapters say it themselves.
    for name in ("apprise", "opentelemetry"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
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
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
