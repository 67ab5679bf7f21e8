"""The schema. Migrations make it; `alembic check` in the tests proves that the two agree."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    MetaData,
    Numeric,
    SmallInteger,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, DOUBLE_PRECISION, JSON, JSONB, TIMESTAMP
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from app.domain.admission import Call, HoldReason
from app.domain.audit import Action, Actor
from app.domain.delivery import DeliveryState, EventType
from app.domain.evidence import Signature, Verdict
from app.domain.task import AT_REST, FailSource, Source, State
from app.store.clock import NOW

Instant = TIMESTAMP(timezone=True)


def _one_of(column: str, kinds: type[StrEnum]) -> CheckConstraint:
    """TEXT with CHECK rather than an ENUM type: a new word is one cheap migration."""
    words = ", ".join(f"'{kind.value}'" for kind in kinds)
    return CheckConstraint(f"{column} IN ({words})", name=column)


_RESTING = ", ".join(f"'{state.value}'" for state in State if state in AT_REST)


class Base(DeclarativeBase):
    """Names and types that all tables share."""

    metadata = MetaData(
        naming_convention={
            "ix": "%(table_name)s_%(column_0_N_name)s_idx",
            "uq": "%(table_name)s_%(column_0_N_name)s_key",
            "ck": "%(table_name)s_%(constraint_name)s_check",
            "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
            "pk": "%(table_name)s_pkey",
        }
    )
    type_annotation_map = {
        str: Text,
        bytes: LargeBinary,
        datetime: Instant,
        Decimal: Numeric,
        float: DOUBLE_PRECISION,
        dict[str, str]: JSONB,
        # JSON, not JSONB: it keeps the text, so key order and every digit survive.
        dict[str, Any]: JSON(none_as_null=True),
        list[str]: ARRAY(Text),
    }


class Client(Base):
    """One calling service."""

    __tablename__ = "clients"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    weight: Mapped[int] = mapped_column(server_default=text("1"))
    webhook_url: Mapped[str | None]
    webhook_hosts: Mapped[list[str] | None]
    webhook_events: Mapped[list[str] | None]
    """What it is told of; NULL: every rest."""
    signing_secret: Mapped[bytes]
    """Encrypted with the gateway's secret; never plain at rest."""
    previous_secret: Mapped[bytes | None]
    """Signs as well until the grace of its rotation is over."""
    previous_secret_until: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)

    __table_args__ = (CheckConstraint("weight BETWEEN 1 AND 100", name="weight"),)


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


class Task(Base):
    """A task and the work it still owes: the row is the job."""

    __tablename__ = "tasks"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    client_id: Mapped[UUID] = mapped_column(ForeignKey("clients.id"))
    state: Mapped[str]
    model: Mapped[str]
    input: Mapped[dict[str, Any]]
    # `metadata` is taken by the declarative base.
    metadata_: Mapped[dict[str, str]] = mapped_column("metadata")
    webhook_url: Mapped[str | None]
    priority: Mapped[int] = mapped_column(SmallInteger)
    idempotency_key: Mapped[str | None]
    fingerprint: Mapped[bytes]
    attempt: Mapped[int] = mapped_column(server_default=text("0"))
    """How often a create was started; only the newest attempt may record its outcome."""
    kie_task_id: Mapped[str | None]
    kie_state: Mapped[str | None]
    result: Mapped[dict[str, Any] | None]
    result_urls: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))
    fail_code: Mapped[str | None]
    fail_message: Mapped[str | None]
    fail_source: Mapped[str | None]
    credits_consumed: Mapped[Decimal | None]
    duration_seconds: Mapped[Decimal | None]
    settled_by: Mapped[str | None]
    confirmed_at: Mapped[datetime | None]
    kie_created_at: Mapped[datetime | None]
    kie_completed_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    submit_by: Mapped[datetime]
    submitted_at: Mapped[datetime | None]
    """When the newest create was started; NULL while it is proved that there was none."""
    finished_at: Mapped[datetime | None]
    updated_at: Mapped[datetime] = mapped_column(server_default=NOW)
    due_at: Mapped[datetime | None]
    """When the row is to be picked up: to be sent while queued, to be asked about after."""
    leased_until: Mapped[datetime | None]
    """A process is at work on the row until then."""
    lapses_at: Mapped[datetime | None]
    """The bound of a state after the queue: it ends by itself then."""
    tries: Mapped[int] = mapped_column(server_default=text("0"))
    """Refused sendings or fruitless questions in a row, for growing waits."""
    claim: Mapped[UUID | None]
    """The admission that took the task last: one whose commit was not answered finds it by this."""
    hastened_at: Mapped[datetime | None]
    """Somebody waits for kie.ai's answer, or something was said that is not believed: it is asked
    about before all others."""
    breakdowns: Mapped[int] = mapped_column(server_default=text("0"))
    """Defects of ours in a row that a question about this task has met."""
    breakdown: Mapped[str | None]
    """The last of them."""
    set_aside_at: Mapped[datetime | None]
    """After so many it is not worked on any more, until an operator says so."""

    __table_args__ = (
        _one_of("state", State),
        _one_of("fail_source", FailSource),
        _one_of("settled_by", Source),
        CheckConstraint("priority BETWEEN 0 AND 9", name="priority"),
        CheckConstraint(f"(state IN ({_RESTING})) = (finished_at IS NOT NULL)", name="rest"),
        Index(
            "tasks_idempotency_key",
            "client_id",
            "idempotency_key",
            unique=True,
            postgresql_where=text("idempotency_key IS NOT NULL"),
        ),
        Index(
            "tasks_queue",
            "client_id",
            text("priority DESC"),
            "id",
            postgresql_where=text("state = 'queued'"),
        ),
        Index(
            "tasks_seats",
            "state",
            "submitted_at",
            postgresql_where=text("state IN ('submitting', 'running', 'unconfirmed')"),
        ),
        Index("tasks_aside", "set_aside_at", postgresql_where=text("set_aside_at IS NOT NULL")),
        Index(
            "tasks_ask",
            "due_at",
            postgresql_where=text("state <> 'queued' AND due_at IS NOT NULL"),
        ),
        Index("tasks_leases", "leased_until", postgresql_where=text("state = 'submitting'")),
        Index("tasks_submit_by", "submit_by", postgresql_where=text("state = 'queued'")),
        Index("tasks_lapses", "state", "lapses_at", postgresql_where=text("lapses_at IS NOT NULL")),
        Index("tasks_listed", "client_id", "created_at", "id"),
        Index("tasks_listed_by_state", "client_id", "state", "created_at", "id"),
        Index(
            "tasks_metadata",
            "metadata",
            postgresql_using="gin",
            postgresql_ops={"metadata": "jsonb_path_ops"},
        ),
        Index("tasks_kie_task_id", "kie_task_id", postgresql_where=text("kie_task_id IS NOT NULL")),
    )


class Delivery(Base):
    """Something that a caller is to be told: its body is frozen, and the row is the job."""

    __tablename__ = "deliveries"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    client_id: Mapped[UUID] = mapped_column(ForeignKey("clients.id"))
    task_id: Mapped[UUID] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"))
    event: Mapped[str]
    url: Mapped[str]
    host: Mapped[str]
    """The URL's host and port: what is slow or dead is dead as a whole."""
    body: Mapped[bytes]
    state: Mapped[str]
    tries: Mapped[int] = mapped_column(server_default=text("0"))
    due_at: Mapped[datetime | None]
    leased_until: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    finished_at: Mapped[datetime | None]
    origin_id: Mapped[UUID | None]
    """The delivery that this one repeats at somebody's wish; of several the first."""

    __table_args__ = (
        _one_of("event", EventType),
        _one_of("state", DeliveryState),
        CheckConstraint("(state = 'pending') = (due_at IS NOT NULL)", name="due"),
        Index("deliveries_due", "host", "due_at", postgresql_where=text("state = 'pending'")),
        Index(
            "deliveries_leased",
            "host",
            "leased_until",
            postgresql_where=text("state = 'pending' AND leased_until IS NOT NULL"),
        ),
        Index("deliveries_task", "task_id", "id"),
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
    """Its first 16 KiB."""


class DeliveryHost(Base):
    """A host that fails: called ever more rarely, one attempt at a time, until it answers."""

    __tablename__ = "delivery_hosts"

    host: Mapped[str] = mapped_column(primary_key=True)
    failures: Mapped[int] = mapped_column(server_default=text("0"))
    held_until: Mapped[datetime | None]


class DisabledUrl(Base):
    """A client's URL that said 410."""

    __tablename__ = "disabled_urls"

    client_id: Mapped[UUID] = mapped_column(
        ForeignKey("clients.id", ondelete="CASCADE"), primary_key=True
    )
    url: Mapped[str] = mapped_column(primary_key=True)
    disabled_at: Mapped[datetime] = mapped_column(server_default=NOW)


class KieAccount(Base):
    """The one account at kie.ai: whether anything may be sent, and why not."""

    __tablename__ = "kie_account"

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    vtime: Mapped[float] = mapped_column(server_default=text("0"))
    """The fair queue's virtual time: the start tag of the task that was admitted last."""
    paused_at: Mapped[datetime | None]
    """An operator's brake."""
    pause_note: Mapped[str | None]
    hold_reason: Mapped[str | None]
    hold_detail: Mapped[str | None]
    """What kie.ai or the network said."""
    hold_tries: Mapped[int] = mapped_column(server_default=text("0"))
    held_since: Mapped[datetime | None]
    held_at: Mapped[datetime | None]
    """When the hold began or was prolonged."""
    held_until: Mapped[datetime | None]
    """The next probe."""
    probed_at: Mapped[datetime | None]
    """The free credit call went well since then, so that a task may be risked."""
    unknowns: Mapped[int] = mapped_column(server_default=text("0"))
    creates_allowed: Mapped[int | None]
    """What is left for us of the limit of creates as of `crowded_at`; it grows by one a window."""
    crowded_at: Mapped[datetime | None]
    """When kie.ai last said that others use the account too."""
    balance: Mapped[Decimal | None]
    balance_at: Mapped[datetime | None]

    __table_args__ = (
        _one_of("hold_reason", HoldReason),
        CheckConstraint("id = 1", name="single"),
        CheckConstraint("(hold_reason IS NULL) = (held_until IS NULL)", name="held"),
    )


class KieSlot(Base):
    """A place among the account's limited calls: taken by a call, free a window after its answer.

    A row appears when its slot is first taken. No foreign key: a slot outlives its task.
    """

    __tablename__ = "kie_slots"

    kind: Mapped[str] = mapped_column(primary_key=True)
    slot: Mapped[int] = mapped_column(primary_key=True)
    free_at: Mapped[datetime]
    task_id: Mapped[UUID | None]
    """Whose call is under way."""
    attempt: Mapped[int] = mapped_column(server_default=text("0"))
    """Which of its creates; 0: a query."""
    taken_at: Mapped[datetime]
    took: Mapped[float | None]
    """Seconds that the last call in this slot was under way."""

    __table_args__ = (_one_of("kind", Call),)


class ClientQueue(Base):
    """A client's place in the fair queue."""

    __tablename__ = "client_queues"

    client_id: Mapped[UUID] = mapped_column(
        ForeignKey("clients.id", ondelete="CASCADE"), primary_key=True
    )
    # `pass` is a word of Python's.
    pass_: Mapped[float] = mapped_column("pass", server_default=text("0"))
    """The start tag that its next task has at the earliest."""
    paused_at: Mapped[datetime | None]
    pause_note: Mapped[str | None]


class AuditEntry(Base):
    """What an operator did, and what needs one: append-only."""

    __tablename__ = "audit_entries"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=NOW)
    actor: Mapped[str]
    action: Mapped[str]
    client: Mapped[str | None]
    """Its name: it may be renamed or gone when somebody reads this."""
    task_id: Mapped[UUID | None]
    detail: Mapped[dict[str, str]] = mapped_column(server_default=text("'{}'"))

    __table_args__ = (
        _one_of("actor", Actor),
        _one_of("action", Action),
        Index("audit_entries_task", "task_id", postgresql_where=text("task_id IS NOT NULL")),
    )


class TaskEvent(Base):
    """Each accepted move of a task, append-only."""

    __tablename__ = "task_events"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    task_id: Mapped[UUID] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"))
    client_id: Mapped[UUID]
    """The task's, kept here so that the client's feed is one index."""
    xid: Mapped[int] = mapped_column(
        BigInteger, server_default=text("(pg_current_xact_id()::text::bigint)")
    )
    """The transaction: ids are given out before commits, so they alone do not order a feed."""
    from_state: Mapped[str | None]
    to_state: Mapped[str]
    attempt: Mapped[int]
    reason: Mapped[str | None]
    at: Mapped[datetime] = mapped_column(server_default=NOW)

    __table_args__ = (
        _one_of("from_state", State),
        _one_of("to_state", State),
        Index("task_events_task", "task_id", "id"),
        Index("task_events_feed", "client_id", "xid", "id"),
    )


class Callback(Base):
    """What kie.ai told us, by webhook or as the terminal answer to a query: exact, then parsed."""

    __tablename__ = "callbacks"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    # No foreign key: a callback for a task that is not kept is kept all the same.
    task_id: Mapped[UUID]
    source: Mapped[str]
    received_at: Mapped[datetime] = mapped_column(server_default=NOW)
    body: Mapped[bytes]
    headers: Mapped[dict[str, str]]
    signature: Mapped[str]
    verdict: Mapped[str]
    reason: Mapped[str | None]
    code: Mapped[int | None] = mapped_column(BigInteger)
    message: Mapped[str | None]
    kie_task_id: Mapped[str | None]
    kie_state: Mapped[str | None]
    result: Mapped[dict[str, Any] | None]
    result_urls: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))
    fail_code: Mapped[str | None]
    fail_message: Mapped[str | None]
    credits_consumed: Mapped[Decimal | None]
    duration_seconds: Mapped[Decimal | None]

    __table_args__ = (
        _one_of("source", Source),
        _one_of("signature", Signature),
        _one_of("verdict", Verdict),
        Index("callbacks_task", "task_id", "id"),
    )
