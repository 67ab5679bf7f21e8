"""What a create may spend: decided under the lock of its client's budgets."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import structlog

from app.domain.errors import BudgetExceededError, ModelCostUnknownError, OverloadedError
from app.domain.spend import NOTHING, Mode, Reserve, Standing, bounded_since, overdrawn
from app.log import Sampled
from app.metrics import Metrics
from app.store.connections.engine import Connection
from app.store.spend import budgets

SHOWN_BY = 10.0
"""Seconds after which a model's first task may have shown what it costs."""

TURN = 10.0
"""Seconds that a create waits for those before it of the same client."""

log = structlog.get_logger(__name__)


class Spending:
    """Lets creates through as far as hard budgets allow."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._turns: dict[UUID, asyncio.Lock] = {}
        """By client, of those that had a budget when they created last."""
        self._said = Sampled(clock=metrics.now)

    @asynccontextmanager
    async def turn(self, client_id: UUID) -> AsyncIterator[None]:
        """Wait here, not with a connection in hand: a client's creates go one after another.

        Of a client without budgets nobody waits. Raises `OverloadedError`.
        """
        turn = self._turns.get(client_id)
        if turn is None:
            yield
            return
        try:
            async with asyncio.timeout(TURN):
                await turn.acquire()
        except TimeoutError:
            detail = "Your other creates wait for your budget. Send fewer at once."
            raise OverloadedError(detail) from None
        try:
            yield
        finally:
            turn.release()

    async def require(
        self, connection: Connection, client_id: UUID, task_id: UUID, reserve: Reserve
    ) -> None:
        """Let a task through that was just stored, and reserved, by this transaction.

        Its client has budgets. Raises `BudgetExceededError`, and `ModelCostUnknownError` where
        a hard budget needs a cost that nobody knows: the transaction is to store nothing.
        """
        if not await budgets.lock(connection, client_id):
            return  # it was taken away just now
        self._turns.setdefault(client_id, asyncio.Lock())
        standings = await budgets.standing(connection, client_id, reserve.day)
        hard = [one for one in standings if one.budget.mode is Mode.HARD]
        over = overdrawn(hard, unknown=reserve.credits is None)
        if over is not None:
            self._note("exceeded", client_id, over)
            raise _exceeded(over, reserve)
        if hard and reserve.credits is None:
            await self._require_first(connection, client_id, task_id, reserve, hard)

    async def _require_first(
        self,
        connection: Connection,
        client_id: UUID,
        task_id: UUID,
        reserve: Reserve,
        hard: list[Standing],
    ) -> None:
        """Of a model whose cost nobody knows one task may be under way, not two."""
        since = bounded_since(hard)
        others = budgets.has_unknown(connection, client_id, task_id, reserve.model, since=since)
        if await others:
            self._note("cost_unknown", client_id, hard[0])
            raise _unknown()

    def _note(self, reason: str, client_id: UUID, standing: Standing) -> None:
        self._metrics.budget_refused(reason)
        suppressed = self._said.admit(f"{client_id} {reason}")
        if suppressed is not None:
            about = {"client_id": str(client_id), "reason": reason, "suppressed": suppressed}
            log.warning("budget.refused", **about, period=standing.budget.period)


def _exceeded(over: Standing, reserve: Reserve) -> BudgetExceededError:
    own = reserve.credits or NOTHING
    period, renews = over.budget.period, over.renews_at
    when = f"It renews at {renews:%Y-%m-%dT%H:%M:%SZ}." if renews else "It does not renew."
    cost = "of unknown cost" if reserve.credits is None else f"that may cost {own:f}"
    detail = (
        f"Your budget ({period}) is {over.budget.credits:f} credits: {over.spent:f} are spent and "
        f"{over.reserved - own:f} reserved, which leaves no room for a task {cost}. {when} Nothing "
        "was stored."
    )
    figures = {**over.shown, "reserved": over.reserved - own, "cost": reserve.credits}
    figures["remaining"] = max(NOTHING, over.budget.credits - over.spent - over.reserved + own)
    wait = (renews - reserve.at).total_seconds() if renews else None
    return BudgetExceededError(detail, retry_after=wait, figures=figures)


def _unknown() -> ModelCostUnknownError:
    detail = (
        "Nobody knows yet what this model costs, and you have a hard budget: until one task of "
        "the model has shown its cost, only one may be under way. Nothing was stored; repeat the "
        "request once that task has ended, or have an operator set "
        "GATEWAY_BUDGET_UNKNOWN_MODEL_COST."
    )
    return ModelCostUnknownError(detail, retry_after=SHOWN_BY)
