"""kie.ai refuses the key or the credits, or has no room left for us: what is risked, and when."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import pytest
from starlette.responses import JSONResponse, PlainTextResponse, Response

from app.services.services import Services
from tests.fixtures.gateway import StartGateway, Wire
from tests.gateway import Gateway
from tests.services.stage import (
    Answer,
    account,
    has_creates,
    is_free,
    probe_is_due,
    says,
    slots_are_free,
    stays_held,
    turn,
    until_probe,
)
from tests.stage import eventually
from tests.upstream import Upstream, credits_left, refused

# -- the key or the credits are refused


NO_GOOD: dict[str, Answer] = {
    "no credits": lambda: credits_left(0),
    "less than none": lambda: credits_left(-3.5),
    "refused": says(401, "no access"),
    "broken": lambda: PlainTextResponse("<html>", 502),
    "not a number": lambda: JSONResponse({"code": 200, "msg": "success", "data": "lots"}),
}


@pytest.mark.parametrize("answer", NO_GOOD)
async def test_without_credits_no_task_is_risked(
    answer: str, gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    upstream.answers(says(402, "no credits"))
    made = [await gateway.create()]
    await stays_held(sql)
    made += [await gateway.create() for _ in range(2)]
    upstream.on_create = None
    upstream.answers_credit(NO_GOOD[answer])
    for tries in (2, 3):
        await probe_is_due(sql)
        assert await turn(services) is None
        made.append(await gateway.create())  # which admits by itself, like every create
        began = time.monotonic()
        await services.account.probe_due()
        held = await account(sql)
        assert (held["hold_reason"], held["hold_tries"]) == ("kie_account", tries)
        left = await until_probe(sql)
        assert left <= 7.5 * 2 ** (tries - 1)
        assert left + time.monotonic() - began >= 5 * 2 ** (tries - 1)
        await stays_held(sql)
        assert await turn(services) is None
    assert (len(upstream.creates), upstream.credit_calls) == (1, 2)

    upstream.on_credit = None
    await probe_is_due(sql)
    await services.account.probe_due()
    go = upstream.holds()
    assert await services.submitter.submit_due(50) == 0
    await eventually(lambda: has_creates(upstream, 2))
    assert await services.submitter.submit_due(50) is None
    go.set()
    await services.submitter.drain()
    assert await is_free(sql)
    assert await turn(services) == 0
    ends = {(await gateway.task(task["id"]))["state"] for task in made}
    assert (ends, len(upstream.creates)) == ({"running"}, 6)


async def test_the_one_that_was_risked_is_refused_again(
    gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    """There are credits, and too few for this task: the next is risked after another probe."""
    upstream.answers(says(402, "no credits"))
    await gateway.create()
    await stays_held(sql)
    for _ in range(2):
        await gateway.create()
    for tries in (2, 3):
        await probe_is_due(sql)
        await services.account.probe_due()
        assert await turn(services) == 0
        held = await account(sql)
        assert (held["hold_tries"], held["probed_at"]) == (tries, None)
        await sql.execute("UPDATE kie_account SET held_until = clock_timestamp()")
        assert await turn(services) is None
        assert (await gateway.create())["state"] == "queued"
    assert (len(upstream.creates), upstream.credit_calls) == (3, 2)


async def test_one_replica_alone_makes_the_credit_call(
    gateway: Gateway, wire: Wire, upstream: Upstream, sql: Any
) -> None:
    replicas = [await wire() for _ in range(3)]
    upstream.answers(says(401, "no access"))
    await gateway.create()
    await stays_held(sql)
    await asyncio.gather(*(replica.account.probe_due() for replica in replicas))
    assert upstream.credit_calls == 0
    await probe_is_due(sql)
    await asyncio.gather(*(replica.account.probe_due() for replica in replicas))
    assert upstream.credit_calls == 1


async def test_a_probe_whose_process_died_is_made_again(
    gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    upstream.answers(says(402, "no credits"))
    await gateway.create()
    asked, never = asyncio.Event(), asyncio.Event()

    async def credit() -> Response:
        asked.set()
        await never.wait()
        return credits_left(0)

    upstream.on_credit = credit
    await probe_is_due(sql)
    probing = asyncio.create_task(services.account.probe_due())
    await asked.wait()
    probing.cancel()
    await asyncio.wait({probing})
    never.set()
    upstream.on_credit = None

    assert 25 < await until_probe(sql) <= 30
    await services.account.probe_due()
    assert upstream.credit_calls == 1
    await probe_is_due(sql)
    await services.account.probe_due()
    assert upstream.credit_calls == 2
    assert (await account(sql))["probed_at"] is not None


@pytest.mark.parametrize("refusal", [429, 500])
async def test_other_holds_need_no_credit_call(
    refusal: int, gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    upstream.answers(says(refusal, "internal"))
    for _ in range(4):
        await gateway.create()
    await probe_is_due(sql)
    await services.account.probe_due()
    assert upstream.credit_calls == 0


# -- others use the account too


async def test_a_burst_of_429_teaches_once_that_others_use_the_account(
    start_gateway: StartGateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    gateway = await start_gateway(submit_wait=0)
    await _burst(gateway, upstream, 429, 8)
    assert (await _allowed(services), await _remembered(sql)) == (15, 15)
    await probe_is_due(sql)
    assert await turn(services) == 0
    assert (await _allowed(services), await _remembered(sql)) == (11, 11)

    await sql.execute("UPDATE kie_account SET throttled_at = throttled_at - interval '30 s'")
    assert await _allowed(services) == 14
    await probe_is_due(sql)
    assert await turn(services) == 0
    assert await _remembered(sql) == 10  # three quarters of what it has grown to
    await sql.execute("UPDATE kie_account SET throttled_at = throttled_at - interval '1 hour'")
    assert await _allowed(services) == 20


async def test_maintenance_says_nothing_of_others(
    start_gateway: StartGateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    gateway = await start_gateway(submit_wait=0)
    await _burst(gateway, upstream, 455, 3)
    assert (await _allowed(services), await _remembered(sql)) == (20, None)


async def test_what_others_leave_is_all_that_is_sent(
    start_gateway: StartGateway, wire: Wire, upstream: Upstream, sql: Any
) -> None:
    gateway = await start_gateway(kie_creates_per_10s=4)
    services = await wire(kie_creates_per_10s=4)
    upstream.answers(says(429, "slow down"))
    await gateway.create()
    await stays_held(sql)
    for _ in range(7):
        await gateway.create()
    upstream.on_create = None
    await probe_is_due(sql)
    await slots_are_free(sql)
    assert await turn(services) == 0
    assert await turn(services) == 0
    rest = await turn(services)
    assert len(upstream.creates) == 1 + 3
    assert rest is not None
    assert 8 < rest <= 10
    await sql.execute("UPDATE kie_account SET throttled_at = throttled_at - interval '10 s'")
    assert await turn(services) == 0
    assert len(upstream.creates) == 1 + 4
    await slots_are_free(sql)
    assert await turn(services) == 0
    assert len(upstream.creates) == 1 + 8


async def _burst(gateway: Gateway, upstream: Upstream, code: int, creates: int) -> None:
    """Have so many creates under way, and all of them refused at once."""
    go = asyncio.Event()

    async def create(_: Mapping[str, Any]) -> Response:
        await go.wait()
        return refused(code, "slow down")

    upstream.on_create = create
    made = [await gateway.create() for _ in range(creates)]
    await eventually(lambda: has_creates(upstream, creates))
    go.set()
    for task in made:
        await gateway.reaches(task["id"], "queued")


async def _allowed(services: Services) -> int:
    return int((await services.pauses.status()).account["creates_allowed"])


async def _remembered(sql: Any) -> int | None:
    found = (await account(sql))["creates_allowed"]
    return None if found is None else int(found)
