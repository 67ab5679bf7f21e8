"""How our processes listen, and how they end on a signal."""

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from types import FrameType

import structlog
import uvicorn
from typing_extensions import override

from app.cli.exits import give_up, reason
from app.cli.processes.door import begin_no_more
from app.config import Address

LAST_COMERS = 0.2
"""Seconds in which connections that were begun are completed, accepted, and send their request."""

ACCEPTED_AT_ONCE = 16
"""Connections that are accepted in one round of the event loop. libuv accepts one per listener
(libuv pull request 3696), so of 600 callers who came together, the last waited 600 rounds, and so
did kie.ai's callbacks and health checks behind them: 5 s of rounds of 9 ms (measured)."""

TICK = 1.0
"""Seconds for which the date in answers is good."""

log = structlog.get_logger(__name__)

STOPPING = (signal.SIGTERM, signal.SIGINT)


@contextlib.contextmanager
def listening(
    address: Address, setting: str | None = None, option: str | None = "--port"
) -> Iterator[socket.socket]:
    """Open the socket before anything is started: a port in use is one line, not a log to read."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        listener = socket.create_server(address, family=family)
    except OSError as error:
        ways = " or ".join(filter(None, (option, setting)))
        give_up(f"cannot listen on {address}: {reason(error)}; choose another by {ways}")
    with listener:
        # asyncio forgets this for sockets made by hand: 40 ms for each answer (measured)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield listener


class Beside(uvicorn.Server):
    """A second listener in the loop of a `Server`, which starts and ends it."""

    def __init__(self, config: uvicorn.Config, listener: socket.socket) -> None:
        super().__init__(config)
        self._listener = listener

    async def begin(self) -> None:
        self.config.load()
        self.lifespan = self.config.lifespan_class(self.config)
        await self.startup([self._listener])
        host, port, *_ = self._listener.getsockname()
        log.info("metrics.listening", url=f"http://{Address(host, port)}")

    async def end(self) -> None:
        """Answer what is under way, for a second at most, and leave."""
        self.config.timeout_graceful_shutdown = 1
        await self.shutdown([self._listener])


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
        linger: float = 0,
        patience: Callable[[], float] | None = None,
        beside: Beside | None = None,
    ) -> None:
        """`announce` is given the URL; `release` stops work and lets those go who wait.

        `linger`: seconds after SIGTERM in which requests are still taken, also on connections that
        were idle. `patience` returns the seconds that requests have when that is over.
        """
        super().__init__(config)
        self._announce = announce
        self._release = release
        self._linger = linger
        self._patience = patience
        self._beside = beside
        self._stopping = False
        self._exits = asyncio.Event()

    @override
    async def main_loop(self) -> None:
        """Wait for the end: uvicorn looks for it ten times a second, a fifth of what idling costs.

        The date in answers is renewed each second.
        """
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK):
                    await self._exits.wait()

    @override
    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop work at once, and listening after a while: a proxy has to notice first."""
        again, self._stopping = self._stopping, True
        if self.started and self._release is not None:
            self._release()
        if sig == signal.SIGTERM and self.started and self._linger and not again:
            asyncio.get_running_loop().call_later(self._linger, self._leave, sig, frame)
        else:
            self._leave(sig, frame)

    def end(self) -> None:
        """Stop as after a signal."""
        self.should_exit = True
        self._exits.set()

    def _leave(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        self._exits.set()

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the listener so that nobody is turned away who was let in."""
        for listener in sockets or []:
            begin_no_more(listener)
        if self._linger:
            await asyncio.sleep(LAST_COMERS)
        if self._patience is not None:
            self.config.timeout_graceful_shutdown = int(self._patience())
        if self._beside is not None:
            await self._beside.end()
        await super().shutdown(sockets)

    @override
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in STOPPING:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        listeners = sockets or []
        again = [one.dup() for one in listeners for _ in range(ACCEPTED_AT_ONCE - 1)]
        await super().startup([*listeners, *again])
        for listener in listeners:
            host, port, *_ = listener.getsockname()
            self._announce(f"http://{Address(host, port)}")
        if self._beside is not None:
            await self._beside.begin()

    @override
    async def on_tick(self, counter: int) -> bool:
        if self._beside is not None:
            await self._beside.on_tick(counter)  # the date in its answers
        return await super().on_tick(counter)
