"""What tests stand on: servers in this process over real sockets, and patience."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, TypeVar

import uvicorn
from starlette.types import ASGIApp
from typing_extensions import override

from simulator.server import listen

PATIENCE = 30.0
"""Seconds after which a condition counts as never met, also on a machine at a load of ten."""

_TURNS = 3
"""Of the loop, in which a connection without a request is closed."""

T = TypeVar("T")


async def eventually(look: Callable[[], Awaitable[T | None]], patience: float = PATIENCE) -> T:
    """Look again until there is something to see."""
    async with asyncio.timeout(patience):
        while (seen := await look()) is None:  # noqa: ASYNC110  # it looks over a network
            await asyncio.sleep(0.005)
        return seen


async def closed(listener: asyncio.Server) -> None:
    """Close a listener and leave nothing open.

    `Server.close()` alone loses a connection that was accepted in the same turn of the loop: its
    transport meets a server without sockets, fails, and is never closed (`Server._attach`).
    """
    loop = asyncio.get_running_loop()
    for listening in listener.sockets:
        loop.remove_reader(listening.fileno())
    await asyncio.sleep(0)  # what was accepted gets its transport
    listener.close()


class _Server(uvicorn.Server):
    """Leaves the signals of the process to pytest, and when it is told to."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._told = asyncio.Event()

    def leave(self) -> None:
        self.should_exit = True
        self._told.set()

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    @override
    async def main_loop(self) -> None:
        """Wait to be told: uvicorn looks ten times a second."""
        await self.on_tick(0)
        await self._told.wait()

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Leave at once where nothing is under way: uvicorn waits a tenth of a second."""
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        if self.server_state.connections or self.server_state.tasks:
            await super().shutdown(sockets)
            return
        for server in self.servers:
            await server.wait_closed()
        await self.lifespan.shutdown()


def serving(
    app: ASGIApp,
    **options: Any,  # of any type
) -> contextlib.AbstractAsyncContextManager[str]:
    """Serve `app` on a free port of this machine; yields its base URL. `options`: uvicorn's."""
    return serving_at(lambda _: app, **options)


@contextlib.asynccontextmanager
async def serving_at(
    make: Callable[[str], ASGIApp],
    **options: Any,  # of any type
) -> AsyncIterator[str]:
    """Serve an app that has to know its own base URL; yields it."""
    with listen("127.0.0.1", 0) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = _Server(
            uvicorn.Config(
                make(url), log_config=None, ws="none", timeout_graceful_shutdown=3, **options
            )
        )
        running = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            while not server.started and not running.done():  # noqa: ASYNC110  # it has no event
                await asyncio.sleep(0.001)
            yield url
        finally:
            server.leave()
            await running
