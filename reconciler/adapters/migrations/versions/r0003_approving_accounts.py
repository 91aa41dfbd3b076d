"""The account that approved, beside the name that was given.

There is no way down: a journal is a record. To go back, restore the backup made before the upgrade.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; nobody noted the accounts of the approvals that are there."""
    op.add_column("approvals", sa.Column("uid", sa.BigInteger(), nullable=True))
    op.add_column("approvals", sa.Column("login", sa.Text(), nullable=True))
