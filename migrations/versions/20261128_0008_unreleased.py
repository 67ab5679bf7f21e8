"""Queued tasks that their creator has not released: found by the sweep."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0008_unreleased"
down_revision: str | None = "0007_releases"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

oldest_release: str = "0.1.0"


def upgrade() -> None:
    op.create_index(
        "tasks_unreleased",
        "tasks",
        ["created_at"],
        postgresql_where=sa.text("state = 'queued' AND due_at IS NULL"),
    )


def downgrade() -> None:
    op.drop_index("tasks_unreleased", table_name="tasks")
