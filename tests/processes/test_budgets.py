"""A hard budget over two gateways that are killed meanwhile: what is paid stays within it."""

import asyncio
import itertools
import signal
import socket
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from decimal import Decimal
from functools import partial
from typing import Any

import httpx
import pytest
import simplejson

from app.config import Settings
from simulator.server import Options, create_app
from tests.gateway import issue_key
from tests.processes.conftest import Connection
from tests.processes.stage import PATIENCE, Running, Stage
from tests.stage import eventually, serving

MODEL = "priced/model"
CREATES = 200
COVERED = 50
LAST_WORDS = (200, 201, 402)
LOST = """
state = 'unconfirmed' AND NOT EXISTS (SELECT FROM callbacks WHERE callbacks.task_id = tasks.id)
"""
"""Its process died before kie.ai had heard of it: not paid, but nobody can know."""
ENDED = f"""
SELECT count(*) = 0 FROM tasks
WHERE (state NOT IN ('succeeded', 'failed', 'canceled') AND NOT ({LOST}))
OR (state = 'succeeded' AND credits_consumed IS NULL)
"""  # noqa: S608  # ours
RESERVED = (
    f"SELECT count(*) AS tasks, coalesce(sum(reserved), 0) AS credits FROM tasks WHERE {LOST}"  # noqa: S608
)


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


class Fleet:
    """Two gateways, each at a port of its own, that are killed and started again."""

    def __init__(self, stage: Stage, api_key: str, changed: dict[str, str]) -> None:
        self.ports = (_free_port(), _free_port())
        self.http = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {api_key}"},
            trust_env=False,
            timeout=30,
            limits=httpx.Limits(max_connections=CREATES, max_keepalive_connections=0),
        )
        self._stage = stage
        self._changed = changed
        self.up: dict[int, Running] = {}
        self.refused: list[str] = []
        """The answers of creates for which there was no room."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with self.http, asyncio.TaskGroup() as group:
            over = asyncio.Event()
            for port in self.ports:
                group.create_task(self._kept(port, over))
            try:
                await self.are_ready()
                yield
            finally:
                over.set()
                for one in self.up.values():
                    await one.end(signal.SIGKILL)

    async def _kept(self, port: int, over: asyncio.Event) -> None:
        """Start it, and again whenever it has died."""
        listen = {"GATEWAY_LISTEN": f"127.0.0.1:{port}", **self._changed}
        while not over.is_set():
            async with self._stage.running("serve", **listen) as one:
                self.up[port] = one
                await one.process.wait()

    async def are_ready(self) -> None:
        for port in self.ports:

            async def look(port: int = port) -> bool | None:
                with suppress(httpx.HTTPError):
                    found = await self.http.get(f"http://127.0.0.1:{port}/readyz")
                    return found.is_success or None
                return None

            await eventually(look, 2 * PATIENCE)

    async def kill(self, which: int) -> None:
        await self.up[self.ports[which]].end(signal.SIGKILL)

    async def create(self, key: str) -> int:
        """Create a task, at whichever gateway answers; returns the last word's status."""
        ports = itertools.cycle(self.ports)

        async def look() -> int | None:
            with suppress(httpx.HTTPError):
                answer = await self.http.post(
                    f"http://127.0.0.1:{next(ports)}/v1/tasks",
                    json={"model": MODEL, "input": {"prompt": "a cat"}},
                    headers={"Idempotency-Key": key},
                )
                if answer.status_code == 402:
                    self.refused.append(answer.text)
                return answer.status_code if answer.status_code in LAST_WORDS else None
            return None

        return await eventually(look, 3 * PATIENCE)

    async def get(self, path: str) -> Any:
        answer = await self.http.get(f"http://127.0.0.1:{self.ports[0]}{path}")
        assert answer.is_success, answer.text
        return simplejson.loads(answer.text, use_decimal=True)


class Kie:
    """The simulator, and what it has billed."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def costs(self, price: str) -> None:
        async with httpx.AsyncClient(trust_env=False) as http:
            body = f'{{"{MODEL}": {price}}}'
            answer = await http.put(f"{self.url}/simulator/prices", content=body)
            assert answer.is_success, answer.text

    async def billed(self) -> list[Decimal]:
        async with httpx.AsyncClient(trust_env=False) as http:
            text = (await http.get(f"{self.url}/simulator/ledger")).text
        return [Decimal(row["credits"]) for row in simplejson.loads(text, use_decimal=True)["data"]]


@pytest.mark.long
async def test_what_is_paid_stays_within_a_hard_budget(
    stage: Stage, make_settings: Callable[..., Settings], sql: Connection
) -> None:
    """200 creates at once for 50, with kills; then a price that doubles while they run."""
    options = Options(
        public_url=None, duration=0.5, start_credits=Decimal(100_000), callback_retry_delay=0.5
    )
    async with serving(create_app(options)) as url:
        kie, port = Kie(url), _free_port()
        changed = {
            "GATEWAY_KIE_BASE_URL": url,
            "GATEWAY_PUBLIC_URL": f"http://127.0.0.1:{port}",
            "GATEWAY_KIE_CREATES_PER_10S": "1000",
            "GATEWAY_KIE_MAX_RUNNING": "1000",
            "GATEWAY_LOG_LEVEL": "info",
        }
        api_key = await issue_key(make_settings(), "tests")
        stage.secrets.add(api_key)
        fleet = Fleet(stage, api_key, changed)
        receiver = {**changed, "GATEWAY_LISTEN": f"127.0.0.1:{port}"}
        outside = ("serve", "--surface", "callbacks", "--no-worker")
        async with stage.running(*outside, **receiver), fleet.running():
            await kie.costs("4.25")
            assert await fleet.create("first") == 201
            await settled(sql)

            await bound(sql, Decimal("4.25") * (1 + COVERED))
            statuses = await together(fleet, "quiet", kills=2)
            assert statuses == {201: COVERED, 402: CREATES - COVERED}, fleet.refused[-1]
            lost = await agree(fleet, kie, sql)
            assert len(await kie.billed()) == 1 + COVERED - lost

            await bound(sql, Decimal("4.25") * (1 + 3 * COVERED))
            creating = asyncio.create_task(together(fleet, "dearer", kills=2))
            await eventually(lambda: more_than(sql, 1 + COVERED + COVERED // 2), PATIENCE)
            await kie.costs("8.5")
            await creating
            await agree(fleet, kie, sql)
            over = await sql.fetchrow(
                "SELECT sum(credits_consumed) AS spent, count(*) FILTER (WHERE"
                " credits_consumed > reserved) AS dearer FROM tasks"
            )
            assert over is not None
            assert over["spent"] <= Decimal("4.25") * (1 + 3 * COVERED + over["dearer"])


async def together(fleet: Fleet, name: str, *, kills: int) -> Counter[int]:
    """Create so many at once, each until it has a last word; gateways die meanwhile.

    A repeat of what was stored by a process that died is answered 200: that is one, too.
    """
    creating = [asyncio.create_task(fleet.create(f"{name}-{n}")) for n in range(CREATES)]

    async def answered(least: int) -> bool | None:
        return sum(one.done() for one in creating) >= least or None

    for number in range(kills):
        await eventually(partial(answered, (number + 1) * COVERED // 2), 2 * PATIENCE)
        await fleet.kill(number % 2)
    found = Counter(await asyncio.gather(*creating))
    found[201] += found.pop(200, 0)
    await fleet.are_ready()
    return found


async def more_than(sql: Connection, tasks: int) -> bool | None:
    return await sql.fetchval("SELECT count(*) FROM tasks") > tasks or None


async def bound(sql: Connection, credits_: Decimal) -> None:
    await sql.execute(
        "INSERT INTO budgets (client_id, period, credits, mode, thresholds)"
        " SELECT id, 'total', $1, 'hard', '{100}' FROM clients"
        " ON CONFLICT (client_id, period) DO UPDATE SET credits = excluded.credits",
        credits_,
    )


async def settled(sql: Connection) -> None:
    """Wait until kie.ai has stated each task's end and cost, who died meanwhile."""

    async def look() -> bool | None:
        return await sql.fetchval(ENDED) or None

    await eventually(look, 3 * PATIENCE)


async def agree(fleet: Fleet, kie: Kie, sql: Connection) -> int:
    """Usage is the ledger to the last digit; returns how many tasks were lost on their way.

    Only these are reserved any more.
    """
    await settled(sql)
    billed = await kie.billed()
    (lost,) = await sql.fetch(RESERVED)
    [budget] = (await fleet.get("/v1/budget"))["data"]
    assert (budget["spent"], budget["reserved"]) == (sum(billed), lost["credits"])
    usage = (await fleet.get("/v1/usage?group_by=model"))["data"]
    assert [(row["model"], row["credits"]) for row in usage] == [(MODEL, sum(billed))]
    assert usage[0]["tasks"]["succeeded"] == len(billed)
    return int(lost["tasks"])
