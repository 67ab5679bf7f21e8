"""What is learned of models, and the balance as it was read, to be compared with the books."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TIMESTAMP

revision: str = "0020_models"
down_revision: str | None = "0019_retention"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

oldest_release: str = "0.1.0"

_INSTANT = TIMESTAMP(timezone=True)
_NOW = sa.text("clock_timestamp()")
_DUE = ("balance_due_at", "models_due_at")
_COUNTS = ("tasks_24h", "succeeded_24h", "faults_24h", "tasks_7d", "succeeded_7d")
_VALUES = ("credits_p50", "credits_p90", "seconds_p50", "seconds_p95")


def _column(name: str, kind: sa.types.TypeEngine[Any], *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=null)


def upgrade() -> None:
    for name in _DUE:
        op.add_column("kie_account", _column(name, _INSTANT, null=True))
    op.create_table(
        "model_hours",
        _column("client_id", sa.Uuid()),
        _column("model", sa.Text()),
        _column("hour", _INSTANT),
        _column("kind", sa.Text()),
        _column("value", sa.Numeric()),
        _column("tasks", sa.BigInteger()),
        sa.Column("at", _INSTANT, server_default=_NOW, nullable=False),
        sa.PrimaryKeyConstraint(
            *("client_id", "model", "hour", "kind", "value"), name=op.f("model_hours_pkey")
        ),
    )
    op.create_index("model_hours_hour", "model_hours", ["hour"])
    op.create_table(
        "models",
        _column("client_id", sa.Uuid()),
        _column("model", sa.Text()),
        *(_column(name, sa.BigInteger()) for name in _COUNTS),
        *(_column(name, sa.Numeric(), null=True) for name in _VALUES),
        _column("measured", sa.BigInteger()),
        _column("last_success_at", _INSTANT, null=True),
        sa.PrimaryKeyConstraint("client_id", "model", name=op.f("models_pkey")),
    )
    op.create_table(
        "balance_readings",
        sa.Column("at", _INSTANT, server_default=_NOW, nullable=False),
        _column("balance", sa.Numeric()),
        _column("booked", sa.Numeric()),
        _column("reserved", sa.Numeric()),
        _column("unknown", sa.BigInteger()),
        sa.PrimaryKeyConstraint("at", name=op.f("balance_readings_pkey")),
    )


def downgrade() -> None:
    for table in ("balance_readings", "models", "model_hours"):
        op.drop_table(table)
    for name in reversed(_DUE):
        op.drop_column("kie_account", name)
