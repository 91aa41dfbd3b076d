"""Diagnostics: JSON lines on stderr, constant events with keys, and nothing secret.

Quiet by default; `ACCESS_RECONCILER_LOG=debug` turns more on. Not the audit trail: that is the journal. Libraries that
use the standard library's logging come out in the same form and through the same redaction.
"""

import contextlib
import logging
import re
import sys
from collections.abc import Mapping
from typing import Final, TextIO, cast

import structlog
from structlog.tracebacks import ExceptionDictTransformer
from structlog.typing import EventDict, Processor

REDACTED: Final = "[redacted]"
_SECRET_WORDS: Final = ("secret", "password", "token", "authorization", "credential_value", "api_key", "cookie")
_IN_TEXT: Final = (
    # What follows the name of a scheme in an Authorization header.
    re.compile(r"(?i)\b(?P<keep>(?:bearer|basic)\s+)(?=\S*[0-9+/=])[A-Za-z0-9._~+/=-]{6,}"),
    # A value after a word that names a secret, as in a query, a form, a header or a repr.
    re.compile(
        r"(?i)(?P<keep>(?<![./\w-])[\w-]*(?:secret|passw(?:or)?d|token|authorization|api[_-]?key)[\w-]*[\"']?\s*[=:]\s*[\"']?)"
        r"(?!\[redacted\])(?!(?:bearer|basic)\b)[^\s\"'&,;)}]+"
    ),
    # What stands before the host of an address.
    re.compile(r"(?P<keep>\b[a-z][a-z0-9+.-]*://)[^/\s@]+@"),
    re.compile(r"(?s)(?P<keep>-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"),
)
_DEEPEST: Final = 8
"""Values nested deeper than this are left out: nothing of ours is."""


def redact(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Replace the value of every key that by its name may hold a secret, and what looks like one within text."""
    return {key: _cleaned(key, value, _DEEPEST) for key, value in event.items()}


def _cleaned(key: str, value: object, depth: int) -> object:
    if depth == 0 or any(word in key.lower() for word in _SECRET_WORDS):
        return REDACTED
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(name): _cleaned(str(name), one, depth - 1) for name, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_cleaned("", one, depth - 1) for one in value]
    return scrub(value if isinstance(value, str) else repr(value))


def scrub(text: str) -> str:
    """Return text without what looks like a secret: a net under our own messages, which never hold one."""
    for pattern in _IN_TEXT:
        text = pattern.sub(rf"\g<keep>{REDACTED}", text)
    return text


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


def configure_logs(level_name: str) -> None:
    """Set up structlog and the standard library's logging for this process."""
    level = getattr(logging, level_name.upper(), logging.WARNING)
    # Without local variables: a token may be one of them.
    ending: tuple[Processor, ...] = (
        structlog.processors.ExceptionRenderer(ExceptionDictTransformer(show_locals=False)),
        redact,
        structlog.processors.JSONRenderer(),
    )
    common: tuple[Processor, ...] = (
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    )
    handler = logging.StreamHandler(cast("TextIO", _Patient()))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=(structlog.stdlib.add_logger_name, *common),
            processors=(structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending),
        )
    )
    logging.basicConfig(handlers=[handler], level=level, force=True)
    logging.captureWarnings(capture=True)  # Python's own, which would stand between our lines in a form of theirs
    # These log whole payloads at DEBUG, and at INFO each request with its address, in which a filter may name a person.
    for name in ("sigstore", "botocore", "urllib3", "httpx", "httpcore", "apscheduler", "alembic"):
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    # What these say of a failure may hold the address or what the other side answered; our adapters say it themselves.
    for name in ("apprise", "opentelemetry"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, *common, *ending],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", _Patient())),
    )
