"""Each schema says which releases may run on it."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0007_releases"
down_revision: str | None = "0006_identity"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None
oldest_release: str = "0.1.0"


def upgrade() -> None:
    now = sa.text("clock_timestamp()")
    op.create_table(
        "schema_releases",
        sa.Column("revision", sa.Text(), nullable=False),
        sa.Column("oldest_release", sa.Text(), nullable=False),
        sa.Column("migrated_at", sa.TIMESTAMP(timezone=True), server_default=now, nullable=False),
        sa.PrimaryKeyConstraint("revision", name=op.f("schema_releases_pkey")),
    )


def downgrade() -> None:
    op.drop_table("schema_releases")
