"""Result files, and their copies in the archive."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, Integer, text
from sqlalchemy.orm import Mapped, mapped_column

from app.domain.files import ArtifactState
from app.domain.sources import Kind
from app.store.sql import NOW
from app.store.tables.base import Base, one_of


class Artifact(Base):
    """One file of a task's result, and the work that its copy owes.

    It outlives its task until the object is gone: so it has no foreign key to it.
    """

    __tablename__ = "artifacts"

    task_id: Mapped[UUID] = mapped_column(primary_key=True)
    n: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    client_id: Mapped[UUID] = mapped_column(ForeignKey("clients.id"))
    kind: Mapped[str]
    source_url: Mapped[str | None]
    """Only its client sees it: it may be signed."""
    digest: Mapped[bytes]
    """Of its source: what tells it from the others of its task."""
    state: Mapped[str] = mapped_column(server_default=text("'waiting'"))
    attempt: Mapped[int] = mapped_column(server_default=text("0"))
    """How often it was claimed; only the newest claim may record its outcome."""
    tries: Mapped[int] = mapped_column(server_default=text("0"))
    """How often a copy failed."""
    due_at: Mapped[datetime | None]
    leased_until: Mapped[datetime | None]
    object: Mapped[str | None]
    """Its name in the archive, from before the first byte is written there."""
    content_type: Mapped[str | None]
    sha256: Mapped[bytes | None]
    bytes: Mapped[int | None] = mapped_column(BigInteger)
    reason: Mapped[str | None]
    """Why the last try failed."""
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    finished_at: Mapped[datetime | None]
    """When it was stored, or given up."""

    __table_args__ = (
        one_of("kind", Kind),
        one_of("state", ArtifactState),
        CheckConstraint("(state IN ('waiting', 'deleting')) = (due_at IS NOT NULL)", name="due"),
        CheckConstraint("state <> 'stored' OR object IS NOT NULL", name="stored"),
        Index(
            "artifacts_due",
            "client_id",
            "due_at",
            postgresql_where=text("due_at IS NOT NULL"),
        ),
        Index(
            "artifacts_stored",
            "client_id",
            "finished_at",
            postgresql_where=text("state = 'stored'"),
        ),
    )
