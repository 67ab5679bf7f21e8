"""Files that callers uploaded are recorded."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0022_uploads"
down_revision: str | None = "0021_artifacts"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

oldest_release: str = "0.1.0"

_INSTANT = sa.TIMESTAMP(timezone=True)


def upgrade() -> None:
    op.create_table(
        "files",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("client_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("expires_at", _INSTANT, nullable=False),
        sa.Column("object_name", sa.Text(), nullable=True),
        sa.Column(
            "created_at", _INSTANT, server_default=sa.text("clock_timestamp()"), nullable=False
        ),
        sa.CheckConstraint("bytes > 0", name=op.f("files_bytes_check")),
        sa.CheckConstraint("octet_length(sha256) = 32", name=op.f("files_sha256_check")),
        sa.ForeignKeyConstraint(
            ["client_id"], ["clients.id"], name=op.f("files_client_id_fkey"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("files_pkey")),
    )
    op.create_index("files_of_client", "files", ["client_id", "id"])
    op.create_index("files_old", "files", ["created_at"])


def downgrade() -> None:
    op.drop_table("files")
