"""The journal's tables. Rows are added, never changed: each step of an act is a row of its own.

The migrations under `migrations/` make them; a test compares both. Instants are RFC 3339 text in UTC with
microseconds, which sorts as time does in every database.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

METADATA = MetaData()

REVISION: Final = "0004"
"""The newest migration: tables at this revision are the ones below."""

epochs = Table(
    "epochs",
    METADATA,
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("taken_at", String(32), nullable=False),
    Column("boot", String(64)),
    Column("uptime_seconds", Float),
    Index("ix_epochs_boot", "boot", "uptime_seconds"),
)
"""One row for each take-over; the highest one is the only writer of intents.

`boot` and `uptime_seconds` say when by a clock that nobody sets, where the machine tells which of its starts this is.
"""

cycles = Table(
    "cycles",
    METADATA,
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("cycle_id", String(64), nullable=False, unique=True),
    Column("mode", String(16), nullable=False),
    Column("started_at", String(32), nullable=False),
)
cycle_ends = Table(
    "cycle_ends",
    METADATA,
    Column("cycle_id", String(64), ForeignKey("cycles.cycle_id"), primary_key=True),
    Column("outcome", String(16), nullable=False),
    Column("statement_digest", String(80), nullable=False),
    Column("finished_at", String(32), nullable=False),
)
plans = Table(
    "plans",
    METADATA,
    Column("position", Integer, primary_key=True),
    Column("cycle_id", String(64), nullable=False, unique=True),
    Column("plan_digest", String(80), nullable=False, index=True),
    Column("expires_at", String(32), nullable=False),
    Column("held", Boolean(create_constraint=False), nullable=False),
    Column("hold_reasons", Text, nullable=False),
    Column("document", Text, nullable=False),
    Column("breadth", String(16)),
)
"""`breadth` is how much its cycle looked at; rows from before revision 0004 have none, and count as whole."""

approvals = Table(
    "approvals",
    METADATA,
    Column("position", Integer, primary_key=True),
    Column("plan_digest", String(80), nullable=False, index=True),
    Column("approved_by", Text, nullable=False),
    Column("approved_at", String(32), nullable=False),
    Column("lifts", Text, nullable=False),
    Column("expires_at", String(32), nullable=False),
    Column("uid", BigInteger),
    Column("login", Text),
)
"""`uid` and `login` are the account's; rows from before revision 0003 have none."""

approval_uses = Table(
    "approval_uses",
    METADATA,
    Column("approval", Integer, ForeignKey("approvals.position"), primary_key=True, autoincrement=False),
    Column("cycle_id", String(64), nullable=False),
    Column("used_at", String(32), nullable=False),
)
intents = Table(
    "intents",
    METADATA,
    Column("position", Integer, primary_key=True),
    Column("action_id", String(128), nullable=False, unique=True),
    Column("cycle_id", String(64), ForeignKey("cycles.cycle_id"), nullable=False, index=True),
    Column("epoch", Integer, ForeignKey("epochs.epoch"), nullable=False),
    Column("plan_digest", String(80), nullable=False),
    Column("policy_digest", String(80), nullable=False),
    Column("provider", Text, nullable=False),
    Column("principal_id", Text, nullable=False),
    Column("effect", String(16), nullable=False),
    Column("recorded_at", String(32), nullable=False),
    Column("action", Text, nullable=False),
    Column("before", Text, nullable=False),
    Index("ix_intents_recorded_at", "recorded_at"),
    Index("ix_intents_epoch", "epoch"),
)
"""Provider, principal and effect stand beside the action's document for the counters of the sliding window."""

outcomes = Table(
    "outcomes",
    METADATA,
    Column("action_id", String(128), ForeignKey("intents.action_id"), primary_key=True),
    Column("outcome", String(16), nullable=False),
    Column("detail", Text, nullable=False),
    Column("recorded_at", String(32), nullable=False),
)
verifications = Table(
    "verifications",
    METADATA,
    Column("position", Integer, primary_key=True),
    Column("action_id", String(128), ForeignKey("intents.action_id"), nullable=False, index=True),
    Column("state", String(16), nullable=False),
    Column("recorded_at", String(32), nullable=False),
)
undo_intents = Table(
    "undo_intents",
    METADATA,
    Column("position", Integer, primary_key=True),
    Column("action_id", String(128), ForeignKey("intents.action_id"), nullable=False, index=True),
    Column("recorded_at", String(32), nullable=False),
)
"""One row for each attempt: an undo that failed or was cut short may be begun again."""

undos = Table(
    "undos",
    METADATA,
    Column("action_id", String(128), ForeignKey("intents.action_id"), primary_key=True),
    Column("detail", Text, nullable=False),
    Column("recorded_at", String(32), nullable=False),
)
rosters = Table(
    "rosters",
    METADATA,
    Column("position", Integer, primary_key=True),
    Column("recorded_at", String(32), nullable=False),
    Column("document", Text, nullable=False),
)
observations = Table(
    "observations",
    METADATA,
    Column("kind", String(32), primary_key=True),
    Column("value", String(255), primary_key=True),
    Column("cycle_id", String(64), nullable=False),
    Column("recorded_at", String(32), nullable=False),
)
audit_records = Table(
    "audit_records",
    METADATA,
    Column("position", Integer, primary_key=True),
    Column("source", String(16), nullable=False),
    Column("source_key", String(128), nullable=False),
    Column("part", Integer, nullable=False),
    Column("record_id", String(32), nullable=False),
    Column("at", String(32), nullable=False),
    Column("document", Text, nullable=False),
    UniqueConstraint("source", "source_key", "part", name="uq_audit_records_source"),
    Index("ix_audit_records_at", "at"),
)
"""The audit trail, in the order in which it is exported. Each row of the journal makes its records once: `source` and
`source_key` name the row, `part` counts where one row makes several."""

audit_cursors = Table(
    "audit_cursors",
    METADATA,
    Column("position", Integer, primary_key=True),
    Column("stream", String(255), nullable=False),
    Column("up_to", Integer, nullable=False),
    Column("recorded_at", String(32), nullable=False),
    Index("ix_audit_cursors_stream", "stream", "up_to"),
)
"""How far each stream has been handed over, one row for each hand-over; the highest counts."""
