"""The audit names the erasure of one task by an operator."""

from collections.abc import Sequence

from alembic import op

revision: str = "0027_erased"
down_revision: str | None = "0025_traceparent"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

oldest_release: str = "0.1.0"

_ACTION = "task_erased"
_ACTIONS_BEFORE = (
    *("admin_key_created", "admin_key_revoked", "admission_paused", "admission_resumed"),
    *("audit_pruned", "budget_cleared", "budget_set", "client_erasing", "client_erased"),
    *("client_changed", "client_disabled", "client_enabled", "database_accepted"),
    *("database_held", "database_resumed", "move_canceled", "move_expected", "key_created"),
    *("key_revoked", "secret_rotated", "secrets_resealed", "task_bound", "task_requeued"),
    *("task_released", "tasks_canceled", "tasks_requeued", "tasks_failed", "task_set_aside"),
    *("url_disabled", "foreign_id", "paid_twice"),
    *("console_entered", "deliveries_repeated", "task_refreshed", "url_enabled"),
)


def upgrade() -> None:
    _check(*_ACTIONS_BEFORE, _ACTION)


def downgrade() -> None:
    op.execute(f"DELETE FROM audit_entries WHERE action = '{_ACTION}'")  # noqa: S608  # our own
    _check(*_ACTIONS_BEFORE)


def _check(*actions: str) -> None:
    listed = ", ".join(f"'{action}'" for action in actions)
    name = op.f("audit_entries_action_check")
    op.drop_constraint(name, "audit_entries", type_="check")
    op.create_check_constraint(name, "audit_entries", f"action IN ({listed})")
