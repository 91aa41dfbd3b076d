"""What can go wrong while reading a provider, and who has to do something about it.

The raiser knows whether trying again helps, so the error carries its disposition and the caller never guesses.
"""

from enum import StrEnum


class Disposition(StrEnum):
    """What the reader of an error should do next."""

    RETRY = "retry"
    """The same call may succeed soon."""
    OPERATOR = "operator"
    """Somebody has to change a right, a setting or the source."""


class ProviderError(Exception):
    """A provider could not be read or written.

    The message says what happened to which object; `advice` says what to do. Neither may hold a secret or
    personal data beyond the id of the object.
    """

    disposition: Disposition = Disposition.OPERATOR

    def __init__(self, message: str, *, advice: str = "") -> None:
        super().__init__(message)
        self.advice = advice


class Throttled(ProviderError):
    """The provider asked us to slow down."""

    disposition = Disposition.RETRY

    def __init__(self, message: str, *, advice: str = "", retry_after_seconds: float | None = None) -> None:
        super().__init__(message, advice=advice)
        self.retry_after_seconds = retry_after_seconds


class Unavailable(ProviderError):
    """No usable answer: connection refused, time-out, 5xx, or a body that is not what the API sends."""

    disposition = Disposition.RETRY


class Denied(ProviderError):
    """Our own identity was refused: authentication failed or a right is missing."""


class Misconfigured(ProviderError):
    """A setting names something that does not exist or cannot work."""


class Unsupported(ProviderError):
    """The provider has no such operation or does not know this artefact kind."""


class ObjectMissing(ProviderError):
    """The object that was asked for does not exist at the provider (a positive answer, not a failure to look)."""


class ObjectChanged(ProviderError):
    """A compare-and-set found another state than the expected one (HTTP 412, LDAP ASSERTION_FAILED)."""
