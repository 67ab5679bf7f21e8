"""The audit names the console, and what is done there that no other place had."""

from collections.abc import Sequence

from alembic import op

revision: str = "0024_console"
down_revision: str | None = "0023_indexes"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

oldest_release: str = "0.1.0"

_ACTIONS = ("console_entered", "deliveries_repeated", "task_refreshed", "url_enabled")
_ACTIONS_BEFORE = (
    *("admin_key_created", "admin_key_revoked", "admission_paused", "admission_resumed"),
    *("audit_pruned", "budget_cleared", "budget_set", "client_erasing", "client_erased"),
    *("client_changed", "client_disabled", "client_enabled", "database_accepted"),
    *("database_held", "database_resumed", "move_canceled", "move_expected", "key_created"),
    *("key_revoked", "secret_rotated", "secrets_resealed", "task_bound", "task_requeued"),
    *("task_released", "tasks_canceled", "tasks_requeued", "tasks_failed", "task_set_aside"),
    *("url_disabled", "foreign_id", "paid_twice"),
)
_ACTORS_BEFORE = ("admin_api", "command_line", "gateway")


def upgrade() -> None:
    _check("action", *_ACTIONS_BEFORE, *_ACTIONS)
    _check("actor", *_ACTORS_BEFORE, "console")


def downgrade() -> None:
    ours = ", ".join(f"'{action}'" for action in _ACTIONS)
    op.execute(f"DELETE FROM audit_entries WHERE action IN ({ours}) OR actor = 'console'")  # noqa: S608  # our own
    _check("actor", *_ACTORS_BEFORE)
    _check("action", *_ACTIONS_BEFORE)


def _check(column: str, *values: str) -> None:
    listed = ", ".join(f"'{value}'" for value in values)
    name = op.f(f"audit_entries_{column}_check")
    op.drop_constraint(name, "audit_entries", type_="check")
    op.create_check_constraint(name, "audit_entries", f"{column} IN ({listed})")
