"""Smaller indexes: hashes of result URLs, and none that no statement needs."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0023_indexes"
down_revision: str | None = "0022_uploads"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

oldest_release: str = "0.1.0"

_HASHES = """
CREATE FUNCTION url_hashes(urls text[]) RETURNS bigint[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN ARRAY(SELECT hashtextextended(url, 0) FROM unnest(urls) AS url)
"""
_BY_TASK = {"callbacks_task": "callbacks", "deliveries_task": "deliveries"}
_BY_TASK |= {"task_events_task": "task_events"}


def upgrade() -> None:
    op.execute(_HASHES)
    op.drop_index("tasks_result_urls", "tasks")
    _create_gin("url_hashes(result_urls)")
    for name, table in _BY_TASK.items():
        op.drop_index(name, table)
        op.create_index(name, table, ["task_id"])
    op.drop_index("deliveries_due", "deliveries")


def downgrade() -> None:
    pending = sa.text("state = 'pending'")
    op.create_index("deliveries_due", "deliveries", ["host", "due_at"], postgresql_where=pending)
    for name, table in _BY_TASK.items():
        op.drop_index(name, table)
        op.create_index(name, table, ["task_id", "id"])
    op.drop_index("tasks_result_urls", "tasks")
    _create_gin("(result_urls::character varying(500)[])")
    op.execute("DROP FUNCTION url_hashes(text[])")


def _create_gin(of: str) -> None:
    op.create_index(
        "tasks_result_urls",
        "tasks",
        [sa.text(of)],
        postgresql_using="gin",
        postgresql_where=sa.text("state = 'succeeded'"),
    )
