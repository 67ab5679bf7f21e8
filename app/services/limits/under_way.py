"""Which requests are under way in this process, whose they are, and how many bytes they hold."""

import asyncio
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from app.domain.errors import OverloadedError
from app.domain.load import Bounds, Load, is_too_much
from app.store.connections.sharing import ASKING, Turns

REFUSALS_PER_SECOND = 200
"""What is refused is often repeated at once, on hundreds of connections: so many refusals are said,
and the others wait. Each takes half a millisecond (`python -m tests.attacks crowd`)."""


class UnderWay:
    """Counts by caller: the client once its key is checked.

    Until then it is the key, if it was good before, or else the remote address.
    """

    def __init__(self, bounds: Bounds, refused: Callable[[Hashable], None]) -> None:
        """`refused` is called with the caller of each request that was one too many."""
        self._bounds = bounds
        self._refused = refused
        self.total = Load()
        self._loads: dict[Hashable, Load] = {}
        self._door = Turns(1)
        self._refusing = Turns(1)

    def of(self, whose: Hashable) -> Load:
        """Return what the caller has under way."""
        return self._loads.get(whose, Load())

    @contextmanager
    def request(self, whose: Hashable) -> Iterator["Place"]:
        """Count a request for the length of the block; raises `OverloadedError`."""
        place = Place(self, whose)
        try:
            place.begin()
            yield place
        finally:
            place.end()

    async def enter(self, whose: Hashable) -> None:
        """Let requests begin by turns, each in a round of the event loop of its own.

        What comes at once is begun over many rounds, between which kie.ai and health are answered.
        """
        await self._door.enter(whose)
        asyncio.get_running_loop().call_soon(self._door.leave, whose)

    async def may_refuse(self, whose: Hashable) -> None:
        """Wait until this refusal may be said: callers take turns, each a part of a second."""
        await self._refusing.enter(whose)
        loop = asyncio.get_running_loop()
        loop.call_later(1 / REFUSALS_PER_SECOND, self._refusing.leave, whose)

    def change(self, whose: Hashable, *, requests: int = 0, size: int = 0) -> None:
        load = self._loads.setdefault(whose, Load())
        for one in (load, self.total):
            one.requests += requests
            one.size += size
        if load.is_nothing:
            del self._loads[whose]

    def require_room(self, whose: Hashable) -> None:
        """Raise `OverloadedError` where the caller has too much under way, all in all."""
        if is_too_much(self.of(whose), self.total, self._loads.values(), self._bounds):
            self._refused(whose)
            detail = "Too many of your requests, or too large ones, are under way. Repeat it later."
            raise OverloadedError(detail)


class Place:
    """One request among those under way."""

    def __init__(self, under_way: UnderWay, whose: Hashable) -> None:
        self._under_way = under_way
        self._whose = whose
        self._counted = 0
        self._size = 0

    def begin(self) -> None:
        self._counted = 1
        self._under_way.change(self._whose, requests=1)
        self._under_way.require_room(self._whose)

    def end(self) -> None:
        self._under_way.change(self._whose, requests=-self._counted, size=-self._size)
        self._counted = self._size = 0

    def become(self, whose: Hashable) -> None:
        """Count it as another caller's from now on; raises `OverloadedError`."""
        counted, size = self._counted, self._size
        self.end()
        self._whose, self._counted, self._size = whose, counted, size
        self._under_way.change(whose, requests=counted, size=size)
        self._under_way.require_room(whose)

    def take(self, size: int) -> None:
        """Count bytes that are about to be held; raises `OverloadedError`."""
        self.hold(size)
        self._under_way.require_room(self._whose)

    def hold(self, size: int) -> None:
        """Count bytes that are held already; a negative size: that are not any more."""
        self._size += size
        self._under_way.change(self._whose, size=size)

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Count as no request for the length of the block: nothing is done, it only waits."""
        counted, self._counted = self._counted, 0
        self._under_way.change(self._whose, requests=-counted)
        try:
            yield
        finally:
            if counted:
                self._counted = counted
                self._under_way.change(self._whose, requests=counted)


CURRENT: ContextVar[Place | None] = ContextVar("under_way", default=None)
"""The request that this code runs for."""


@contextmanager
def resting() -> Iterator[None]:
    """Count the current request, if any, as none for the length of the block: it only waits."""
    place = CURRENT.get()
    if place is None:
        yield
    else:
        with place.resting():
            yield


def take(size: int) -> None:
    """Count bytes that the current request is about to hold; raises `OverloadedError`."""
    if (place := CURRENT.get()) is not None:
        place.take(size)


def give_back(size: int) -> None:
    """Count bytes as no longer held by the current request."""
    if (place := CURRENT.get()) is not None:
        place.hold(-size)


def became(whose: Hashable) -> None:
    """Count the current request as this caller's from now on; raises `OverloadedError`."""
    ASKING.set(whose)
    if (place := CURRENT.get()) is not None:
        place.become(whose)
