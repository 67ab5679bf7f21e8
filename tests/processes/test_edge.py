"""What strangers meet at a real process, and the port of its own where it shows how it is."""

import asyncio
import contextlib
import re
import resource
import signal
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from tests.api.stage import NOBODY
from tests.gateway import BODY
from tests.processes.conftest import At, Start
from tests.processes.stage import Running, Stage
from tests.scrape import samples
from tests.stage import eventually

OWN_PORT = re.compile(r"^(?=.*metrics\.listening).*?(http://127\.0\.0\.1:\d+)", re.MULTILINE)
CROWD = 1300
"""Connections: more than the default GATEWAY_MAX_CONNECTIONS."""


@contextlib.contextmanager
def open_files(soft: int) -> Iterator[int]:
    """Have another soft limit for a while; yields the hard one. Processes inherit both."""
    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, hard), hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (before, hard))


async def metrics_url(process: Running) -> str:
    found = OWN_PORT.search(await process.says("metrics.listening"))
    assert found
    return found[1]


@contextlib.asynccontextmanager
async def calling(url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as http:
        yield http


async def status(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    assert length
    await reader.readexactly(int(length[1]))
    return int(head.split(b" ")[1])


@pytest.mark.long
@pytest.mark.parametrize(
    "arguments",
    [
        ("serve", "--surface", "callbacks", "--no-worker"),
        pytest.param(("worker",), marks=pytest.mark.long),
    ],
)
async def test_metrics_have_a_port_of_their_own(start: Start, arguments: tuple[str, ...]) -> None:
    process = await start(
        *arguments, GATEWAY_METRICS_LISTEN="127.0.0.1:0", GATEWAY_SHUTDOWN_LINGER="1"
    )
    async with calling(await process.url()) as http, calling(await metrics_url(process)) as own:
        assert (await http.get("/metrics")).status_code == 404
        refused = await http.get("/livez", headers={"X": "x" * 70_000})
        assert refused.status_code == 431
        page = samples((await own.get("/metrics")).text)
        assert page['kie_gateway_edge_refused_total{reason="headers_too_large"}'] == 1
        ready = await own.get("/readyz")
        assert (ready.status_code, ready.json()["checks"]["database"]) == (200, "ok")
        assert (await own.get("/livez")).status_code == 200
        for path in ("/docs", "/v1/tasks", f"/callbacks/kie/{NOBODY}/x"):
            answer = await own.get(path)
            assert answer.status_code == 404, path
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "server" not in answer.headers
        process.send(signal.SIGTERM)
        if arguments[0] == "serve":

            async def look() -> bool | None:
                return (await own.get("/readyz")).status_code == 503 or None

            await eventually(look)
    assert await process.ended() == 0
    with pytest.raises(httpx.ConnectError):
        async with calling(await metrics_url(process)) as own:
            await own.get("/livez")


@pytest.mark.long
async def test_a_port_of_metrics_in_use_is_one_line(stage: Stage, start: Start) -> None:
    taken = (await (await start("worker")).url()).removeprefix("http://")
    ended = await stage.run("serve", GATEWAY_METRICS_LISTEN=taken)
    assert ended.said("choose another by GATEWAY_METRICS_LISTEN", status=1), ended


@pytest.mark.long
async def test_a_crowd_without_keys_keeps_nobody_out(start: Start, at: At) -> None:
    """Each of the crowd is answered, and keeps its connection; it begins with few open files."""
    with open_files(256) as hard:
        process = await start("serve", "--no-worker", GATEWAY_LOG_LEVEL="info")
    url = await process.ready()
    gateway = await at(url)
    assert (await gateway.post(BODY)).status_code == 201
    host, port = url.removeprefix("http://").split(":")
    writers = []
    with open_files(4 * CROWD):
        for number in range(CROWD):
            reader, writer = await asyncio.open_connection(host, int(port))
            writers.append(writer)
            path, method, wanted = (
                ("/v1/tasks", "GET", 401)
                if number % 2
                else (f"/callbacks/kie/{NOBODY}/x", "POST", 404)
            )
            head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
            writer.write(head.encode())
            assert await status(reader) == wanted
        assert (await gateway.post(BODY)).status_code == 201  # on a connection that was kept
        newcomer = await at(url)
        assert (await newcomer.post(BODY)).status_code == 201
        page = samples((await gateway.http.get("/metrics")).text)
        for writer in writers:
            writer.transport.abort()
    assert page["process_max_fds"] == hard
    assert 1000 <= page["process_open_fds"] <= 1150
    assert page['kie_gateway_edge_refused_total{reason="crowded"}'] >= CROWD - 1000
    assert process.said.count("edge.refused") <= 5
