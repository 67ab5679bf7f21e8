"""What stays of an erased task: enough to refuse, and nothing that it said."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, Index, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app.store.sql import NOW
from app.store.tables.base import Base


class ErasedTask(Base):
    """The tombstone of a task: its key pays no second time, and late callbacks are not kept."""

    __tablename__ = "erased_tasks"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    """The task's."""
    client_id: Mapped[UUID]
    key_digest: Mapped[bytes | None]
    """SHA-256 of the client's id and the idempotency key; NULL: it had none, or needs none."""
    erased_at: Mapped[datetime] = mapped_column(server_default=NOW)
    events: Mapped[list[int]] = mapped_column(ARRAY(BigInteger), server_default=text("'{}'"))
    """The ids of its events: their places in the feed stay as long as this does."""

    __table_args__ = (
        Index(
            "erased_tasks_key",
            "key_digest",
            postgresql_where=text("key_digest IS NOT NULL"),
        ),
        Index("erased_tasks_old", "erased_at"),
    )
