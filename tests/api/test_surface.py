"""`serve --surface`: which paths there are, and what the readiness of each tells to whom."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr

from app.config import Settings
from app.main import ROUTERS, Surface, create_app
from tests.api.conftest import Scratch
from tests.api.stage import NOBODY, NOT_FOUND, Sql, check_refusal, dialled, head_of
from tests.stage import serving
from tests.upstream import Upstream, refused, succeeded

ADMIN_KEY = "an-admin-key-not-to-be-shown"
CALLBACK = f"/callbacks/kie/{NOBODY}/token"
SERVED: dict[str, tuple[str, ...]] = {
    "/livez": ("all", "internal", "callbacks"),
    "/readyz": ("all", "internal", "callbacks"),
    "/metrics": ("all", "internal"),
    "/docs": ("all", "internal"),
    "/docs/start.js": ("all", "internal"),
    "/docs/swagger-ui-bundle.js": ("all", "internal"),
    "/docs/swagger-ui.css": ("all", "internal"),
    "/docs/favicon.png": ("all", "internal"),
    "/docs/package.json": (),
    "/docs/oauth2-redirect": (),
    "/redoc": (),
    "/openapi.json": ("all", "internal"),
    "/v1/tasks": ("all", "internal"),
    "/v1/events": ("all", "internal"),
    "/v1/deliveries": ("all", "internal"),
    f"/v1/tasks/{NOBODY}": ("all", "internal"),
    "/v1/usage": ("all", "internal"),
    "/v1/budget": ("all", "internal"),
    "/v1/admin/usage": ("all", "internal"),
    "/v1/models": ("all", "internal"),
    "/v1/admin/models": ("all", "internal"),
    "/v1/admin/reconciliation": ("all", "internal"),
    "/v1/admin/admission": ("all", "internal"),
    "/v1/admin/tasks": ("all", "internal"),
    "/console/login": ("all", "internal"),
    "/v1/files": ("all", "internal"),
    "/api/v1/jobs/recordInfo": ("all", "internal"),
    "/api/v1/chat/credit": ("all", "internal"),
    CALLBACK: ("all", "callbacks"),
}
"""Every kind of path, and the surfaces that have it."""

Start = Callable[..., Awaitable[httpx.AsyncClient]]


@pytest_asyncio.fixture
async def start(
    sql: Sql,  # noqa: ARG001  # its rows go after the test
    make_settings: Callable[..., Settings],
) -> AsyncIterator[Start]:
    """Start gateways with one surface each."""
    async with AsyncExitStack() as stack:

        async def start(surface: Surface, **overrides: Any) -> httpx.AsyncClient:
            settings = make_settings(admin_key=SecretStr(ADMIN_KEY), **overrides)
            app = create_app(settings, worker=False, surface=surface)
            url = await stack.enter_async_context(serving(app))
            http = httpx.AsyncClient(base_url=url, trust_env=False, timeout=30)
            return await stack.enter_async_context(http)

        yield start


@pytest.mark.parametrize("surface", Surface)
async def test_a_surface_serves_its_own_paths_alone(start: Start, surface: Surface) -> None:
    http = await start(surface)
    for path, surfaces in SERVED.items():
        answer = await http.request("POST" if path == CALLBACK else "GET", path)
        if path == CALLBACK and surface in surfaces:
            found = check_refusal(answer, NOT_FOUND)  # the path is there, and the token is wrong
            assert "callback" in found["detail"].lower(), found
        elif surface in surfaces:
            assert answer.status_code in (200, 401), (path, answer.text)
        else:
            found = check_refusal(answer, NOT_FOUND)
            assert "nothing at this path" in found["detail"]


def test_every_surface_has_its_row() -> None:
    assert set(ROUTERS) == set(Surface)


async def test_no_trick_leads_around_the_table(start: Start) -> None:
    http = await start(Surface.CALLBACKS)
    for path in ("//v1/tasks", "/callbacks/../v1/tasks", "/%76%31/tasks/", "/v1/tasks/.", "/"):
        async with dialled(http.base_url) as line:
            line.writer.write(head_of("GET", path))
            assert (await line.answer()).status_code == 404, path
    refusal = await http.get(CALLBACK)
    assert (refusal.status_code, refusal.headers["allow"]) == (405, "POST")


async def test_a_callback_is_taken_where_callbacks_are(start: Start, upstream: Upstream) -> None:
    inside, outside = await start(Surface.INTERNAL), await start(Surface.CALLBACKS)
    key = {"Authorization": f"Bearer {ADMIN_KEY}"}
    issued = (await inside.post("/v1/admin/keys", json={"client": "shop"}, headers=key)).json()
    own = {"Authorization": f"Bearer {issued['api_key']}"}
    created = await inside.post("/v1/tasks", json={"model": "m", "input": {}}, headers=own)
    path = "/callbacks/" + upstream.callback_path.split("/callbacks/")[1]
    body = succeeded(created.json()["kie_task_id"])
    assert (await inside.post(path, json=body)).status_code == 404
    assert (await outside.post(path, json=body)).status_code == 200
    settled = await inside.get(created.headers["location"], headers=own)
    assert settled.json()["state"] == "succeeded"


# -- what readiness tells


async def test_outside_readiness_is_one_word(start: Start) -> None:
    answer = await (await start(Surface.CALLBACKS)).get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_outside_trouble_is_one_word_too(start: Start, scratch: Scratch) -> None:
    http = await start(Surface.CALLBACKS, database_url=SecretStr(scratch.dsn))
    await scratch.goes_away()
    answer = await http.get("/readyz")
    assert (answer.status_code, answer.json()) == (503, {"status": "unavailable"})
    assert (await http.get("/livez")).status_code == 200


HOLDS = {
    "free": ("SELECT 1", "ok"),
    "paused": (
        "UPDATE kie_account SET paused_at = '2026-08-01T12:00:00Z', pause_note = 'a note'",
        "paused since 2026-08-01T12:00:00Z",
    ),
    "held": (
        """UPDATE kie_account SET hold_reason = 'kie_account', hold_detail = 'has 12 credits',
        held_since = '2026-08-01T12:00:00Z', held_until = now(), balance = 12""",
        "held: kie_account since 2026-08-01T12:00:00Z",
    ),
    "both": (
        """UPDATE kie_account SET paused_at = '2026-08-01T12:00:00Z', hold_reason = 'kie_busy',
        held_since = '2026-08-01T12:00:00Z', held_until = now()""",
        "paused since 2026-08-01T12:00:00Z; held: kie_busy since 2026-08-01T12:00:00Z",
    ),
}


@pytest.mark.parametrize("name", HOLDS)
async def test_a_hold_is_told_inside_and_no_reason_to_be_unfit(
    start: Start, sql: Sql, name: str
) -> None:
    statement, said = HOLDS[name]
    await sql.execute(statement)
    inside = await (await start(Surface.INTERNAL)).get("/readyz")
    assert (inside.status_code, inside.json()["status"]) == (200, "ok")
    assert inside.json()["checks"]["admission"] == said
    outside = await (await start(Surface.CALLBACKS)).get("/readyz")
    assert outside.json() == {"status": "ok"}


async def test_what_kie_refused_is_told_and_not_what_it_said(
    start: Start, upstream: Upstream
) -> None:
    upstream.answers(lambda: refused(402, "only 12 credits"))
    http = await start(Surface.ALL)
    key = {"Authorization": f"Bearer {ADMIN_KEY}"}
    issued = (await http.post("/v1/admin/keys", json={"client": "shop"}, headers=key)).json()
    own = {"Authorization": f"Bearer {issued['api_key']}"}
    await http.post("/v1/tasks", json={"model": "m", "input": {}}, headers=own)
    answer = await http.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["checks"]["admission"].startswith("held: kie_account since 2")
    assert "12 credits" not in answer.text


async def test_another_schema_has_no_brake_to_tell_of(start: Start, scratch: Scratch) -> None:
    http = await start(Surface.ALL, database_url=SecretStr(scratch.dsn))
    await scratch.run("DROP TABLE kie_account; UPDATE alembic_version SET version_num = 'older'")
    answer = await http.get("/readyz")
    assert answer.status_code == 503
    assert set(answer.json()["checks"]) == {"database", "schema", "loops"}
