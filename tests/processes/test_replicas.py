"""Two gateways over one database: what one has said, the other knows."""

import asyncio
from collections import Counter

import pytest

from tests.gateway import BODY, Gateway
from tests.processes.conftest import Connection
from tests.upstream import Upstream, succeeded


async def test_200_parallel_creates_with_one_key_are_one_paid_task(
    replicas: tuple[Gateway, Gateway], upstream: Upstream, sql_connection: Connection
) -> None:
    answers = await asyncio.gather(
        *(replicas[number % 2].post(BODY, key="one-of-a-kind") for number in range(200))
    )

    assert Counter(answer.status_code for answer in answers) == {201: 1, 200: 199}
    (task_id,) = {answer.json()["id"] for answer in answers}
    assert len(upstream.creates) == 1
    rows = await sql_connection.fetch(
        "SELECT id FROM tasks WHERE idempotency_key = 'one-of-a-kind'"
    )
    assert [str(row["id"]) for row in rows] == [task_id]


@pytest.mark.long
async def test_a_create_that_was_answered_is_seen_on_the_other_replica(
    replicas: tuple[Gateway, Gateway],
) -> None:
    async def create_and_look(number: int) -> int:
        here, there = replicas[number % 2], replicas[1 - number % 2]
        created = await here.post()
        assert created.is_success, created.text
        return (await there.http.get(f"/v1/tasks/{created.json()['id']}")).status_code

    statuses = [
        status
        for start in range(0, 100, 10)
        for status in await asyncio.gather(*map(create_and_look, range(start, start + 10)))
    ]

    assert statuses == [200] * 100


async def test_a_callback_to_one_ends_the_wait_on_the_other(
    replicas: tuple[Gateway, Gateway], upstream: Upstream
) -> None:
    here, there = replicas
    task = await here.create()
    waiting = asyncio.create_task(there.task(task["id"], wait=30))

    answer = await here.call_back(upstream.callback_path, succeeded(task["kie_task_id"]))

    assert answer.status_code == 200
    assert (await waiting)["state"] == "succeeded"
