"""Callbacks are bounded by task: repeats are counted, and questions about them are few."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0012_callback_bounds"
down_revision: str | None = "0011_deliveries"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

oldest_release: str = "0.1.0"

_INSTANT = sa.TIMESTAMP(timezone=True)
_ACTIONS = (
    *("admission_paused", "admission_resumed", "client_changed", "key_created", "key_revoked"),
    *("secret_rotated", "task_bound", "task_requeued", "task_released", "task_set_aside"),
    *("tasks_canceled", "tasks_requeued", "tasks_failed", "foreign_id", "paid_twice"),
    *("database_accepted", "database_held", "database_resumed", "move_canceled", "move_expected"),
    *("admin_key_created", "admin_key_revoked", "client_disabled", "client_enabled"),
    "url_disabled",
)


def _columns() -> tuple[sa.Column[object], ...]:
    return (
        sa.Column("sha256", sa.LargeBinary(), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("whole", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("times_seen", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("last_seen_at", _INSTANT, nullable=True),
        sa.Column("more", sa.Integer(), server_default=sa.text("0"), nullable=False),
    )


def upgrade() -> None:
    for column in _columns():
        op.add_column("callbacks", column)
    op.add_column("tasks", sa.Column("doubted_at", _INSTANT, nullable=True))
    _check("kie_slots", "kind", "create", "query", "doubt")
    _check("audit_entries", "action", *_ACTIONS, "secrets_resealed")


def downgrade() -> None:
    op.execute("DELETE FROM audit_entries WHERE action = 'secrets_resealed'")
    _check("audit_entries", "action", *_ACTIONS)
    op.execute("DELETE FROM kie_slots WHERE kind = 'doubt'")
    _check("kie_slots", "kind", "create", "query")
    op.drop_column("tasks", "doubted_at")
    for column in _columns():
        op.drop_column("callbacks", column.name)


def _check(table: str, column: str, *words: str) -> None:
    """Replace the list of the words that a column may have."""
    listed = ", ".join(f"'{word}'" for word in words)
    name = op.f(f"{table}_{column}_check")
    op.drop_constraint(name, table, type_="check")
    op.create_check_constraint(name, table, f"{column} IN ({listed})")
