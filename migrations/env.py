"""Runs migrations: each in a transaction of its own, one migrator at a time, never waiting long."""

import asyncio
import os

from alembic import context
from sqlalchemy import Connection, text

from app.store.engine import Database
from app.store.tables import Base

LOCK = 0x6B69655F6D6967
"""One number for the whole project: pg_advisory_lock keeps a second migrator waiting."""

# A migration that cannot get its lock must fail and be tried again, not block every request
# behind it; one that runs for minutes belongs into steps.
TIMEOUTS = ("SET lock_timeout = '5s'", "SET statement_timeout = '300s'")


def migrate(connection: Connection) -> None:
    connection.execute(text(f"SELECT pg_advisory_lock({LOCK})"))
    for timeout in TIMEOUTS:
        connection.execute(text(timeout))
    connection.commit()
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        transaction_per_migration=True,
        compare_server_default=True,
    )
    with context.begin_transaction():
        context.run_migrations()


async def main() -> None:
    dsn = context.config.attributes.get("dsn") or os.environ["GATEWAY_DATABASE_URL"]
    database = Database(dsn, pool_size=1, command_timeout=None)
    try:
        async with database.own_connection() as connection:
            await connection.run_sync(migrate)
    finally:
        await database.dispose()


asyncio.run(main())
