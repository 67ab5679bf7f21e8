"""`PATCH /v1/admin/clients/{name}`: how a client is told, and what of it operators see."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest_asyncio
from pydantic import SecretStr

from tests.api.stage import Refusal, Sql, check_refusal
from tests.each import each
from tests.fixtures.gateway import StartGateway
from tests.gateway import Gateway
from tests.upstream import Upstream, succeeded

ADMIN_KEY = "an-admin-key-not-to-be-shown"
HOOK = "https://hooks.test/of-one-client"
PATH = "/v1/admin/clients/tests"


@dataclass(frozen=True, slots=True)
class Admin:
    """A gateway that delivers nothing by itself, and its operator."""

    gateway: Gateway
    upstream: Upstream
    http: httpx.AsyncClient
    sql: Sql

    async def asks(self, body: object) -> httpx.Response:
        return await self.http.patch(PATH, content=json.dumps(body))

    async def sets(self, **body: object) -> dict[str, Any]:
        answer = await self.asks(body)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def put(self, **members: object) -> list[tuple[str, str]]:
        """Have a task succeed; returns the events and URLs of what was put into the outbox."""
        task = await self.gateway.create(**members)
        body = succeeded(task["kie_task_id"])
        await self.gateway.call_back(self.upstream.callback_path, body)
        answer = await self.gateway.http.get(task["urls"]["deliveries"])
        return [(one["event"], one["url"]) for one in answer.json()["data"]]

    async def audit(self) -> list[dict[str, str]]:
        rows = await self.sql.fetch(
            "SELECT detail FROM audit_entries WHERE action = 'client_changed' ORDER BY id"
        )
        return [json.loads(row["detail"]) for row in rows]


@pytest_asyncio.fixture
async def admin(start_shared: StartGateway, upstream: Upstream, sql: Sql) -> AsyncIterator[Admin]:
    gateway = await start_shared(admin_key=SecretStr(ADMIN_KEY))
    headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
    async with httpx.AsyncClient(
        base_url=gateway.http.base_url, headers=headers, trust_env=False
    ) as http:
        yield Admin(gateway, upstream, http, sql)


async def test_a_client_is_told_at_its_own_url(admin: Admin) -> None:
    assert await admin.put() == []
    shown = await admin.sets(webhook_url=HOOK)
    assert shown["webhook_host"] == "hooks.test"
    assert await admin.put() == [("task.succeeded", HOOK)]
    assert await admin.put(webhook_url="https://task.test/") == [
        ("task.succeeded", "https://task.test/")
    ]
    assert (await admin.sets(webhook_url=None))["webhook_host"] is None
    assert await admin.put() == []


async def test_a_client_chooses_what_it_is_told(admin: Admin) -> None:
    chosen = ["task.succeeded", "task.running", "task.running"]
    shown = await admin.sets(webhook_url=HOOK, webhook_events=chosen)
    assert shown["webhook_events"] == ["task.running", "task.succeeded"]
    assert await admin.put() == [("task.succeeded", HOOK), ("task.running", HOOK)]
    await admin.sets(webhook_events=["task.failed"])
    assert await admin.put() == []
    assert (await admin.sets(webhook_events=[]))["webhook_events"] == []
    assert await admin.put() == []
    assert (await admin.sets(webhook_events=None))["webhook_events"] is None
    assert await admin.put() == [("task.succeeded", HOOK)]


async def test_a_client_is_told_at_its_hosts_alone(admin: Admin) -> None:
    shown = await admin.sets(webhook_hosts=["Task.Test", "hooks.test", "task.test"])
    assert shown["webhook_hosts"] == ["hooks.test", "task.test"]
    refused = await admin.gateway.post({"model": "m", "input": {}, "webhook_url": "https://x.test"})
    check_refusal(
        refused,
        Refusal(status=422, code="invalid_request", pointer="/webhook_url", says="webhook hosts"),
    )
    assert await admin.put(webhook_url="https://TASK.test/") == [
        ("task.succeeded", "https://TASK.test/")
    ]
    assert (await admin.sets(webhook_hosts=None))["webhook_hosts"] is None
    assert await admin.put(webhook_url="https://x.test/") == [("task.succeeded", "https://x.test/")]


async def test_url_and_hosts_have_to_agree_whichever_is_new(admin: Admin) -> None:
    refusal = Refusal(
        status=422, code="invalid_request", pointer="/webhook_url", says="webhook hosts"
    )
    await admin.sets(webhook_url=HOOK)
    check_refusal(await admin.asks({"webhook_hosts": ["other.test"]}), refusal)
    await admin.sets(webhook_hosts=["hooks.test"])
    check_refusal(await admin.asks({"webhook_url": "https://other.test/"}), refusal)
    shown = await admin.sets(webhook_url="https://other.test/", webhook_hosts=["other.test"])
    assert shown["webhook_host"] == "other.test"


async def test_a_client_may_see_the_balance(admin: Admin) -> None:
    """Of a new one nothing is shown; null says nothing of it."""
    asking = admin.gateway.http
    assert (await asking.get("/api/v1/chat/credit")).json()["code"] == 422
    shown = await admin.sets(sees_balance=True)
    assert shown["sees_balance"] is True
    assert (await asking.get("/api/v1/chat/credit")).json()["code"] == 200
    check_refusal(
        await admin.asks({"sees_balance": None}),
        Refusal(status=422, code="invalid_request", pointer="/sees_balance", says="null"),
    )
    assert (await admin.sets(sees_balance=False))["sees_balance"] is False
    assert (await asking.get("/api/v1/chat/credit")).json()["code"] == 422
    assert await admin.audit() == [{"sees_balance": "yes"}, {"sees_balance": "no"}]


async def test_each_change_is_one_entry_without_the_urls_path(admin: Admin) -> None:
    await admin.sets(webhook_url=HOOK, weight=3, webhook_hosts=["hooks.test"])
    await admin.sets(webhook_events=["task.failed", "task.expired"])
    await admin.sets(webhook_url=None, webhook_hosts=None, webhook_events=None)
    await admin.sets(webhook_events=[])
    assert await admin.audit() == [
        {"weight": "3", "webhook_host": "hooks.test", "webhook_hosts": "hooks.test"},
        {"webhook_events": "task.failed task.expired"},
        {"webhook_host": "none", "webhook_hosts": "any", "webhook_events": "usual"},
        {"webhook_events": "none"},
    ]


async def test_operators_see_the_host_and_never_the_url(admin: Admin) -> None:
    await admin.sets(webhook_url=HOOK + "?key=of-one-client")
    answers = [
        (await admin.http.get(f"/v1/admin{path}")).text
        for path in ("/clients", "/admission", "/audit")
    ]
    assert all("hooks.test" in answer for answer in answers)
    assert not any("of-one-client" in answer for answer in answers)


FLAWED: list[tuple[dict[str, Any], str, str]] = [
    ({"webhook_url": "h.test"}, "/webhook_url", "http or https URL"),
    ({"webhook_url": "ftp://h.test/"}, "/webhook_url", "http or https URL"),
    ({"webhook_url": 7}, "/webhook_url", ""),
    ({"webhook_url": "https://h.test/" + "x" * 2048}, "/webhook_url", "2048"),
    ({"webhook_url": "https://h.test/a b"}, "/webhook_url", "no spaces"),
    ({"webhook_url": "https://me:it@h.test/"}, "/webhook_url", "no user or password"),
    ({"webhook_url": "https://h.test:22/"}, "/webhook_url", "port 80, 443"),
    ({"webhook_url": "http://127.0.0.1/"}, "/webhook_url", "this machine itself"),
    ({"webhook_url": "http://0x7f.1/"}, "/webhook_url", "this machine itself"),
    ({"webhook_url": "http://169.254.169.254/latest"}, "/webhook_url", "link-local"),
    ({"webhook_hosts": []}, "/webhook_hosts", ""),
    ({"webhook_hosts": "h.test"}, "/webhook_hosts", ""),
    ({"webhook_hosts": ["h.test"] * 51}, "/webhook_hosts", ""),
    ({"webhook_hosts": ["h.test", "https://h.test"]}, "/webhook_hosts/1", "host only"),
    ({"webhook_hosts": ["h.test:443"]}, "/webhook_hosts/0", "host only"),
    ({"webhook_hosts": ["h.test/hook"]}, "/webhook_hosts/0", "host only"),
    ({"webhook_hosts": [""]}, "/webhook_hosts/0", "host only"),
    ({"webhook_hosts": ["h" * 254]}, "/webhook_hosts/0", "host only"),
    ({"webhook_hosts": [None]}, "/webhook_hosts/0", ""),
    ({"webhook_events": ["task.queued"]}, "/webhook_events/0", "'task.running'"),
    ({"webhook_events": ["succeeded"]}, "/webhook_events/0", "'task.succeeded'"),
    ({"webhook_events": "task.failed"}, "/webhook_events", ""),
    ({"webhook_event": ["task.failed"]}, "/webhook_event", "did you mean webhook_events?"),
    ({}, "", "something to change"),
]


@each(("body", "pointer", "says"), FLAWED)
async def test_a_flaw_is_named_and_nothing_is_changed(
    admin: Admin, body: dict[str, Any], pointer: str, says: str
) -> None:
    wanted = {"weight": 7, **body} if body else body
    refusal = Refusal(status=422, code="invalid_request", pointer=pointer, says=says)
    check_refusal(await admin.asks(wanted), refusal)
    assert await admin.audit() == []
    row = await admin.sql.fetchrow("SELECT weight, webhook_url, webhook_hosts FROM clients")
    assert row is not None
    assert tuple(row) == (1, None, None)
