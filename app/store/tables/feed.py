"""The feed: which event came at which position, and who gives positions out."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Index, Integer, SmallInteger, text
from sqlalchemy.dialects.postgresql import INT8MULTIRANGE, Range
from sqlalchemy.orm import Mapped, mapped_column

from app.store.tables.base import Base

_ZERO = text("0")
_NONE = text("'{}'")


class FeedEntry(Base):
    """One event's place in the feed, given after the event was committed.

    No foreign key: an erased event leaves its place, so cursors that name it stay good.
    """

    __tablename__ = "feed"

    client_id: Mapped[UUID] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    event_id: Mapped[int] = mapped_column(BigInteger)
    token: Mapped[int] = mapped_column(Integer)
    """Chance's: a database that was restored gives the same positions out again, with others."""

    __table_args__ = (Index("feed_event", "event_id"),)


class FeedWriter(Base):
    """The one row that numbers the feed: its lease, its counter, and how far it has looked."""

    __tablename__ = "feed_writer"

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    holder: Mapped[UUID | None]
    """The process that numbers."""
    leased_until: Mapped[datetime | None]
    position: Mapped[int] = mapped_column(BigInteger, server_default=_ZERO)
    """The last one given."""
    seen: Mapped[int] = mapped_column(BigInteger, server_default=_ZERO)
    """The highest id of an event that has a position."""
    gaps: Mapped[list[Range[int]]] = mapped_column(INT8MULTIRANGE, server_default=_NONE)
    """Ids below it that were not committed when it was passed, and still may be."""
    suspects: Mapped[list[Range[int]]] = mapped_column(INT8MULTIRANGE, server_default=_NONE)
    """Gaps whose transactions all have lower ids than `suspects_before`: once those are over,
    what is still missing was rolled back."""
    suspects_before: Mapped[int] = mapped_column(BigInteger, server_default=_ZERO)
    kept_from: Mapped[int] = mapped_column(BigInteger, server_default=_ZERO)
    """Positions below it may have been deleted by age: their cursors are not checked."""

    __table_args__ = (CheckConstraint("id = 1", name="single"),)
