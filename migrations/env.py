"""Runs migrations: each in a transaction of its own, one migrator at a time, never waiting long."""

import asyncio
import os

from alembic import context
from sqlalchemy import Connection

from app.store import schema
from app.store.connections.engine import Database
from app.store.tables import Base

given = context.config.attributes
progress: schema.Progress | None = given.get("progress")
"""Given by `kie-gateway migrate`, and not by the alembic command."""


def migrate(connection: Connection) -> None:
    if progress is None:
        _turn(connection, schema.Progress())
        return
    while _turn(connection, progress):
        pass
    schema.analyze(connection, progress)
    schema.keep_settings(connection, progress)


def _turn(connection: Connection, progress: schema.Progress) -> bool:
    """Run what alembic was asked for, in one transaction; returns whether it changed anything."""
    with connection.begin():
        schema.take_turn(connection, progress)
        context.configure(
            connection=connection,
            target_metadata=Base.metadata,
            compare_server_default=True,
            on_version_apply=schema.note_release,
        )
        before = context.get_context().get_current_heads()
        with context.begin_transaction():
            context.run_migrations()
        return context.get_context().get_current_heads() != before


async def main() -> None:
    dsn = given.get("dsn") or os.environ["GATEWAY_DATABASE_URL"]
    database = Database(dsn, pool_size=2, command_timeout=None)  # one to migrate, one to watch
    watch = schema.watched(database, progress or schema.Progress())
    try:
        async with database.own_connection() as connection, watch:
            await connection.run_sync(migrate)
    finally:
        await database.dispose()


asyncio.run(main())
