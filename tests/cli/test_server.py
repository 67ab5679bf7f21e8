"""How our processes take connections, on the event loop that they run on."""

import asyncio
import contextlib
import socket

import pytest
import uvicorn
import uvloop
from starlette.types import Receive, Scope, Send

from app.cli.processes.server import Server

CALLERS = 64
ROUNDS = 8
"""One by one it would be 33: two come in each round that we count."""


async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer nobody: this is about connections."""


async def _accepted(server: Server) -> int:
    """Return the rounds of the loop until all callers are connected."""
    loop = asyncio.get_running_loop()
    for passed in range(100 * CALLERS):
        if len(server.server_state.connections) == CALLERS:
            return passed
        next_round = loop.create_future()
        loop.call_soon(next_round.set_result, None)
        await next_round
    raise AssertionError(len(server.server_state.connections))


async def _come_together() -> int:
    with socket.create_server(("127.0.0.1", 0), backlog=2 * CALLERS) as listener:
        server = Server(
            uvicorn.Config(nothing, lifespan="off", log_config=None), announce=lambda _: None
        )
        server.config.load()
        server.lifespan = server.config.lifespan_class(server.config)
        await server.startup([listener])
        address = listener.getsockname()
        with contextlib.ExitStack() as callers:
            for _ in range(CALLERS):  # the kernel completes them, whatever our loop does
                callers.enter_context(socket.create_connection(address))
            passed = await _accepted(server)
        await server.shutdown([listener])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address).close()
    return passed


def test_who_came_together_is_accepted_in_a_few_rounds() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        passed = runner.run(_come_together())
    assert passed <= ROUNDS
