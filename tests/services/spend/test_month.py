"""Days of traffic: usage, the ledger and the balance agree, and what nobody booked shows.

kie.ai is the simulator's own account, with its prices, failures, refunds and ledger. Days pass by
shifting what the database holds.
"""

import asyncio
import json
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from starlette.responses import Response

from app.domain.draft import Draft
from app.domain.usage import wanted
from app.services.services import Services
from app.services.spend.usage import ALL_GROUPS
from simulator import envelopes, json_codec
from simulator.account import Account, State, Task
from simulator.bodies import CreateBody
from tests.fixtures.gateway import Wire
from tests.gateway import OPERATOR
from tests.services.stage import ask, slots_are_free
from tests.store.stage import Sql
from tests.upstream import Upstream, accepted

CLIENTS = ("shop", "office", "studio", "lab", "press")
PRICES = {
    "image/quick": "4",
    "image/fine": "8.5",
    "image/edit": "0.02",
    "video/short": "62.5",
    "video/long": "400",
    "music": "12",
    "speech": "0.125",
    "upscale": "2",
}
START = Decimal(1_000_000)
BOUGHT = Decimal(50_000)
AT_ONCE = 4
WAVES = 2
"""Per day, with a reading of the balance in the midst of each."""

LOOKS = (10.0, 60.0, 300.0, 1800.0)
"""Seconds that pass between the looks at ends that lack credits, or may turn."""

PASSES = (
    *(
        f"UPDATE tasks SET {name} = {name} - interval '1 day'"  # noqa: S608  # our own names
        for name in ("created_at", "submitted_at", "finished_at")
    ),
    "UPDATE balance_readings SET at = at - interval '1 day'",
    # In two steps: each day takes the place of the one before.
    *(
        f"UPDATE {table} SET day = day {step}"  # noqa: S608  # our own names
        for table in ("usage_daily", "spend_daily")
        for step in ("- 10000", "+ 9999")
    ),
    "UPDATE model_hours SET hour = hour - interval '10000 days'",
    "UPDATE model_hours SET hour = hour + interval '9999 days'",
)


@dataclass
class Vendor:
    """kie.ai: an account of the simulator's, whose records are at times late or wrong at first."""

    account: Account
    chance: random.Random
    upstream: Upstream
    urls: dict[str, str] = field(default_factory=dict)
    withheld: set[str] = field(default_factory=set)
    """Whose credits the record does not have at first."""
    clock: float = 0.0

    async def create(self, body: Mapping[str, Any]) -> Response:
        taken = self.bill(body)
        self.urls[taken.id] = body["callBackUrl"]
        if self.chance.random() < 0.1:
            self.withheld.add(taken.id)
        return accepted(taken.id)

    def bill(self, body: Mapping[str, Any]) -> Task:
        create = CreateBody(
            model=body["model"],
            input=json.dumps(body["input"]),
            callback_url=body.get("callBackUrl"),
        )
        return self.account.create(create, "https://files.test", self.clock)

    async def credit(self) -> Response:
        data = self.account.balance(self.clock)
        return Response(json_codec.text({"code": 200, "msg": "success", "data": data}))

    def end_all(self) -> None:
        """Have every task come to its end, and records say so."""
        self.clock = time.time()
        for task in self.account.ledger:
            if task.id not in self.upstream.records and task.id in self.urls:
                self.upstream.records[task.id] = self.record(task)

    def record(self, task: Task) -> dict[str, Any]:
        made: dict[str, Any] = json.loads(json_codec.text(envelopes.record(task, self.clock)))
        if task.id in self.withheld and task.state(self.clock) is State.SUCCESS:
            made["data"]["creditsConsumed"] = None
        return made

    def callback(self, task_id: str) -> dict[str, Any]:
        """Write a callback; some name another cost than the record will."""
        task = next(one for one in self.account.ledger if one.id == task_id)
        body = envelopes.callback(task, Decimal(1), self.clock)
        made: dict[str, Any] = json.loads(json_codec.text(body))
        data = made["data"]
        lies = task_id not in self.withheld and self.chance.random() < 0.2
        if lies and data["state"] == "success":
            data["consumeCredits"] += 1
        return made

    @property
    def billed(self) -> Decimal:
        """What all creates of the gateway's have cost."""
        own = (task for task in self.account.ledger if task.id in self.urls)
        return sum((task.billed(self.clock) for task in own), Decimal(0))


class Month:
    """Clients who create tasks day after day."""

    def __init__(self, services: Services, sql: Sql, vendor: Vendor) -> None:
        self.services = services
        self.sql = sql
        self.vendor = vendor
        self.chance = random.Random(17)  # noqa: S311  # repeatable
        self.clients: list[UUID] = []
        self.planted: dict[int, Decimal] = {}

    async def open(self) -> None:
        for name in CLIENTS:
            await self.services.keys.create(name, operator=OPERATOR)
        rows = await self.sql.fetch("SELECT id FROM clients ORDER BY name")
        self.clients = [row["id"] for row in rows]

    async def day(self, tasks: int) -> None:
        await self.read()
        for _ in range(WAVES):
            for start in range(0, tasks // WAVES, AT_ONCE):
                some = min(AT_ONCE, tasks // WAVES - start)
                await asyncio.gather(*(self.create() for _ in range(some)))
                await self.services.submitter.drain()
                await slots_are_free(self.sql)
            await self.read()  # with all of them under way
            self.vendor.end_all()
            await self.call_back()
            await self.settle()
            await self.services.sweeper.sweep()
            await self.read()

    async def create(self) -> None:
        model = self.chance.choice(tuple(PRICES))
        draft = Draft(
            model=model,
            input={"prompt": "p"},
            metadata={"team": self.chance.choice("ab")},
            webhook_url=None,
            priority=5,
            submit_within=None,
        )
        await self.services.creates.create(self.chance.choice(self.clients), draft, None)

    async def call_back(self) -> None:
        """Have kie.ai call back for most: the others are asked about."""
        rows = await self.sql.fetch("SELECT id, kie_task_id FROM tasks WHERE state = 'running'")
        for row in rows:
            if self.chance.random() < 0.6:
                body = json.dumps(self.vendor.callback(row["kie_task_id"])).encode()
                await self.services.receiver.receive(row["id"], body, {})

    async def settle(self) -> None:
        """Ask about whatever is owed, until nothing is; late credits are there the second time."""
        await self.ask_after(1)
        for kie_id in self.vendor.withheld:
            self.vendor.upstream.records.pop(kie_id, None)
        self.vendor.withheld.clear()
        self.vendor.end_all()
        for seconds in LOOKS:
            await self.ask_after(seconds)
        owed = "SELECT count(*) FROM tasks WHERE due_at IS NOT NULL"
        assert await self.sql.fetchval(owed) == 0

    async def ask_after(self, seconds: float) -> None:
        """Let so many seconds pass, and ask about all that is owed."""
        await self.sql.execute(
            "UPDATE tasks SET due_at = now(), submitted_at = submitted_at - make_interval(secs =>"
            " $1), finished_at = finished_at - make_interval(secs => $1) WHERE due_at IS NOT NULL",
            seconds,
        )
        while await ask(self.services) == 0:
            await slots_are_free(self.sql)

    async def read(self) -> None:
        await self.sql.execute("UPDATE kie_account SET balance_due_at = NULL")
        await slots_are_free(self.sql)
        await self.services.reconciliation.turn()

    async def passes(self) -> None:
        """Let a day pass. A client erases two of its tasks, and old ones go."""
        await self.sql.execute("UPDATE kie_account SET models_due_at = NULL")
        await self.services.models.look()
        for statement in PASSES:
            await self.sql.execute(statement)
        for row in await self.sql.fetch("SELECT client_id, id FROM tasks ORDER BY id DESC LIMIT 2"):
            await self.services.erasure.task(row["client_id"], row["id"])
        while await self.services.retainer.retain() is not None:
            pass

    async def booked(self) -> Mapping[str, Any]:
        today = self.services.usage.today()
        first = today - timedelta(days=40)
        asked = wanted(today, first=first, last=today, by=["client", "model"], allowed=ALL_GROUPS)
        page = await self.services.usage.of_all(asked, None)
        assert sum(row["credits"] for row in page.rows) == page.total["credits"]
        assert len({row["client"] for row in page.rows}) == len(CLIENTS)
        assert {row["model"] for row in page.rows} <= set(PRICES)
        return page.total


async def _open(wire: Wire, upstream: Upstream, sql: Sql) -> Month:
    account = Account(start_credits=START, duration=0.001, failure_rate=0.1, seed=3)
    account.prices = {name: Decimal(price) for name, price in PRICES.items()}
    vendor = Vendor(account, random.Random(5), upstream, clock=time.time())  # noqa: S311  # as above
    upstream.on_create, upstream.on_credit = vendor.create, vendor.credit
    services = await wire(
        kie_creates_per_10s=20,
        kie_max_running=1000,
        kie_queries_per_second=100.0,
        retention_days=5,
    )
    month = Month(services, sql, vendor)
    await month.open()
    return month


async def _simulated(month: Month, days: int, tasks: int, *, twice_on: int, top_up_on: int) -> None:
    """Run the days; on one a create is paid twice, on another credits are bought."""
    account = month.vendor.account
    for day in range(days):
        if day == top_up_on:
            now = account.balance(month.vendor.clock)
            account.set_balance(month.vendor.clock, now + BOUGHT)
        await month.day(tasks)
        if day == twice_on:
            again = {"model": "video/short", "input": {}}
            while month.vendor.bill(again).failure:  # that one was given back
                continue
            await month.read()
        if day < days - 1:
            await month.passes()
    await month.services.erasure.client(OPERATOR, CLIENTS[-1])


async def _agrees(month: Month, *, days: int, tasks: int, twice_on: int) -> None:
    vendor, total = month.vendor, await month.booked()
    lost = Decimal(PRICES["video/short"])
    assert total["credits"] == vendor.billed
    assert sum(total["tasks"].values()) == days * tasks
    left = vendor.account.balance(vendor.clock)
    assert START + BOUGHT - left == vendor.billed + lost
    today = month.services.usage.today()
    found = await month.services.reconciliation.by_day(today - timedelta(days=days), today)
    whole = found["total"]
    assert (whole["lost"], whole["explained"], whole["top_ups"]) == (
        vendor.billed + lost,
        vendor.billed,
        BOUGHT,
    )
    assert whole["unexplained"] == lost
    planted = today - timedelta(days=days - 1 - twice_on)
    by_day = {row["day"]: row["unexplained"] for row in found["data"]}
    assert {day: amount for day, amount in by_day.items() if amount} == {planted.isoformat(): lost}
    reserved = "SELECT coalesce(sum(reserved), 0) FROM spend_daily"
    assert await month.sql.fetchval(reserved) == 0
    kept = await month.sql.fetchval("SELECT count(*) FROM tasks")
    assert 0 < kept < min(days, 7) * tasks  # the rest was erased, or too old


async def test_days_of_traffic(wire: Wire, upstream: Upstream, sql: Sql) -> None:
    month = await _open(wire, upstream, sql)
    await _simulated(month, 2, 24, twice_on=1, top_up_on=1)
    await _agrees(month, days=2, tasks=24, twice_on=1)


@pytest.mark.long
@pytest.mark.timeout(900)
async def test_a_month_of_traffic(wire: Wire, upstream: Upstream, sql: Sql) -> None:
    month = await _open(wire, upstream, sql)
    await _simulated(month, 30, 40, twice_on=17, top_up_on=10)
    await _agrees(month, days=30, tasks=40, twice_on=17)
