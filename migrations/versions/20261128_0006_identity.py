"""Which database this is, who works on it, and a counter that shows lost commits."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0006_identity"
down_revision: str | None = "0005_feed"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_INSTANT = sa.TIMESTAMP(timezone=True)
_REASONS = (
    "'admission_paused', {}'client_paused', 'kie_account', 'kie_busy', 'kie_unreachable', "
    "'kie_unanswered', 'running_limit', 'create_limit'"
)
_NEW_REASONS = "'database_restored', 'database_moving', 'database_changed', "
_HELD = ("kie_account", "kie_breakers")
_ACTIONS = (
    "'admission_paused', 'admission_resumed', 'client_changed', 'key_created', 'key_revoked', "
    "'secret_rotated', 'task_bound', 'task_requeued', 'task_released', 'task_set_aside', "
    "'foreign_id', 'paid_twice'"
)
_NEW_ACTIONS = (
    ", 'database_accepted', 'database_held', 'database_resumed', 'move_canceled', 'move_expected'"
)


def _columns() -> tuple[sa.Column[object], ...]:
    return (
        sa.Column("counter", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("system_identifier", sa.BigInteger(), nullable=True),
        sa.Column("timeline", sa.BigInteger(), nullable=True),
        sa.Column("database_oid", sa.BigInteger(), nullable=True),
        sa.Column("server_started_at", _INSTANT, nullable=True),
        sa.Column("changed_at", _INSTANT, nullable=True),
        sa.Column("restored_at", _INSTANT, nullable=True),
        sa.Column("restored_detail", sa.Text(), nullable=True),
        sa.Column("move_expected_until", _INSTANT, nullable=True),
    )


def upgrade() -> None:
    for column in _columns():
        op.add_column("kie_account", column)
    op.create_table(
        "processes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("started_at", _INSTANT, nullable=False),
        sa.Column("beat_at", _INSTANT, nullable=False),
        sa.Column("looked_at", sa.Text(), nullable=False),
        sa.Column("remembers", sa.Boolean(), nullable=False),
        sa.Column("clock_ahead", postgresql.DOUBLE_PRECISION(), nullable=False),
        sa.Column("fingerprints", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("processes_pkey")),
    )
    for table in _HELD:
        _check(table, "hold_reason", _REASONS.format(_NEW_REASONS))
    _check("audit_entries", "action", _ACTIONS + _NEW_ACTIONS)


def downgrade() -> None:
    op.execute("DELETE FROM audit_entries WHERE action ~ '^(database|move)_'")
    _check("audit_entries", "action", _ACTIONS)
    for table in _HELD:
        _check(table, "hold_reason", _REASONS.format(""))
    op.drop_table("processes")
    for column in _columns():
        op.drop_column("kie_account", column.name)


def _check(table: str, column: str, words: str) -> None:
    """Replace the list of the words that a column may have."""
    name = op.f(f"{table}_{column}_check")
    op.drop_constraint(name, table, type_="check")
    op.create_check_constraint(name, table, f"{column} IN ({words})")
