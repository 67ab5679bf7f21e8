"""Keys with an end and scopes, admin keys by name, and an audit that is only ever added to."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, TIMESTAMP

revision: str = "0010_access"
down_revision: str | None = "0009_bulk"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

oldest_release: str = "0.1.0"

_OURS = ("admin_key_created", "admin_key_revoked", "client_disabled", "client_enabled")
_BEFORE = (
    *("admission_paused", "admission_resumed", "client_changed", "key_created", "key_revoked"),
    *("secret_rotated", "task_bound", "task_requeued", "task_released", "task_set_aside"),
    *("foreign_id", "paid_twice"),
    *("database_accepted", "database_held", "database_resumed", "move_canceled", "move_expected"),
    *("tasks_canceled", "tasks_requeued", "tasks_failed"),
)
_INSTANT = TIMESTAMP(timezone=True)
_NOW = sa.text("clock_timestamp()")

_COLUMNS = (
    ("api_keys", "expires_at", _INSTANT),
    ("api_keys", "scopes", ARRAY(sa.Text)),
    ("api_keys", "last_used_at", _INSTANT),
    ("client_queues", "disabled_at", _INSTANT),
    ("audit_entries", "who", sa.Text),
    ("audit_entries", "address", sa.Text),
    ("audit_entries", "request_id", sa.Text),
)

_KEPT = """
CREATE FUNCTION audit_entries_are_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' OR current_user <> (
        SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = TG_RELID
    ) THEN
        RAISE EXCEPTION 'entries of the audit are only ever added'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NULL;
END $$
"""
_TRIGGERS = {"audit_entries_kept": "UPDATE OR DELETE", "audit_entries_whole": "TRUNCATE"}
_MOVE_RUNS = """
INSERT INTO bulk_runs (id, batches, done, begun_at)
SELECT (detail->>'run')::uuid, (detail->>'batches')::int, (detail->>'done')::int, at
FROM audit_entries WHERE detail ? 'run'
"""


def upgrade() -> None:
    for table, name, kind in _COLUMNS:
        op.add_column(table, sa.Column(name, kind, nullable=True))
    op.create_table(
        "admin_keys",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("hint", sa.Text, nullable=False),
        sa.Column("created_at", _INSTANT, server_default=_NOW, nullable=False),
        sa.Column("revoked_at", _INSTANT, nullable=True),
        sa.Column("last_used_at", _INSTANT, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("admin_keys_pkey")),
        sa.UniqueConstraint("name", name=op.f("admin_keys_name_key")),
        sa.UniqueConstraint("digest", name=op.f("admin_keys_digest_key")),
        sa.CheckConstraint(
            "role IN ('read', 'operate', 'keys')", name=op.f("admin_keys_role_check")
        ),
    )
    op.create_table(
        "bulk_runs",
        sa.Column("id", sa.Uuid, nullable=False),
        sa.Column("batches", sa.Integer, server_default=sa.text("0"), nullable=False),
        sa.Column("done", sa.Integer, server_default=sa.text("0"), nullable=False),
        sa.Column("begun_at", _INSTANT, server_default=_NOW, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("bulk_runs_pkey")),
    )
    op.execute(_MOVE_RUNS)
    _check(*_BEFORE, *_OURS)
    op.execute(_KEPT)
    for name, what in _TRIGGERS.items():
        op.execute(
            f"CREATE TRIGGER {name} BEFORE {what} ON audit_entries"
            " FOR EACH STATEMENT EXECUTE FUNCTION audit_entries_are_kept()"
        )


def downgrade() -> None:
    for name in _TRIGGERS:
        op.execute(f"DROP TRIGGER {name} ON audit_entries")
    op.execute("DROP FUNCTION audit_entries_are_kept()")
    ours = ", ".join(f"'{action}'" for action in _OURS)
    op.execute(f"DELETE FROM audit_entries WHERE action IN ({ours})")  # noqa: S608  # our own
    _check(*_BEFORE)
    op.execute(
        "UPDATE audit_entries SET detail = detail || jsonb_build_object("
        "'batches', batches::text, 'done', done::text)"
        " FROM bulk_runs WHERE detail->>'run' = bulk_runs.id::text"
    )
    op.drop_table("bulk_runs")
    op.drop_table("admin_keys")
    for table, name, _ in reversed(_COLUMNS):
        op.drop_column(table, name)


def _check(*actions: str) -> None:
    listed = ", ".join(f"'{action}'" for action in actions)
    name = op.f("audit_entries_action_check")
    op.drop_constraint(name, "audit_entries", type_="check")
    op.create_check_constraint(name, "audit_entries", f"action IN ({listed})")
