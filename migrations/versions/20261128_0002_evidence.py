"""Evidence that comes later: what fills, corrects or holds back an end."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0002_evidence"
down_revision: str | None = "0001_initial"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_INSTANT = sa.TIMESTAMP(timezone=True)


def _task_columns() -> tuple[sa.Column[object], ...]:
    return (
        sa.Column("fail_class", sa.Text(), nullable=True),
        sa.Column("retryable", sa.Boolean(), nullable=True),
        sa.Column("kie_message", sa.Text(), nullable=True),
        sa.Column("alleged_kie_id", sa.Text(), nullable=True),
        sa.Column("held_since", _INSTANT, nullable=True),
        sa.Column("unreached_since", _INSTANT, nullable=True),
        sa.Column("version", sa.Integer(), server_default=sa.text("1"), nullable=False),
    )


_VERDICTS = (
    "'applied', 'duplicate', {}'late', 'disagreed', 'unverified', 'stale', 'unmatched', "
    "'unreadable'"
)
_EVENTS = "'task.running', 'task.succeeded', 'task.failed', 'task.expired', 'task.canceled'{}"

_ACTIONS = (
    "'admission_paused', 'admission_resumed', 'client_changed', 'key_created', 'key_revoked', "
    "'secret_rotated', 'task_bound', 'task_requeued', 'task_released', 'task_set_aside', "
    "{}'paid_twice'"
)


def upgrade() -> None:
    for column in _task_columns():
        op.add_column("tasks", column)
    op.create_check_constraint(
        op.f("tasks_fail_class_check"),
        "tasks",
        "fail_class IN ('content', 'input', 'timeout', 'provider', 'account', 'gateway', "
        "'unknown')",
    )
    op.add_column(
        "task_events",
        sa.Column("kind", sa.Text(), server_default=sa.text("'moved'"), nullable=False),
    )
    op.create_check_constraint(
        op.f("task_events_kind_check"),
        "task_events",
        "kind IN ('moved', 'filled', 'corrected')",
    )
    _check("callbacks", "verdict", _VERDICTS.format("'held', "))
    _check("deliveries", "event", _EVENTS.format(", 'task.updated'"))
    _check("audit_entries", "action", _ACTIONS.format("'foreign_id', "))


def downgrade() -> None:
    op.execute("UPDATE callbacks SET verdict = 'unverified' WHERE verdict = 'held'")
    op.execute("DELETE FROM deliveries WHERE event = 'task.updated'")
    op.execute("DELETE FROM audit_entries WHERE action = 'foreign_id'")
    _check("audit_entries", "action", _ACTIONS.format(""))
    _check("callbacks", "verdict", _VERDICTS.format(""))
    _check("deliveries", "event", _EVENTS.format(""))
    op.drop_column("task_events", "kind")
    for column in _task_columns():
        op.drop_column("tasks", column.name)


def _check(table: str, column: str, words: str) -> None:
    """Replace the list of the words that a column may hold."""
    name = op.f(f"{table}_{column}_check")
    op.drop_constraint(name, table, type_="check")
    op.create_check_constraint(name, table, f"{column} IN ({words})")
