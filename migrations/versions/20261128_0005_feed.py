"""The feed is numbered after commits: it no longer goes by the ids of transactions."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0005_feed"
down_revision: str | None = "0004_undeliverable"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_ZERO = sa.text("0")
_NONE = sa.text("'{}'")


def upgrade() -> None:
    op.create_table(
        "feed",
        sa.Column("client_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("event_id", sa.BigInteger(), nullable=False),
        sa.Column("token", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("client_id", "position", name=op.f("feed_pkey")),
    )
    op.create_table(
        "feed_writer",
        sa.Column("id", sa.SmallInteger(), nullable=False),
        sa.Column("holder", sa.Uuid(), nullable=True),
        sa.Column("leased_until", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("position", sa.BigInteger(), server_default=_ZERO, nullable=False),
        sa.Column("seen", sa.BigInteger(), server_default=_ZERO, nullable=False),
        sa.Column("gaps", postgresql.INT8MULTIRANGE(), server_default=_NONE, nullable=False),
        sa.Column("suspects", postgresql.INT8MULTIRANGE(), server_default=_NONE, nullable=False),
        sa.Column("suspects_before", sa.BigInteger(), server_default=_ZERO, nullable=False),
        sa.Column("kept_from", sa.BigInteger(), server_default=_ZERO, nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("feed_writer_single_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("feed_writer_pkey")),
    )
    op.execute("LOCK TABLE task_events IN ACCESS EXCLUSIVE MODE")  # no event is on its way
    op.execute(
        "INSERT INTO feed (client_id, position, event_id, token)"
        " SELECT client_id, row_number() OVER (ORDER BY xid, id), id,"
        " (random() * 2147483647)::int FROM task_events"
    )
    op.execute(
        "INSERT INTO feed_writer (id, position, seen)"
        " SELECT 1, count(*), coalesce(max(id), 0) FROM task_events"
    )
    op.drop_index("task_events_feed", table_name="task_events")
    op.drop_column("task_events", "xid")


def downgrade() -> None:
    op.add_column(
        "task_events", sa.Column("xid", sa.BigInteger(), server_default=_ZERO, nullable=False)
    )
    op.alter_column(
        "task_events", "xid", server_default=sa.text("(pg_current_xact_id()::text::bigint)")
    )
    op.create_index("task_events_feed", "task_events", ["client_id", "xid", "id"])
    op.drop_table("feed_writer")
    op.drop_table("feed")
