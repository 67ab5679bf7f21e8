"""The wrapper of object stores against Azure's and Google's APIs, as far as emulators have them.

Long, for Azurite is installed the first time, and skipped where that cannot be.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from hashlib import sha256
from pathlib import Path

import httpx
import pytest

from app.outbound.archive import PART, Archive, ArchiveError, NoObjectError
from tests.outbound.emulators import azurite, check_google_link, google

pytestmark = pytest.mark.long

PIECE = os.urandom(100_000)
MANY = 130
"""Pieces: 13 MB, so three parts."""

STORES = {"azure": (azurite, "az://results/kie"), "google": (google, "gs://results/kie")}
LIFE = {"azure": "se=", "google": "X-Goog-Expires=900"}
"""How a link says when it ends."""


@pytest.fixture(scope="module", params=sorted(STORES))
def store(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    start, _ = STORES[request.param]
    with start(tmp_path_factory.mktemp("store")) as environment, pytest.MonkeyPatch.context() as on:
        for name, value in environment.items():
            on.setenv(name, value)
        yield request.param


@pytest.fixture
def archive(store: str) -> Archive:
    return Archive.open(STORES[store][1])


async def pieces(count: int, *, fails: bool = False) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield PIECE
    if fails:
        message = "the source broke"
        raise RuntimeError(message)


async def read(archive: Archive, name: str, start: int = 0, end: int | None = None) -> bytes:
    found = await archive.get(name, start, end)
    return b"".join([chunk async for chunk in found.chunks])


async def test_objects_are_written_read_and_removed(archive: Archive) -> None:
    assert MANY * len(PIECE) > 2 * PART
    name = "a-client/2026/11/x/1.png"
    assert await archive.size(name) is None
    await archive.put(name, pieces(MANY), "image/png")
    assert await archive.size(name) == MANY * len(PIECE)
    assert sha256(await read(archive, name)).digest() == sha256(PIECE * MANY).digest()
    assert await read(archive, name, 99_990, 100_010) == PIECE[-10:] + PIECE[:10]
    assert await read(archive, name, MANY * len(PIECE) - 5) == PIECE[-5:]
    await archive.put(name, pieces(1), "image/png")
    assert await read(archive, name) == PIECE
    await archive.delete(name)
    await archive.delete(name)
    with pytest.raises(NoObjectError):
        await archive.get(name)
    await archive.probe()  # as the doctor does


@pytest.mark.parametrize("count", [3, MANY])
async def test_what_is_not_whole_is_not_kept(archive: Archive, count: int) -> None:
    with pytest.raises(RuntimeError, match="the source broke"):
        await archive.put("broken", pieces(count, fails=True), "image/png")
    assert await archive.size("broken") is None


async def test_a_presigned_url_is_fetched_by_a_plain_client(archive: Archive, store: str) -> None:
    await archive.put("x.png", pieces(2), "image/png")
    link = await archive.presign("x.png")
    assert link is not None
    assert LIFE[store] in link
    assert link.startswith("http")
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(link)
        spoiled = await http.get(link.replace("sig=", "sig=A"))
    assert (answer.status_code, answer.content) == (200, PIECE * 2)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-disposition"] == "attachment"
    if store == "azure":
        assert spoiled.status_code == 403
    else:  # there nobody looks at signatures
        check_google_link(link, Path(os.environ["GOOGLE_APPLICATION_CREDENTIALS"]))


async def test_trouble_is_named_without_urls_and_keys(store: str) -> None:
    archive = Archive.open(STORES[store][1].replace("results", "nothing-here"))
    async with asyncio.timeout(30):
        with pytest.raises(ArchiveError) as caught:
            await archive.probe()
    said = str(caught.value)
    assert said
    assert not [part for part in ("http", "nothing-here", "devstore", "127.0.0.1") if part in said]
