"""The machine's uptime beside each take-over, and how much a plan's cycle had looked at.

There is no way down: a journal is a record. To go back, restore the backup made before the upgrade.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; nobody noted either for the rows that are there."""
    op.add_column("epochs", sa.Column("boot", sa.String(64), nullable=True))
    op.add_column("epochs", sa.Column("uptime_seconds", sa.Float(), nullable=True))
    op.create_index("ix_epochs_boot", "epochs", ["boot", "uptime_seconds"])
    op.create_index("ix_intents_epoch", "intents", ["epoch"])
    op.add_column("plans", sa.Column("breadth", sa.String(16), nullable=True))
