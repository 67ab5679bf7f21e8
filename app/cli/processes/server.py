"""How our processes listen, and how they end on a signal."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from types import FrameType

import uvicorn
from typing_extensions import override

from app.cli.exits import give_up, reason
from app.config import Address

STOPPING = (signal.SIGTERM, signal.SIGINT)


@contextlib.contextmanager
def listening(address: Address, setting: str | None = None) -> Iterator[socket.socket]:
    """Open the socket before anything is started: a port in use is one line, not a log to read."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        listener = socket.create_server(address, family=family)
    except OSError as error:
        ways = f"--port or {setting}" if setting else "--port"
        give_up(f"cannot listen on {address}: {reason(error)}; choose another by {ways}")
    with listener:
        # asyncio forgets this for sockets made by hand: 40 ms for each answer (measured)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield listener


class Server(uvicorn.Server):
    """Announces where it listens, and ends with 0 after a signal to stop.

    uvicorn's own way is to die of the signal once everything is done, which init systems and tests
    cannot distinguish from a death halfway.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        announce: Callable[[str], None],
        release: Callable[[], None] | None = None,
    ) -> None:
        """`announce` is given the URL; `release` lets those go who are kept waiting."""
        super().__init__(config)
        self._announce = announce
        self._release = release

    @override
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Let waiters and streams go with what there is: they would hold up the end."""
        if self.started and self._release is not None:
            self._release()
        super().handle_exit(sig, frame)

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in STOPPING:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or []:
            host, port, *_ = listener.getsockname()
            self._announce(f"http://{Address(host, port)}")
