"""Who calls, by which keys, and what operators did."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.domain.access import Role
from app.domain.audit import Action, Actor
from app.domain.limits import LIMITS, MOST
from app.store.sql import NOW
from app.store.tables.base import Base, one_of


class Client(Base):
    """One calling service."""

    __tablename__ = "clients"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    weight: Mapped[int] = mapped_column(server_default=text("1"))
    webhook_url: Mapped[str | None]
    webhook_hosts: Mapped[list[str] | None]
    webhook_events: Mapped[list[str] | None]
    """The events it is notified of; NULL: every final state."""
    signing_secret: Mapped[bytes]
    """Encrypted with the gateway's secret; never stored in plain."""
    previous_secret: Mapped[bytes | None]
    """Signs as well until the grace of its rotation is over."""
    previous_secret_until: Mapped[datetime | None]
    sees_balance: Mapped[bool] = mapped_column(server_default=text("false"))
    """It may ask for the account's credits."""
    running_share: Mapped[float | None]
    """The share of the seats that it may have while others are enabled; NULL: as the settings."""
    queued_tasks: Mapped[int | None]
    """How many of its tasks may wait; NULL: as the settings."""
    queued_bytes: Mapped[int | None] = mapped_column(BigInteger)
    """Of the inputs of those; NULL: as the settings."""
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    requests_per_second: Mapped[int | None]
    """NULL, as of the next two: what the settings allow each client."""
    streams: Mapped[int | None]
    waits: Mapped[int | None]
    erasing_at: Mapped[datetime | None]
    """Since when it is being erased: its keys open nothing, and its tasks go."""
    erased_at: Mapped[datetime | None]
    """When nothing was left of it but its name."""

    __table_args__ = (
        CheckConstraint("weight BETWEEN 1 AND 100", name="weight"),
        *(CheckConstraint(f"{limit} BETWEEN 1 AND {MOST}", name=limit) for limit in LIMITS),
        CheckConstraint("running_share > 0 AND running_share <= 1", name="running_share"),
        CheckConstraint("queued_tasks > 0", name="queued_tasks"),
        CheckConstraint("queued_bytes > 0", name="queued_bytes"),
    )


class ApiKey(Base):
    """A key of a client: only its SHA-256 is kept."""

    __tablename__ = "api_keys"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    client_id: Mapped[UUID] = mapped_column(ForeignKey("clients.id"), index=True)
    digest: Mapped[bytes] = mapped_column(unique=True)
    hint: Mapped[str]
    """The key's first characters, to tell keys apart in lists."""
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    revoked_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    scopes: Mapped[list[str] | None]
    """What it may be used for; NULL: everything."""
    last_used_at: Mapped[datetime | None]
    """To the minute: uses are gathered."""


class AdminKey(Base):
    """A key of an operator's: only its SHA-256 is kept."""

    __tablename__ = "admin_keys"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    """For good: the audit names it."""
    role: Mapped[str]
    digest: Mapped[bytes] = mapped_column(unique=True)
    hint: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]
    """To the minute."""

    __table_args__ = (one_of("role", Role),)


class AuditEntry(Base):
    """What an operator did, and what needs one: a trigger refuses every change of an entry."""

    __tablename__ = "audit_entries"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=NOW)
    actor: Mapped[str]
    action: Mapped[str]
    client: Mapped[str | None]
    """Its name: it may be renamed or gone when somebody reads this."""
    task_id: Mapped[UUID | None]
    detail: Mapped[dict[str, str]] = mapped_column(server_default=text("'{}'"))
    who: Mapped[str | None]
    """The operator's name; NULL: before there were names."""
    address: Mapped[str | None]
    request_id: Mapped[str | None]

    __table_args__ = (
        one_of("actor", Actor),
        one_of("action", Action),
        Index("audit_entries_task", "task_id", postgresql_where=text("task_id IS NOT NULL")),
    )


class BulkRun(Base):
    """How far an act on many tasks has come; its entry in the audit names it."""

    __tablename__ = "bulk_runs"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    batches: Mapped[int] = mapped_column(server_default=text("0"))
    done: Mapped[int] = mapped_column(server_default=text("0"))
    """Tasks."""
    begun_at: Mapped[datetime] = mapped_column(server_default=NOW)
