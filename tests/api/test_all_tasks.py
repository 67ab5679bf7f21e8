"""`GET /v1/admin/tasks`: all clients' tasks, page by page, and what narrows them."""

from typing import Any

import httpx
import pytest_asyncio
from pydantic import SecretStr

from app.store.tasks import overview
from tests.api.stage import NOT_FOUND, Sql, bad_parameter, check_refusal
from tests.fixtures.gateway import StartGateway

ADMIN_KEY = "an-admin-key-not-to-be-shown"
PATH = "/v1/admin/tasks"
FILL = """
INSERT INTO clients (id, name, signing_secret)
SELECT lpad(n::text, 32, '0')::uuid, 'client-' || n, '' FROM generate_series(1, 3) n;
INSERT INTO client_queues (client_id) SELECT id FROM clients ON CONFLICT DO NOTHING;
INSERT INTO tasks (id, client_id, state, model, input, metadata, priority, fingerprint, submit_by,
                   created_at, finished_at, fail_message)
SELECT lpad(n::text, 32, '0')::uuid, lpad((1 + n % 3)::text, 32, '0')::uuid,
       CASE WHEN n % 4 = 0 THEN 'failed' ELSE 'queued' END, 'm-' || n % 5, '{"prompt": "s3cret"}',
       '{"order": "s3cret"}', 5, '', now(), timestamptz '2026-01-01' + n * interval '1 min',
       CASE WHEN n % 4 = 0 THEN now() END, 'no'
FROM generate_series(1, 60) n;
"""


@pytest_asyncio.fixture
async def http(start_shared: StartGateway, sql: Sql) -> httpx.AsyncClient:
    gateway = await start_shared(admin_key=SecretStr(ADMIN_KEY))
    await sql.execute(FILL)
    gateway.http.headers["Authorization"] = f"Bearer {ADMIN_KEY}"
    return gateway.http


async def numbers(http: httpx.AsyncClient, **params: Any) -> list[int]:
    """Walk through all pages; returns the tasks by their numbers, as they came."""
    found: list[int] = []
    while True:
        answer = await http.get(PATH, params=params)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert len(page["data"]) <= params.get("limit", 50)
        found += [int(task["id"].replace("-", "")) for task in page["data"]]
        if page["next_cursor"] is None:
            return found
        params["cursor"] = page["next_cursor"]


async def test_pages_and_filters(http: httpx.AsyncClient, monkeypatch: Any) -> None:
    newest = list(range(60, 0, -1))
    failed = [n for n in newest if n % 4 == 0]
    assert await numbers(http) == newest
    assert await numbers(http, limit=7) == newest
    assert await numbers(http, limit=7, state="failed") == failed
    assert await numbers(http, limit=4, state=["failed", "queued"]) == newest
    assert await numbers(http, client="client-1", limit=5) == [n for n in newest if n % 3 == 0]
    assert await numbers(http, created_after="2026-01-01T00:50:00Z") == newest[:10]
    assert await numbers(http, created_before="2026-01-01T00:10:00Z", limit=2) == newest[-9:]
    both = {"model": "m-2", "state": "failed"}
    for looked_at in (10_000, 9, 1):  # whether a page has looked at all, or stopped before
        monkeypatch.setattr(overview, "LOOKED_AT", looked_at)
        assert await numbers(http, model="m-2", limit=2) == [n for n in newest if n % 5 == 2]
        assert await numbers(http, limit=1, **both) == [n for n in failed if n % 5 == 2]
    assert await numbers(http, state="expired") == []


async def test_it_shows_nothing_that_a_client_wrote(http: httpx.AsyncClient) -> None:
    answer = await http.get(PATH)
    assert "s3cret" not in answer.text
    task = answer.json()["data"][0]
    assert (task["client"], task["model"], task["fail_message"]) == ("client-1", "m-0", "no")


async def test_what_is_refused(http: httpx.AsyncClient) -> None:
    check_refusal(await http.get(PATH, params={"client": "nobody"}), NOT_FOUND)
    for name, value, says in (
        ("state", "lost", "Input should be"),
        ("limit", "201", "less than or equal to 200"),
        ("cursor", "x", "not one of ours"),
        ("created_after", "soon", "should say its zone"),
        ("model", "\0", "has a NUL"),
        ("modell", "x", "did you mean model?"),
    ):
        answer = await http.get(PATH, params={name: value})
        assert answer.status_code == 422, answer.text
        assert says in check_refusal(answer, bad_parameter(f"{name}: "))["detail"]
