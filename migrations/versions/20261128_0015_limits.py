"""Limits of a client's own: requests per second, streams, waits."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0015_limits"
down_revision: str | None = "0013_seats"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

oldest_release: str = "0.1.0"

_LIMITS = ("requests_per_second", "streams", "waits")


def upgrade() -> None:
    for name in _LIMITS:
        op.add_column("clients", sa.Column(name, sa.Integer, nullable=True))
        op.create_check_constraint(
            op.f(f"clients_{name}_check"), "clients", f"{name} BETWEEN 1 AND 100000"
        )


def downgrade() -> None:
    for name in reversed(_LIMITS):
        op.drop_constraint(op.f(f"clients_{name}_check"), "clients", type_="check")
        op.drop_column("clients", name)
