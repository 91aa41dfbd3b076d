"""What is remembered of attempts to sign, in a file, and the lock by which one process at a time signs a chain.

`signing.json` is for the next attempt and for people; the statements and bundles themselves say what is signed. It is
replaced as a whole, so that it is the one or the other. A file that cannot be read counts as none.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import structlog
from pydantic import TypeAdapter, ValidationError

from reconciler.adapters.durable_file import make_folder, replace_file
from reconciler.core.errors import EvidenceError, SigningError
from reconciler.core.spooling import Attempts

log = structlog.get_logger(__name__)

_ATTEMPTS = TypeAdapter(Attempts)
_MEMORY: Final = "signing.json"
_LOCK: Final = "signing.lock"
_BUNDLE_BYTES: Final = 256 * 1024
"""Room that is seen to before an attempt: a bundle holds its statement and proofs, and is far smaller."""


class SpoolFile:
    """Implements `reconciler.evidence_ports.SigningMemory` in the evidence folder."""

    def __init__(self, root: Path) -> None:
        self._path = root / _MEMORY
        self._lock = root / _LOCK
        self._unwritten: Attempts | None = None
        """What could not be written; counts for this process until something can be."""

    def load(self) -> Attempts:
        """Return what was kept last; nothing when there is nothing that can be read."""
        if self._unwritten is not None:
            return self._unwritten
        try:
            return _ATTEMPTS.validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return Attempts()
        except (OSError, ValidationError) as error:
            log.warning("signing.memory_unreadable", file=str(self._path), error=type(error).__name__)
            return Attempts()

    def reserve(self, attempts: Attempts) -> None:
        """Keep durably that an attempt begins, and see that its bundle will have room.

        Raises `EvidenceError`: what is signed and cannot be stored leaves an entry in a log that no bundle belongs to.
        """
        room = self._path.with_suffix(".room")
        try:
            make_folder(self._path.parent)
            try:
                with room.open("wb") as file:
                    file.write(bytes(_BUNDLE_BYTES))
                    file.flush()
                    os.fsync(file.fileno())
            finally:
                room.unlink(missing_ok=True)
            self._write(attempts)
        except OSError as error:
            msg = f"nothing is signed, as its signature could not be stored: {error.strerror or error}"
            raise EvidenceError(msg, advice="check the evidence folder: its rights and its space") from error

    def keep(self, attempts: Attempts) -> None:
        """Keep what came of an attempt; where that cannot be written, this process remembers it alone."""
        try:
            self._write(attempts)
        except OSError as error:
            self._unwritten = attempts
            log.warning("signing.memory_unwritten", file=str(self._path), error=error.strerror or str(error))

    @contextmanager
    def alone(self, wait_seconds: float) -> Iterator[None]:
        """Be the only one who signs meanwhile; raises `SigningError` when somebody else is for longer."""
        from filelock import FileLock, Timeout  # noqa: PLC0415 - an auditor's installation reads stores without it

        lock = FileLock(self._lock, timeout=wait_seconds, mode=0o600, fallback_to_soft=False, preserve_lock_file=True)
        try:
            make_folder(self._lock.parent)
            lock.acquire()
        except Timeout as error:
            msg = "another process is signing what waits"
            raise SigningError(msg, advice="nothing is to be done: see `attestations pending`") from error
        except OSError as error:
            msg = f"the lock {self._lock} cannot be taken: {error.strerror or error}"
            raise EvidenceError(msg, advice="check the evidence folder: its rights and its space") from error
        try:
            yield
        finally:
            lock.release()

    def _write(self, attempts: Attempts) -> None:
        replace_file(self._path, _ATTEMPTS.dump_json(attempts))
        self._unwritten = None
