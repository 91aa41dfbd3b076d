"""First tables: epochs, cycles, plans, approvals, intents and what follows them, rosters, observations.

There is no way down: a journal is a record. To go back, restore the backup made before the upgrade.
"""

import sqlalchemy as sa
from alembic import op

from reconciler.adapters.migrations.append_only import refuse_changes

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TABLES = (
    "epochs",
    "cycles",
    "cycle_ends",
    "plans",
    "approvals",
    "approval_uses",
    "intents",
    "outcomes",
    "verifications",
    "undo_intents",
    "undos",
    "rosters",
    "observations",
)


def upgrade() -> None:
    """Make the tables, and have the database itself refuse to change or remove a row."""
    _cycles()
    _plans()
    _intents()
    _memory()
    refuse_changes(_TABLES)


def _text(name: str, length: int | None = None) -> sa.Column[str]:
    return sa.Column(name, sa.Text() if length is None else sa.String(length), nullable=False)


def _cycles() -> None:
    op.create_table(
        "epochs",
        sa.Column("epoch", sa.Integer(), primary_key=True, autoincrement=False),
        _text("taken_at", 32),
    )
    op.create_table(
        "cycles",
        sa.Column("sequence", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("cycle_id", sa.String(64), nullable=False, unique=True),
        _text("mode", 16),
        _text("started_at", 32),
    )
    op.create_table(
        "cycle_ends",
        sa.Column("cycle_id", sa.String(64), sa.ForeignKey("cycles.cycle_id"), primary_key=True),
        _text("outcome", 16),
        _text("statement_digest", 80),
        _text("finished_at", 32),
    )


def _plans() -> None:
    op.create_table(
        "plans",
        sa.Column("position", sa.Integer(), primary_key=True),
        sa.Column("cycle_id", sa.String(64), nullable=False, unique=True),
        _text("plan_digest", 80),
        _text("expires_at", 32),
        sa.Column("held", sa.Boolean(create_constraint=False), nullable=False),
        _text("hold_reasons"),
        _text("document"),
    )
    op.create_index("ix_plans_plan_digest", "plans", ["plan_digest"])
    op.create_table(
        "approvals",
        sa.Column("position", sa.Integer(), primary_key=True),
        _text("plan_digest", 80),
        _text("approved_by"),
        _text("approved_at", 32),
        _text("lifts"),
        _text("expires_at", 32),
    )
    op.create_index("ix_approvals_plan_digest", "approvals", ["plan_digest"])
    op.create_table(
        "approval_uses",
        sa.Column("approval", sa.Integer(), sa.ForeignKey("approvals.position"), primary_key=True, autoincrement=False),
        _text("cycle_id", 64),
        _text("used_at", 32),
    )


def _intents() -> None:
    op.create_table(
        "intents",
        sa.Column("position", sa.Integer(), primary_key=True),
        sa.Column("action_id", sa.String(128), nullable=False, unique=True),
        sa.Column("cycle_id", sa.String(64), sa.ForeignKey("cycles.cycle_id"), nullable=False),
        sa.Column("epoch", sa.Integer(), sa.ForeignKey("epochs.epoch"), nullable=False),
        _text("plan_digest", 80),
        _text("policy_digest", 80),
        _text("provider"),
        _text("principal_id"),
        _text("effect", 16),
        _text("recorded_at", 32),
        _text("action"),
        _text("before"),
    )
    op.create_index("ix_intents_cycle_id", "intents", ["cycle_id"])
    op.create_index("ix_intents_recorded_at", "intents", ["recorded_at"])
    op.create_table(
        "outcomes",
        sa.Column("action_id", sa.String(128), sa.ForeignKey("intents.action_id"), primary_key=True),
        _text("outcome", 16),
        _text("detail"),
        _text("recorded_at", 32),
    )
    op.create_table(
        "verifications",
        sa.Column("position", sa.Integer(), primary_key=True),
        sa.Column("action_id", sa.String(128), sa.ForeignKey("intents.action_id"), nullable=False),
        _text("state", 16),
        _text("recorded_at", 32),
    )
    op.create_index("ix_verifications_action_id", "verifications", ["action_id"])
    op.create_table(
        "undo_intents",
        sa.Column("position", sa.Integer(), primary_key=True),
        sa.Column("action_id", sa.String(128), sa.ForeignKey("intents.action_id"), nullable=False),
        _text("recorded_at", 32),
    )
    op.create_index("ix_undo_intents_action_id", "undo_intents", ["action_id"])
    op.create_table(
        "undos",
        sa.Column("action_id", sa.String(128), sa.ForeignKey("intents.action_id"), primary_key=True),
        _text("detail"),
        _text("recorded_at", 32),
    )


def _memory() -> None:
    op.create_table(
        "rosters",
        sa.Column("position", sa.Integer(), primary_key=True),
        _text("recorded_at", 32),
        _text("document"),
    )
    op.create_table(
        "observations",
        sa.Column("kind", sa.String(32), primary_key=True),
        sa.Column("value", sa.String(255), primary_key=True),
        _text("cycle_id", 64),
        _text("recorded_at", 32),
    )
