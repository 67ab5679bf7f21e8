"""`/livez` and `/readyz`: fit for work, or what is wrong."""

from collections.abc import Awaitable, Callable

import httpx
import pytest
from pydantic import SecretStr

from app.config import Settings
from app.main import SchemaError, create_app
from tests.api.conftest import Scratch
from tests.api.stage import Refusal, check_refusal
from tests.fixtures.gateway import StartGateway
from tests.gateway import Gateway
from tests.stage import eventually

AWAY = Refusal(status=503, code="database_unavailable", says="Idempotency-Key")

LEAVING: dict[str, Callable[[Scratch], Awaitable[None]]] = {
    "the port is closed": Scratch.goes_away,
    "nobody is let in": Scratch.refuses,
}


async def _ready(gateway: Gateway, status: int) -> httpx.Response:
    async def look() -> httpx.Response | None:
        answer = await gateway.http.get("/readyz")
        return answer if answer.status_code == status else None

    return await eventually(look)


@pytest.mark.parametrize("worker", [True, False])
async def test_a_gateway_is_live_and_ready(start_gateway: StartGateway, *, worker: bool) -> None:
    gateway = await start_gateway(worker=worker)
    live, ready = [await gateway.http.get(path) for path in ("/livez", "/readyz")]
    assert (live.status_code, live.json()) == (
        200,
        {"status": "ok", "service": "kie-gateway"},
    )
    assert (ready.status_code, ready.json()["status"]) == (200, "ok")
    assert ready.json()["checks"] == dict.fromkeys(
        ("database", "schema", "admission", "loops"), "ok"
    )
    assert "x-request-id" in ready.headers


@pytest.mark.parametrize("how", LEAVING)
async def test_without_its_database_it_lives_and_is_not_ready(
    start_gateway: StartGateway, scratch: Scratch, how: str
) -> None:
    gateway = await start_gateway(worker=True, database_url=SecretStr(scratch.dsn))
    await LEAVING[how](scratch)
    ready = await gateway.http.get("/readyz")
    assert ready.status_code == 503, ready.text
    checks = {"database": "PostgreSQL does not answer", "loops": "ok"}
    assert ready.json() == {"status": "unavailable", "checks": checks}
    assert (await gateway.http.get("/livez")).status_code == 200
    task = "/v1/tasks/019a0000-0000-7000-8000-000000000000"
    refused = await gateway.http.get(task)
    check_refusal(refused, AWAY)
    assert refused.headers["retry-after"] == "2"


async def test_it_is_ready_again_when_the_database_is_back(
    start_gateway: StartGateway, scratch: Scratch
) -> None:
    gateway = await start_gateway(worker=True, database_url=SecretStr(scratch.dsn))
    await scratch.refuses()
    await _ready(gateway, 503)
    await scratch.admits()
    assert (await _ready(gateway, 200)).json()["status"] == "ok"
    assert (await gateway.post()).status_code == 201


OTHER_SCHEMA = {
    "older": ("UPDATE alembic_version SET version_num = 'older'", "the schema is at older, not "),
    "never migrated": ("DROP TABLE alembic_version", "the schema is at nothing, not "),
}


@pytest.mark.parametrize("name", OTHER_SCHEMA)
async def test_another_schema_is_named_with_its_cure(
    start_gateway: StartGateway, scratch: Scratch, name: str
) -> None:
    statement, says = OTHER_SCHEMA[name]
    gateway = await start_gateway(database_url=SecretStr(scratch.dsn))
    await scratch.run(statement)
    ready = await gateway.http.get("/readyz")
    assert (ready.status_code, ready.json()["checks"]["database"]) == (503, "ok")
    assert ready.json()["checks"]["schema"].startswith(says)
    assert ready.json()["checks"]["schema"].endswith(": run kie-gateway migrate")


@pytest.mark.parametrize("name", OTHER_SCHEMA)
async def test_it_does_not_start_on_another_schema(
    make_settings: Callable[..., Settings], scratch: Scratch, name: str
) -> None:
    statement, says = OTHER_SCHEMA[name]
    await scratch.run(statement)
    app = create_app(make_settings(database_url=SecretStr(scratch.dsn)), worker=False)
    with pytest.raises(SchemaError, match=says):
        async with app.router.lifespan_context(app):
            pass
