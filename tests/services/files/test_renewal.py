"""Copies in the archive: made while a file passes, uploaded again, gone where the file is not."""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from uuid import UUID

import aiohttp
import asyncpg
import httpx
import pytest
import pytest_asyncio

from app.config import Settings
from app.domain.errors import GatewayError, KieNotAnsweringError
from app.domain.uploads import Incoming
from app.outbound.archive import Archive
from app.services.services import Services
from app.store.connections.engine import Pools
from app.store.files import uploads
from app.store.signals import Signals
from app.wiring import Outside, build
from simulator.server import Options, create_app
from tests.stage import serving
from tests.uploads import Host

PNG = b"\x89PNG\r\n\x1a\n" + bytes(100_000)
EXPIRE = "UPDATE files SET expires_at = clock_timestamp()"
Sql: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


@dataclass(frozen=True, slots=True)
class Place:
    services: Services
    host: Host
    sql: Sql
    archive: Archive
    folder: Path
    client_id: UUID

    async def upload(self, *pieces: bytes) -> Any:
        incoming = Incoming(name="a.png", content_type=None, chunks=_each(*pieces))
        return (await self.services.uploads.upload(self.client_id, incoming)).row

    def objects(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.is_file()]


async def _each(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        if not piece:
            message = "cut off"
            raise ConnectionResetError(message)
        yield piece


@pytest_asyncio.fixture
async def place(
    sql: Sql, dsn: str, make_settings: Callable[..., Settings], tmp_path: Path
) -> AsyncIterator[Place]:
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(serving(create_app(Options())))
        http = await stack.enter_async_context(httpx.AsyncClient(base_url=url, trust_env=False))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        pools = Pools.of(dsn, 4)
        stack.push_async_callback(pools.dispose)
        outside = Outside(kie=session, callers=session, uploading=session, fetching=session)
        settings = make_settings(kie_upload_url=url, archive_url=f"file://{tmp_path}")
        services = build(settings, pools, Signals(dsn), outside)
        await services.keys.create("tests")
        client_id = await sql.fetchval("SELECT id FROM clients")
        archive = services.archive
        assert archive is not None
        yield Place(services, Host(http), sql, archive, tmp_path, client_id)


async def test_a_copy_is_made_and_the_file_is_uploaded_again_from_it(place: Place) -> None:
    file = await place.upload(PNG[:1000], PNG[1000:])
    name = await place.sql.fetchval("SELECT object_name FROM files")
    (kept,) = place.objects()
    assert kept.read_bytes() == PNG
    assert str(kept).endswith(name)
    inputs = place.services.submitter._inputs
    renew: Callable[..., Awaitable[str]] = inputs._renew
    assert await renew(place.client_id, file["id"], lasting=60) == file["url"]
    await place.host.http.delete("/simulator/uploads")
    await place.sql.execute(EXPIRE)
    url = await renew(place.client_id, file["id"], lasting=60)
    assert (await place.host.http.get(url)).content == PNG
    left = "SELECT extract(epoch FROM expires_at - clock_timestamp())::int FROM files"
    assert await place.sql.fetchval(left) > 3600
    kept.write_bytes(PNG[:-1] + b"x")  # another file than was recorded
    await place.sql.execute(EXPIRE)
    with pytest.raises(KieNotAnsweringError):
        await renew(place.client_id, file["id"], lasting=60)


@pytest.mark.parametrize("cut", [True, False])
async def test_a_file_that_is_not_recorded_has_no_copy(place: Place, *, cut: bool) -> None:
    if not cut:
        await place.host.next(code=422)
    with pytest.raises(ConnectionResetError if cut else GatewayError):
        await place.upload(PNG, b"" if cut else PNG)
    assert place.objects() == []
    assert await place.sql.fetchval("SELECT count(*) FROM files") == 0


async def test_an_archive_that_fails_stops_no_upload(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(place.archive, "put", full)
    file = await place.upload(PNG, PNG)
    assert file["sha256"] == hashlib.sha256(PNG * 2).hexdigest()
    assert await place.sql.fetchval("SELECT object_name FROM files") is None


async def test_files_are_forgotten_by_age_and_by_client(place: Place) -> None:
    for _ in range(3):
        await place.upload(PNG)
    await place.sql.execute("UPDATE files SET created_at = created_at - interval '100 days'")
    database = place.services.uploads._database
    async with database.begin() as connection:
        assert (
            await uploads.forget_old(connection, after=90 * 86_400, limit=2) == 0
        )  # kie.ai has it
    await place.sql.execute(EXPIRE)
    async with database.begin() as connection:
        assert await uploads.forget_old(connection, after=90 * 86_400, limit=2) == 2
        assert await uploads.forget_clients(connection, place.client_id) == 1
    assert await place.sql.fetchval("SELECT count(*) FROM files") == 0
    left = "SELECT count(*) FROM artifacts WHERE state = 'deleting' AND object IS NOT NULL"
    assert await place.sql.fetchval(left) == 3  # who removes copies of results finds them
