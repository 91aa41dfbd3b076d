"""Which signed messages may wake the daemon: authentic ones, each once. What they say is neither believed nor kept.

Signatures are those of the Standard Webhooks specification, checked by its own library. What the library leaves open is
closed here: it accepts one message any number of times within its five minutes on either side of now, takes a full stop
in an id (which moves the border between id and time under one signature) and raises errors of many kinds.
"""

import base64
import binascii
import hashlib
import re
from collections import OrderedDict
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final

import structlog
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from inventory.provider import Clock
from inventory.regular_files import read_regular
from reconciler.core.errors import SettingsError

log = structlog.get_logger(__name__)

REMEMBERED_SECONDS: Final = 600.0
"""A message is valid from five minutes before to five minutes after its time: no id need be known for longer."""
MOST_REMEMBERED: Final = 50_000
"""About 8 MB. Only authentic messages are remembered; beyond this many in ten minutes the oldest are forgotten."""
SHORTEST_SECRET_BYTES: Final = 24
LONGEST_SECRET_BYTES: Final = 64
"""What the Standard Webhooks specification allows: 192 to 512 bits."""
_MOST_FILE_BYTES: Final = 4096
_READ_AGAIN_SECONDS: Final = 1.0
_SEAL: Final = ("webhook-id", "webhook-timestamp", "webhook-signature")
_ID: Final = re.compile(r"[!-\-/-~]{1,256}")
"""Visible ASCII without the full stop, which separates id, time and body in what is signed."""
_TIMESTAMP: Final = re.compile(r"[0-9]{1,12}")

Headers = Sequence[tuple[bytes, bytes]]
"""Names in lower case and values, as they came."""


class Verdict(StrEnum):
    """What a message is worth."""

    ACCEPTED = "accepted"
    REPLAYED = "replayed"
    """Authentic and known: a sender that got no answer sends it again, and so does an attacker."""
    FORGED = "forged"
    """Not signed with a secret that is valid now, or too old, or not such a message at all."""


class Secrets:
    """The secrets that are valid now, one a file. Several let a sender change over without a gap."""

    def __init__(self, files: Sequence[Path], clock: Clock) -> None:
        """Read all of them; raises `SettingsError` when one cannot be read or is no secret."""
        self._files = tuple(files)
        self._clock = clock
        self._checkers = tuple(_checker(path) for path in self._files)
        self._read_at = clock.monotonic_seconds()
        self._unusable: frozenset[Path] = frozenset()

    def checkers(self) -> tuple[Webhook, ...]:
        """Return what verifies with each secret; the files are read again at most once a second.

        A file that cannot be used any more takes its secret with it: whoever removes one wants that.
        """
        if self._clock.monotonic_seconds() - self._read_at >= _READ_AGAIN_SECONDS:
            self._read_again()
        return self._checkers

    def _read_again(self) -> None:
        found, unusable = [], {}
        for path in self._files:
            try:
                found.append(_checker(path))
            except SettingsError as error:
                unusable[path] = error
        for path in unusable.keys() - self._unusable:
            log.warning("webhook.secret_unusable", error=str(unusable[path]), advice=unusable[path].advice)
        self._checkers, self._unusable = tuple(found), frozenset(unusable)
        self._read_at = self._clock.monotonic_seconds()


def _checker(path: Path) -> Webhook:
    try:
        text = read_regular(path, _MOST_FILE_BYTES).decode("ascii").strip().removeprefix("whsec_")
        secret = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except OSError as error:
        raise SettingsError(
            f"daemon.webhook.secret_files: {path} cannot be read: {error.strerror}", advice="see docs/operations.md"
        ) from error
    except (UnicodeDecodeError, binascii.Error) as error:
        # Without the cause: it may show bytes of what was meant to be a secret.
        raise SettingsError(
            f"daemon.webhook.secret_files: {path} holds no secret ({type(error).__name__})",
            advice="one line, `whsec_` and base64",
        ) from None
    if not SHORTEST_SECRET_BYTES <= len(secret) <= LONGEST_SECRET_BYTES:
        raise SettingsError(
            f"daemon.webhook.secret_files: the secret in {path} has {len(secret)} bytes",
            advice=f"make one of {SHORTEST_SECRET_BYTES} to {LONGEST_SECRET_BYTES} random bytes",
        )
    return Webhook(secret)


class Remembered:
    """The ids of the messages that were accepted, for ten minutes and never more than a bound."""

    def __init__(self, clock: Clock, *, most: int = MOST_REMEMBERED) -> None:
        self._clock = clock
        self._most = most
        self._seen: OrderedDict[bytes, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    def is_new(self, message_id: str) -> bool:
        """Say whether an id is seen for the first time, and remember it."""
        now = self._clock.monotonic_seconds()
        while self._seen and now - next(iter(self._seen.values())) >= REMEMBERED_SECONDS:
            self._seen.popitem(last=False)
        key = hashlib.blake2b(message_id.encode(), digest_size=16).digest()
        if key in self._seen:
            return False
        self._seen[key] = now
        if len(self._seen) > self._most:
            self._seen.popitem(last=False)
        return True


class Gate:
    """Judges messages. For one thread."""

    def __init__(self, secrets: Secrets, remembered: Remembered) -> None:
        self._secrets = secrets
        self._remembered = remembered

    def judge(self, headers: Headers, body: bytes) -> Verdict:
        """Say what a message is worth; never raises for what is in it."""
        seal = _seal_of(headers)
        if seal is None or not any(_authentic(one, seal, body) for one in self._secrets.checkers()):
            return Verdict.FORGED
        return Verdict.ACCEPTED if self._remembered.is_new(seal["webhook-id"]) else Verdict.REPLAYED


def _seal_of(headers: Headers) -> dict[str, str] | None:
    """Return the three headers that count, or None when one is missing, doubled or malformed."""
    found = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
    seal = {name: value for name, value in found if name in _SEAL}
    if sum(name in _SEAL for name, _ in found) != len(_SEAL) or len(seal) != len(_SEAL):
        return None
    if _ID.fullmatch(seal["webhook-id"]) is None or _TIMESTAMP.fullmatch(seal["webhook-timestamp"]) is None:
        return None
    return seal


def _authentic(checker: Webhook, seal: dict[str, str], body: bytes) -> bool:
    try:
        checker.verify(body, seal, json_parse=False)
    except (WebhookVerificationError, ValueError):
        # ValueError is how the library meets signatures without a comma or out of base64, and a body that is not UTF-8.
        return False
    return True
