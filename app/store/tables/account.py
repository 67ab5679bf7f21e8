"""The account at kie.ai: its limits, its holds, and the queue for it."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    SmallInteger,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.domain.admission import Call, HoldReason
from app.store.sql import NOW
from app.store.tables.base import Base, one_of


class KieAccount(Base):
    """The one account at kie.ai: whether anything may be sent, and why not."""

    __tablename__ = "kie_account"

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    vtime: Mapped[float] = mapped_column(server_default=text("0"))
    """The fair queue's virtual time: the start tag of the task that was admitted last."""
    paused_at: Mapped[datetime | None]
    """Since when an operator has paused all admission."""
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
    hold_client_id: Mapped[UUID | None]
    """Only this client met the trouble: the hold is void while another one's tasks are queued."""
    failures: Mapped[int] = mapped_column(server_default=text("0"))
    """Troubles of pairs in a row, with no success between, as far as they are counted."""
    failed_clients: Mapped[list[UUID]] = mapped_column(server_default=text("'{}'"))
    """Whose they were, as far as it matters."""
    failed_models: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))
    succeeded_at: Mapped[datetime | None]
    """When kie.ai last accepted a create, within a second."""
    succeeded_client_id: Mapped[UUID | None]
    """Whose that was: a probe goes there first."""
    succeeded_model: Mapped[str | None]
    counter: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    """Grows with every beat and every admission that takes something; see `domain.restore`."""
    system_identifier: Mapped[int | None] = mapped_column(BigInteger)
    """Which server this is known to be in; NULL: none is, or that cannot be read."""
    timeline: Mapped[int | None] = mapped_column(BigInteger)
    database_oid: Mapped[int | None] = mapped_column(BigInteger)
    server_started_at: Mapped[datetime | None]
    """NULL: no database is known yet."""
    changed_at: Mapped[datetime | None]
    """Since when another one is being judged."""
    restored_at: Mapped[datetime | None]
    """Since when nothing is sent because commits may be lost: until a person says so."""
    restored_detail: Mapped[str | None]
    move_expected_until: Mapped[datetime | None]
    """Until when a person expects the database to move."""
    creates_allowed: Mapped[int | None]
    """What others left to us of the limit as of `throttled_at`; it grows by one a window."""
    throttled_at: Mapped[datetime | None]
    """When kie.ai last throttled us: others use the account too."""
    balance: Mapped[Decimal | None]
    balance_at: Mapped[datetime | None]
    balance_due_at: Mapped[datetime | None]
    """When it is to be read again, to be compared with the books; NULL: it never was."""
    models_due_at: Mapped[datetime | None]
    """When the statistics of models are to be made anew; NULL: they never were."""

    __table_args__ = (
        one_of("hold_reason", HoldReason),
        CheckConstraint("id = 1", name="single"),
        CheckConstraint("(hold_reason IS NULL) = (held_until IS NULL)", name="held"),
    )


class Process(Base):
    """A process on this database, as it was at its last beat."""

    __tablename__ = "processes"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str]
    """`serve` or `worker`."""
    version: Mapped[str]
    started_at: Mapped[datetime]
    beat_at: Mapped[datetime]
    looked_at: Mapped[str]
    """The incarnation of the database that it saw last."""
    remembers: Mapped[bool]
    """It saw a counter committed, and can tell whether that is lost."""
    clock_ahead: Mapped[float]
    """Seconds by which its clock is ahead of the database's."""
    fingerprints: Mapped[dict[str, str]]
    """Of the settings that all processes have to share."""


class KieBreaker(Base):
    """What is remembered against a pair of a client and a model; no row: nothing is.

    Written only by who holds the account's row, and removed by the sweep.
    """

    __tablename__ = "kie_breakers"

    client_id: Mapped[UUID] = mapped_column(
        ForeignKey("clients.id", ondelete="CASCADE"), primary_key=True
    )
    model: Mapped[str] = mapped_column(primary_key=True)
    hold_reason: Mapped[str | None]
    hold_detail: Mapped[str | None]
    """What kie.ai or something on the way said."""
    hold_tries: Mapped[int] = mapped_column(server_default=text("0"))
    unknowns: Mapped[int] = mapped_column(server_default=text("0"))
    """Creates in a row of which nobody knows what became."""
    held_since: Mapped[datetime | None]
    held_at: Mapped[datetime | None]
    """When the hold began or was prolonged."""
    held_until: Mapped[datetime | None]
    """The next probe."""
    updated_at: Mapped[datetime] = mapped_column(server_default=NOW)

    __table_args__ = (
        one_of("hold_reason", HoldReason),
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
    client_id: Mapped[UUID | None]
    """Whose refresh used it last; NULL: the poll loop's own query did, or it is a create's."""

    __table_args__ = (one_of("kind", Call), Index("kie_slots_free", "kind", "free_at", "slot"))


class ClientQueue(Base):
    """A client's place in the fair queue."""

    __tablename__ = "client_queues"

    client_id: Mapped[UUID] = mapped_column(
        ForeignKey("clients.id", ondelete="CASCADE"), primary_key=True
    )
    # `pass` is a keyword of Python.
    pass_: Mapped[float] = mapped_column("pass", server_default=text("0"))
    """The start tag that its next task has at the earliest."""
    paused_at: Mapped[datetime | None]
    pause_note: Mapped[str | None]
    disabled_at: Mapped[datetime | None]
    """Its keys are refused since then, and nothing of it is sent."""


class QueueSize(Base):
    """How many of a client's tasks of one priority waited, where its queue is long.

    Written by the sweep, whole and anew; no row: the queue is short, and is counted when asked.
    """

    __tablename__ = "queue_sizes"

    client_id: Mapped[UUID] = mapped_column(
        ForeignKey("clients.id", ondelete="CASCADE"), primary_key=True
    )
    priority: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    tasks: Mapped[int]
    bytes: Mapped[int] = mapped_column(BigInteger)
    """Of their inputs."""
    ahead: Mapped[int]
    """Tasks of higher priorities, without those of held pairs: they let the others pass."""
    open_tasks: Mapped[int]
    """Of this priority, without those."""
    marks: Mapped[list[UUID] | None]
    """Each so many-th of these in the queue's order."""
    places: Mapped[list[int] | None]
    """How many go before each of the marks."""
    counted_at: Mapped[datetime]
    took: Mapped[float]
    """Seconds that counting took."""
