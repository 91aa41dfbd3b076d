"""Triggers by which the database itself refuses to change or remove a row, whoever asks."""

from collections.abc import Sequence

from alembic import op


def refuse_changes(tables: Sequence[str]) -> None:
    """Give each table its triggers, in the words of the database at hand."""
    if op.get_context().dialect.name == "postgresql":
        op.execute(
            "CREATE OR REPLACE FUNCTION journal_rows_stay() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "RAISE EXCEPTION 'rows of the journal are never changed' USING ERRCODE = 'restrict_violation'; END $$"
        )
    for table in tables:
        for statement in _triggers(table, op.get_context().dialect.name):
            op.execute(statement)


def _triggers(table: str, database: str) -> Sequence[str]:
    if database == "postgresql":
        return tuple(
            f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION journal_rows_stay()"
            for verb in ("UPDATE", "DELETE", "TRUNCATE")
        )
    return tuple(
        f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
        "BEGIN SELECT RAISE(ABORT, 'rows of the journal are never changed'); END"
        for verb in ("UPDATE", "DELETE")
    )
