"""Debian's PgBouncer in transaction mode: work through it, and what is said where it cannot do."""

import asyncio
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from app.config import Settings
from app.store import schema
from app.store.connections.engine import Database
from tests import pgbouncer, postgres
from tests.database import execute
from tests.gateway import BODY, Gateway
from tests.pgbouncer import Pooler
from tests.processes.conftest import Start
from tests.processes.stage import Stage
from tests.upstream import Upstream, succeeded

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(pgbouncer.PROGRAM is None, reason=pgbouncer.NEEDED),
]
CREATES = 30
UNPREPARED = {"GATEWAY_DATABASE_STATEMENT_CACHE": "false"}


@pytest.fixture(scope="module")
def pooler() -> Iterator[Pooler]:
    with postgres.servers() as make:
        server = make.new(jit="on")
        schema.upgrade(server.dsn)
        with pgbouncer.pooling(server.dsn) as lent:
            yield lent


async def test_work_goes_through_a_pooler_that_prepares_nothing(
    pooler: Pooler,
    start: Start,
    upstream: Upstream,
    make_settings: Callable[..., Settings],
) -> None:
    through = {"GATEWAY_DATABASE_URL": pooler.dsn, **UNPREPARED}
    serving = await start("serve", GATEWAY_KIE_CREATES_PER_10S="1000", **through)
    settings = make_settings(database_url=SecretStr(pooler.server))
    async with Gateway.at(await serving.ready(), settings) as gateway:
        await _works(gateway, pooler, upstream)


async def _works(gateway: Gateway, pooler: Pooler, upstream: Upstream) -> None:
    answers = await asyncio.gather(*(gateway.post(BODY) for _ in range(CREATES)))
    assert [answer.status_code for answer in answers] == [201] * CREATES
    pooler.stop()
    pooler.start()
    ids = {answer.json()["id"] for answer in answers}
    for create, (kie_task_id, url) in zip(upstream.creates, upstream.urls.items(), strict=True):
        assert create["callBackUrl"] in upstream.urls.values()
        path = "/" + url.split("/", 3)[3]
        assert (await gateway.call_back(path, succeeded(kie_task_id))).status_code == 200
    for task_id in ids:
        assert (await gateway.task(task_id))["state"] == "succeeded"
    assert len(upstream.creates) == CREATES


async def test_what_is_written_is_durable_whatever_session_a_pooler_lends(pooler: Pooler) -> None:
    """Its sessions keep no setting of ours: so each transaction brings them along."""
    pooled = Database(f"{pooler.dsn}?statement_cache_size=0")
    name = urlsplit(pooler.server).path.strip("/")
    await asyncio.to_thread(
        execute, pooler.server, f"ALTER DATABASE {name} SET synchronous_commit = off"
    )
    try:
        async with pooled.read():
            pass  # tells that there is a pooler
        async with pooled.begin() as connection:
            for setting, value in (("synchronous_commit", "on"), ("jit", "off")):
                assert await connection.scalar(text(f"SHOW {setting}")) == value
    finally:
        await asyncio.to_thread(execute, pooler.server, f"ALTER DATABASE {name} RESET ALL")
        await pooled.dispose()


@pytest.mark.parametrize("command", [("serve",), ("worker",), ("doctor",)])
async def test_one_that_cannot_prepare_is_named(
    pooler: Pooler, stage: Stage, command: tuple[str, ...]
) -> None:
    said = await stage.run(*command, GATEWAY_DATABASE_URL=pooler.dsn)
    assert said.status == 1
    assert "GATEWAY_DATABASE_STATEMENT_CACHE=false" in said.out + said.err
    assert "Traceback" not in said.err
