"""Runs the migrations on the connection, and in the transaction, that the journal hands in."""

from alembic import context

from reconciler.adapters.journal_schema import METADATA

context.configure(connection=context.config.attributes["connection"], target_metadata=METADATA)
with context.begin_transaction():
    context.run_migrations()
