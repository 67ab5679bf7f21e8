"""Setting budgets, and showing how they stand."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

from app.domain.audit import Action, Operator
from app.domain.client import is_name, no_such_client
from app.domain.spend import Budget, Period, Standing, least_remaining, no_such_budget
from app.store.clients import audit
from app.store.connections.engine import Connection, Database
from app.store.spend import budgets


class Budgets:
    """What clients may spend; `operator` is who says so."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def own(self, client_id: UUID) -> list[dict[str, object]]:
        """Return the client's budgets as they stand."""
        return [one.shown for one in await self._standing(client_id)]

    async def remaining(self, client_id: UUID) -> Decimal | None:
        """Return the credits that the client may still reserve; None: it has no budget."""
        return least_remaining(await self._standing(client_id))

    async def _standing(self, client_id: UUID) -> Sequence[Standing]:
        async with self._database.read(client_id) as connection:
            return await budgets.standing(connection, client_id)

    async def of_client(self, name: str) -> list[dict[str, object]]:
        """Return a client's budgets as they stand; raises `NotFoundError`."""
        async with self._database.read() as connection:
            client_id = await _named(connection, name)
            return [one.shown for one in await budgets.standing(connection, client_id)]

    async def one(self, name: str, period: Period) -> dict[str, object]:
        """Return one budget as it stands; raises `NotFoundError`."""
        for shown in await self.of_client(name):
            if shown["period"] is period:
                return shown
        raise no_such_budget(period)

    async def all(self) -> list[Mapping[str, Any]]:
        """Return the budgets of all clients, each with its `client`."""
        async with self._database.read() as connection:
            names = await budgets.bounded_clients(connection)
            found = await budgets.standing_of(connection, names)
        listed = [{"client": names[client], **standing.shown} for client, standing in found]
        return sorted(listed, key=lambda shown: str(shown["client"]))

    async def set(self, operator: Operator, name: str, budget: Budget) -> None:
        """Set a budget: it counts for every create that begins afterwards.

        What was spent in the period already, and what is under way, counts too. Raises
        `NotFoundError`.
        """

        async def work(connection: Connection) -> None:
            client_id = await _named(connection, name)
            await budgets.lock(connection, client_id)
            await budgets.set_budget(connection, client_id, budget)
            detail = {
                "period": budget.period.value,
                "credits": f"{budget.credits:f}",
                "mode": budget.mode.value,
                "thresholds": " ".join(map(str, budget.thresholds)) or "none",
            }
            await audit.note(
                connection, Action.BUDGET_SET, operator=operator, client=name, detail=detail
            )

        await self._database.run(work)

    async def clear(self, operator: Operator, name: str, period: Period) -> None:
        """Take a budget away; raises `NotFoundError` where there is none."""

        async def work(connection: Connection) -> None:
            client_id = await _named(connection, name)
            await budgets.lock(connection, client_id)
            if not await budgets.clear(connection, client_id, period):
                raise no_such_budget(period)
            detail = {"period": period.value}
            await audit.note(
                connection, Action.BUDGET_CLEARED, operator=operator, client=name, detail=detail
            )

        await self._database.run(work)


async def _named(connection: Connection, name: str) -> UUID:
    found = await budgets.client_named(connection, name) if is_name(name) else None
    if found is None:
        raise no_such_client(name)
    return found
