"""PostgreSQL commits and the answer is lost on the way back: nothing is lost, nothing twice."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
import pytest_asyncio
from pydantic import SecretStr
from starlette.responses import Response

from app.config import Settings
from app.domain.draft import Draft
from app.services.consequences import Transactions
from app.services.services import Services
from app.wiring import wired
from tests.fixtures.gateway import StartGateway
from tests.proxy import Cutter, between
from tests.stage import eventually
from tests.upstream import Upstream, accepted, refused, succeeded

COMMIT = b"COMMIT;"

Proxied = tuple[Cutter, SecretStr]
Behind = tuple[Cutter, Services]


@pytest_asyncio.fixture
async def proxied(dsn: str) -> AsyncIterator[Proxied]:
    """Ask for it before `start_gateway`, so that gateways stop before their way to PostgreSQL."""
    async with between(dsn) as (cutter, through):
        yield cutter, SecretStr(through)


async def test_a_create_is_read_back_and_sent_once(
    proxied: Proxied, start_gateway: StartGateway, upstream: Upstream, sql: Any
) -> None:
    cutter, through = proxied
    gateway = await start_gateway(database_url=through)
    await gateway.create()
    cutter.loses_the_answer_to(COMMIT)
    response = await gateway.post(key="k")
    assert cutter.cuts == 1
    assert response.status_code == 201
    assert response.json()["state"] == "running"
    again = await gateway.post(key="k")
    assert (again.status_code, again.json()["id"]) == (200, response.json()["id"])
    assert len(upstream.creates) == 2
    assert await sql.fetchval("SELECT count(*) FROM tasks") == 2


async def test_a_callback_is_kept_once(
    proxied: Proxied, start_gateway: StartGateway, upstream: Upstream, sql: Any
) -> None:
    cutter, through = proxied
    gateway = await start_gateway(database_url=through)
    task = await gateway.create()
    cutter.loses_the_answer_to(COMMIT)
    body = succeeded(task["kie_task_id"])
    answer = await gateway.call_back(upstream.callback_path, body)
    assert cutter.cuts == 1
    assert answer.status_code == 200
    assert await gateway.verdicts(task["id"]) == ["applied"]
    assert (await gateway.task(task["id"]))["state"] == "succeeded"
    assert await sql.fetchval("SELECT count(*) FROM task_events WHERE to_state = 'succeeded'") == 1


CHOSEN = "UPDATE clients SET webhook_events = '{task.running}'"


@pytest.mark.parametrize("way", ["in one statement", "in a transaction"])
async def test_an_outcome_is_recorded_once(
    way: str,
    proxied: Proxied,
    start_gateway: StartGateway,
    upstream: Upstream,
    sql: Any,
) -> None:
    cutter, through = proxied
    gateway = await start_gateway(database_url=through, submit_wait=0)
    at_once = way == "in one statement"
    if not at_once:
        await sql.execute(CHOSEN)
    go = upstream.holds()
    task = await gateway.create()
    kie_task_id = await eventually(lambda: _came(upstream))
    cutter.loses_the_answer_to(kie_task_id.encode() if at_once else COMMIT)
    go.set()
    await gateway.reaches(task["id"], "running")
    await eventually(lambda: _freed(sql))
    assert cutter.cuts == 1
    moves = await sql.fetch("SELECT to_state FROM task_events ORDER BY id")
    assert [move["to_state"] for move in moves] == ["queued", "submitting", "running"]
    assert len(upstream.creates) == 1


async def _came(upstream: Upstream) -> str | None:
    return upstream.last_id or None


async def _freed(sql: Any) -> bool | None:
    """Tell whether the create's slot is in use no more."""
    free = "SELECT task_id IS NULL AND took IS NOT NULL FROM kie_slots WHERE kind = 'create'"
    return bool(await sql.fetchval(free)) or None


DRAFT = Draft(model="m", input={}, metadata={}, webhook_url=None, priority=5, submit_within=None)
LESSONS = {429: ("queued", "kie_busy", 1, 0, 15), 500: ("unconfirmed", None, 0, 1, None)}


@pytest_asyncio.fixture
async def behind(proxied: Proxied, make_settings: Callable[..., Settings]) -> AsyncIterator[Behind]:
    """Lend a process that reaches PostgreSQL through a cutter."""
    cutter, through = proxied
    async with wired(make_settings(), through.get_secret_value()) as services:
        yield cutter, services


@pytest.mark.parametrize("code", LESSONS)
async def test_an_outcome_teaches_once(
    code: int, behind: Behind, upstream: Upstream, sql: Any
) -> None:
    """Else one would count as two: longer waits, fewer creates left, sooner out of order."""
    cutter, services = behind
    await services.keys.create("tests")
    client_id = await sql.fetchval("SELECT id FROM clients")
    arrived, go = asyncio.Event(), asyncio.Event()

    async def create(_: Mapping[str, Any]) -> Response:
        arrived.set()
        await go.wait()
        return refused(code, "internal")

    upstream.on_create = create
    await services.creates.create(client_id, DRAFT, None)
    await arrived.wait()
    cutter.loses_the_answer_to(COMMIT)
    go.set()
    await services.submitter.drain()
    assert cutter.cuts == 1
    row = await sql.fetchrow(
        "SELECT state, hold_reason, hold_tries, failures, creates_allowed FROM kie_account, tasks"
    )
    assert tuple(row) == LESSONS[code]
    pair = await sql.fetchval("SELECT unknowns FROM kie_breakers")
    assert pair == (1 if code == 500 else None)
    assert await sql.fetchval("SELECT count(*) FROM task_events") == 3


async def test_a_task_that_exists_is_never_denied(
    proxied: Proxied, start_gateway: StartGateway, upstream: Upstream
) -> None:
    """PostgreSQL goes away between the commit and the answer: 201 all the same."""
    cutter, through = proxied
    gateway = await start_gateway(database_url=through, submit_wait=0.2)

    async def create(_: Mapping[str, Any]) -> Response:
        cutter.goes_dark()
        return accepted("an-id")

    upstream.on_create = create
    response = await gateway.post(key="k")
    assert (response.status_code, response.json()["state"]) == (201, "submitting")
    cutter.comes_back()
    await gateway.reaches(response.json()["id"], "running")
    assert len(upstream.creates) == 1


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the database be given up after a second, in the place of ten."""
    usual: Any = Transactions.run.__kwdefaults__
    monkeypatch.setitem(usual, "patience", 1.0)


@pytest.mark.usefixtures("impatient")
async def test_a_refusal_for_want_of_a_database_stores_nothing(
    proxied: Proxied, start_gateway: StartGateway, upstream: Upstream, sql: Any
) -> None:
    cutter, through = proxied
    gateway = await start_gateway(database_url=through)
    await gateway.create()
    cutter.goes_dark()
    response = await gateway.post(key="k")
    assert (response.status_code, response.json()["code"]) == (503, "database_unavailable")
    assert "Idempotency-Key" in response.json()["detail"]
    assert int(response.headers["retry-after"]) > 0
    cutter.comes_back()
    assert (await gateway.post(key="k")).status_code == 201
    assert len(upstream.creates) == 2
    assert await sql.fetchval("SELECT count(*) FROM tasks") == 2


async def test_a_callback_waits_for_the_database(
    proxied: Proxied, start_gateway: StartGateway, upstream: Upstream
) -> None:
    cutter, through = proxied
    gateway = await start_gateway(database_url=through)
    task = await gateway.create()
    cutter.goes_dark()
    body = succeeded(task["kie_task_id"])
    calling = asyncio.create_task(gateway.call_back(upstream.callback_path, body))
    await asyncio.wait({calling}, timeout=0.3)
    assert not calling.done()
    cutter.comes_back()
    assert (await calling).status_code == 200
    assert (await gateway.task(task["id"]))["state"] == "succeeded"
