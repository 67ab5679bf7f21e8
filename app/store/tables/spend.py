"""What tasks cost: changes as they come, their sums by day, and what clients may spend."""

from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Integer, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.domain.spend import Mode, Period
from app.store.sql import NOW
from app.store.tables.base import Base, one_of


class UsageEntry(Base):
    """A change of what a task has cost, or may cost: appended with the change, and folded soon.

    Nothing refers to tasks or clients: what was spent outlives both.
    """

    __tablename__ = "usage_entries"

    client_id: Mapped[UUID] = mapped_column(primary_key=True)
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    task_id: Mapped[UUID]
    day: Mapped[date]
    """Of the change, as all days in UTC."""
    created_day: Mapped[date]
    """Of the task."""
    model: Mapped[str]
    # `metadata` is taken by the declarative base.
    metadata_: Mapped[dict[str, str] | None] = mapped_column("metadata", JSONB(none_as_null=True))
    left_state: Mapped[str | None]
    """The final state before; NULL: it was none."""
    left_class: Mapped[str | None]
    left_credits: Mapped[Decimal] = mapped_column(server_default=text("0"))
    left_seconds: Mapped[Decimal] = mapped_column(server_default=text("0"))
    state: Mapped[str | None]
    """The final state after; NULL: it is none."""
    fail_class: Mapped[str | None]
    credits: Mapped[Decimal] = mapped_column(server_default=text("0"))
    seconds: Mapped[Decimal] = mapped_column(server_default=text("0"))
    reserved: Mapped[Decimal]
    """What the reserve grew by: less than nothing where it was given back."""


class UsageDay(Base):
    """What a client's tasks of one model came to on a day, by one dimension."""

    __tablename__ = "usage_daily"

    client_id: Mapped[UUID] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    """The dimension: empty, where every task counts once; `fail_class`, `metadata.KEY`."""
    value: Mapped[str] = mapped_column(primary_key=True)
    succeeded: Mapped[int] = mapped_column(BigInteger)
    failed: Mapped[int] = mapped_column(BigInteger)
    canceled: Mapped[int] = mapped_column(BigInteger)
    expired: Mapped[int] = mapped_column(BigInteger)
    credits: Mapped[Decimal]
    seconds: Mapped[Decimal]


class SpendDay(Base):
    """What the tasks that a client created on a day have cost, and what they may cost yet."""

    __tablename__ = "spend_daily"

    client_id: Mapped[UUID] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    spent: Mapped[Decimal]
    reserved: Mapped[Decimal]


class Budget(Base):
    """What a client may spend in a period. Who creates a task for it locks its budgets first."""

    __tablename__ = "budgets"

    client_id: Mapped[UUID] = mapped_column(
        ForeignKey("clients.id", ondelete="CASCADE"), primary_key=True
    )
    period: Mapped[str] = mapped_column(primary_key=True)
    credits: Mapped[Decimal]
    mode: Mapped[str]
    thresholds: Mapped[list[int]] = mapped_column(ARRAY(Integer))
    announced: Mapped[list[int]] = mapped_column(ARRAY(Integer), server_default=text("'{}'"))
    """Thresholds of which the period that begins on `announced_for` has heard."""
    announced_for: Mapped[date | None]
    updated_at: Mapped[datetime] = mapped_column(server_default=NOW)

    __table_args__ = (
        one_of("period", Period),
        one_of("mode", Mode),
        CheckConstraint("credits >= 0", name="credits"),
    )
