"""The simulator's options, the application, and the process that serves it."""

import contextlib
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Mount, Router
from starlette.types import ASGIApp

from simulator.account import Account
from simulator.answers import Closable, answer
from simulator.api_key import ApiKeyCheck
from simulator.callbacks import CallbackSender
from simulator.chance import Plans, RandomFaults
from simulator.choices import FAULT_RATES
from simulator.control import Control
from simulator.envelopes import envelope
from simulator.latency import Delays, Latency
from simulator.limits import Limits
from simulator.models import Models
from simulator.uploads import Uploads
from simulator.vendor import Vendor

MAX_BODY_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How the simulator behaves: every field is a plain value with a default, ready for a flag."""

    api_key: str | None = field(default=None, repr=False)
    """The one right key. None: any key is right, as long as there is one."""
    duration: float = 3.0
    """Seconds that a task runs."""
    failure_rate: float = 0.0
    """The share of tasks that fail, from 0 to 1."""
    seed: int = 0
    """Which of them fail, and which faults happen: the same seed, the same ones."""
    start_credits: Decimal = Decimal("5916.25")
    """The account's balance at the start."""
    public_url: str | None = None
    """Where results are served. None: where the create was sent to, by its Host header."""
    hmac_key: str | None = field(default=None, repr=False)
    """Signs callbacks. None: they come unsigned."""
    callback_delay: float = 0.0
    """Seconds between a task's end and its callback."""
    callback_retry_delay: float = 1.0
    """Seconds before the first of three retries; the second waits twice, the third four times."""
    faults: Mapping[str, float] = field(default_factory=dict)
    """Faults that happen by chance: names of `FAULTS`, and the share of creates, from 0 to 1."""
    creates_per_window: int | None = None
    """Creates that are accepted in any window; one more is refused with 429. None: any number."""
    window_seconds: float = 10.0
    """How long that window is."""
    queries_per_second: int | None = None
    """Queries that are answered in any second; one more is refused with 429. None: any number."""
    running_cap: int | None = None
    """Tasks at once; a create beyond is refused with 429. None: any number."""
    out_of_credits_code: Literal[402, 500] = 402
    """The code of a create that cannot be paid."""
    create_latency: tuple[float, float] | None = None
    """Seconds that the answer to a create takes, the least and the most. None: it comes at once."""
    query_latency: tuple[float, float] | None = None
    """The same for queries."""
    models: tuple[str, ...] = ()
    """Models that it knows besides its own list."""
    strict_models: bool = False
    """Whether a create with another model is refused, as kie.ai does; else it is only warned of."""

    def limits(self) -> Limits:
        """Raise ValueError where they make no sense."""
        return Limits(
            creates_per_window=self.creates_per_window,
            window_seconds=self.window_seconds,
            queries_per_second=self.queries_per_second,
            running_cap=self.running_cap,
            out_of_credits_code=self.out_of_credits_code,
        )

    def latency(self) -> Latency:
        """Raise ValueError where it makes no sense."""
        return Latency(create=self.create_latency, query=self.query_latency)


def create_app(options: Options) -> ASGIApp:
    """Build a simulator of its own; raises ValueError for options that make no sense."""
    account = Account(
        start_credits=options.start_credits,
        duration=options.duration,
        failure_rate=options.failure_rate,
        seed=options.seed,
        limits=options.limits(),
    )
    random_faults = RandomFaults(options.seed)
    random_faults.set(FAULT_RATES.validate_python(dict(options.faults)))
    plans = Plans(random_faults)
    callback_sender = CallbackSender(
        hmac_key=options.hmac_key, retry_delay=options.callback_retry_delay
    )
    models = Models(options.models, strict=options.strict_models)
    delays = Delays(options.seed, options.latency())
    vendor = Vendor(
        account,
        callback_sender,
        plans,
        ApiKeyCheck(options.api_key),
        delays,
        models,
        public_url=options.public_url,
        callback_delay=options.callback_delay,
    )
    control = Control(account, callback_sender, plans, random_faults, delays, vendor, models)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with contextlib.aclosing(callback_sender):
            yield

    uploads = Uploads(ApiKeyCheck(options.api_key), options.public_url)
    rest = Router([*vendor.routes(), *control.routes()], redirect_slashes=False)
    app = Starlette(
        routes=[*uploads.routes(), Mount("", rest, max_body_size=MAX_BODY_BYTES)],
        exception_handlers={404: _unknown, 405: _unknown, ClientDisconnect: _gone},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # what is unknown is 404, not a redirect
    return Closable(app)


def run(host: str, port: int, options: Options) -> None:
    """Serve until stopped. Port 0 takes a free one; where it listens is printed."""
    config = uvicorn.Config(
        create_app(options), log_level="warning", access_log=False, timeout_graceful_shutdown=1
    )
    with listen(host, port) as listener:
        shown = f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{listener.getsockname()[1]}"
        sys.stdout.write(f"simulator listening on {url}\n")
        sys.stdout.flush()
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])


def listen(host: str, port: int) -> socket.socket:
    """Open the socket to serve on: from here on who connects is queued."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family)
    # asyncio forgets this for sockets made by hand: 40 ms for each answer (measured)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


async def _unknown(_: Request, __: Exception) -> Response:
    """Answer an unknown path, or a known one with another method."""
    return answer(envelope(404, "Not Found", None), 404)


async def _gone(_: Request, __: Exception) -> Response:
    """Ignore a client that hung up while sending: nobody reads this answer."""
    return Response(status_code=400)
