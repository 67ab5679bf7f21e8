"""Deliveries are claimed in turns between clients, and held by the URL, not by the host."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0016_fair_deliveries"
down_revision: str | None = "0015_limits"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

oldest_release: str = "0.1.0"

_INSTANT = sa.TIMESTAMP(timezone=True)
_LANE = sa.text("hashtextextended(split_part(url, '?', 1), 0)")
_FIRST = sa.text("state = 'pending' AND tries = 0 AND origin_id IS NULL")
_AGAIN = sa.text("state = 'pending' AND (tries > 0 OR origin_id IS NOT NULL)")


def upgrade() -> None:
    op.create_table(
        "delivery_urls",
        sa.Column("client_id", sa.Uuid(), nullable=False),
        sa.Column("lane", sa.BigInteger(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("held_until", _INSTANT, nullable=True),
        sa.Column("seconds", sa.Float(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "noted_at", _INSTANT, server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.ForeignKeyConstraint(
            ["client_id"],
            ["clients.id"],
            name=op.f("delivery_urls_client_id_fkey"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("client_id", "lane", name=op.f("delivery_urls_pkey")),
    )
    op.create_index("delivery_urls_old", "delivery_urls", ["noted_at"])
    for name, which in (("deliveries_first", _FIRST), ("deliveries_again", _AGAIN)):
        op.create_index(name, "deliveries", ["client_id", _LANE, "due_at"], postgresql_where=which)


def downgrade() -> None:
    op.drop_index("deliveries_again", "deliveries")
    op.drop_index("deliveries_first", "deliveries")
    op.drop_table("delivery_urls")
