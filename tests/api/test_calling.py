"""The service of docs/calling.md, run against a gateway and a simulated kie.ai."""

import importlib.util
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest
import pytest_asyncio
from standardwebhooks import Webhook
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from typing_extensions import override

from app.config import Settings
from app.main import create_app
from app.services.clients.vault import Vault
from simulator.server import Options
from simulator.server import create_app as create_simulator
from tests.api.stage import Sql
from tests.gateway import SECRET, Gateway
from tests.stage import eventually, serving, serving_at

FILE = Path(__file__).parents[2] / "docs" / "examples" / "service.py"


class LosesAnswers(httpx.AsyncHTTPTransport):
    """Sends each request, and loses the first answer."""

    def __init__(self) -> None:
        super().__init__()
        self.lost = 0

    @override
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await super().handle_async_request(request)
        if self.lost == 0:
            self.lost += 1
            await answer.aclose()
            message = "the connection broke"
            raise httpx.ReadError(message, request=request)
        return answer


@dataclass
class Frail:
    """The service behind a proxy: what becomes of its first answer to a webhook."""

    app: ASGIApp
    statuses: list[int] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_hook = scope.get("path") == "/kie"

        async def spoiled(message: Message) -> None:
            if is_hook and message["type"] == "http.response.start":
                self.statuses.append(message["status"])
                if len(self.statuses) == 1:
                    message["status"] = 502  # it did its work, and nobody hears of it
            await send(message)

        await self.app(scope, receive, spoiled)


@dataclass(frozen=True, slots=True)
class Shop:
    """The running service, what it calls, and its tables."""

    http: httpx.AsyncClient
    gateway: Gateway
    simulator: str
    secret: str
    sql: Sql
    outside: Frail
    transport: LosesAnswers

    async def order(self) -> dict[str, Any]:
        answer = await self.http.put("/orders/1017", json={"prompt": "a banana"})
        assert answer.status_code == 202, answer.text
        placed: dict[str, Any] = answer.json()
        return placed

    async def emails(self) -> list[str]:
        return [row["message"] for row in await self.sql.fetch("SELECT * FROM shop.emails")]

    async def hears(self, count: int) -> list[int]:
        async def look() -> list[int] | None:
            return self.outside.statuses if len(self.outside.statuses) >= count else None

        return await eventually(look)


def _service() -> ModuleType:
    spec = importlib.util.spec_from_file_location("service", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


Start = Callable[[AsyncExitStack], Awaitable[tuple[Gateway, str]]]


@pytest.fixture
def start(make_settings: Callable[..., Settings]) -> Start:
    """Start a gateway that delivers, with a simulated kie.ai that calls it back."""

    async def start(stack: AsyncExitStack) -> tuple[Gateway, str]:
        options = Options(duration=0)
        simulator = await stack.enter_async_context(serving(create_simulator(options)))
        made = make_settings(
            kie_base_url=simulator, delivery_allow_loopback=True, delivery_schedule=(0, 0.05)
        )

        def gateway(url: str) -> ASGIApp:
            return create_app(made.model_copy(update={"public_url": url}), worker=True)

        url = await stack.enter_async_context(serving_at(gateway))
        return await stack.enter_async_context(Gateway.at(url, made)), simulator

    return start


@pytest_asyncio.fixture
async def shop(
    start: Start, sql: Sql, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Shop]:
    await sql.execute("CREATE SCHEMA shop")
    async with AsyncExitStack() as stack:
        stack.push_async_callback(sql.execute, "DROP SCHEMA shop CASCADE")
        gateway, simulator = await start(stack)
        secret = Vault([SECRET]).open(await sql.fetchval("SELECT signing_secret FROM clients"))
        separator = "&" if "?" in dsn else "?"
        monkeypatch.setenv("DATABASE_URL", f"{dsn}{separator}search_path=shop")
        monkeypatch.setenv("KIE_GATEWAY_URL", str(gateway.http.base_url))
        monkeypatch.setenv("KIE_GATEWAY_API_KEY", gateway.api_key)
        monkeypatch.setenv("KIE_GATEWAY_SIGNING_SECRET", secret)
        service, transport = _service(), LosesAnswers()
        plain = service.new_client

        def client() -> httpx.AsyncClient:
            made: httpx.AsyncClient = plain()
            made._transport, made._mounts = transport, {}
            return made

        monkeypatch.setattr(service, "new_client", client)
        outside = Frail(service.app)
        url = await stack.enter_async_context(serving(outside))
        monkeypatch.setenv("WEBHOOK_URL", f"{url}/kie")
        http = await stack.enter_async_context(httpx.AsyncClient(base_url=url, trust_env=False))
        yield Shop(http, gateway, simulator, secret, sql, outside, transport)


async def test_one_task_and_one_effect_whatever_is_lost_repeated_or_forged(
    shop: Shop,
) -> None:
    placed = await shop.order()
    assert shop.transport.lost == 1
    again = await shop.order()
    assert again["task_id"] == placed["task_id"]

    assert (await shop.hears(2))[:2] == [204, 204]

    ids = [task["id"] for task in (await shop.gateway.http.get("/v1/tasks")).json()["data"]]
    assert ids == [placed["task_id"]]
    billed = await shop.gateway.http.get(f"{shop.simulator}/simulator/ledger")
    assert len(billed.json()["data"]) == 1
    (email,) = await shop.emails()
    assert email.startswith("task.succeeded: http")
    order = (await shop.http.get("/orders/1017")).json()
    assert (order["state"], len(order["pictures"])) == ("succeeded", 1)

    await refuses_what_is_forged(shop)


async def refuses_what_is_forged(shop: Shop) -> None:
    known = await shop.sql.fetchval("SELECT count(*) FROM shop.kie_events")
    body = '{"type": "task.failed", "data": {}}'
    forged = Webhook("whsec_" + "c2VjcmV0IG9mIHNvbWVib2R5IGVsc2U=")
    now = await shop.sql.fetchval("SELECT now()")
    headers = {
        "webhook-id": "msg_forged",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": forged.sign("msg_forged", now, body),
    }
    assert (await shop.http.post("/kie", content=body, headers=headers)).status_code == 401
    assert (await shop.http.post("/kie", content=body)).status_code == 401
    assert await shop.sql.fetchval("SELECT count(*) FROM shop.kie_events") == known
