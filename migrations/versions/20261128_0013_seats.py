"""Shares of the seats, bounds of the queue, and what refreshes are counted by."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0013_seats"
down_revision: str | None = "0012_callback_bounds"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

oldest_release: str = "0.1.0"

_CHECKS = {
    "running_share": "running_share > 0 AND running_share <= 1",
    "queued_tasks": "queued_tasks > 0",
    "queued_bytes": "queued_bytes > 0",
}


_REASONS = (
    *("admission_paused", "database_restored", "database_moving", "database_changed"),
    *("client_paused", "kie_account", "kie_busy", "kie_unreachable", "kie_unanswered"),
    *("running_limit", "create_limit"),
)
_OURS = "client_running_limit"


def upgrade() -> None:
    _reasons(*_REASONS, _OURS)
    op.add_column("clients", sa.Column("running_share", sa.Double(), nullable=True))
    op.add_column("clients", sa.Column("queued_tasks", sa.Integer(), nullable=True))
    op.add_column("clients", sa.Column("queued_bytes", sa.BigInteger(), nullable=True))
    for name, check in _CHECKS.items():
        op.create_check_constraint(op.f(f"clients_{name}_check"), "clients", check)
    op.add_column("tasks", sa.Column("input_bytes", sa.Integer(), nullable=True))
    op.add_column("tasks", sa.Column("refreshed_at", sa.TIMESTAMP(timezone=True), nullable=True))
    op.add_column("kie_slots", sa.Column("client_id", sa.Uuid(), nullable=True))
    op.create_table(
        "queue_sizes",
        sa.Column("client_id", sa.Uuid(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("tasks", sa.Integer(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("ahead", sa.Integer(), nullable=False),
        sa.Column("open_tasks", sa.Integer(), nullable=False),
        sa.Column("marks", postgresql.ARRAY(sa.Uuid()), nullable=True),
        sa.Column("places", postgresql.ARRAY(sa.Integer()), nullable=True),
        sa.Column("counted_at", sa.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("took", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["client_id"],
            ["clients.id"],
            name=op.f("queue_sizes_client_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("client_id", "priority", name=op.f("queue_sizes_pkey")),
    )
    _seats(["client_id"])
    op.create_index(
        "tasks_queue_newest",
        "tasks",
        ["client_id", "created_at"],
        postgresql_include=["input_bytes"],
        postgresql_where=sa.text("state = 'queued'"),
    )


def _seats(include: Sequence[str] = ()) -> None:
    op.drop_index("tasks_seats", table_name="tasks")
    op.create_index(
        "tasks_seats",
        "tasks",
        ["state", "submitted_at"],
        postgresql_where=sa.text("state IN ('submitting', 'running', 'unconfirmed')"),
        postgresql_include=list(include) or None,
    )


def _reasons(*reasons: str) -> None:
    listed = ", ".join(f"'{reason}'" for reason in reasons)
    for table in ("kie_account", "kie_breakers"):
        name = op.f(f"{table}_hold_reason_check")
        op.drop_constraint(name, table, type_="check")
        op.create_check_constraint(name, table, f"hold_reason IN ({listed})")


def downgrade() -> None:
    _reasons(*_REASONS)
    _seats()
    op.drop_index("tasks_queue_newest", table_name="tasks")
    op.drop_table("queue_sizes")
    op.drop_column("kie_slots", "client_id")
    op.drop_column("tasks", "refreshed_at")
    op.drop_column("tasks", "input_bytes")
    for name in _CHECKS:
        op.drop_constraint(op.f(f"clients_{name}_check"), "clients", type_="check")
        op.drop_column("clients", name)
