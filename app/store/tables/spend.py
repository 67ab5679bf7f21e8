"""What tasks cost: changes as they come, their sums by day, and what clients may spend."""

from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, Integer, text
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


class ModelHour(Base):
    """How often something was learned of a client's tasks of one model that ended in an hour."""

    __tablename__ = "model_hours"

    client_id: Mapped[UUID] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(primary_key=True)
    hour: Mapped[datetime] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    """How the task ended (of a failure with its class), `credits` or `seconds`."""
    value: Mapped[Decimal] = mapped_column(primary_key=True)
    """Rounded to few digits; of an end 0."""
    tasks: Mapped[int] = mapped_column(BigInteger)
    """Less than nothing where a correction takes back what an earlier hour has."""
    at: Mapped[datetime] = mapped_column(server_default=NOW)
    """When it was added to last."""

    __table_args__ = (Index("model_hours_hour", "hour"),)


class Model(Base):
    """What is known of a client's model, or of all clients' (`EVERYBODY`); anew each minute."""

    __tablename__ = "models"

    client_id: Mapped[UUID] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(primary_key=True)
    tasks_24h: Mapped[int] = mapped_column(BigInteger)
    succeeded_24h: Mapped[int] = mapped_column(BigInteger)
    faults_24h: Mapped[int] = mapped_column(BigInteger)
    tasks_7d: Mapped[int] = mapped_column(BigInteger)
    succeeded_7d: Mapped[int] = mapped_column(BigInteger)
    credits_p50: Mapped[Decimal | None]
    credits_p90: Mapped[Decimal | None]
    seconds_p50: Mapped[Decimal | None]
    seconds_p95: Mapped[Decimal | None]
    measured: Mapped[int] = mapped_column(BigInteger)
    last_success_at: Mapped[datetime | None]


class BalanceReading(Base):
    """The account's balance, and what the books held at that moment; credits."""

    __tablename__ = "balance_readings"

    at: Mapped[datetime] = mapped_column(primary_key=True, server_default=NOW)
    balance: Mapped[Decimal]
    booked: Mapped[Decimal]
    """What all tasks so far have cost."""
    reserved: Mapped[Decimal]
    """What tasks under way may cost yet."""
    unknown: Mapped[int] = mapped_column(BigInteger)
    """Tasks under way of which nobody knows what they may cost."""
