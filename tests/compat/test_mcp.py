import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.compat.mcp import RpcError, Server, document, result, serving

FAKE = """
import json, sys

def say(**message):
    print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)

for line in sys.stdin:
    message = json.loads(line)
    print("got", line, file=sys.stderr, flush=True)
    match message.get("method"):
        case "initialize":
            say(id=message["id"], result={"serverInfo": {"name": "fake"}})
        case "tools/call" if message["params"]["name"] == "nosy":
            say(method="notifications/progress", params={})
            say(id=1000, method="roots/list")
            declined = json.loads(sys.stdin.readline())
            say(id=message["id"], result={"content": [{"text": json.dumps(declined["error"])}]})
        case "tools/call":
            text = json.dumps(message["params"]["arguments"])
            say(id=message["id"], result={"content": [{"text": text}]})
        case "refuse":
            say(id=message["id"], error={"code": -32600, "message": "no"})
        case "end":
            sys.exit()
"""


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    command = (sys.executable, "-c", FAKE)
    async with serving(command, os.environ, tmp_path / "log") as server:
        yield server


async def test_a_server_is_greeted_before_anything_is_asked(server: Server, tmp_path: Path) -> None:
    assert (await server.initialize())["serverInfo"] == {"name": "fake"}
    assert await server.call("echo", a=1) == {"a": 1}
    log = (tmp_path / "log").read_text()
    assert (
        log.index('"initialize"') < log.index('"notifications/initialized"') < log.index('"echo"')
    )


async def test_what_a_server_asks_in_its_turn_is_declined(server: Server) -> None:
    assert (await server.call("nosy"))["message"] == "not offered"
    assert await server.call("echo", b=2) == {"b": 2}


async def test_a_refusal_is_told(server: Server) -> None:
    with pytest.raises(RpcError, match="no"):
        await server.request("refuse")


async def test_a_server_that_is_gone_is_not_waited_for(server: Server) -> None:
    with pytest.raises(EOFError, match="has ended"):
        await server.request("end")


def test_a_result_and_an_error() -> None:
    assert result({"result": {"a": 1}}) == {"a": 1}
    with pytest.raises(RpcError, match="broken"):
        result({"error": {"code": 1, "message": "broken"}})


@pytest.mark.parametrize(
    ("text", "read"),
    [('{"a": 1}', {"a": 1}), ("plain", {"text": "plain"}), ("[1]", {"value": [1]})],
)
def test_the_document_of_an_answer(text: str, read: object) -> None:
    assert document({"content": [{"type": "text", "text": text}]}) == read
