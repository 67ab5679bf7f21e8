"""Deliveries that can never be made: ended by their first attempt, and shown with the reason."""

import socket
from typing import Any

import pytest

from app.outbound.connections import Resolver
from app.services.services import Services
from tests.gateway import BODY, Gateway
from tests.upstream import Upstream, succeeded

LOOPBACK = "blocked: the URL leads to this machine itself"

PLACEHOLDER = "blocked: the URL has a host that examples are written with"

NOWHERE = {
    "playground": "blocked: the URL should be an http or https URL with a host",
    "ftp://shop.test/": "blocked: the URL should be an http or https URL with a host",
    "http://localhost:3000/hook": LOOPBACK,
    "http://127.0.0.1/": LOOPBACK,
    "https://elsewhere.test/": "blocked: the URL has a host that is not among this client's webhook"
    " hosts",
    "https://your-domain.com/api/callback": PLACEHOLDER,
    "https://example.com/hook": PLACEHOLDER,
    "https://missing.hooks.test/": "ClientConnectorDNSError: Name or service not known",
}
HOSTS = "{missing.hooks.test,localhost,127.0.0.1}"


@pytest.fixture(autouse=True)
def no_such_names(monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(Resolver, "resolve", resolve)


async def told(gateway: Gateway, upstream: Upstream, path: str, body: dict[str, Any]) -> str:
    """Create a task, let it succeed; returns the path of its deliveries."""
    answer = await gateway.http.post(path, json=body)
    task = await gateway.task(answer.headers.get("x-kie-gateway-task") or answer.json()["id"])
    await gateway.call_back(upstream.callback_path, succeeded(task["kie_task_id"]))
    deliveries: str = task["urls"]["deliveries"]
    return deliveries


async def delivered(gateway: Gateway, services: Services, path: str) -> dict[str, Any]:
    await services.deliverer.deliver_due()
    await services.deliverer.drain()
    (delivery,) = (await gateway.http.get(path)).json()["data"]
    found: dict[str, Any] = delivery
    return found


@pytest.mark.parametrize("url", NOWHERE)
async def test_by_kie_ais_api(
    gateway: Gateway, services: Services, upstream: Upstream, sql: Any, url: str
) -> None:
    await sql.execute("UPDATE clients SET webhook_hosts = $1::text::text[]", HOSTS)
    body = {**BODY, "callBackUrl": url}
    path = await told(gateway, upstream, "/api/v1/jobs/createTask", body)
    shown = await delivered(gateway, services, path)
    assert (shown["url"], shown["state"], shown["tries"]) == (url, "undeliverable", 1)
    assert (shown["due_at"], shown["finished_at"] is not None) == (None, True)
    (attempt,) = shown["attempts"]
    assert (attempt["status"], attempt["error"]) == (None, NOWHERE[url])
    assert await sql.fetchval("SELECT count(*) FROM delivery_urls") == 0  # nobody else's trouble
    again = await gateway.http.post(f"/v1/deliveries/{shown['id']}/redeliver")
    assert again.status_code == 202


async def test_a_native_ones_name_may_come_back(
    gateway: Gateway, services: Services, upstream: Upstream, sql: Any
) -> None:
    body = {**BODY, "webhook_url": "https://missing.hooks.test/"}
    shown = await delivered(gateway, services, await told(gateway, upstream, "/v1/tasks", body))
    assert (shown["state"], shown["tries"]) == ("pending", 1)
    assert await sql.fetchval("SELECT failures FROM delivery_urls") == 1
