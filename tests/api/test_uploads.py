"""`/v1/files`: files go through to kie.ai as they come, and only whole ones are recorded."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
import pytest_asyncio

from simulator.server import Options, create_app
from tests.api.stage import Refusal, Sql, check_refusal, dialled, head_of
from tests.gateway import Gateway
from tests.stage import eventually, serving

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 400
"""Of about 100 kB."""


class Host:
    """The upload host, as the simulator plays it."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http
        self.url = str(http.base_url).rstrip("/")

    async def has(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = (await self.http.get("/simulator/uploads")).json()["data"]
        return rows

    async def cut_off(self) -> int:
        found: int = (await self.http.get("/simulator/uploads")).json()["cutOff"]
        return found

    async def next(self, **plan: Any) -> None:
        assert (await self.http.post("/simulator/uploads", json=plan)).status_code == 200


@pytest_asyncio.fixture(scope="module")
async def host_url() -> AsyncIterator[str]:
    async with serving(create_app(Options())) as url:
        yield url


@pytest_asyncio.fixture
async def host(host_url: str) -> AsyncIterator[Host]:
    async with httpx.AsyncClient(base_url=host_url, trust_env=False) as http:
        await http.delete("/simulator/uploads")
        yield Host(http)


Start = Callable[..., Awaitable[Gateway]]


@pytest.fixture
def start(start_gateway: Start, host: Host) -> Start:
    async def starting(**overrides: Any) -> Gateway:
        return await start_gateway(kie_upload_url=host.url, upload_allow_loopback=True, **overrides)

    return starting


@pytest_asyncio.fixture
async def gateway(start: Start) -> Gateway:
    return await start()


async def test_a_file_goes_to_kie_and_is_recorded_as_it_was(
    gateway: Gateway, host: Host, sql: Sql
) -> None:
    uploaded = await gateway.http.post(
        "/v1/files", files={"file": ("../a b.png", PNG, "image/png")}
    )
    assert uploaded.status_code == 201, uploaded.text
    file = uploaded.json()
    (there,) = await host.has()
    client_id = await sql.fetchval("SELECT id FROM clients")
    assert file["sha256"] == there["sha256"] == hashlib.sha256(PNG).hexdigest()
    assert file["bytes"] == there["bytes"] == len(PNG)
    assert (file["name"], file["content_type"]) == ("a b.png", "image/png")
    assert (there["path"], there["name"]) == (f"kie-gateway/{client_id}", f"{file['id']}.png")
    assert file["url"] == there["url"]
    assert (await host.http.get(file["url"])).content == PNG
    assert file["reference"] == f"kgw-file:{file['id']}"
    assert uploaded.headers["location"] == f"/v1/files/{file['id']}"
    assert (await gateway.http.get(f"/v1/files/{file['id']}")).json() == file
    assert (await gateway.http.get("/v1/files")).json() == {"data": [file], "next_cursor": None}
    seconds = "SELECT extract(epoch FROM expires_at - created_at)::int FROM files"
    assert await sql.fetchval(seconds) == 3 * 24 * 3600


async def test_a_file_is_fetched_from_a_url(gateway: Gateway, host: Host) -> None:
    first = (await gateway.http.post("/v1/files", files={"file": ("a.png", PNG)})).json()
    second = await gateway.http.post("/v1/files", json={"url": first["url"], "name": "b.png"})
    assert second.status_code == 201, second.text
    assert second.json()["sha256"] == first["sha256"]
    assert second.json()["name"] == "b.png"
    assert len(await host.has()) == 2
    page = (await gateway.http.get("/v1/files", params={"limit": 1})).json()
    assert [file["id"] for file in page["data"]] == [second.json()["id"]]
    rest = await gateway.http.get("/v1/files", params={"cursor": page["next_cursor"]})
    assert [file["id"] for file in rest.json()["data"]] == [first["id"]]
