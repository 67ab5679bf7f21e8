"""Speaks the Model Context Protocol with a server process: JSON-RPC 2.0, one line a message."""

import asyncio
import contextlib
import itertools
import json
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

VERSION = "2025-06-18"
"""The revision of the protocol that is asked for."""
PATIENCE = 60.0
"""Seconds that any answer may take."""
LONGEST_LINE = 16 * 1024 * 1024
UNKNOWN_METHOD = -32601


class RpcError(Exception):
    """The server refused a request; the text is its message."""


class Server:
    """A server process under way; requests are made one after the other."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._numbers = itertools.count(1)

    async def initialize(self) -> dict[str, Any]:
        """Shake hands; returns what the server says about itself."""
        client = {"name": "kie-gateway-compat", "version": "1"}
        said = await self.request(
            "initialize", protocolVersion=VERSION, capabilities={}, clientInfo=client
        )
        await self._send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return said

    async def request(self, method: str, **params: object) -> dict[str, Any]:
        """Return the result; raises `RpcError`, and `EOFError` where the server is gone."""
        number = next(self._numbers)
        await self._send({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        async with asyncio.timeout(PATIENCE):
            while (message := await self._read()).get("id") != number or "method" in message:
                await self._decline(message)
        return result(message)

    async def call(self, tool: str, **arguments: object) -> dict[str, Any]:
        """Call a tool; returns the document that its answer holds."""
        return document(await self.request("tools/call", name=tool, arguments=arguments))

    async def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            message = "the client has ended; its log tells why"
            raise EOFError(message)
        read: dict[str, Any] = json.loads(line)
        return read

    async def _send(self, message: Mapping[str, object]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        await self._process.stdin.drain()

    async def _decline(self, message: Mapping[str, object]) -> None:
        """Tell a server that asks something in its turn that nothing is offered here."""
        if "method" in message and "id" in message:
            error = {"code": UNKNOWN_METHOD, "message": "not offered"}
            await self._send({"jsonrpc": "2.0", "id": message["id"], "error": error})


def result(message: Mapping[str, Any]) -> dict[str, Any]:
    """Give the result of an answer; raises `RpcError`."""
    if "error" in message:
        raise RpcError(message["error"]["message"])
    given: dict[str, Any] = message["result"]
    return given


def document(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Read the JSON text that a tool answers with; one that is none stands under `text`."""
    text = answer["content"][0]["text"]
    try:
        read = json.loads(text)
    except ValueError:
        return {"text": text}
    return read if isinstance(read, dict) else {"value": read}


@contextlib.asynccontextmanager
async def serving(
    command: Sequence[str], environment: Mapping[str, str], log: Path
) -> AsyncIterator[Server]:
    """Run a server for the length of the block; what it says beside the protocol goes to `log`."""
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *command, env=environment, stdin=PIPE, stdout=PIPE, stderr=errors, limit=LONGEST_LINE
        )
    try:
        yield Server(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
