"""Keys with scopes and an end, disabled clients, admin keys: what changes for whom, and when."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
import pytest_asyncio
from pydantic import SecretStr

from app.api import events
from app.services.services import Services
from app.store.clients import clients
from app.store.connections.engine import Connection
from app.store.signals import KEYS
from app.wiring import utc_now
from tests.api.conftest import StartInside
from tests.api.stage import Sql, is_held, problem
from tests.api.streams import streaming
from tests.api.test_admin import ADMIN_KEY, Admin, operator
from tests.gateway import OPERATOR, Gateway
from tests.services.stage import turn
from tests.stage import eventually
from tests.upstream import Upstream, succeeded


@dataclass(frozen=True, slots=True)
class Place:
    """A gateway, its operator, and its services."""

    gateway: Gateway
    admin: Admin
    services: Services

    async def patch(self, **members: object) -> dict[str, Any]:
        answer = await self.admin.asks("PATCH", "/clients/tests", members)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def key(self) -> dict[str, Any]:
        """Return how the list shows the gateway's own key."""
        (found,) = [
            one
            for one in await self.admin.list("/keys")
            if self.gateway.api_key.startswith(one["hint"])
        ]
        return found


@pytest_asyncio.fixture
async def place(start_inside: StartInside) -> AsyncIterator[Place]:
    inside = await start_inside(admin_key=SecretStr(ADMIN_KEY))
    async with operator(inside.gateway.http.base_url) as http:
        yield Place(inside.gateway, Admin(inside.gateway, http), inside.services)


def with_key(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


# -- scopes and an end


async def test_a_key_has_its_scopes_and_its_end(place: Place) -> None:
    end = (utc_now() + timedelta(days=1)).replace(microsecond=0)
    told = end.isoformat().replace("+00:00", "Z")
    body = {"client": "shop", "scopes": ["usage", "tasks:read", "usage"], "expires_at": told}
    issued = await place.admin.post("/keys", body, 201)
    assert (issued["scopes"], issued["expires_at"]) == (["tasks:read", "usage"], told)
    listed = {one["id"]: one for one in await place.admin.list("/keys")}
    names = ("scopes", "expires_at", "last_used_at", "revoked_at")
    assert [listed[issued["id"]][name] for name in names] == [issued["scopes"], told, None, None]
    http, key = place.gateway.http, with_key(issued["api_key"])
    assert (await http.get("/v1/tasks", headers=key)).status_code == 200
    refused = problem(await http.post("/v1/tasks", headers=key, content=b"{"))
    assert (refused["code"], refused["status"]) == ("insufficient_scope", 403)
    assert "tasks:write" in refused["detail"]
    (entry, *_) = await place.admin.list("/audit")
    assert entry["detail"] == {
        "key_id": issued["id"],
        "hint": issued["api_key"][:10],
        "scopes": "tasks:read usage",
        "expires_at": end.isoformat(),
    }


@pytest.mark.parametrize(
    ("member", "value", "says"),
    [
        ("scopes", [], "at least 1"),
        ("scopes", ["tasks"], "Input should be"),
        ("expires_at", "2020-01-01T00:00:00Z", "in the future"),
        ("expires_at", "tomorrow", ""),
    ],
)
async def test_a_key_of_no_use_is_not_made(
    place: Place, sql: Sql, member: str, value: object, says: str
) -> None:
    answer = await place.admin.asks("POST", "/keys", {"client": "shop", member: value})
    refused = problem(answer)
    assert refused["code"] == "invalid_request"
    assert refused["errors"][0]["pointer"].startswith(f"/{member}")
    assert says in refused["detail"]
    assert await sql.fetchval("SELECT count(*) FROM api_keys") == 1


async def test_the_last_use_is_gathered_and_written(place: Place) -> None:
    assert (await place.key())["last_used_at"] is None
    for _ in range(3):
        await place.gateway.http.get("/v1/tasks")
    assert (await place.key())["last_used_at"] is None
    await place.services.uses.write()
    used = (await place.key())["last_used_at"]
    assert used is not None
    await place.services.uses.write()
    assert (await place.key())["last_used_at"] == used


async def test_a_wrong_key_asks_the_database_once(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes] = []
    find = clients.find_key

    async def counted(connection: Connection, digest: bytes) -> Any:
        asked.append(digest)
        return await find(connection, digest)

    monkeypatch.setattr(clients, "find_key", counted)
    wrong = with_key("kgw_" + "A" * 43)
    for _ in range(5):
        assert (await place.gateway.http.get("/v1/events", headers=wrong)).status_code == 401
    assert len(asked) == 1
    page = (await place.gateway.http.get("/metrics")).text
    assert 'kie_gateway_auth_refused_total{reason="unknown",surface="api"} 5.0' in page


# -- what is held open ends

End = Callable[[Place], Awaitable[object]]


async def _revoke(place: Place) -> None:
    await place.services.keys.revoke(place.gateway.api_key[:10], operator=OPERATOR)


async def _expire(place: Place) -> None:
    key_id = UUID((await place.key())["id"])
    async with place.services.keys._database.begin() as connection:
        await connection.exec_driver_sql(
            f"UPDATE api_keys SET expires_at = now() WHERE id = '{key_id}'"  # noqa: S608  # ours
        )
    place.services.signals.announce(KEYS)  # as whatever changes a key does


async def _disable(place: Place) -> None:
    await place.patch(disabled=True)


ENDS: dict[str, End] = {"revoked": _revoke, "expired": _expire, "disabled": _disable}


@pytest.mark.parametrize("how", ENDS)
async def test_streams_and_waits_end_with_the_key(place: Place, how: str) -> None:
    task = await place.gateway.create()
    path = f"/v1/tasks/{task['id']}"
    several = {"ids": [task["id"]], "timeout": 30}
    async with (
        streaming(place.gateway, "/v1/events") as feed,
        streaming(place.gateway, f"{path}/events") as history,
    ):
        held = [
            asyncio.ensure_future(place.gateway.http.get(path, params={"wait": "30"})),
            asyncio.ensure_future(place.gateway.http.post("/v1/tasks/wait", json=several)),
        ]
        await eventually(lambda: _holds(place, 4))
        await place.services.uses.look()  # the key is good: nothing ends
        for one in held:
            await is_held(place.gateway, one)
        await ENDS[how](place)
        await place.services.uses.look()
        for answer in await asyncio.gather(*held):
            assert answer.json()["code"] == "unauthenticated"
        await feed.rest()
        await history.rest()
    await eventually(lambda: _holds(place, 0))
    again = await place.gateway.http.get(path)
    assert again.status_code == (403 if how == "disabled" else 401)


async def _holds(place: Place, count: int) -> bool | None:
    return sum(map(len, place.services.uses._holds.values())) == count or None


async def test_a_stream_lives_for_an_hour_at_most(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "LONGEST", 0.0)
    async with streaming(place.gateway, "/v1/events") as stream:
        await stream.rest()


# -- a client that is disabled


async def test_a_disabled_client_is_refused_and_nothing_of_it_is_sent(
    place: Place, sql: Sql, upstream: Upstream
) -> None:
    hook = "https://hooks.test/a"
    running = await place.gateway.create(webhook_url=hook)
    path = upstream.callback_path
    await place.admin.post("/admission/pause", {"client": "tests"})
    queued = await place.gateway.create()

    shown = await place.patch(disabled=True)
    assert shown["disabled_at"].endswith("Z")
    refused = problem(await place.gateway.http.get(f"/v1/tasks/{queued['id']}"))
    assert (refused["code"], refused["status"]) == ("client_disabled", 403)
    credit = (await place.gateway.http.get("/api/v1/chat/credit")).json()
    assert (credit["code"], credit["msg"][:29]) == (401, "You do not have access permis")

    await place.admin.post("/admission/resume", {"client": "tests"})
    await turn(place.services)
    assert len(upstream.creates) == 1
    answer = await place.gateway.call_back(path, succeeded(running["kie_task_id"]))
    assert answer.status_code == 200
    states = {row["id"]: row["state"] for row in await sql.fetch("SELECT id, state FROM tasks")}
    assert states == {UUID(running["id"]): "succeeded", UUID(queued["id"]): "queued"}
    assert await sql.fetchval("SELECT due_at <= now() FROM deliveries WHERE state = 'pending'")

    assert (await place.patch(disabled=False))["disabled_at"] is None
    await turn(place.services)
    assert (await place.gateway.reaches(queued["id"], "running"))["hold_reason"] is None
    actions = [one["action"] for one in await place.admin.list("/audit")]
    assert actions[:3:2] == ["client_enabled", "client_disabled"]


# -- admin keys


async def _as(place: Place, key: str) -> httpx.AsyncClient:
    return operator(place.gateway.http.base_url, key)


async def test_the_life_of_an_admin_key(place: Place) -> None:
    answer = await place.admin.asks("POST", "/admin-keys", {"name": "ann", "role": "operate"})
    issued = answer.json()
    assert (answer.status_code, answer.headers["cache-control"]) == (201, "no-store")
    assert list(issued) == ["id", "name", "role", "admin_key"]
    headers = {"X-Request-ID": "anns-request"}
    async with await _as(place, issued["admin_key"]) as ann:
        done = await ann.post("/v1/admin/admission/pause", content=b"{}", headers=headers)
        assert done.status_code == 200
        refused = problem(await ann.post("/v1/admin/keys", content=b"{"))
        assert (refused["code"], refused["status"]) == ("insufficient_role", 403)
        (entry, *_) = await place.admin.list("/audit")
        names = ("action", "actor", "who", "address", "request_id")
        said = ["admission_paused", "admin_api", "ann", "127.0.0.1", "anns-request"]
        assert [entry[name] for name in names] == said
        await place.services.uses.write()
        (listed,) = await place.admin.list("/admin-keys")
        assert issued["admin_key"].startswith(listed["hint"])
        assert issued["admin_key"] not in str(listed)
        assert listed["last_used_at"] is not None
        gone = await place.admin.asks("DELETE", "/admin-keys/ann")
        assert (gone.status_code, gone.content) == (204, b"")
        assert (await ann.get("/v1/admin/stuck")).status_code == 401
    again = await place.admin.asks("DELETE", "/admin-keys/ann")
    assert problem(again)["code"] == "not_found"
    for name in ("ann", "GATEWAY_ADMIN_KEY", "two words"):
        taken = await place.admin.asks("POST", "/admin-keys", {"name": name, "role": "read"})
        assert problem(taken)["errors"][0]["pointer"] == "/name"
    (mine,) = [
        one for one in await place.admin.list("/audit") if one["action"] == "admin_key_revoked"
    ]
    assert (mine["who"], mine["detail"]) == (
        "GATEWAY_ADMIN_KEY",
        {"name": "ann", "hint": issued["admin_key"][:10]},
    )
    assert mine["action"] == "admin_key_revoked"


async def test_guessing_admin_keys_is_slow_for_its_address_only(place: Place) -> None:
    guess = with_key("kga_" + "A" * 43)
    http = place.admin.http
    seen = [(await http.get("/v1/admin/stuck", headers=guess)).status_code for _ in range(11)]
    assert seen == [401] * 10 + [429]
    waits = await http.get("/v1/admin/stuck")  # the right key waits too
    assert (problem(waits)["code"], waits.headers["retry-after"]) == ("rate_limited", "1")
    assert (await place.gateway.http.get("/v1/tasks")).status_code == 200
    place.services.authentication._backoff._tries.clear()
    assert (await http.get("/v1/admin/stuck")).status_code == 200
