"""Acts on many tasks have entries of their own in the audit."""

from collections.abc import Sequence

from alembic import op

revision: str = "0009_bulk"
down_revision: str | None = "0008_unreleased"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

oldest_release: str = "0.1.0"

_OURS = ("tasks_canceled", "tasks_requeued", "tasks_failed")
_BEFORE = (
    *("admission_paused", "admission_resumed", "client_changed", "key_created", "key_revoked"),
    *("secret_rotated", "task_bound", "task_requeued", "task_released", "task_set_aside"),
    *("foreign_id", "paid_twice"),
    *("database_accepted", "database_held", "database_resumed", "move_canceled", "move_expected"),
)


def upgrade() -> None:
    _check(*_BEFORE, *_OURS)


def downgrade() -> None:
    ours = ", ".join(f"'{action}'" for action in _OURS)
    op.execute(f"DELETE FROM audit_entries WHERE action IN ({ours})")  # noqa: S608  # our own
    _check(*_BEFORE)


def _check(*actions: str) -> None:
    listed = ", ".join(f"'{action}'" for action in actions)
    name = op.f("audit_entries_action_check")
    op.drop_constraint(name, "audit_entries", type_="check")
    op.create_check_constraint(name, "audit_entries", f"action IN ({listed})")
