"""What tasks cost by client, model and day, and what clients may spend."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TIMESTAMP

revision: str = "0018_spend"
down_revision: str | None = "0017_free_slots"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

oldest_release: str = "0.1.0"

_ACTIONS = (
    *("admin_key_created", "admin_key_revoked", "admission_paused", "admission_resumed"),
    *("client_changed", "client_disabled", "client_enabled", "database_accepted"),
    *("database_held", "database_resumed", "move_canceled", "move_expected", "key_created"),
    *("key_revoked", "secret_rotated", "secrets_resealed", "task_bound", "task_requeued"),
    *("task_released", "tasks_canceled", "tasks_requeued", "tasks_failed", "task_set_aside"),
    *("url_disabled", "foreign_id", "paid_twice"),
)
_OURS = ("budget_cleared", "budget_set")
_EVENTS = (
    *("task.running", "task.succeeded", "task.failed", "task.expired", "task.canceled"),
    "task.updated",
)
_THRESHOLD = "budget.threshold"
_INSTANT = TIMESTAMP(timezone=True)
_NOUGHT = sa.text("0")
_INDEXES = {
    "tasks_unpriced": (
        ["client_id", "created_at"],
        "state = 'succeeded' AND credits_consumed IS NULL",
    ),
    "tasks_unbooked": (["finished_at"], "finished_at IS NOT NULL AND booked IS NULL"),
}


def _column(name: str, kind: sa.types.TypeEngine[Any], *, null: bool = False) -> sa.Column[object]:
    return sa.Column(name, kind, nullable=null)


def _amount(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.Numeric(), server_default=_NOUGHT, nullable=False)


def upgrade() -> None:
    op.add_column("tasks", sa.Column("reserved", sa.Numeric(), nullable=True))
    op.add_column("tasks", sa.Column("booked", sa.Boolean(), nullable=True))
    for name, (columns, which) in _INDEXES.items():
        op.create_index(name, "tasks", columns, postgresql_where=sa.text(which))
    op.create_table(
        "usage_entries",
        _column("client_id", sa.Uuid()),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        _column("task_id", sa.Uuid()),
        _column("day", sa.Date()),
        _column("created_day", sa.Date()),
        _column("model", sa.Text()),
        _column("metadata", JSONB(), null=True),
        _column("left_state", sa.Text(), null=True),
        _column("left_class", sa.Text(), null=True),
        _amount("left_credits"),
        _amount("left_seconds"),
        _column("state", sa.Text(), null=True),
        _column("fail_class", sa.Text(), null=True),
        _amount("credits"),
        _amount("seconds"),
        _column("reserved", sa.Numeric()),
        sa.PrimaryKeyConstraint("client_id", "id", name=op.f("usage_entries_pkey")),
    )
    op.create_table(
        "usage_daily",
        _column("client_id", sa.Uuid()),
        _column("day", sa.Date()),
        _column("model", sa.Text()),
        _column("key", sa.Text()),
        _column("value", sa.Text()),
        *(_column(end, sa.BigInteger()) for end in ("succeeded", "failed", "canceled", "expired")),
        _column("credits", sa.Numeric()),
        _column("seconds", sa.Numeric()),
        sa.PrimaryKeyConstraint(
            *("client_id", "day", "model", "key", "value"), name=op.f("usage_daily_pkey")
        ),
    )
    op.create_table(
        "spend_daily",
        _column("client_id", sa.Uuid()),
        _column("day", sa.Date()),
        _column("spent", sa.Numeric()),
        _column("reserved", sa.Numeric()),
        sa.PrimaryKeyConstraint("client_id", "day", name=op.f("spend_daily_pkey")),
    )
    op.create_table(
        "budgets",
        _column("client_id", sa.Uuid()),
        _column("period", sa.Text()),
        _column("credits", sa.Numeric()),
        _column("mode", sa.Text()),
        _column("thresholds", ARRAY(sa.Integer())),
        sa.Column("announced", ARRAY(sa.Integer()), server_default=sa.text("'{}'"), nullable=False),
        _column("announced_for", sa.Date(), null=True),
        sa.Column(
            "updated_at", _INSTANT, server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint(
            "period IN ('day', 'month', 'total')", name=op.f("budgets_period_check")
        ),
        sa.CheckConstraint("mode IN ('hard', 'warn')", name=op.f("budgets_mode_check")),
        sa.CheckConstraint("credits >= 0", name=op.f("budgets_credits_check")),
        sa.ForeignKeyConstraint(
            ["client_id"], ["clients.id"], name=op.f("budgets_client_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("client_id", "period", name=op.f("budgets_pkey")),
    )
    op.alter_column("deliveries", "task_id", nullable=True)
    _check("deliveries", "event", *_EVENTS, _THRESHOLD)
    _check("audit_entries", "action", *_ACTIONS, *_OURS)


def downgrade() -> None:
    ours = ", ".join(f"'{action}'" for action in _OURS)
    op.execute(f"DELETE FROM audit_entries WHERE action IN ({ours})")  # noqa: S608  # our own
    _check("audit_entries", "action", *_ACTIONS)
    op.execute("DELETE FROM deliveries WHERE task_id IS NULL")
    _check("deliveries", "event", *_EVENTS)
    op.alter_column("deliveries", "task_id", nullable=False)
    for table in ("budgets", "spend_daily", "usage_daily", "usage_entries"):
        op.drop_table(table)
    for name in _INDEXES:
        op.drop_index(name, "tasks")
    op.drop_column("tasks", "booked")
    op.drop_column("tasks", "reserved")


def _check(table: str, column: str, *words: str) -> None:
    """Replace the list of the words that a column may have."""
    name = op.f(f"{table}_{column}_check")
    listed = ", ".join(f"'{word}'" for word in words)
    op.drop_constraint(name, table, type_="check")
    op.create_check_constraint(name, table, f"{column} IN ({listed})")
