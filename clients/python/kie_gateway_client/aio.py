"""`AsyncGateway`: the calls, performed while the loop does other things."""

import asyncio
import copy
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import httpx

from kie_gateway_client.calls import Calls
from kie_gateway_client.steps import (
    LIMITS,
    TROUBLE,
    Answer,
    Call,
    Collected,
    Item,
    Items,
    Lost,
    Open,
    Read,
    Reply,
    Request,
    Sleep,
    Step,
    lost,
)
from kie_gateway_client.terms import OK, PATIENCE, REDIRECTED, Terms

if TYPE_CHECKING:
    from typing_extensions import Self

P = ParamSpec("P")
T = TypeVar("T")


def _called(
    call: Callable[Concatenate[Calls, P], Call[T]],
) -> "Callable[Concatenate[AsyncGateway, P], Awaitable[T]]":
    """Make a method of a call."""

    @functools.wraps(call)
    async def method(gateway: "AsyncGateway", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await gateway.perform(call(gateway.calls, *args, **kwargs))

    return method


def _iterated(
    call: Callable[Concatenate[Calls, P], Items[T]],
) -> "Callable[Concatenate[AsyncGateway, P], AsyncIterator[T]]":
    """Make a method of a call that hands out many."""

    @functools.wraps(call)
    def method(gateway: "AsyncGateway", /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
        return gateway.iterate(call(gateway.calls, *args, **kwargs))

    return method


class AsyncGateway:
    """Calls a gateway from one event loop. Close it, or use it in an `async with` block.

    `url` and `api_key` are else those of `KIE_GATEWAY_URL` and `KIE_GATEWAY_API_KEY`. What fails in
    passing, and can be repeated without harm, is tried again for `patience` seconds.
    """

    run = _called(Calls.run)
    create = _called(Calls.create)
    get = _called(Calls.get)
    wait = _called(Calls.wait)
    wait_any = _called(Calls.wait_any)
    wait_all = _called(Calls.wait_all)
    list = _iterated(Calls.list)
    cancel = _called(Calls.cancel)
    refresh = _called(Calls.refresh)
    erase = _called(Calls.erase)
    callbacks = _iterated(Calls.callbacks)
    events = _iterated(Calls.events)
    past_events = _iterated(Calls.past_events)
    upload = _called(Calls.upload)
    upload_url = _called(Calls.upload_url)
    file = _called(Calls.file)
    files = _iterated(Calls.files)
    artifact = _iterated(Calls.artifact)
    deliveries = _iterated(Calls.deliveries)
    delivery = _called(Calls.delivery)
    redeliver = _called(Calls.redeliver)
    redeliver_many = _iterated(Calls.redeliver_many)
    disabled_urls = _called(Calls.disabled_urls)
    enable_url = _called(Calls.enable_url)
    usage = _called(Calls.usage)
    budget = _called(Calls.budget)
    models = _called(Calls.models)

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        patience: float = PATIENCE,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        terms = Terms.given(url, api_key, patience)
        self.calls = Calls(terms)
        self._http = http or httpx.AsyncClient(trust_env=terms.trusts_environment, limits=LIMITS)
        self._is_ours = http is None

    def patient(self, seconds: float) -> "AsyncGateway":
        """Return the same gateway, tried for another time; it shares the connections."""
        return self._but(self.calls.but(patience=seconds))

    @property
    def plain(self) -> Any:  # noqa: ANN401  # the types of the calls are not its
        """The same gateway, but answers stay JSON objects as they came: no model is imported."""
        return self._but(self.calls.but(is_plain=True))

    def _but(self, calls: Calls) -> "AsyncGateway":
        """Share the connections, which stay this one's to close."""
        other = copy.copy(self)
        other.calls = calls
        other._is_ours = False  # noqa: SLF001  # its own
        return other

    async def close(self) -> None:
        """Close the connections, unless they were given."""
        if self._is_ours:
            await self._http.aclose()

    async def __aenter__(self) -> "Self":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.calls.terms.url!r})"

    # -- performing

    async def perform(self, call: Call[T]) -> T:
        """Perform a call to its end."""
        steps = _Steps(self._http)
        reply: Reply = None
        try:
            while True:
                try:
                    step = call.send(reply)
                except StopIteration as end:
                    found: T = end.value
                    return found
                reply = await steps.perform(step)
        finally:
            await steps.close()

    async def iterate(self, call: Items[T]) -> AsyncIterator[T]:
        """Perform a call, and hand out what it does; what is open is closed with the iterator."""
        steps = _Steps(self._http)
        reply: Reply = None
        try:
            while True:
                try:
                    step = call.send(reply)
                except StopIteration:
                    return
                if isinstance(step, Item):
                    reply = None
                    yield step.value
                else:
                    reply = await steps.perform(step)
        finally:
            await steps.close()


class _Steps:
    """Performs the steps of one call."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http
        self._open: httpx.Response | None = None
        self._pieces: AsyncIterator[bytes] | None = None

    async def perform(self, step: Step) -> Reply:
        if isinstance(step, Sleep):
            await asyncio.sleep(step.seconds)
            return None
        if isinstance(step, Read):
            return await self._read()
        await self.close()
        return await self._send(step.request, is_stream=isinstance(step, Open))

    async def _send(self, request: Request, *, is_stream: bool) -> Answer | Lost:
        try:
            with request.opened() as options:
                sent = self._http.build_request(**options)
                self._open = await self._http.send(sent, stream=True, follow_redirects=False)
            if is_stream and OK <= self._open.status_code < REDIRECTED:
                self._pieces = self._open.aiter_raw()
                return Collected(request).answer(self._open)
            collected = Collected(request)
            async for piece in self._open.aiter_raw():
                collected.add(piece)
            return collected.answer(self._open)
        except TROUBLE as error:
            return lost(error)

    async def _read(self) -> bytes | Lost:
        if self._pieces is None:
            return b""
        try:
            return await anext(self._pieces, b"")
        except TROUBLE as error:
            return lost(error)

    async def close(self) -> None:
        """Close what is open."""
        self._pieces = None
        if self._open is not None:
            await self._open.aclose()
            self._open = None
