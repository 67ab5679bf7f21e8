"""Turns at what there is too little of: nobody waits for more than one turn of each other one."""

import asyncio
from collections.abc import Hashable

import pytest

from app.store.connections.sharing import Turns
from tests.stage import eventually

NOISY, QUIET = "noisy", "quiet"


class Queue:
    """Those who were let in, in that order; each stays until `leave`."""

    def __init__(self, places: int, *, kept: int = 0) -> None:
        self.turns = Turns(places, kept=kept)
        self.came: list[Hashable] = []
        self._leaving = asyncio.Semaphore(0)
        self.tasks: list[asyncio.Task[None]] = []

    async def ask(self, whose: Hashable) -> None:
        """Ask, and return with a place or in line for one."""
        task = asyncio.create_task(self._turn(whose))
        self.tasks.append(task)
        await asyncio.wait({task}, timeout=0)

    async def _turn(self, whose: Hashable) -> None:
        async with self.turns.turn(whose):
            self.came.append(whose)
            await self._leaving.acquire()

    async def leave(self, count: int = 1) -> list[Hashable]:
        """Have so many leave, one after the other; returns who came until then."""
        wanted = len(self.came) + count
        for _ in range(count):
            self._leaving.release()
        return await eventually(lambda: self._grown(wanted))

    async def _grown(self, wanted: int) -> list[Hashable] | None:
        return self.came if len(self.came) == wanted else None


async def test_places_are_taken_at_once_while_there_are_any() -> None:
    queue = Queue(2)
    for _ in range(3):
        await queue.ask(NOISY)
    assert queue.came == [NOISY, NOISY]


async def test_the_kept_place_is_for_who_has_none() -> None:
    queue = Queue(3, kept=1)
    for _ in range(4):
        await queue.ask(NOISY)
    assert queue.came == [NOISY, NOISY]
    await queue.ask(QUIET)
    assert queue.came == [NOISY, NOISY, QUIET]


async def test_who_asks_seldom_comes_next() -> None:
    queue = Queue(1)
    for _ in range(6):
        await queue.ask(NOISY)
    await queue.ask(QUIET)
    await queue.ask("third")
    assert await queue.leave(4) == [NOISY, NOISY, QUIET, "third", NOISY]


async def test_who_gives_up_takes_no_place() -> None:
    queue = Queue(1)
    await queue.ask(NOISY)
    await queue.ask(QUIET)
    await queue.ask(NOISY)
    queue.tasks[1].cancel()
    assert await queue.leave() == [NOISY, NOISY]
    await queue.ask(QUIET)
    assert await queue.leave() == [NOISY, NOISY, QUIET]


async def test_who_gives_up_as_its_turn_comes_passes_it_on() -> None:
    turns = Turns(1)
    inside = asyncio.Event()

    async def hold(whose: Hashable) -> None:
        async with turns.turn(whose):
            inside.set()

    async with turns.turn(NOISY):
        first, second = (asyncio.create_task(hold(whose)) for whose in (QUIET, "third"))
        await asyncio.wait({first, second}, timeout=0)
    first.cancel()  # its place is given, and it has not run since
    with pytest.raises(asyncio.CancelledError):
        await first
    await eventually(lambda: _set(inside), 5)
    await second


async def _set(event: asyncio.Event) -> bool | None:
    return event.is_set() or None
