"""The schema of the first release."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0001_initial"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "audit_entries",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column(
            "at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("client", sa.Text(), nullable=True),
        sa.Column("task_id", sa.Uuid(), nullable=True),
        sa.Column(
            "detail",
            postgresql.JSONB(astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "action IN ('admission_paused', 'admission_resumed', 'client_changed', 'key_created', 'key_revoked', 'secret_rotated', 'task_bound', 'task_requeued', 'task_released', 'task_set_aside', 'paid_twice')",
            name=op.f("audit_entries_action_check"),
        ),
        sa.CheckConstraint(
            "actor IN ('admin_api', 'command_line', 'gateway')",
            name=op.f("audit_entries_actor_check"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("audit_entries_pkey")),
    )
    op.create_index(
        "audit_entries_task",
        "audit_entries",
        ["task_id"],
        unique=False,
        postgresql_where=sa.text("task_id IS NOT NULL"),
    )
    op.create_table(
        "callbacks",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("task_id", sa.Uuid(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column(
            "received_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("headers", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("code", sa.BigInteger(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("kie_task_id", sa.Text(), nullable=True),
        sa.Column("kie_state", sa.Text(), nullable=True),
        sa.Column(
            "result", postgresql.JSON(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column(
            "result_urls",
            postgresql.ARRAY(sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.Column("fail_code", sa.Text(), nullable=True),
        sa.Column("fail_message", sa.Text(), nullable=True),
        sa.Column("credits_consumed", sa.Numeric(), nullable=True),
        sa.Column("duration_seconds", sa.Numeric(), nullable=True),
        sa.CheckConstraint(
            "signature IN ('unchecked', 'valid', 'missing', 'wrong', 'stale')",
            name=op.f("callbacks_signature_check"),
        ),
        sa.CheckConstraint("source IN ('callback', 'query')", name=op.f("callbacks_source_check")),
        sa.CheckConstraint(
            "verdict IN ('applied', 'duplicate', 'late', 'disagreed', 'unverified', 'stale', 'unmatched', 'unreadable')",
            name=op.f("callbacks_verdict_check"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("callbacks_pkey")),
    )
    op.create_index("callbacks_task", "callbacks", ["task_id", "id"], unique=False)
    op.create_table(
        "clients",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("weight", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("webhook_url", sa.Text(), nullable=True),
        sa.Column("webhook_hosts", postgresql.ARRAY(sa.Text()), nullable=True),
        sa.Column("webhook_events", postgresql.ARRAY(sa.Text()), nullable=True),
        sa.Column("signing_secret", sa.LargeBinary(), nullable=False),
        sa.Column("previous_secret", sa.LargeBinary(), nullable=True),
        sa.Column("previous_secret_until", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("sees_balance", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column(
            "created_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint("weight BETWEEN 1 AND 100", name=op.f("clients_weight_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("clients_pkey")),
        sa.UniqueConstraint("name", name=op.f("clients_name_key")),
    )
    op.create_table(
        "delivery_hosts",
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("held_until", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("host", name=op.f("delivery_hosts_pkey")),
    )
    op.create_table(
        "kie_account",
        sa.Column("id", sa.SmallInteger(), nullable=False),
        sa.Column("vtime", sa.DOUBLE_PRECISION(), server_default=sa.text("0"), nullable=False),
        sa.Column("paused_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("pause_note", sa.Text(), nullable=True),
        sa.Column("hold_reason", sa.Text(), nullable=True),
        sa.Column("hold_detail", sa.Text(), nullable=True),
        sa.Column("hold_tries", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("held_since", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("held_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("held_until", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("probed_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("unknowns", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("creates_allowed", sa.Integer(), nullable=True),
        sa.Column("throttled_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("balance", sa.Numeric(), nullable=True),
        sa.Column("balance_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint(
            "hold_reason IN ('admission_paused', 'client_paused', 'kie_account', 'kie_busy', 'kie_unreachable', 'kie_unanswered', 'running_limit', 'create_limit')",
            name=op.f("kie_account_hold_reason_check"),
        ),
        sa.CheckConstraint(
            "(hold_reason IS NULL) = (held_until IS NULL)", name=op.f("kie_account_held_check")
        ),
        sa.CheckConstraint("id = 1", name=op.f("kie_account_single_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("kie_account_pkey")),
    )
    op.create_table(
        "kie_slots",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("free_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("task_id", sa.Uuid(), nullable=True),
        sa.Column("attempt", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("taken_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("took", sa.DOUBLE_PRECISION(), nullable=True),
        sa.CheckConstraint("kind IN ('create', 'query')", name=op.f("kie_slots_kind_check")),
        sa.PrimaryKeyConstraint("kind", "slot", name=op.f("kie_slots_pkey")),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("client_id", sa.Uuid(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("hint", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("revoked_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["client_id"], ["clients.id"], name=op.f("api_keys_client_id_fkey")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("api_keys_pkey")),
        sa.UniqueConstraint("digest", name=op.f("api_keys_digest_key")),
    )
    op.create_index(op.f("api_keys_client_id_idx"), "api_keys", ["client_id"], unique=False)
    op.create_table(
        "client_queues",
        sa.Column("client_id", sa.Uuid(), nullable=False),
        sa.Column("pass", sa.DOUBLE_PRECISION(), server_default=sa.text("0"), nullable=False),
        sa.Column("paused_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("pause_note", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["client_id"],
            ["clients.id"],
            name=op.f("client_queues_client_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("client_id", name=op.f("client_queues_pkey")),
    )
    op.create_table(
        "disabled_urls",
        sa.Column("client_id", sa.Uuid(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column(
            "disabled_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["client_id"],
            ["clients.id"],
            name=op.f("disabled_urls_client_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("client_id", "url", name=op.f("disabled_urls_pkey")),
    )
    op.create_table(
        "tasks",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("client_id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column(
            "input", postgresql.JSON(none_as_null=True, astext_type=sa.Text()), nullable=False
        ),
        sa.Column("metadata", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("webhook_url", sa.Text(), nullable=True),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("dialect", sa.Text(), server_default=sa.text("'native'"), nullable=False),
        sa.Column("attempt", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("kie_task_id", sa.Text(), nullable=True),
        sa.Column("kie_state", sa.Text(), nullable=True),
        sa.Column(
            "result", postgresql.JSON(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column(
            "result_urls",
            postgresql.ARRAY(sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.Column("fail_code", sa.Text(), nullable=True),
        sa.Column("fail_message", sa.Text(), nullable=True),
        sa.Column("fail_source", sa.Text(), nullable=True),
        sa.Column("credits_consumed", sa.Numeric(), nullable=True),
        sa.Column("duration_seconds", sa.Numeric(), nullable=True),
        sa.Column("settled_by", sa.Text(), nullable=True),
        sa.Column("confirmed_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("kie_created_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("kie_completed_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column(
            "created_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("submit_by", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("submitted_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("finished_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column(
            "updated_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("due_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("leased_until", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("expires_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("tries", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("claim", sa.Uuid(), nullable=True),
        sa.Column("poll_asap_since", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("poll_errors", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("last_poll_error", sa.Text(), nullable=True),
        sa.Column("parked_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(state IN ('expired', 'succeeded', 'failed', 'canceled')) = (finished_at IS NOT NULL)",
            name=op.f("tasks_final_check"),
        ),
        sa.CheckConstraint("dialect IN ('native', 'kie')", name=op.f("tasks_dialect_check")),
        sa.CheckConstraint(
            "fail_source IN ('kie', 'gateway')", name=op.f("tasks_fail_source_check")
        ),
        sa.CheckConstraint(
            "settled_by IN ('callback', 'query')", name=op.f("tasks_settled_by_check")
        ),
        sa.CheckConstraint(
            "state IN ('queued', 'submitting', 'unconfirmed', 'running', 'expired', 'succeeded', 'failed', 'canceled')",
            name=op.f("tasks_state_check"),
        ),
        sa.CheckConstraint("priority BETWEEN 0 AND 9", name=op.f("tasks_priority_check")),
        sa.ForeignKeyConstraint(["client_id"], ["clients.id"], name=op.f("tasks_client_id_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("tasks_pkey")),
    )
    op.create_index(
        "tasks_expires",
        "tasks",
        ["state", "expires_at"],
        unique=False,
        postgresql_where=sa.text("expires_at IS NOT NULL"),
    )
    op.create_index(
        "tasks_idempotency_key",
        "tasks",
        ["client_id", "idempotency_key"],
        unique=True,
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )
    op.create_index(
        "tasks_kie_task_id",
        "tasks",
        ["kie_task_id"],
        unique=False,
        postgresql_where=sa.text("kie_task_id IS NOT NULL"),
    )
    op.create_index(
        "tasks_leases",
        "tasks",
        ["leased_until"],
        unique=False,
        postgresql_where=sa.text("state = 'submitting'"),
    )
    op.create_index("tasks_listed", "tasks", ["client_id", "created_at", "id"], unique=False)
    op.create_index(
        "tasks_listed_by_state", "tasks", ["client_id", "state", "created_at", "id"], unique=False
    )
    op.create_index(
        "tasks_metadata",
        "tasks",
        ["metadata"],
        unique=False,
        postgresql_using="gin",
        postgresql_ops={"metadata": "jsonb_path_ops"},
    )
    op.create_index(
        "tasks_parked",
        "tasks",
        ["parked_at"],
        unique=False,
        postgresql_where=sa.text("parked_at IS NOT NULL"),
    )
    op.create_index(
        "tasks_polls",
        "tasks",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("state <> 'queued' AND due_at IS NOT NULL"),
    )
    op.create_index(
        "tasks_queue",
        "tasks",
        ["client_id", sa.literal_column("priority DESC"), "id"],
        unique=False,
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.create_index(
        "tasks_result_urls",
        "tasks",
        [sa.literal_column("(result_urls::character varying(500)[])")],
        unique=False,
        postgresql_using="gin",
        postgresql_where=sa.text("state = 'succeeded'"),
    )
    op.create_index(
        "tasks_seats",
        "tasks",
        ["state", "submitted_at"],
        unique=False,
        postgresql_where=sa.text("state IN ('submitting', 'running', 'unconfirmed')"),
    )
    op.create_index(
        "tasks_submit_by",
        "tasks",
        ["submit_by"],
        unique=False,
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.create_table(
        "deliveries",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("client_id", sa.Uuid(), nullable=False),
        sa.Column("task_id", sa.Uuid(), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("dialect", sa.Text(), server_default=sa.text("'native'"), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("tries", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("due_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("leased_until", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column(
            "created_at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("finished_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("origin_id", sa.Uuid(), nullable=True),
        sa.CheckConstraint(
            "(state = 'pending') = (due_at IS NOT NULL)", name=op.f("deliveries_due_check")
        ),
        sa.CheckConstraint("dialect IN ('native', 'kie')", name=op.f("deliveries_dialect_check")),
        sa.CheckConstraint(
            "event IN ('task.running', 'task.succeeded', 'task.failed', 'task.expired', 'task.canceled')",
            name=op.f("deliveries_event_check"),
        ),
        sa.CheckConstraint(
            "state IN ('pending', 'delivered', 'exhausted', 'disabled')",
            name=op.f("deliveries_state_check"),
        ),
        sa.ForeignKeyConstraint(
            ["client_id"], ["clients.id"], name=op.f("deliveries_client_id_fkey")
        ),
        sa.ForeignKeyConstraint(
            ["task_id"], ["tasks.id"], name=op.f("deliveries_task_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("deliveries_pkey")),
    )
    op.create_index(
        "deliveries_due",
        "deliveries",
        ["host", "due_at"],
        unique=False,
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_index(
        "deliveries_leased",
        "deliveries",
        ["host", "leased_until"],
        unique=False,
        postgresql_where=sa.text("state = 'pending' AND leased_until IS NOT NULL"),
    )
    op.create_index("deliveries_listed", "deliveries", ["client_id", "id"], unique=False)
    op.create_index(
        "deliveries_listed_by_state", "deliveries", ["client_id", "state", "id"], unique=False
    )
    op.create_index(
        "deliveries_origin",
        "deliveries",
        ["origin_id"],
        unique=False,
        postgresql_where=sa.text("origin_id IS NOT NULL"),
    )
    op.create_index("deliveries_task", "deliveries", ["task_id", "id"], unique=False)
    op.create_table(
        "task_events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("task_id", sa.Uuid(), nullable=False),
        sa.Column("client_id", sa.Uuid(), nullable=False),
        sa.Column(
            "xid",
            sa.BigInteger(),
            server_default=sa.text("(pg_current_xact_id()::text::bigint)"),
            nullable=False,
        ),
        sa.Column("from_state", sa.Text(), nullable=True),
        sa.Column("to_state", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column(
            "at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "from_state IN ('queued', 'submitting', 'unconfirmed', 'running', 'expired', 'succeeded', 'failed', 'canceled')",
            name=op.f("task_events_from_state_check"),
        ),
        sa.CheckConstraint(
            "to_state IN ('queued', 'submitting', 'unconfirmed', 'running', 'expired', 'succeeded', 'failed', 'canceled')",
            name=op.f("task_events_to_state_check"),
        ),
        sa.ForeignKeyConstraint(
            ["task_id"], ["tasks.id"], name=op.f("task_events_task_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("task_events_pkey")),
    )
    op.create_index("task_events_feed", "task_events", ["client_id", "xid", "id"], unique=False)
    op.create_index("task_events_task", "task_events", ["task_id", "id"], unique=False)
    op.create_table(
        "delivery_attempts",
        sa.Column("delivery_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column(
            "at",
            postgresql.TIMESTAMP(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("seconds", sa.DOUBLE_PRECISION(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("answer", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["delivery_id"],
            ["deliveries.id"],
            name=op.f("delivery_attempts_delivery_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("delivery_id", "number", name=op.f("delivery_attempts_pkey")),
    )
    op.execute("INSERT INTO kie_account (id) VALUES (1)")


def downgrade() -> None:
    op.drop_table("delivery_attempts")
    op.drop_table("task_events")
    op.drop_table("deliveries")
    op.drop_table("tasks")
    op.drop_table("disabled_urls")
    op.drop_table("client_queues")
    op.drop_table("api_keys")
    op.drop_table("kie_slots")
    op.drop_table("kie_account")
    op.drop_table("delivery_hosts")
    op.drop_table("clients")
    op.drop_table("callbacks")
    op.drop_table("audit_entries")
