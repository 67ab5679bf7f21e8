"""Old tasks and bodies go, and what is erased leaves a tombstone; vacuum keeps up with both."""

from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision: str = "0019_retention"
down_revision: str | None = "0018_spend"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

oldest_release: str = "0.1.0"

_INSTANT = sa.TIMESTAMP(timezone=True)
_COLUMNS = (
    ("clients", "erasing_at"),
    ("clients", "erased_at"),
    ("callbacks", "raw_deleted_at"),
    ("deliveries", "raw_deleted_at"),
)
_INDEXES = (
    ("tasks_finished", "tasks", "finished_at", "finished_at IS NOT NULL"),
    ("callbacks_raw", "callbacks", "received_at", "raw_deleted_at IS NULL"),
    (
        "deliveries_raw",
        "deliveries",
        "finished_at",
        "finished_at IS NOT NULL AND raw_deleted_at IS NULL",
    ),
    ("feed_event", "feed", "event_id", None),
)

_OURS = ("audit_pruned", "client_erasing", "client_erased")
_BEFORE = (
    *("admin_key_created", "admin_key_revoked", "admission_paused", "admission_resumed"),
    *("budget_cleared", "budget_set"),
    *("client_changed", "client_disabled", "client_enabled", "database_accepted"),
    *("database_held", "database_resumed", "move_canceled", "move_expected", "key_created"),
    *("key_revoked", "secret_rotated", "secrets_resealed", "task_bound", "task_requeued"),
    *("task_released", "tasks_canceled", "tasks_requeued", "tasks_failed", "task_set_aside"),
    *("url_disabled", "foreign_id", "paid_twice"),
)

_LARGE = {
    "autovacuum_vacuum_scale_factor": "0.02",
    "autovacuum_vacuum_insert_scale_factor": "0.05",
    "autovacuum_analyze_scale_factor": "0.02",
}
"""Of millions of rows a fifth, the usual share, is a month's worth of dead ones."""
_TOAST = {"toast.autovacuum_vacuum_scale_factor": "0.02"}
_SMALL = {
    "fillfactor": "50",
    "autovacuum_vacuum_scale_factor": "0",
    "autovacuum_vacuum_threshold": "500",
}
"""A handful of rows that are written many times a second: new versions fit beside the old ones."""
_STORAGE: Mapping[str, Mapping[str, str]] = {
    **dict.fromkeys(("tasks", "callbacks", "deliveries", "delivery_attempts"), _LARGE | _TOAST),
    **dict.fromkeys(("task_events", "feed"), _LARGE),
    **dict.fromkeys(
        ("kie_account", "kie_slots", "client_queues", "feed_writer", "processes", "kie_breakers"),
        _SMALL,
    ),
}


def upgrade() -> None:
    for table, name in _COLUMNS:
        op.add_column(table, sa.Column(name, _INSTANT, nullable=True))
    op.create_table(
        "erased_tasks",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("client_id", sa.Uuid(), nullable=False),
        sa.Column("key_digest", sa.LargeBinary(), nullable=True),
        sa.Column(
            "erased_at", _INSTANT, server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.Column("events", ARRAY(sa.BigInteger()), server_default=sa.text("'{}'"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("erased_tasks_pkey")),
    )
    op.create_index(
        "erased_tasks_key",
        "erased_tasks",
        ["key_digest"],
        postgresql_where=sa.text("key_digest IS NOT NULL"),
    )
    op.create_index("erased_tasks_old", "erased_tasks", ["erased_at"])
    for name, table, column, which in _INDEXES:
        where = None if which is None else sa.text(which)
        op.create_index(name, table, [column], postgresql_where=where)
    for table, options in _STORAGE.items():
        given = ", ".join(f"{name} = {value}" for name, value in options.items())
        op.execute(f"ALTER TABLE {table} SET ({given})")
    _check(*_BEFORE, *_OURS)


def downgrade() -> None:
    ours = ", ".join(f"'{action}'" for action in _OURS)
    op.execute(f"DELETE FROM audit_entries WHERE action IN ({ours})")  # noqa: S608  # our own
    _check(*_BEFORE)
    for table, options in _STORAGE.items():
        op.execute(f"ALTER TABLE {table} RESET ({', '.join(options)})")
    for name, table, *_ in reversed(_INDEXES):
        op.drop_index(name, table)
    op.drop_table("erased_tasks")
    for table, name in reversed(_COLUMNS):
        op.drop_column(table, name)


def _check(*actions: str) -> None:
    listed = ", ".join(f"'{action}'" for action in actions)
    name = op.f("audit_entries_action_check")
    op.drop_constraint(name, "audit_entries", type_="check")
    op.create_check_constraint(name, "audit_entries", f"action IN ({listed})")
