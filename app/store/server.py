"""What the server is like to which we are connected."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_IS_WRITABLE = text("SELECT current_setting('transaction_read_only') = 'off'")


async def is_writable(connection: AsyncConnection) -> bool:
    """Tell whether the server takes writes: no standby, and not read-only."""
    return bool(await connection.scalar(_IS_WRITABLE))
