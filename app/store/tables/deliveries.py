"""The outbox, and where it leads."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.domain.delivery import DeliveryState, DisableReason, EventType
from app.domain.dialect import Dialect
from app.store.sql import NOW
from app.store.tables.base import Base, one_of

_LANE = "hashtextextended(split_part(url, '?', 1), 0)"
"""Of equal length for URLs of any: an index takes no long texts."""


class Delivery(Base):
    """A notification that a caller is owed: its body is frozen, and the row is the job."""

    __tablename__ = "deliveries"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    client_id: Mapped[UUID] = mapped_column(ForeignKey("clients.id"))
    task_id: Mapped[UUID | None] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"))
    """NULL: it is about no task."""
    event: Mapped[str]
    url: Mapped[str]
    host: Mapped[str]
    """The URL's host and port: so many are under way to it at most, of all clients together."""
    body: Mapped[bytes]
    dialect: Mapped[str] = mapped_column(server_default=text("'native'"))
    """How the body is written, and by which schemes its attempts are signed."""
    state: Mapped[str]
    tries: Mapped[int] = mapped_column(server_default=text("0"))
    due_at: Mapped[datetime | None]
    leased_until: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    finished_at: Mapped[datetime | None]
    origin_id: Mapped[UUID | None]
    """The delivery that this one repeats at somebody's wish; of several the first."""
    raw_deleted_at: Mapped[datetime | None]
    """Since when the body and the receiver's answers are empty, because they were old."""

    __table_args__ = (
        one_of("event", EventType),
        one_of("state", DeliveryState),
        one_of("dialect", Dialect),
        CheckConstraint("(state = 'pending') = (due_at IS NOT NULL)", name="due"),
        Index(
            "deliveries_first",
            "client_id",
            text(_LANE),
            "due_at",
            postgresql_where=text("state = 'pending' AND tries = 0 AND origin_id IS NULL"),
        ),
        Index(
            "deliveries_again",
            "client_id",
            text(_LANE),
            "due_at",
            postgresql_where=text("state = 'pending' AND (tries > 0 OR origin_id IS NOT NULL)"),
        ),
        Index(
            "deliveries_leased",
            "host",
            "leased_until",
            postgresql_where=text("state = 'pending' AND leased_until IS NOT NULL"),
        ),
        Index("deliveries_task", "task_id"),
        Index(
            "deliveries_raw",
            "finished_at",
            postgresql_where=text("finished_at IS NOT NULL AND raw_deleted_at IS NULL"),
        ),
        Index("deliveries_listed", "client_id", "id"),
        Index("deliveries_listed_by_state", "client_id", "state", "id"),
        Index("deliveries_origin", "origin_id", postgresql_where=text("origin_id IS NOT NULL")),
    )


class DeliveryAttempt(Base):
    """One try of a delivery, append-only."""

    __tablename__ = "delivery_attempts"

    delivery_id: Mapped[UUID] = mapped_column(
        ForeignKey("deliveries.id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=NOW)
    seconds: Mapped[float]
    status: Mapped[int | None]
    error: Mapped[str | None]
    address: Mapped[str | None]
    answer: Mapped[bytes]
    """Its first 1 KiB."""
    answer_bytes: Mapped[int | None]
    """How many were read, at most 16 KiB; NULL: there was no answer."""
    answer_type: Mapped[str | None]


class DeliveryUrl(Base):
    """A client's URL that failed or was slow, whatever its query, until it does well again.

    One that fails is called ever more rarely, by one attempt at a time; a slow one by few.
    """

    __tablename__ = "delivery_urls"

    client_id: Mapped[UUID] = mapped_column(
        ForeignKey("clients.id", ondelete="CASCADE"), primary_key=True
    )
    lane: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    """The hash of the URL up to its query: what waits for it waits in one lane."""
    host: Mapped[str]
    failures: Mapped[int] = mapped_column(server_default=text("0"))
    """In a row: attempts without an answer."""
    held_until: Mapped[datetime | None]
    seconds: Mapped[float] = mapped_column(server_default=text("0"))
    """What an attempt takes: a mean in which the latest count most."""
    noted_at: Mapped[datetime] = mapped_column(server_default=NOW)

    __table_args__ = (Index("delivery_urls_old", "noted_at"),)


class DeliveryHost(Base):
    """A host that fails, as the releases before `delivery_urls` note it. Not read any more."""

    __tablename__ = "delivery_hosts"

    host: Mapped[str] = mapped_column(primary_key=True)
    failures: Mapped[int] = mapped_column(server_default=text("0"))
    held_until: Mapped[datetime | None]


class FailingUrl(Base):
    """A client's URL at which no attempt has succeeded since one failed."""

    __tablename__ = "failing_urls"

    client_id: Mapped[UUID] = mapped_column(
        ForeignKey("clients.id", ondelete="CASCADE"), primary_key=True
    )
    url: Mapped[str] = mapped_column(primary_key=True)
    since: Mapped[datetime] = mapped_column(server_default=NOW)
    failed_at: Mapped[datetime] = mapped_column(server_default=NOW)
    """The last time."""
    exhausted: Mapped[int] = mapped_column(server_default=text("0"))
    """The deliveries whose last attempt failed in that time."""

    __table_args__ = (Index("failing_urls_old", "failed_at"),)


class DisabledUrl(Base):
    """A client's URL that is not called: it answered 410, or failed for days."""

    __tablename__ = "disabled_urls"

    client_id: Mapped[UUID] = mapped_column(
        ForeignKey("clients.id", ondelete="CASCADE"), primary_key=True
    )
    url: Mapped[str] = mapped_column(primary_key=True)
    disabled_at: Mapped[datetime] = mapped_column(server_default=NOW)
    reason: Mapped[str] = mapped_column(server_default=text("'gone'"))

    __table_args__ = (one_of("reason", DisableReason),)
