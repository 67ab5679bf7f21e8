"""URLs that fail for days are disabled; of a receiver's answer the size and the type are kept."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0011_deliveries"
down_revision: str | None = "0010_access"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

oldest_release: str = "0.1.0"

_INSTANT = sa.TIMESTAMP(timezone=True)
_NOW = sa.text("clock_timestamp()")

_BEFORE = (
    *("admission_paused", "admission_resumed", "client_changed", "key_created", "key_revoked"),
    *("secret_rotated", "task_bound", "task_requeued", "task_released", "task_set_aside"),
    *("foreign_id", "paid_twice"),
    *("database_accepted", "database_held", "database_resumed", "move_canceled", "move_expected"),
    *("tasks_canceled", "tasks_requeued", "tasks_failed"),
    *("admin_key_created", "admin_key_revoked", "client_disabled", "client_enabled"),
)


def upgrade() -> None:
    op.create_table(
        "failing_urls",
        sa.Column("client_id", sa.Uuid(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("since", _INSTANT, server_default=_NOW, nullable=False),
        sa.Column("failed_at", _INSTANT, server_default=_NOW, nullable=False),
        sa.Column("exhausted", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(
            ["client_id"],
            ["clients.id"],
            name=op.f("failing_urls_client_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("client_id", "url", name=op.f("failing_urls_pkey")),
    )
    op.create_index("failing_urls_old", "failing_urls", ["failed_at"])
    op.add_column("delivery_attempts", sa.Column("answer_bytes", sa.Integer(), nullable=True))
    op.add_column("delivery_attempts", sa.Column("answer_type", sa.Text(), nullable=True))
    reason = sa.Column("reason", sa.Text(), server_default=sa.text("'gone'"), nullable=False)
    op.add_column("disabled_urls", reason)
    op.create_check_constraint(
        op.f("disabled_urls_reason_check"), "disabled_urls", "reason IN ('gone', 'failing')"
    )
    _check(*_BEFORE, "url_disabled")


def downgrade() -> None:
    op.execute("DELETE FROM audit_entries WHERE action = 'url_disabled'")
    _check(*_BEFORE)
    op.drop_column("disabled_urls", "reason")
    op.drop_column("delivery_attempts", "answer_type")
    op.drop_column("delivery_attempts", "answer_bytes")
    op.drop_table("failing_urls")


def _check(*actions: str) -> None:
    listed = ", ".join(f"'{action}'" for action in actions)
    name = op.f("audit_entries_action_check")
    op.drop_constraint(name, "audit_entries", type_="check")
    op.create_check_constraint(name, "audit_entries", f"action IN ({listed})")
