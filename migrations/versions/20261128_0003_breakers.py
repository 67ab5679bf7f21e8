"""Breakers of pairs, and what the account remembers beside them."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0003_breakers"
down_revision: str | None = "0002_evidence"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_INSTANT = sa.TIMESTAMP(timezone=True)
_ZERO = sa.text("0")
_NONE = sa.text("'{}'")


def _account_columns() -> tuple[sa.Column[object], ...]:
    return (
        sa.Column("hold_client_id", sa.Uuid(), nullable=True),
        sa.Column(
            "failed_clients", postgresql.ARRAY(sa.Uuid()), server_default=_NONE, nullable=False
        ),
        sa.Column(
            "failed_models", postgresql.ARRAY(sa.Text()), server_default=_NONE, nullable=False
        ),
        sa.Column("succeeded_at", _INSTANT, nullable=True),
        sa.Column("succeeded_client_id", sa.Uuid(), nullable=True),
        sa.Column("succeeded_model", sa.Text(), nullable=True),
    )


def upgrade() -> None:
    op.create_table(
        "kie_breakers",
        sa.Column("client_id", sa.Uuid(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("hold_reason", sa.Text(), nullable=True),
        sa.Column("hold_detail", sa.Text(), nullable=True),
        sa.Column("hold_tries", sa.Integer(), server_default=_ZERO, nullable=False),
        sa.Column("unknowns", sa.Integer(), server_default=_ZERO, nullable=False),
        sa.Column("held_since", _INSTANT, nullable=True),
        sa.Column("held_at", _INSTANT, nullable=True),
        sa.Column("held_until", _INSTANT, nullable=True),
        sa.Column(
            "updated_at", _INSTANT, server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint(
            "hold_reason IN ('admission_paused', 'client_paused', 'kie_account', 'kie_busy', "
            "'kie_unreachable', 'kie_unanswered', 'running_limit', 'create_limit')",
            name=op.f("kie_breakers_hold_reason_check"),
        ),
        sa.CheckConstraint(
            "(hold_reason IS NULL) = (held_until IS NULL)", name=op.f("kie_breakers_held_check")
        ),
        sa.ForeignKeyConstraint(
            ["client_id"],
            ["clients.id"],
            name=op.f("kie_breakers_client_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("client_id", "model", name=op.f("kie_breakers_pkey")),
    )
    op.alter_column("kie_account", "unknowns", new_column_name="failures")
    for column in _account_columns():
        op.add_column("kie_account", column)
    op.create_index(
        "tasks_queue_by_model",
        "tasks",
        ["client_id", "model", sa.text("priority DESC"), "id"],
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.create_index(
        "tasks_costs",
        "tasks",
        ["model", "credits_consumed"],
        postgresql_where=sa.text("credits_consumed IS NOT NULL"),
    )


def downgrade() -> None:
    op.drop_index("tasks_costs", table_name="tasks")
    op.drop_index("tasks_queue_by_model", table_name="tasks")
    for column in _account_columns():
        op.drop_column("kie_account", column.name)
    op.alter_column("kie_account", "failures", new_column_name="unknowns")
    op.drop_table("kie_breakers")
