"""How many statements and transactions each use case costs: growth has to be wanted.

BEGIN and COMMIT are counted. What is done now and then for many is not: NOTIFY (`signals.PACE`),
numbering the feed (`numbering.GATHER`), and noting one success a second.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, NamedTuple
from uuid import UUID

import pytest
import pytest_asyncio

from app.domain.draft import Draft
from app.domain.restore import BEAT_EVERY
from app.services.services import Services
from app.services.tasks.create import Created
from app.worker import loops
from tests.fixtures.gateway import Wire
from tests.lending import owning
from tests.services.callers import Caller, listening
from tests.services.stage import due_now, slots_are_free
from tests.statements import Statements, recorded
from tests.upstream import Upstream, succeeded


class Cost(NamedTuple):
    """What one use case sends to PostgreSQL."""

    statements: int
    transactions: int


BUDGETS = {
    "create, sent at once": Cost(6, 2),
    "create, queued": Cost(11, 2),
    "GET": Cost(1, 1),
    "callback that settles": Cost(7, 1),
    "delivery": Cost(5, 2),
    "query that settles": Cost(11, 3),
    "idle minute": Cost(180, 99),
}
"""An issue may add two statements and no transaction to a use case; then it is written here."""

WELL = "UPDATE kie_account SET succeeded_at = clock_timestamp() + interval '1 h'"


class Stage:
    """One process without loops, a kie.ai, and a caller that is notified."""

    def __init__(
        self, services: Services, upstream: Upstream, caller: Caller, sql: Any, sent: Statements
    ) -> None:
        self.services = services
        self.upstream = upstream
        self.caller = caller
        self.sql = sql
        self.sent = sent
        self.client_id = UUID(int=0)

    async def create(self) -> Created:
        draft = Draft(
            model="m",
            input={"prompt": "a cat"},
            metadata={},
            webhook_url=self.caller.url,
            priority=5,
            submit_within=None,
        )
        created = await self.services.creates.create(self.client_id, draft, None)
        await created.sent(within=5.0)
        return created

    async def running(self) -> UUID:
        created = await self.create()
        await self.services.submitter.drain()
        return created.id

    async def call_back(self, task_id: UUID) -> None:
        body = json.dumps(succeeded(self.upstream.last_id)).encode()
        await self.services.receiver.receive(task_id, body, {})

    async def deliver(self) -> None:
        await self.services.deliverer.deliver_due()
        await self.services.deliverer.drain()

    async def ask(self) -> None:
        assert await self.services.poller.poll_due() == 0
        await self.services.poller.drain()

    async def cost(self, work: Callable[[], Awaitable[object]]) -> Cost:
        """Measure it; the first time a connection is opened for it, so it has been done before."""
        await asyncio.sleep(0)
        statements, transactions = len(self.sent.sent), self.sent.transactions
        await work()
        await asyncio.sleep(0)  # the driver tells of a statement in the loop's next round
        return Cost(len(self.sent.sent) - statements, self.sent.transactions - transactions)


@pytest.fixture(autouse=True)
def own_connections() -> Iterator[None]:
    """Only what connects within `recorded` is noted."""
    with owning():
        yield


@pytest_asyncio.fixture
async def stage(wire: Wire, upstream: Upstream, sql: Any) -> AsyncIterator[Stage]:
    with recorded() as sent:
        async with listening() as caller:
            services = await wire(delivery_allow_loopback=True, kie_confirm="off")
            await services.keys.create("tests")
            await services.witness.beat("serve")
            stage = Stage(services, upstream, caller, sql, sent)
            stage.client_id = await sql.fetchval("SELECT id FROM clients")
            await sql.execute(WELL)
            await stage.call_back(await stage.running())
            await stage.deliver()
            yield stage


async def create(stage: Stage) -> Cost:
    return await stage.cost(stage.create)


async def create_queued(stage: Stage) -> Cost:
    await stage.sql.execute("UPDATE kie_account SET paused_at = now()")
    await stage.create()
    found = await stage.cost(stage.create)
    assert len(stage.upstream.creates) == 1  # only the one before
    return found


async def get(stage: Stage) -> Cost:
    task_id = (await stage.create()).id
    return await stage.cost(lambda: stage.services.reader.task(stage.client_id, task_id))


async def callback(stage: Stage) -> Cost:
    task_id = await stage.running()
    return await stage.cost(lambda: stage.call_back(task_id))


async def delivery(stage: Stage) -> Cost:
    await stage.call_back(await stage.running())
    found = await stage.cost(stage.deliver)
    assert len(stage.caller.heard) == 2
    return found


async def query(stage: Stage) -> Cost:
    await stage.running()
    await due_now(stage.sql)
    await stage.ask()  # it still runs
    stage.upstream.has(stage.upstream.last_id, succeeded(stage.upstream.last_id))
    await due_now(stage.sql)
    await slots_are_free(stage.sql)
    return await stage.cost(stage.ask)


async def idle(stage: Stage) -> Cost:
    """Add up what wakes by itself: each turn finds nothing to do."""
    beating = [(BEAT_EVERY, lambda: stage.services.witness.beat("serve"))]
    turns = [*((loop.every, loop.turn) for loop in loops(stage.services)), *beating]
    statements = transactions = 0.0
    for every, turn in turns:
        await turn()
        found = await stage.cost(turn)
        statements += 60 / every * found.statements
        transactions += 60 / every * found.transactions
    return Cost(round(statements), round(transactions))


CASES: dict[str, Callable[[Stage], Awaitable[Cost]]] = {
    "create, sent at once": create,
    "create, queued": create_queued,
    "GET": get,
    "callback that settles": callback,
    "delivery": delivery,
    "query that settles": query,
    "idle minute": idle,
}


@pytest.mark.parametrize("case", CASES)
async def test_a_use_case_costs_what_it_is_allowed(case: str, stage: Stage) -> None:
    found = await CASES[case](stage)
    sent = "\n".join(stage.sent.sent[-found.statements :])
    assert found == BUDGETS[case], f"{found}:\n{sent}"
