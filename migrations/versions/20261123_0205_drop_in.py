"""drop_in"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "7c1d0e5a94b2"
down_revision: str | None = "66b443b660c6"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

SPOKEN = ("tasks", "deliveries")
"""What is made by one of the two APIs."""


def upgrade() -> None:
    for table in SPOKEN:
        op.add_column(
            table,
            sa.Column("dialect", sa.Text(), server_default=sa.text("'native'"), nullable=False),
        )
        op.create_check_constraint(
            op.f(f"{table}_dialect_check"), table, "dialect IN ('native', 'kie')"
        )
    op.add_column(
        "clients",
        sa.Column("sees_balance", sa.Boolean(), server_default=sa.text("false"), nullable=False),
    )
    op.create_index(
        "tasks_result_urls",
        "tasks",
        [sa.text("(result_urls::character varying(500)[])")],
        unique=False,
        postgresql_using="gin",
        postgresql_where=sa.text("state = 'succeeded'"),
    )


def downgrade() -> None:
    op.drop_index(
        "tasks_result_urls",
        table_name="tasks",
        postgresql_using="gin",
        postgresql_where=sa.text("state = 'succeeded'"),
    )
    op.drop_column("clients", "sees_balance")
    for table in reversed(SPOKEN):
        op.drop_constraint(op.f(f"{table}_dialect_check"), table, type_="check")
        op.drop_column(table, "dialect")
