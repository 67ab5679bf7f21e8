"""The books: what was appended is folded, compared with the rows, and thresholds are announced."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from functools import partial
from uuid import UUID

import structlog

from app.domain.client import url_host
from app.domain.delivery import DeliveryState, EventType
from app.domain.exact_json import render
from app.domain.models import learnt
from app.domain.spend import NOTHING, Standing
from app.domain.usage import Entry, folded
from app.metrics import Metrics
from app.services.consequences import Consequences, Transact
from app.store.account.bounds import Over
from app.store.connections.engine import Connection, Database, Row
from app.store.deliveries import outbox
from app.store.deliveries.outbox import NewDelivery
from app.store.signals import DELIVER
from app.store.spend import budgets, folding, models

BATCH = 500
"""Entries, or tasks, in one transaction."""

RECONCILE_EVERY = 60.0
"""Seconds between two looks of a process at whether the reserves are right."""

log = structlog.get_logger(__name__)


class Bookkeeping:
    """Keeps the books in order; part of the sweep."""

    def __init__(
        self,
        database: Database,
        transact: Transact,
        new_id: Callable[[], UUID],
        first_wait: float,
        metrics: Metrics,
        today: Callable[[], date],
    ) -> None:
        """`first_wait`: the seconds before the first attempt of a delivery; `today`: in UTC."""
        self._database = database
        self._transact = transact
        self._new_id = new_id
        self._first_wait = first_wait
        self._metrics = metrics
        self._today = today
        self._reconciled_at: float | None = None

    async def turn(self, over: Over) -> bool:
        """Fold, reconcile now and then, announce: as far as `over` has found something for it.

        True: there may be more to fold.
        """
        late = await self._transact(self._catch_up) if over.unbooked else 0
        taken = await self._transact(self._fold) if over.entries or late else 0
        if over.budgets:
            await self._reconcile_in_turn()
            await self._announce_all()
        return BATCH in (late, taken)

    async def _catch_up(self, connection: Connection, _: Consequences) -> int:
        return await folding.catch_up(connection, limit=BATCH)

    async def _fold(self, connection: Connection, consequences: Consequences) -> int:
        if not await folding.become_folder(connection):
            return 0
        entries = await folding.take(connection, limit=BATCH)
        if entries:
            places = {(entry.client_id, entry.day) for entry in entries}
            known = await folding.known(connection, places)
            await folding.add_usage(connection, folded(entries, known))
            await folding.add_spend(connection, _spend(entries))
            await models.learn(connection, learnt(entries, self._today()))
            await self._count_overshoot(connection, consequences, entries)
        return len(entries)

    async def _count_overshoot(
        self, connection: Connection, consequences: Consequences, entries: Sequence[Entry]
    ) -> None:
        over = [entry for entry in entries if entry.overshoot]
        if not over:
            return
        bounded = await budgets.bounded_clients(connection)
        for entry in over:
            if entry.client_id in bounded:
                consequences.count(partial(self._metrics.budget_overshot, entry.overshoot))
                about = {"client": bounded[entry.client_id], "task_id": str(entry.task_id)}
                about |= {"model": entry.model, "credits": str(entry.overshoot)}
                consequences.count(partial(log.warning, "budget.overshoot", **about))

    # -- reserves

    async def _reconcile_in_turn(self) -> None:
        now = self._metrics.now()
        if self._reconciled_at is None or now - self._reconciled_at >= RECONCILE_EVERY:
            self._reconciled_at = now
            await self.reconcile()

    async def reconcile(self) -> int:
        """Compare the reserves with the tasks that have them, and put them right.

        Returns how many were wrong: a defect, which is counted and logged.
        """
        return await self._transact(self._reconcile)

    async def _reconcile(self, connection: Connection, consequences: Consequences) -> int:
        if not await folding.become_folder(connection):
            return 0
        wrong = await folding.reconcile(connection)
        for one in wrong:
            consequences.count(self._metrics.reserve_fixed)
            about = {name: str(one[name]) for name in ("client", "day", "missing")}
            consequences.count(partial(log.error, "budget.reserve_fixed", **about))
        return len(wrong)

    # -- thresholds

    async def _announce_all(self) -> None:
        async with self._database.read() as connection:
            clients = await budgets.bounded_clients(connection)
            found = await budgets.standing_of(connection, clients) if clients else []
        for client_id in dict.fromkeys(client for client, standing in found if standing.crossed):
            await self._transact(partial(self._announce, client_id))

    async def _announce(
        self, client_id: UUID, connection: Connection, consequences: Consequences
    ) -> None:
        """Announce what no period has heard yet: under the lock, so nobody else does."""
        await budgets.lock(connection, client_id)
        for standing in await budgets.standing(connection, client_id):
            if standing.crossed:
                await budgets.note_announced(connection, client_id, standing)
                await self._tell(connection, consequences, client_id, standing)

    async def _tell(
        self,
        connection: Connection,
        consequences: Consequences,
        client_id: UUID,
        standing: Standing,
    ) -> None:
        where = await budgets.where_to(connection, client_id)
        for percent in standing.crossed:
            told = {**standing.shown, "threshold": percent}
            consequences.count(partial(self._metrics.threshold_reached, standing.budget.period))
            about = {"client": where["name"], "threshold": percent}
            about |= {"period": standing.budget.period, "spent": str(standing.spent)}
            about |= {"credits": str(standing.budget.credits)}
            consequences.count(partial(log.warning, "budget.threshold", **about))
            if _listens(where):
                body = {
                    "type": EventType.BUDGET_THRESHOLD,
                    "timestamp": where["now"],
                    "data": told,
                }
                new = self._delivery(client_id, where, render(body).encode())
                await outbox.put(connection, [new], due_in=self._first_wait)
                consequences.wake(DELIVER)

    def _delivery(self, client_id: UUID, where: Row, body: bytes) -> NewDelivery:
        url = str(where["webhook_url"])
        state = DeliveryState.DISABLED if where["disabled"] else DeliveryState.PENDING
        return NewDelivery(
            id=self._new_id(),
            client_id=client_id,
            task_id=None,
            event=EventType.BUDGET_THRESHOLD,
            url=url,
            host=url_host(url),
            body=body,
            state=state,
        )


def _listens(where: Row) -> bool:
    events = where["webhook_events"]
    subscribed = isinstance(events, list) and EventType.BUDGET_THRESHOLD.value in events
    return subscribed and where["webhook_url"] is not None


def _spend(entries: Sequence[Entry]) -> Mapping[tuple[UUID, date], tuple[Decimal, Decimal]]:
    """Sum up what the tasks that were created on each day have cost, and may cost yet."""
    sums: dict[tuple[UUID, date], tuple[Decimal, Decimal]] = defaultdict(lambda: (NOTHING, NOTHING))
    for entry in entries:
        spent, reserved = sums[entry.client_id, entry.created_day]
        place = (entry.client_id, entry.created_day)
        sums[place] = (spent + entry.spent, reserved + entry.reserved)
    return sums
