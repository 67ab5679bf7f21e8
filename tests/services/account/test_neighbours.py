"""What one client, or one balance, does to all the others: the promises as they are met."""

from collections import Counter
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import pytest
from starlette.responses import Response

from app.domain.task import State
from app.services.services import Services
from tests.fixtures.gateway import StartGateway, Wire
from tests.gateway import Gateway, issue_key
from tests.services.stage import account, probe_is_due, says, slots_are_free, turn
from tests.store.stage import put_queue, put_task
from tests.upstream import Upstream, accepted, credits_left, refused

BAD, GOOD_EVERY = 60, 6
"""Creates of the one client, and after how many of them the other makes one."""
ROOM = {"kie_creates_per_10s": 400}
"""Slots are scarce for other reasons, and are tested elsewhere."""


async def test_sixty_bad_creates_hold_nobody_else(
    start_gateway: StartGateway, upstream: Upstream, sql: Any
) -> None:
    gateway = await start_gateway(worker=True, **ROOM)
    bad = dict(gateway.http.headers)
    good = {"Authorization": f"Bearer {await issue_key(gateway.settings, 'good')}"}
    riddle = says(500, "a riddle")

    async def create(body: Mapping[str, Any]) -> Response:
        return riddle() if body["model"] == "bad" else accepted(f"kie-{len(upstream.creates)}")

    upstream.on_create = create
    held = set()
    states: Counter[str] = Counter()
    for number in range(BAD):
        gateway.http.headers.update(bad)
        await gateway.create(model="bad")
        if number % GOOD_EVERY == 0:
            gateway.http.headers.update(good)
            task = await gateway.create()
            states[task["state"]] += 1
            held.add(task["hold_reason"])
        held.add((await account(sql))["hold_reason"])
    assert held == {None}
    assert states == {"running": BAD // GOOD_EVERY}
    sent = Counter(create["model"] for create in upstream.creates)
    assert 3 <= sent["bad"] <= 6  # three in a row, and a probe each time the wait is over


TASKS, IN_FLIGHT = 1000, 50
BALANCE = 30
"""Credits for as many tasks."""


class Bank:
    """kie.ai's side of the balance: a create costs one credit."""

    def __init__(self, upstream: Upstream, balance: float) -> None:
        self.balance = balance
        self.refused = 0
        self.accepted = 0
        upstream.on_create = self._create
        upstream.on_credit = self._credit

    async def _create(self, _: Mapping[str, Any]) -> Response:
        if self.balance < 1:
            self.refused += 1
            return refused(402, "Insufficient credits")
        self.balance -= 1
        self.accepted += 1
        return accepted(f"kie-{self.accepted}")

    async def _credit(self) -> Response:
        return credits_left(self.balance)


@pytest.mark.long
async def test_a_balance_that_runs_out_fails_nothing_and_wastes_little(
    gateway: Gateway, wire: Wire, upstream: Upstream, sql: Any
) -> None:
    assert gateway.api_key  # it made the client
    services = await wire(kie_creates_per_10s=400, kie_max_running=2 * TASKS)
    client_id: UUID = await sql.fetchval("SELECT id FROM clients")
    await put_queue(sql, client_id, TASKS)
    bank = Bank(upstream, BALANCE)

    assert await turn(services) == 0
    assert bank.refused <= IN_FLIGHT - BALANCE
    before = bank.refused
    assert before > 0
    for _ in range(3):  # nothing is left: nothing is risked
        await _round(services, sql)
    assert bank.refused == before

    bank.balance = 0.5  # what a task costs nobody knows: one is risked each time
    for risked in (1, 2):
        await _round(services, sql)
        assert bank.refused == before + risked
    assert (await account(sql))["hold_reason"] == "kie_account"
    await put_task(
        sql, client_id, State.SUCCEEDED, model="m", credits_consumed=1
    )  # now it is known
    for _ in range(3):
        await _round(services, sql)
    assert bank.refused == before + 2
    assert await _states(sql) == {"running": BALANCE, "queued": TASKS - BALANCE, "succeeded": 1}

    bank.balance = 2 * TASKS
    while (await _states(sql))["queued"]:
        await _round(services, sql)
    assert await _states(sql) == {"running": TASKS, "succeeded": 1}
    assert (bank.accepted, bank.refused) == (TASKS, before + 2)


async def test_a_bad_request_does_not_lift_the_hold_for_want_of_credits(
    gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    """It proves nothing about the balance: kie.ai refused it before it looked there."""
    upstream.answers(says(402, "no credits"))
    for _ in range(3):
        await gateway.create()
    upstream.answers(says(422, "a bad prompt"))
    await _round(services, sql)
    held = await account(sql)
    assert (held["hold_reason"], held["hold_tries"], held["probed_at"]) == ("kie_account", 1, None)
    assert await turn(services) is None
    upstream.on_create = None
    await _round(services, sql)
    assert (await account(sql))["hold_reason"] is None


async def _round(services: Services, sql: Any) -> None:
    """Let all waits pass, then do what the loops do."""
    await probe_is_due(sql)
    await slots_are_free(sql)
    await services.account.probe_due()
    await turn(services)


async def _states(sql: Any) -> Counter[str]:
    rows = await sql.fetch("SELECT state, count(*) AS tasks FROM tasks GROUP BY state")
    return Counter({row["state"]: row["tasks"] for row in rows})
