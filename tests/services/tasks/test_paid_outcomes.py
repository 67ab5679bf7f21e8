"""PostgreSQL refuses for a while what was paid for, in words of every kind: no id is lost."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.fixtures.gateway import StartGateway
from tests.gateway import Gateway
from tests.scrape import samples
from tests.stage import eventually
from tests.upstream import Upstream, succeeded

TROUBLES = {
    "a read-only server": "25006",
    "no disk": "53100",
    "no memory": "53200",
    "a lock that is not free": "55P03",
    "not serializable": "40001",
    "input and output": "58030",
    "an internal error": "XX000",
    "a feature that is missing": "0A000",
    "what nobody knows": "ZZ999",
}
CREATES = 3

INSTALL = """
CREATE SEQUENCE refusals;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM nextval('refusals');
        RAISE EXCEPTION 'not now' USING ERRCODE = '{code}';
    END
$$;
CREATE TRIGGER refusing BEFORE {on} FOR EACH ROW EXECUTE FUNCTION refuse()
"""
OUTCOMES = "UPDATE OF kie_task_id ON tasks"
CALLBACKS = "INSERT ON callbacks"
REMOVE = "DROP FUNCTION refuse CASCADE; DROP SEQUENCE refusals"


@contextlib.asynccontextmanager
async def refusing(sql: Any, code: str, on: str) -> AsyncIterator[None]:
    await sql.execute(INSTALL.format(code=code, on=on))
    try:
        yield
    finally:
        await sql.execute(REMOVE)


async def refused(sql: Any, times: int) -> None:
    """Wait until so many writes were refused: a sequence counts what is rolled back too."""

    async def look() -> bool | None:
        return (await sql.fetchval("SELECT last_value FROM refusals")) >= times or None

    await eventually(look)


@pytest.mark.parametrize("name", TROUBLES)
async def test_no_id_of_a_paid_create_is_lost(
    start_gateway: StartGateway, upstream: Upstream, sql: Any, name: str
) -> None:
    gateway = await start_gateway(submit_wait=0)
    go = upstream.holds()
    tasks = [(await gateway.create())["id"] for _ in range(CREATES)]
    async with refusing(sql, TROUBLES[name], OUTCOMES):
        go.set()
        await refused(sql, 2 * CREATES)
    shown = [await gateway.reaches(task, "running") for task in tasks]
    assert {one["kie_task_id"] for one in shown} == set(upstream.urls)
    assert len(upstream.creates) == CREATES


async def test_rows_that_contradict_each_other_are_given_up_with_the_id_in_the_log(
    start_gateway: StartGateway, upstream: Upstream, sql: Any
) -> None:
    gateway = await start_gateway(submit_wait=0)
    go = upstream.holds()
    await gateway.create()
    with capture_logs() as logs:
        async with refusing(sql, "23514", OUTCOMES):
            go.set()

            async def dropped() -> bool | None:
                page = (await gateway.http.get("/metrics")).text
                return samples(page)["kie_gateway_outcomes_dropped_total"] == 1 or None

            await eventually(dropped)
    given_up = [one for one in logs if one["event"] == "outcome.dropped"]
    assert [one["kie_task_id"] for one in given_up] == list(upstream.urls)


@pytest.mark.parametrize("name", TROUBLES)
async def test_a_callback_is_answered_once_it_is_kept(
    gateway: Gateway, upstream: Upstream, sql: Any, name: str
) -> None:
    task = await gateway.create()
    body = succeeded(task["kie_task_id"])

    async with refusing(sql, TROUBLES[name], CALLBACKS):
        call = asyncio.create_task(gateway.call_back(upstream.callback_path, body))
        await refused(sql, 2)
        assert not call.done()
    assert (await call).status_code == 200
    assert (await gateway.task(task["id"]))["state"] == "succeeded"
