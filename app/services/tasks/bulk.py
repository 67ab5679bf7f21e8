"""What an operator does to many tasks at once, batch by batch.

Each batch is a transaction of its own, which also counts it for the run's one audit entry: a run
that is broken off has done what its entry says.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from app.domain.audit import Operator
from app.domain.bulk import ACTIONS, Act, Order, check
from app.domain.client import is_name, no_such_client
from app.domain.errors import require_risk_taken
from app.domain.task import State
from app.services.consequences import Consequences
from app.services.tasks.lifecycle import Lifecycle
from app.store.account import queues
from app.store.clients import audit
from app.store.connections.engine import Connection, Database, Row
from app.store.tasks import bulk

BATCH = 100
"""Tasks in one transaction: their rows are locked for a fraction of a second."""

AT_ONCE = 500
"""Tasks of one run for which somebody waits with a request open."""

MOST = 100_000
"""Tasks of one run."""

FIRST = 5
"""Ids that a preview shows."""

GROUPS = 50
"""Groups that a preview shows."""

CANCELED_BY_OPERATOR = "canceled by an operator"

Progress = Callable[[int, int], None]
"""Told after each batch how many tasks are done, and of how many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """Which tasks an order means now."""

    total: int
    groups: Sequence[Mapping[str, Any]]
    """By client, state and model, the most first, at most `GROUPS`."""
    first_ids: Sequence[UUID]
    """The oldest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a run did."""

    done: int
    remaining: int
    """Tasks that are meant still: beyond the bound, or in somebody's hands just then."""


class Bulk:
    """Carries out orders; `operator` gave them."""

    def __init__(
        self, database: Database, lifecycle: Lifecycle, new_id: Callable[[], UUID]
    ) -> None:
        self._database = database
        self._lifecycle = lifecycle
        self._new_id = new_id

    async def preview(self, order: Order) -> Preview:
        """Show what the order means, and change nothing.

        Raises `InvalidRequestError` for what cannot be ordered, `NotFoundError` for a client that
        does not exist.
        """
        check(order)
        async with self._database.read() as connection:
            await _require_client(connection, order.selection.client)
            groups = await bulk.count(connection, order)
            first = await bulk.choose(connection, order, limit=FIRST)
        return Preview(
            total=sum(row["tasks"] for row in groups),
            groups=[dict(row) for row in groups[:GROUPS]],
            first_ids=first,
        )

    async def run(
        self,
        operator: Operator,
        order: Order,
        *,
        limit: int = MOST,
        progress: Progress = lambda _done, _total: None,
    ) -> Run:
        """Do it to the tasks that are meant now, the oldest first, at most `limit`.

        Raises as `preview` does, and `PaidTwiceRiskError` where that is not accepted.
        """
        if order.act is Act.REQUEUE:
            require_risk_taken(may_pay_again=order.may_pay_again)
        check(order)
        async with self._database.read() as connection:
            await _require_client(connection, order.selection.client)
            ids = await bulk.choose(connection, order, limit=limit)
        done = await self._carry_out(operator, order, ids, progress) if ids else 0
        async with self._database.read() as connection:
            left = await bulk.count(connection, order)
        return Run(done=done, remaining=sum(row["tasks"] for row in left))

    async def _carry_out(
        self, operator: Operator, order: Order, ids: Sequence[UUID], progress: Progress
    ) -> int:
        run, done = self._new_id(), 0
        await self._lifecycle.run(partial(self._begin, operator, order, run, len(ids)))
        for batch in itertools.count(1):
            chosen = ids[(batch - 1) * BATCH : batch * BATCH]
            if not chosen:
                break
            done = await self._lifecycle.run(partial(self._batch, order, run, batch, chosen))
            progress(done, len(ids))
        return done

    @staticmethod
    async def _begin(
        operator: Operator,
        order: Order,
        run: UUID,
        meant: int,
        connection: Connection,
        _: Consequences,
    ) -> None:
        said = {"reason": order.reason} if order.reason else {}
        risk = {"may_pay_again": "true"} if order.may_pay_again else {}
        await audit.begin_run(
            connection,
            ACTIONS[order.act],
            operator=operator,
            client=order.selection.client,
            run=run,
            detail={**order.selection.noted, **said, **risk, "meant": str(meant)},
        )

    async def _batch(
        self,
        order: Order,
        run: UUID,
        batch: int,
        ids: Sequence[UUID],
        connection: Connection,
        consequences: Consequences,
    ) -> int:
        """Return how many the run has done; a batch whose commit was not answered is done once."""
        batches, done = await audit.count_run(connection, run)
        if batches >= batch:
            return done
        rows = await bulk.lock(connection, order, ids)
        for row in rows:
            await self._one(order, row, connection, consequences)
        done += len(rows)
        await audit.count_on(connection, run, batches=batch, done=done)
        return done

    async def _one(
        self, order: Order, row: Row, connection: Connection, consequences: Consequences
    ) -> None:
        at = (connection, consequences, row["id"])
        match order.act:
            case Act.CANCEL:
                await self._lifecycle.cancel(*at, reason=CANCELED_BY_OPERATOR)
            case Act.REQUEUE:
                await self._lifecycle.send_again(*at)
            case Act.FAIL:
                await self._lifecycle.give_up(*at, State(row["state"]), order.reason or "")


async def _require_client(connection: Connection, name: str | None) -> None:
    if name is None:
        return
    if not (is_name(name) and await queues.read_queue(connection, name)):
        raise no_such_client(name)
