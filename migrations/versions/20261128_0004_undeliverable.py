"""A state of deliveries: there is nowhere to send them."""

from collections.abc import Sequence

from alembic import op

revision: str = "0004_undeliverable"
down_revision: str | None = "0003_breakers"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_STATES = "'pending', 'delivered', 'exhausted', 'disabled'"


def upgrade() -> None:
    _check(f"{_STATES}, 'undeliverable'")


def downgrade() -> None:
    op.execute("UPDATE deliveries SET state = 'exhausted' WHERE state = 'undeliverable'")
    _check(_STATES)


def _check(states: str) -> None:
    """Replace the list of the states that a delivery may have."""
    name = op.f("deliveries_state_check")
    op.drop_constraint(name, "deliveries", type_="check")
    op.create_check_constraint(name, "deliveries", f"state IN ({states})")
