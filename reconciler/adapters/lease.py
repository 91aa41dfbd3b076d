"""The right to be the one writer of a state folder, held as a file lock.

The kernel frees the lock when its holder dies, however it dies. The lock gives liveness only; what makes a late writer
harmless is the epoch that every intent is checked against.
"""

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Final, Self

from filelock import FileLock, Timeout

from reconciler.core.canonical import rfc3339
from reconciler.core.errors import JournalError, LeaseLost

_LOCK: Final = "writer.lock"
_HOLDER: Final = "writer.json"
"""Says who holds the lock, for people only: the lock itself is what counts."""


class FileLease:
    """Implements `reconciler.ports.Lease` on a state folder."""

    can_be_lost_alive = False
    """The kernel frees the lock when the process ends, and not before."""

    def __init__(self, state_dir: Path, *, purpose: str, now: datetime) -> None:
        """Take the lease at once; raises `LeaseLost` naming its holder, `JournalError` where no lock can be made.

        `purpose` is what the next process is told, such as the command that runs.
        """
        self._holder = state_dir / _HOLDER
        # A soft lock outlives its holder and a removed lock file can be held twice: neither is wanted.
        self._lock = FileLock(
            state_dir / _LOCK,
            timeout=0,
            mode=0o600,
            thread_local=False,
            fallback_to_soft=False,
            preserve_lock_file=True,
        )
        try:
            state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock.acquire()
        except Timeout as error:
            msg = f"{_described(self._holder)} holds the state folder {state_dir}"
            raise LeaseLost(msg, advice="wait until it ends, or stop it: only one process may act at a time") from error
        except OSError as error:
            raise _no_lock(state_dir, error) from error
        try:
            self._sign(purpose, now)
        except OSError as error:
            self._lock.release()
            raise _no_lock(state_dir, error) from error
        self._held = _identity(state_dir / _LOCK)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the lease back; closing twice is harmless."""
        if self._lock.is_locked:
            self._holder.unlink(missing_ok=True)
            self._lock.release()

    def check(self) -> None:
        """Raise `LeaseLost` where the lock file is not the one that we hold: another process could hold the new one.

        A state folder that was removed, restored or mounted over leaves us with a lock that excludes nobody.
        """
        if not self._lock.is_locked or self._held is None or _identity(self._holder.with_name(_LOCK)) != self._held:
            raise LeaseLost(
                f"the lock of the state folder {self._holder.parent} is not the one that was taken",
                advice="the folder was replaced under a running process: let one process use it, and restart",
            )

    def _sign(self, purpose: str, now: datetime) -> None:
        text = json.dumps({"pid": os.getpid(), "purpose": purpose, "since": rfc3339(now)})
        fresh = self._holder.with_suffix(".new")
        descriptor = os.open(fresh, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        fresh.replace(self._holder)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _described(holder: Path) -> str:
    """Return who signed last; a holder that has not signed yet, or a torn file, is only `another process`."""
    try:
        facts = json.loads(holder.read_text(encoding="utf-8"))
        return f"process {int(facts['pid'])} ({facts['purpose']}, since {facts['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _no_lock(state_dir: Path, error: OSError) -> JournalError:
    return JournalError(
        f"cannot take the lease in {state_dir}: {error.strerror}",
        advice="the state folder must be on a local disk and writable for this account",
    )
