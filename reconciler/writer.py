"""Being the one writer: the journal and the lease that the settings ask for, and the pause after taking over."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from typing import Final

import structlog

from inventory.provider import Clock
from reconciler.adapters.journal import SqlJournal
from reconciler.adapters.journal_database import sqlite_url
from reconciler.adapters.journal_postgresql import DatabaseUrl, postgresql_url
from reconciler.adapters.lease import FileLease
from reconciler.adapters.lease_postgresql import PostgresLease
from reconciler.core.errors import SettingsError
from reconciler.ports import Journal, Lease
from reconciler.settings import Settings

log = structlog.get_logger(__name__)

JOURNAL_FILE: Final = "journal.sqlite3"
"""The journal inside the state folder, where no URL names another one."""
BEAT_SECONDS: Final = 1.0
"""While waiting, the lease is asked for this often."""


OpenJournal = AbstractContextManager[SqlJournal]
"""A journal that is closed with its block."""


def journal_exists(settings: Settings) -> bool:
    """Say whether there may be a journal to look into: one on a server always, one in a file when the file is there."""
    return bool(settings.journal.url) or (settings.state_dir / JOURNAL_FILE).is_file()


def open_journal(settings: Settings, lease: Lease | None = None) -> SqlJournal:
    """Open the journal, making it on first use; raises `JournalError`, and `SettingsError` for the password's file.

    With a lease, nothing that leads to an act is written once it is lost.
    """
    settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    url = _database(settings) if settings.journal.url else sqlite_url(settings.state_dir / JOURNAL_FILE)
    needed = settings.guard.approvals_needed
    if lease is None:
        return SqlJournal(url, approvals_needed=needed)
    return SqlJournal(url, approvals_needed=needed, check_lease=lease.check)


def hold_lease(settings: Settings, purpose: str, clock: Clock) -> Lease:
    """Take the lease; raises `LeaseLost` naming the holder when another process is the writer.

    `purpose` is what that other process would be told of us. With the journal on a server, the lease is there too: the
    state folder is then not locked, and may be shared by hosts.
    """
    if settings.journal.url:
        return PostgresLease(_database(settings), purpose=purpose)
    return FileLease(settings.state_dir, purpose=purpose, now=clock.now())


def _database(settings: Settings) -> DatabaseUrl:
    path = settings.journal.password_file
    try:
        password = "" if path is None else path.read_text(encoding="utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not text"
        raise SettingsError(
            f"journal.password_file: {path} cannot be read: {reason}", advice="make it readable for this account"
        ) from error
    return postgresql_url(settings.journal.url, password)


Pause = Callable[[float], bool]
"""Waits for some seconds; says whether to go on."""


def wait_out(journal: Journal, lease: Lease, clock: Clock, seconds: float, pause: Pause) -> bool:
    """Wait until no call of a former holder can be under way any more; say whether to go on.

    Raising the epoch ends the former holder's intents, so those without an outcome now are all that it may still be
    calling for. None: nothing to wait for. A lease that only passes on when its holder is dead needs no wait. Raises
    `LeaseLost` when the lease is lost meanwhile.
    """
    if not lease.can_be_lost_alive:
        return True
    journal.take_over(clock.now())
    unanswered = sum(entry.outcome is None for entry in journal.unsettled())
    if not unanswered:
        return True
    log.warning("lease.waiting", unanswered=unanswered, seconds=seconds)
    until = clock.monotonic_seconds() + seconds
    while (rest := until - clock.monotonic_seconds()) > 0:
        lease.check()
        if not pause(min(rest, BEAT_SECONDS)):
            return False
    return True


@contextmanager
def one_writer(settings: Settings, purpose: str, clock: Clock, wait_seconds: float) -> Iterator[SqlJournal]:
    """Take the lease for a command, wait out what a former holder may still be doing, and give the open journal.

    Raises `LeaseLost` when another process is the writer, and `JournalError`.
    """

    def pause(seconds: float) -> bool:
        clock.sleep(seconds)
        return True

    with ExitStack() as stack:
        lease = stack.enter_context(closing(hold_lease(settings, purpose, clock)))
        journal = stack.enter_context(open_journal(settings, lease))
        wait_out(journal, lease, clock, wait_seconds, pause)
        yield journal
