"""The wrapper of object stores: the same against a directory and against S3's API."""

import asyncio
import contextlib
import logging
import os
import re
from collections.abc import AsyncIterator, Iterator
from hashlib import sha256
from pathlib import Path

import httpx
import pytest
from moto.server import ThreadedMotoServer

from app.config.values import ARCHIVES
from app.domain.files import SCHEMES
from app.outbound.archive import Archive, ArchiveError, NoObjectError

PIECE = os.urandom(100_000)
MANY = 130
"""Pieces: 13 MB, so three parts of S3's."""


async def pieces(count: int, *, fails: bool = False, hangs: bool = False) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield PIECE
    if fails:
        message = "the source broke"
        raise RuntimeError(message)
    if hangs:
        await asyncio.Event().wait()


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """An S3 with an empty bucket; its credentials are in the environment, as an operator's are."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    with pytest.MonkeyPatch.context() as patched:
        for name, value in {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "an-id",
            "AWS_SECRET_ACCESS_KEY": "a-key-of-the-tests",
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }.items():
            patched.setenv(name, value)
        httpx.put(f"{url}/results", trust_env=False).raise_for_status()
        yield "s3://results/kie"
    server.stop()


@pytest.fixture(params=["s3", "file"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return request.getfixturevalue("s3") if request.param == "s3" else f"file://{tmp_path}/a b"


async def read(archive: Archive, name: str, start: int = 0, end: int | None = None) -> bytes:
    found = await archive.get(name, start, end)
    return b"".join([chunk async for chunk in found.chunks])


async def test_objects_are_written_read_and_removed(url: str) -> None:
    archive = Archive.open(url)
    name = "a-client/2026/11/x/1.png"
    assert await archive.size(name) is None
    await archive.put(name, pieces(MANY), "image/png")
    assert await archive.size(name) == MANY * len(PIECE)
    assert sha256(await read(archive, name)).digest() == sha256(PIECE * MANY).digest()
    assert await read(archive, name, 99_990, 100_010) == PIECE[-10:] + PIECE[:10]
    assert await read(archive, name, MANY * len(PIECE) - 5) == PIECE[-5:]
    await archive.put(name, pieces(1), "image/png")  # what stood there is replaced
    assert await read(archive, name) == PIECE
    await archive.put(name, pieces(0), "image/png")
    assert await archive.size(name) == 0
    await archive.delete(name)
    await archive.delete(name)
    with pytest.raises(NoObjectError):
        await archive.get(name)
    await archive.probe()


@pytest.mark.parametrize("count", [3, MANY])
async def test_what_is_not_whole_is_not_kept(url: str, count: int) -> None:
    archive = Archive.open(url)
    with pytest.raises(RuntimeError, match="the source broke"):
        await archive.put("x", pieces(count, fails=True), "image/png")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await archive.put("x", pieces(count, hangs=True), "image/png")
    assert await archive.size("x") is None


async def test_a_presigned_url_is_fetched_by_a_plain_client(s3: str) -> None:
    archive = Archive.open(s3)
    await archive.put("x.png", pieces(2), "image/png")
    link = await archive.presign("x.png")
    assert link is not None
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(link)
    assert (answer.status_code, answer.content) == (200, PIECE * 2)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-disposition"] == "attachment"
    assert "X-Amz-Expires=900" in link
    assert "a-key-of-the-tests" not in link


async def test_a_directory_has_no_links(tmp_path: Path) -> None:
    assert await Archive.open(f"file://{tmp_path}").presign("x") is None


async def test_trouble_is_named_without_urls_and_keys(s3: str) -> None:
    archive = Archive.open("s3://no-such-bucket/kie")
    with pytest.raises(ArchiveError) as caught:
        await archive.probe()
    said = str(caught.value)
    assert said
    assert not [part for part in ("http", "no-such-bucket", "an-id", "a-key") if part in said]
    assert s3.startswith("s3://")


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/x", "a//b"])
async def test_no_name_leads_out_of_the_prefix(tmp_path: Path, name: str) -> None:
    archive = Archive.open(f"file://{tmp_path}/in")
    with contextlib.suppress(ArchiveError):
        await archive.put(name, pieces(1), "image/png")
    assert [path for path in _files(tmp_path) if "in" not in path.parts] == []


def _files(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


def test_urls_are_of_the_schemes_that_settings_take() -> None:
    assert SCHEMES == ARCHIVES
    with pytest.raises(ArchiveError):
        Archive.open("ftp://x/y")


def test_obstore_is_imported_by_those_who_have_an_archive_only() -> None:
    """Where it is imported at the top of a module, everybody has to install and load it."""
    top = [
        path.name
        for path in Path("app").rglob("*.py")
        if re.search(r"^(?:import|from) obstore\b", path.read_text(), re.MULTILINE)
    ]
    assert top == []
    Archive("s3://x")  # opened when it is first used
