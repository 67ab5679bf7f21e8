"""A task keeps the trace that it was created in."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0025_traceparent"
down_revision: str | None = "0024_console"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

oldest_release: str = "0.1.0"


def upgrade() -> None:
    op.add_column("tasks", sa.Column("traceparent", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("tasks", "traceparent")
