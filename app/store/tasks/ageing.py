"""Whose turn it is to delete what is old, and how such a transaction runs."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_TURN = 0x6B67_7265
"""The advisory lock of who deletes by age: one process at a time."""

LONGEST = 5.0
"""Seconds that a statement of theirs may take: what is not done in it is done in smaller pieces."""

_ALONE = text(
    f"""
SELECT set_config('synchronous_commit', 'off', true),
    set_config('statement_timeout', '{LONGEST * 1000:.0f}', true),
    pg_try_advisory_xact_lock({_TURN}) AS is_ours
"""  # our own numbers
)


async def is_our_turn(connection: AsyncConnection) -> bool:
    """Become the one who deletes by age until the transaction ends; False: somebody else is.

    A deletion that PostgreSQL loses in a crash is done again: it waits for no disk.
    """
    return bool((await connection.execute(_ALONE)).one().is_ours)
