"""The audit trail in the journal: its records in order, and how far each stream has been handed over.

There is no way down: a journal is a record. To go back, restore the backup made before the upgrade.
"""

import sqlalchemy as sa
from alembic import op

from reconciler.adapters.migrations.append_only import refuse_changes

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables, and have the database itself refuse to change or remove a row."""
    op.create_table(
        "audit_records",
        sa.Column("position", sa.Integer(), primary_key=True),
        _text("source", 16),
        _text("source_key", 128),
        sa.Column("part", sa.Integer(), nullable=False),
        _text("record_id", 32),
        _text("at", 32),
        _text("document"),
        sa.UniqueConstraint("source", "source_key", "part", name="uq_audit_records_source"),
    )
    op.create_index("ix_audit_records_at", "audit_records", ["at"])
    op.create_table(
        "audit_cursors",
        sa.Column("position", sa.Integer(), primary_key=True),
        _text("stream", 255),
        sa.Column("up_to", sa.Integer(), nullable=False),
        _text("recorded_at", 32),
    )
    op.create_index("ix_audit_cursors_stream", "audit_cursors", ["stream", "up_to"])
    refuse_changes(("audit_records", "audit_cursors"))


def _text(name: str, length: int | None = None) -> sa.Column[str]:
    return sa.Column(name, sa.Text() if length is None else sa.String(length), nullable=False)
