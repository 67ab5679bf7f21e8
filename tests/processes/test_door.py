"""A listener closes so that nobody who came before is turned away."""

import asyncio
import socket
import sys

import pytest

from app.cli.processes.door import begin_no_more


@pytest.mark.skipif(sys.platform != "linux", reason="the filter of a listener is Linux's")
async def test_who_came_is_served_and_who_comes_later_is_refused() -> None:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        address = listener.getsockname()
        early = socket.create_connection(address)
        begin_no_more(listener)
        late = asyncio.ensure_future(asyncio.open_connection(*address))
        served, _ = await loop.sock_accept(listener)
        with early, served:
            await loop.run_in_executor(None, early.sendall, b"a request")
            assert await loop.sock_recv(served, 100) == b"a request"
        with pytest.raises(TimeoutError):  # the late one is not completed behind our back
            async with asyncio.timeout(0.2):
                await loop.sock_accept(listener)
    with pytest.raises(ConnectionRefusedError):
        await late
