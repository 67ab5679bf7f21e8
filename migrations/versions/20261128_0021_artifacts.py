"""Result files are copied into an archive."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0021_artifacts"
down_revision: str | None = "0020_models"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

oldest_release: str = "0.1.0"

_INSTANT = sa.TIMESTAMP(timezone=True)
_NOW = sa.text("clock_timestamp()")
_KINDS = "kind IN ('url', 'data', 'result')"
_STATES = "state IN ('waiting', 'stored', 'failed', 'deleting', 'deleted')"

_CHANGES = "'moved', 'filled', 'corrected'"
_EVENTS = (
    "'task.running', 'task.succeeded', 'task.failed', 'task.expired', 'task.canceled',"
    " 'task.updated', 'budget.threshold'"
)


def upgrade() -> None:
    op.create_table(
        "artifacts",
        sa.Column("task_id", sa.Uuid(), nullable=False),
        sa.Column("n", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("client_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("source_url", sa.Text(), nullable=True),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.Text(), server_default=sa.text("'waiting'"), nullable=False),
        sa.Column("attempt", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("tries", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("due_at", _INSTANT, nullable=True),
        sa.Column("leased_until", _INSTANT, nullable=True),
        sa.Column("object", sa.Text(), nullable=True),
        sa.Column("content_type", sa.Text(), nullable=True),
        sa.Column("bytes", sa.BigInteger(), nullable=True),
        sa.Column("sha256", sa.LargeBinary(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_at", _INSTANT, server_default=_NOW, nullable=False),
        sa.Column("finished_at", _INSTANT, nullable=True),
        sa.CheckConstraint(_KINDS, name=op.f("artifacts_kind_check")),
        sa.CheckConstraint(_STATES, name=op.f("artifacts_state_check")),
        sa.CheckConstraint(
            "(state IN ('waiting', 'deleting')) = (due_at IS NOT NULL)",
            name=op.f("artifacts_due_check"),
        ),
        sa.CheckConstraint(
            "state <> 'stored' OR object IS NOT NULL", name=op.f("artifacts_stored_check")
        ),
        sa.ForeignKeyConstraint(
            ["client_id"], ["clients.id"], name=op.f("artifacts_client_id_fkey")
        ),
        sa.PrimaryKeyConstraint("task_id", "n", name=op.f("artifacts_pkey")),
    )
    op.create_index(
        "artifacts_due",
        "artifacts",
        ["client_id", "due_at"],
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index(
        "artifacts_stored",
        "artifacts",
        ["client_id", "finished_at"],
        postgresql_where=sa.text("state = 'stored'"),
    )
    op.add_column("clients", sa.Column("archives", sa.Boolean(), nullable=True))
    op.add_column("clients", sa.Column("archive_days", sa.Integer(), nullable=True))
    op.create_check_constraint(
        op.f("clients_archive_days_check"), "clients", "archive_days BETWEEN 1 AND 36500"
    )
    _check("task_events", "kind", f"{_CHANGES}, 'archived'")
    _check("deliveries", "event", f"{_EVENTS}, 'task.archived'")


def downgrade() -> None:
    op.execute("DELETE FROM deliveries WHERE event = 'task.archived'")
    op.execute("DELETE FROM feed USING task_events e WHERE e.id = event_id AND e.kind = 'archived'")
    op.execute("DELETE FROM task_events WHERE kind = 'archived'")
    _check("deliveries", "event", _EVENTS)
    _check("task_events", "kind", _CHANGES)
    op.drop_constraint(op.f("clients_archive_days_check"), "clients")
    op.drop_column("clients", "archive_days")
    op.drop_column("clients", "archives")
    op.drop_table("artifacts")


def _check(table: str, column: str, words: str) -> None:
    name = op.f(f"{table}_{column}_check")
    op.drop_constraint(name, table)
    op.create_check_constraint(name, table, f"{column} IN ({words})")
