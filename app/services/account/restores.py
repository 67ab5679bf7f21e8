"""What a person says about the database: that a restored one may be used, or that it will move.

Each act and its audit entry are one transaction.
"""

from app.domain.audit import Action, Operator
from app.domain.errors import InvalidRequestError
from app.services.account.witness import Witness, spelled
from app.services.consequences import Consequences, Transact
from app.store.account import witness
from app.store.clients import audit
from app.store.connections.engine import Connection
from app.store.signals import QUEUE

LONGEST_MOVE = 24 * 3600.0
"""Seconds for which a move can be expected: a dump that is restored later is no planned move."""


class Restores:
    """Ends the hold of a restored database, and announces moves; `operator` said so."""

    def __init__(self, run: Transact, ours: Witness) -> None:
        self._run = run
        self._ours = ours

    async def resume(self, operator: Operator) -> bool:
        """Send again, from the database as it is now; False: nothing is held because of it."""
        readable = await self._ours.readable()

        async def work(connection: Connection, consequences: Consequences) -> bool:
            seen = await witness.look(connection, readable)
            if not seen.is_held:
                return False
            await witness.release(connection, seen.found)
            await audit.note(
                connection, Action.DATABASE_RESUMED, operator=operator, detail=spelled(seen)
            )
            consequences.wake(QUEUE)
            return True

        return await self._run(work)

    async def expect_move(self, operator: Operator, *, within: float) -> None:
        """Send nothing from here, and accept the next database that this one turns up in, once.

        After `within` seconds all is as before. Raises `InvalidRequestError` for a time out of
        bounds, and where the database is held.
        """
        if not 0 < within <= LONGEST_MOVE:
            detail = f"A move is expected within at most {LONGEST_MOVE / 3600:g} hours."
            raise InvalidRequestError(detail)
        readable = await self._ours.readable()

        async def work(connection: Connection, _: Consequences) -> None:
            seen = await witness.look(connection, readable)
            if seen.is_held:
                detail = "The database is held: end that first (admission resume --restored)."
                raise InvalidRequestError(detail)
            await witness.expect_move(connection, within)
            told = {"within": f"{within:g} s"}
            await audit.note(connection, Action.MOVE_EXPECTED, operator=operator, detail=told)

        await self._run(work)

    async def expect_no_move(self, operator: Operator) -> None:
        """Take the announcement back, and send again."""

        async def work(connection: Connection, consequences: Consequences) -> None:
            await witness.expect_no_move(connection)
            await audit.note(connection, Action.MOVE_CANCELED, operator=operator)
            consequences.wake(QUEUE)

        await self._run(work)
