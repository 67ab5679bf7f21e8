"""Tasks, their history, and what kie.ai reported of them."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ColumnElement,
    ForeignKey,
    Identity,
    Index,
    SmallInteger,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.domain.dialect import Dialect
from app.domain.evidence import Signature, Verdict
from app.domain.task import FINAL, Change, FailClass, FailSource, Source, State
from app.store.sql import NOW
from app.store.tables.base import Base, one_of

_FINAL = ", ".join(f"'{state.value}'" for state in State if state in FINAL)


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
    dialect: Mapped[str] = mapped_column(server_default=text("'native'"))
    """The API that it was created by."""
    attempt: Mapped[int] = mapped_column(server_default=text("0"))
    """How often a create was started; only the newest attempt may record its outcome."""
    kie_task_id: Mapped[str | None]
    kie_state: Mapped[str | None]
    result: Mapped[dict[str, Any] | None]
    result_urls: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))
    fail_code: Mapped[str | None]
    fail_message: Mapped[str | None]
    fail_source: Mapped[str | None]
    fail_class: Mapped[str | None]
    retryable: Mapped[bool | None]
    """Whether the same task, created again, may succeed; NULL: nobody can say."""
    kie_message: Mapped[str | None]
    """kie.ai's last words about the task, whatever became of it."""
    alleged_kie_id: Mapped[str | None]
    """The id that the answer to a create named without accepting it."""
    credits_consumed: Mapped[Decimal | None]
    duration_seconds: Mapped[Decimal | None]
    settled_by: Mapped[str | None]
    confirmed_at: Mapped[datetime | None]
    held_since: Mapped[datetime | None]
    """Since when an end that kie.ai reported is asked about, before it counts."""
    unreached_since: Mapped[datetime | None]
    """Since when kie.ai has given no answer to that question."""
    kie_created_at: Mapped[datetime | None]
    kie_completed_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    submit_by: Mapped[datetime]
    submitted_at: Mapped[datetime | None]
    """When the newest create was started; NULL while it is proved that there was none."""
    finished_at: Mapped[datetime | None]
    updated_at: Mapped[datetime] = mapped_column(server_default=NOW)
    version: Mapped[int] = mapped_column(server_default=text("1"))
    """Grows with each change that its client can see."""
    due_at: Mapped[datetime | None]
    """When the row is to be picked up: to be sent while queued, to be polled after."""
    leased_until: Mapped[datetime | None]
    """A process is at work on the row until then."""
    expires_at: Mapped[datetime | None]
    """The bound of a state after the queue: it ends by itself then."""
    tries: Mapped[int] = mapped_column(server_default=text("0"))
    """Refused creates or fruitless polls in a row, for growing waits."""
    claim: Mapped[UUID | None]
    """The admission that took the task last: one whose commit was not answered finds it by this."""
    poll_asap_since: Mapped[datetime | None]
    """Somebody waits for kie.ai's answer, or an unverified callback came: it is polled before all
    others."""
    poll_errors: Mapped[int] = mapped_column(server_default=text("0"))
    """Defects of ours in a row that polls of this task have met."""
    last_poll_error: Mapped[str | None]
    """The last of them."""
    doubted_at: Mapped[datetime | None]
    """When kie.ai was, or is to be, asked because of a callback that was not believed."""
    parked_at: Mapped[datetime | None]
    """After so many it is not polled any more, until an operator releases it."""
    input_bytes: Mapped[int | None]
    """Of `input` as it is kept; NULL: the task is older than this column."""
    refreshed_at: Mapped[datetime | None]
    """When its client last had kie.ai asked; while that is `poll_asap_since`, it waits for it."""
    reserved: Mapped[Decimal | None]
    """The most that the model had cost when the task was created; NULL: no cost was known."""
    booked: Mapped[bool | None]
    """Its final state is counted in usage; NULL: it has none, or an older release ended it."""
    traceparent: Mapped[str | None]
    """The span that its steps are children of, as W3C's header has it; NULL: there is no trace."""

    __table_args__ = (
        one_of("state", State),
        one_of("fail_source", FailSource),
        one_of("fail_class", FailClass),
        one_of("settled_by", Source),
        one_of("dialect", Dialect),
        CheckConstraint("priority BETWEEN 0 AND 9", name="priority"),
        CheckConstraint(f"(state IN ({_FINAL})) = (finished_at IS NOT NULL)", name="final"),
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
            "tasks_queue_by_model",
            "client_id",
            "model",
            text("priority DESC"),
            "id",
            postgresql_where=text("state = 'queued'"),
        ),
        Index(
            "tasks_costs",
            "model",
            "credits_consumed",
            postgresql_where=text("credits_consumed IS NOT NULL"),
        ),
        Index(
            "tasks_seats",
            "state",
            "submitted_at",
            postgresql_include=["client_id"],
            postgresql_where=text("state IN ('submitting', 'running', 'unconfirmed')"),
        ),
        Index("tasks_parked", "parked_at", postgresql_where=text("parked_at IS NOT NULL")),
        Index(
            "tasks_polls",
            "due_at",
            postgresql_where=text("state <> 'queued' AND due_at IS NOT NULL"),
        ),
        Index("tasks_leases", "leased_until", postgresql_where=text("state = 'submitting'")),
        # What its creator has not released yet: no instant at which it is due.
        Index(
            "tasks_unreleased",
            "created_at",
            postgresql_where=text("state = 'queued' AND due_at IS NULL"),
        ),
        Index(
            "tasks_queue_newest",
            "client_id",
            "created_at",
            postgresql_include=["input_bytes"],
            postgresql_where=text("state = 'queued'"),
        ),
        Index("tasks_submit_by", "submit_by", postgresql_where=text("state = 'queued'")),
        Index(
            "tasks_expires", "state", "expires_at", postgresql_where=text("expires_at IS NOT NULL")
        ),
        Index("tasks_finished", "finished_at", postgresql_where=text("finished_at IS NOT NULL")),
        Index("tasks_listed", "client_id", "created_at", "id"),
        Index("tasks_listed_by_state", "client_id", "state", "created_at", "id"),
        Index(
            "tasks_metadata",
            "metadata",
            postgresql_using="gin",
            postgresql_ops={"metadata": "jsonb_path_ops"},
        ),
        Index("tasks_kie_task_id", "kie_task_id", postgresql_where=text("kie_task_id IS NOT NULL")),
        # What keeps its reserve beyond its end, and what usage does not count yet.
        Index(
            "tasks_unpriced",
            "client_id",
            "created_at",
            postgresql_where=text("state = 'succeeded' AND credits_consumed IS NULL"),
        ),
        Index(
            "tasks_unbooked",
            "finished_at",
            postgresql_where=text("finished_at IS NOT NULL AND booked IS NULL"),
        ),
        Index(
            "tasks_result_urls",
            text("url_hashes(result_urls)"),  # of equal length for URLs of any
            postgresql_using="gin",
            postgresql_where=text("state = 'succeeded'"),
        ),
    )


CHANGED: Mapping[str, ColumnElement[Any]] = {"updated_at": NOW, "version": Task.version + 1}
"""What every change of a task sets that its client can see."""


class TaskEvent(Base):
    """Each accepted change of a task, append-only; `feed` orders those of a client."""

    __tablename__ = "task_events"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    task_id: Mapped[UUID] = mapped_column(ForeignKey("tasks.id", ondelete="CASCADE"))
    client_id: Mapped[UUID]
    """The task's, kept here so that the feed is numbered without reading tasks."""
    kind: Mapped[str] = mapped_column(server_default=text("'moved'"))
    from_state: Mapped[str | None]
    to_state: Mapped[str]
    attempt: Mapped[int]
    reason: Mapped[str | None]
    at: Mapped[datetime] = mapped_column(server_default=NOW)

    __table_args__ = (
        one_of("kind", Change),
        one_of("from_state", State),
        one_of("to_state", State),
        Index("task_events_task", "task_id"),
    )


class Callback(Base):
    """What kie.ai sent us, by webhook or as the terminal answer to a query: raw, then parsed."""

    __tablename__ = "callbacks"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    # No foreign key: a callback for a task that is not kept is kept all the same.
    task_id: Mapped[UUID]
    source: Mapped[str]
    received_at: Mapped[datetime] = mapped_column(server_default=NOW)
    body: Mapped[bytes]
    """The bytes that came, but for the task's callback tokens."""
    sha256: Mapped[bytes | None]
    """Of the bytes as they came; NULL before migration 0012."""
    size: Mapped[int | None] = mapped_column(BigInteger)
    """How many came; NULL: as many as the body has."""
    whole: Mapped[bool] = mapped_column(server_default=text("true"))
    """False: `body` is only the beginning, and nothing is parsed."""
    times_seen: Mapped[int] = mapped_column(server_default=text("1"))
    last_seen_at: Mapped[datetime | None]
    """When the same came last; NULL: it came once."""
    more: Mapped[int] = mapped_column(server_default=text("0"))
    """How many came after it of which only this number is kept."""
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
    raw_deleted_at: Mapped[datetime | None]
    """Since when body and headers are empty, because they were old."""

    __table_args__ = (
        one_of("source", Source),
        one_of("signature", Signature),
        one_of("verdict", Verdict),
        Index("callbacks_task", "task_id"),
        Index("callbacks_raw", "received_at", postgresql_where=text("raw_deleted_at IS NULL")),
    )
