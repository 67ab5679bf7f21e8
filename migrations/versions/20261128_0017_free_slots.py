"""Free slots are found by index, so that an admission costs the same whatever the limit is."""

from collections.abc import Sequence

from alembic import op

revision: str = "0017_free_slots"
down_revision: str | None = "0016_fair_deliveries"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

oldest_release: str = "0.1.0"

# Slots are taken from the lowest on, so there is no gap unless somebody deleted rows by hand.
_FILL = """
INSERT INTO kie_slots (kind, slot, free_at, taken_at)
SELECT 'create', number, clock_timestamp(), clock_timestamp()
FROM generate_series(1, (SELECT max(slot) FROM kie_slots WHERE kind = 'create')) AS number
ON CONFLICT DO NOTHING
"""


def upgrade() -> None:
    op.execute(_FILL)
    op.create_index("kie_slots_free", "kie_slots", ["kind", "free_at", "slot"])


def downgrade() -> None:
    op.drop_index("kie_slots_free", "kie_slots")
