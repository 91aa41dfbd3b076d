"""The journal's tables are made and brought up to date when it is opened, and only then are the migrations loaded."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, text

from reconciler.adapters import journal_migrations
from reconciler.adapters.journal import SqlJournal
from reconciler.adapters.journal_database import Database, sqlite_url
from reconciler.adapters.journal_schema import METADATA, REVISION
from reconciler.core.errors import JournalError
from tests.builders import NOW


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the journal will be."""
    return tmp_path / "state" / "journal.db"


def test_migrations_make_the_declared_tables(path: Path) -> None:
    """What the migrations build is what `journal_schema` declares, index by index."""
    database = Database(sqlite_url(path))
    with database.reading("compare") as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    database.close()


def test_the_declared_revision_is_the_newest_migration(path: Path) -> None:
    """A journal that was just made is at the revision that `journal_schema` names."""
    SqlJournal(sqlite_url(path)).close()
    raw = sqlite3.connect(path)
    assert raw.execute("SELECT version_num FROM alembic_version").fetchall() == [(REVISION,)]
    raw.close()


def test_an_older_journal_is_brought_up_to_date(path: Path) -> None:
    """Tables of the first version get what later ones added, and keep their rows."""
    path.parent.mkdir()
    engine = create_engine(sqlite_url(path))
    with engine.begin() as connection:
        config = journal_migrations._config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(text("INSERT INTO epochs VALUES (7, '2026-03-02T09:00:00.000000Z')"))
    engine.dispose()
    with SqlJournal(sqlite_url(path)) as journal:
        assert journal.take_over(NOW) == 8
    database = Database(sqlite_url(path))
    with database.reading("compare") as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    database.close()


def test_a_current_journal_is_opened_without_loading_the_migrations(path: Path) -> None:
    """Opening costs a command no more than one query: what makes tables is not even loaded."""
    SqlJournal(sqlite_url(path)).close()
    code = (
        "import sys; from reconciler.adapters.journal import SqlJournal; SqlJournal(sys.argv[1]).close();"
        "print('alembic' in sys.modules)"
    )
    words = [sys.executable, "-c", code, sqlite_url(path)]
    told = subprocess.run(words, capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": "."})
    assert told.stdout == "False\n"


def test_a_newer_schema_is_refused(path: Path) -> None:
    """A journal of a later version is not touched, and the advice says to upgrade."""
    SqlJournal(sqlite_url(path)).close()
    raw = sqlite3.connect(path)
    raw.execute("UPDATE alembic_version SET version_num='9999'")
    raw.commit()
    raw.close()
    with pytest.raises(JournalError, match="9999") as refused:
        SqlJournal(sqlite_url(path))
    assert "upgrade" in refused.value.advice
