"""What the journal's database answers, in words: what it means and what to do, without any values."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from reconciler.core.errors import JournalError

_DEFECT: Final = "this is a defect: report it"
_ONCE: Final = "each step is recorded once: look at the journal's entry"
_REACH: Final = "check journal.url, journal.password_file and the server; nothing is done without the journal"
_ADVICE: Final[tuple[tuple[str, str, str], ...]] = (
    ("SQLITE_FULL", "the disk is full", "free space where the journal lies; nothing is done without it"),
    ("SQLITE_READONLY", "the journal is read-only", "make the state folder and the journal writable for this account"),
    ("SQLITE_BUSY", "the journal is locked", "another process is writing: wait, or find it by the lease"),
    (
        "SQLITE_CANTOPEN",
        "the journal cannot be opened",
        "check that the state folder exists and belongs to this account",
    ),
    ("SQLITE_NOTADB", "the file is no journal", "check the configured path, or restore a backup (docs/journal.md)"),
    ("SQLITE_CORRUPT", "the journal is damaged", "stop, and restore a backup (docs/journal.md)"),
    ("SQLITE_IOERR", "the disk failed", "check the disk of the state folder; nothing is done without the journal"),
    ("SQLITE_CONSTRAINT_FOREIGNKEY", "it refers to something the journal does not hold", _DEFECT),
    ("SQLITE_CONSTRAINT_TRIGGER", "rows of the journal are never changed", _DEFECT),
    ("SQLITE_CONSTRAINT", "it is recorded already", _ONCE),
    ("23001", "rows of the journal are never changed", _DEFECT),
    ("23503", "it refers to something the journal does not hold", _DEFECT),
    ("23505", "it is recorded already", _ONCE),
    ("22", "the database does not take a value", _DEFECT),
    ("25006", "the database is read-only", "name the server that takes writes: add target_session_attrs=read-write"),
    ("25P03", "this process was stopped in the middle of writing", "nothing was written; the next cycle looks again"),
    ("3D000", "there is no such database", "create it, or mend journal.url (docs/journal.md)"),
    ("3F000", "there is no such schema", "create it, or mend search_path in journal.url (docs/journal.md)"),
    ("40", "another process wrote at the same time, again and again", "look who else uses the journal's database"),
    ("42501", "the database role may not do this", "let the role own the journal's schema (docs/journal.md)"),
    ("53100", "the disk of the database is full", "free space there; nothing is done without the journal"),
    ("53300", "the database has no connection left", "raise max_connections, or end other clients"),
    ("55P03", "the journal is locked", "another process is writing: wait, or find it by the lease"),
    ("57014", "the database took too long", "look at its load; nothing was written"),
    ("57P", "the database was shut down or is starting", "wait until it is up; nothing is done without the journal"),
    ("08", "the connection to the database broke", _REACH),
    ("28", "the database refuses this role or its password", _REACH),
    ("certificate", "no trusted TLS connection to the database can be made", _REACH),
    ("unanswered", "the database does not answer", _REACH),
    ("OperationalError", "the connection to the database could not be made, or broke", _REACH),
)
"""Beginning of the database's error code (SQLite's name, or SQLSTATE), what it means, what to do."""
_WITHOUT_CODE: Final = (
    ("authentication", "28000"),
    ("no password supplied", "28000"),
    ("role", "28000"),
    ("database", "3D000"),
    ("certificate", "certificate"),
    ("SSL", "certificate"),
    ("refused", "unanswered"),
    ("timeout", "unanswered"),
    ("No such file", "unanswered"),
    ("starting up", "57P03"),
    ("shutting down", "57P03"),
    ("too many clients", "53300"),
)
"""A connection that could not be made has no code: words of libpq after "failed:", and the code that they stand for."""


class Contended(JournalError):
    """The transaction was undone as a whole because of another one: trying it again is safe."""


@contextmanager
def in_words(what: str) -> Iterator[None]:
    """Turn what the database or the disk raises into a `JournalError` that says what to do, without any values."""
    try:
        yield
    except DBAPIError as error:
        raise _told(what, error.orig) from error
    except sqlite3.Error as error:
        raise _told(what, error) from error
    except ArgumentError as error:
        raise JournalError(f"could not {what}: the URL is malformed", advice="see docs/journal.md for URLs") from error
    except SQLAlchemyError as error:
        raise JournalError(f"could not {what}: {type(error).__name__}", advice="see the log for details") from error
    except OSError as error:
        advice = "check that the state folder exists, is writable and belongs to this account"
        raise JournalError(f"could not {what}: {error.strerror}", advice=advice) from error


def _told(what: str, error: BaseException | None) -> JournalError:
    code = _code(error)
    kind = Contended if code in {"40001", "40P01"} else JournalError
    for beginning, reason, advice in _ADVICE:
        if code.startswith(beginning):
            return kind(f"could not {what}: {reason}", advice=advice)
    advice = "see the log for details; nothing is done without the journal"
    return kind(f"could not {what}: the database answered {code}", advice=advice)


def _code(error: BaseException | None) -> str:
    code = getattr(error, "sqlite_errorname", None) or getattr(error, "sqlstate", None)
    if code is None:
        said = str(error).rpartition("failed:")[2]
        code = next((known for words, known in _WITHOUT_CODE if words in said), type(error).__name__)
    return str(code)
