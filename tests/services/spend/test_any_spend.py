"""A hard budget, prices that move, ends in any order and deaths: the books are right after each."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import aiohttp
import httpx
import pytest
from hypothesis import HealthCheck, settings, strategies
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from typing_extensions import override

from app.config import Settings
from app.domain.errors import BudgetExceededError, ModelCostUnknownError
from app.domain.spend import Budget, Period, held
from app.domain.task import FINAL, State
from app.domain.usage import wanted
from tests.gateway import OPERATOR
from tests.services.world import DRAFT, SHIFTED, Billed, Send, World, run
from tests.upstream import failed, succeeded

NUMBER = strategies.integers(min_value=0, max_value=10_000)
BUDGET = Decimal(20)
MODELS = ("first", "second")
_SHIFTED = {
    table: [name for name in names if name != "created_at"] for table, names in SHIFTED.items()
}
"""A task stays in the period that it was created in."""
_PASS = "; ".join(
    f"UPDATE {table} SET "  # noqa: S608  # our own names
    + ", ".join(f"{name} = {name} - make_interval(secs => {{0}})" for name in names)
    for table, names in _SHIFTED.items()
)


@dataclass
class Priced(Billed):
    """A create that kie.ai took, and what it costs."""

    cost: Decimal = Decimal(0)
    states_cost: bool = True

    @property
    @override
    def record(self) -> dict[str, Any]:
        envelope = super().record
        if self.end != "running":
            made = succeeded if self.end == "succeeded" else failed
            price = str(self.billed) if self.states_cost else None
            param = envelope["data"]["param"]
            envelope = made(self.kie_task_id, consumeCredits=price and float(price), param=param)
        return envelope

    @property
    def billed(self) -> Decimal:
        return self.cost if self.end == "succeeded" else Decimal(0)


class Market(World):
    """kie.ai with prices."""

    prices: dict[str, Decimal]

    @override
    def bill(self, send: Send) -> Billed:
        taken = super().bill(send)
        priced = Priced(
            taken.kie_task_id,
            taken.task_id,
            taken.path,
            cost=self.prices[self.models[taken.task_id]],
        )
        self.billed[-1] = send.taken = priced
        return priced

    @override
    async def passes(self, seconds: float) -> None:
        await self.sql.execute(_PASS.format(seconds))

    async def create_of(self, model: str) -> None:
        draft = replace(DRAFT, model=model)
        await self.services.creates.create(self.client_id, draft, None)
        await self.quiet()

    models: dict[Any, str]

    async def note_models(self) -> None:
        for row in await self.rows():
            self.models[row["id"]] = row["model"]


def _lost(_: Send) -> httpx.Response:
    raise aiohttp.ServerDisconnectedError


def _refused(_: Send) -> httpx.Response:
    return httpx.Response(200, json={"code": 422, "msg": "Bad input", "data": None})


class AnySpend(RuleBasedStateMachine):
    """What must hold of the books after each step."""

    world: Market
    loop: asyncio.AbstractEventLoop

    def __init__(self) -> None:
        super().__init__()
        self.world.prices = {model: Decimal(3) for model in MODELS}
        self.world.models = {}
        run(self.loop, self.world.open())
        budget = Budget(period=Period.TOTAL, credits=BUDGET)
        run(self.loop, self.world.services.budgets.set(OPERATOR, "tests", budget))

    @override
    def teardown(self) -> None:
        try:
            self._comes_to_an_end()
        finally:
            run(self.loop, self.world.close())
            self.world.__init__(  # type: ignore[misc]  # as new for the next example
                self.world.settings, self.world.dsn
            )

    # -- what happens

    @rule(model=strategies.sampled_from(MODELS), many=strategies.integers(1, 4))
    def create(self, model: str, many: int) -> None:
        """Create so many at once; what is refused leaves nothing."""
        before = len(run(self.loop, self.world.rows()))

        async def create() -> list[Any]:
            made = (self.world.create_of(model) for _ in range(many))
            return await asyncio.gather(*made, return_exceptions=True)

        found = run(self.loop, create())
        run(self.loop, self.world.note_models())
        refused = [one for one in found if one is not None]
        assert all(isinstance(one, BudgetExceededError) for one in refused), refused
        rows = run(self.loop, self.world.rows())
        assert len(rows) == before + many - len(refused)
        spent, reserved = self._books()
        if len(refused) < many:
            assert spent + reserved <= BUDGET + self._overshoot(rows)
        if any(isinstance(one, ModelCostUnknownError) for one in refused):
            assert any(row["model"] == model and row["reserved"] is None for row in rows)

    @rule(model=strategies.sampled_from(MODELS), price=strategies.sampled_from(["1.5", "3", "6"]))
    def reprice(self, model: str, price: str) -> None:
        self.world.prices[model] = Decimal(price)

    @rule()
    def submit(self) -> None:
        run(self.loop, self.world.submit())

    @precondition(lambda self: self.world.waiting())
    @rule(number=NUMBER, in_time=strategies.booleans())
    def accept(self, number: int, in_time: bool) -> None:  # noqa: FBT001  # hypothesis's choice
        send = self._pick(self.world.waiting(), number)
        taken = send.taken or self.world.bill(send)
        data = {"code": 200, "msg": "success", "data": {"taskId": taken.kie_task_id}}
        answer = _lost if not in_time else lambda _: httpx.Response(200, json=data)
        run(self.loop, self.world.answer(send, answer))

    @precondition(lambda self: self.world.waiting())
    @rule(number=NUMBER)
    def refuse(self, number: int) -> None:
        send = self._pick(self.world.waiting(), number)
        run(self.loop, self.world.answer(send, _lost if send.taken else _refused))

    @precondition(lambda self: self.world.billed)
    @rule(
        number=NUMBER,
        end=strategies.sampled_from(["succeeded", "failed"]),
        states_cost=strategies.booleans(),
    )
    def end(self, number: int, end: str, states_cost: bool) -> None:  # noqa: FBT001  # as above
        """End a task, call back of it, and let its cost be known now or later."""
        taken = self._pick(self.world.billed, number)
        if taken.end == "running":
            taken.end = end
        taken.states_cost = taken.states_cost and states_cost
        run(self.loop, self.world.call_back(taken, taken.record))

    @rule()
    def costs_are_known(self) -> None:
        for taken in self.world.billed:
            assert isinstance(taken, Priced)
            taken.states_cost = True

    @rule()
    def ask(self) -> None:
        run(self.loop, self.world.ask())

    @rule()
    def sweep(self) -> None:
        run(self.loop, self.world.services.sweeper.sweep())

    @rule(number=NUMBER)
    def cancel(self, number: int) -> None:
        rows = [row for row in run(self.loop, self.world.rows()) if row["state"] == "queued"]
        if rows:
            task_id = self._pick(rows, number)["id"]
            run(self.loop, self.world.services.commands.cancel(self.world.client_id, task_id))

    @rule(seconds=strategies.sampled_from([1, 5, 31, 120, 4000]))
    def time_passes(self, seconds: float) -> None:
        run(self.loop, self.world.passes(seconds))

    @rule()
    def die(self) -> None:
        run(self.loop, self.world.die())

    # -- what holds

    @invariant()
    def the_books_are_the_rows(self) -> None:
        rows = run(self.loop, self.world.rows())
        spent, reserved = self._books()
        assert spent == sum(row["credits_consumed"] or 0 for row in rows)
        assert reserved == sum(
            held(State(row["state"]), row["reserved"], row["credits_consumed"]) for row in rows
        )

    @invariant()
    def usage_is_the_rows(self) -> None:
        usage = self.world.services.usage
        page = run(self.loop, usage.of_client(self.world.client_id, _everything(usage.today())))
        rows = run(self.loop, self.world.rows())
        for state in FINAL:
            assert page.total["tasks"][state] == sum(row["state"] == state for row in rows)
        assert page.total["credits"] == sum(row["credits_consumed"] or 0 for row in rows)

    @invariant()
    def no_reserve_is_wrong(self) -> None:
        assert run(self.loop, self.world.services.sweeper._books.reconcile()) == 0

    def _books(self) -> tuple[Decimal, Decimal]:
        [shown] = run(self.loop, self.world.services.budgets.own(self.world.client_id))
        spent, reserved = shown["spent"], shown["reserved"]
        assert isinstance(spent, Decimal)
        assert isinstance(reserved, Decimal)
        return spent, reserved

    @staticmethod
    def _overshoot(rows: list[dict[str, Any]]) -> Decimal:
        """By how much costs are above what was reserved for them, or came without a reserve."""
        costs = [(row["credits_consumed"] or 0) - (row["reserved"] or 0) for row in rows]
        return Decimal(sum(cost for cost in costs if cost > 0))

    def _comes_to_an_end(self) -> None:
        """Let kie.ai end and state what it took: nothing is reserved then, and all is booked."""
        self.costs_are_known()
        for send in self.world.waiting():
            run(self.loop, self.world.answer(send, _lost))
        for taken in self.world.billed:
            taken.end = "succeeded" if taken.end == "running" else taken.end
            run(self.loop, self.world.call_back(taken, taken.record))
        for seconds in (0, 31, 31, 4000, 4000, 4000):
            run(self.loop, self.world.passes(seconds))
            run(self.loop, self.world.services.sweeper.sweep())
            run(self.loop, self.world.ask())
        billed = sum(one.billed for one in self.world.billed if isinstance(one, Priced))
        rows = run(self.loop, self.world.rows())
        expired = [row for row in rows if row["state"] == State.EXPIRED]
        spent, reserved = self._books()
        assert spent == billed
        assert reserved == sum(row["reserved"] or 0 for row in expired)
        self.usage_is_the_rows()

    @staticmethod
    def _pick(options: list[Any], number: int) -> Any:
        return options[number % len(options)]


def _everything(today: Any) -> Any:
    return wanted(today, first=None, last=None, by=(), allowed=())


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def test_the_books_are_right_whatever_comes(
    dsn: str, make_settings: Callable[..., Settings], loop: asyncio.AbstractEventLoop
) -> None:
    AnySpend.world = Market(make_settings(), dsn)
    AnySpend.loop = loop
    run_state_machine_as_test(
        AnySpend,
        settings=settings(
            max_examples=max(2, settings().max_examples // 5),
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
