"""What each migration says of the releases that may run on the schema that it makes."""

from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from app.store.sql import NOW
from app.store.tables.base import Base


class SchemaRelease(Base):
    """One revision; written by the migrator in the migration's own transaction."""

    __tablename__ = "schema_releases"

    revision: Mapped[str] = mapped_column(primary_key=True)
    oldest_release: Mapped[str]
    """The oldest release whose code runs on this schema."""
    migrated_at: Mapped[datetime] = mapped_column(server_default=NOW)
