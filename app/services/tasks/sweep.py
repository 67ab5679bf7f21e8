"""Ends what would otherwise last for ever: leases, states past their bound, breakers of no use."""

from collections.abc import Sequence
from functools import partial
from uuid import UUID

from app.domain.breaker import FORGOTTEN_AFTER
from app.domain.task import State
from app.services.account.admission import Admission
from app.services.consequences import Consequences
from app.services.spend.bookkeeping import Bookkeeping
from app.services.tasks.lifecycle import Lifecycle
from app.store.account import bounds, breakers, sizes
from app.store.connections.engine import Connection, Database

BATCH = 200
"""Rows in one transaction: short locks, and the next turn takes the rest."""


class Sweeper:
    """Looks at bounds, by the database's clock."""

    def __init__(
        self, database: Database, lifecycle: Lifecycle, admission: Admission, books: Bookkeeping
    ) -> None:
        self._database = database
        self._lifecycle = lifecycle
        self._admission = admission
        self._books = books

    async def sweep(self) -> float | None:
        """Free and end what is over; 0 where there may be more, else None."""
        async with self._database.read() as connection:
            over = await bounds.over(connection)
        moved = 0
        if over.leases:
            moved += len(await self._lifecycle.run(self._end_leases))
        if over.unreleased:
            moved += len(await self._lifecycle.run(self._withdraw))
        for state in over.states:
            moved += len(await self._lifecycle.run(partial(self._expire, state)))
        forgotten = await self._lifecycle.run(self._forget) if over.breakers else 0
        for client_id in over.uncounted:
            await self._lifecycle.run(partial(self._count, client_id))
        if over.uncounted or over.long:
            await self._lifecycle.run(self._spread)
        more = await self._books.turn(over)
        return 0 if moved or forgotten == BATCH or more else None

    async def _end_leases(
        self, connection: Connection, consequences: Consequences
    ) -> Sequence[UUID]:
        return await self._lifecycle.end_leases(connection, consequences, limit=BATCH)

    async def _withdraw(self, connection: Connection, consequences: Consequences) -> Sequence[UUID]:
        return await self._lifecycle.withdraw_unreleased(connection, consequences, limit=BATCH)

    async def _forget(self, connection: Connection, _: Consequences) -> int:
        return await breakers.forget_old(connection, after=FORGOTTEN_AFTER, limit=BATCH)

    async def _count(self, client_id: UUID, connection: Connection, _: Consequences) -> None:
        await sizes.count(connection, client_id)

    async def _spread(self, connection: Connection, _: Consequences) -> None:
        await self._admission.spread(connection)

    async def _expire(
        self, state: State, connection: Connection, consequences: Consequences
    ) -> Sequence[UUID]:
        return await self._lifecycle.expire(connection, consequences, state, limit=BATCH)
