"""Files that callers gave the gateway, and that kie.ai has."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from app.store.sql import NOW
from app.store.tables.base import Base

Digest = bytes


class File(Base):
    """A file that was uploaded whole: one that was cut off leaves no row."""

    __tablename__ = "files"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    client_id: Mapped[UUID] = mapped_column(ForeignKey("clients.id", ondelete="CASCADE"))
    name: Mapped[str]
    content_type: Mapped[str]
    bytes: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[Digest]
    url: Mapped[str]
    """Where kie.ai has it, for who knows the URL."""
    expires_at: Mapped[datetime]
    """When kie.ai deletes it."""
    object_name: Mapped[str | None]
    """Where the archive has a copy; NULL: nowhere."""
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)

    __table_args__ = (
        CheckConstraint("bytes > 0", name="bytes"),
        CheckConstraint("octet_length(sha256) = 32", name="sha256"),
        Index("files_of_client", "client_id", "id"),
        Index("files_old", "created_at"),
    )
