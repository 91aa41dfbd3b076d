"""The settings of the journal: where the record is kept."""

from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

_SCHEMES: Final = frozenset({"postgresql", "postgresql+psycopg"})
_SECRETS: Final = frozenset({"password", "passfile", "sslpassword"})


class JournalSettings(BaseModel):
    """Where the journal is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(
        default="",
        description="`postgresql://ROLE@HOST:PORT/DATABASE`, without a password. Empty: SQLite in the state folder.",
    )
    password_file: Path | None = Field(default=None, description="File that holds the password of the database role.")

    @field_validator("url")
    @classmethod
    def _without_a_secret(cls, value: str) -> str:
        """Refuse a URL that is none of PostgreSQL, and one that holds a password: it would stand in every digest."""
        if not value:
            return value
        try:
            parts = urlsplit(value)
        except ValueError:
            raise ValueError("is no URL") from None  # the error would show the URL, which may hold a password
        if parts.scheme not in _SCHEMES or len(parts.path) < len("/x"):
            raise ValueError("must be postgresql://ROLE@HOST:PORT/DATABASE; leave it out for SQLite")
        if parts.password is not None or _SECRETS & {name for name, _ in parse_qsl(parts.query)}:
            raise ValueError("must not hold a password: name the file that holds it as journal.password_file")
        return value
