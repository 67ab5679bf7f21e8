"""The few next admissions of a process wait for their turn; it is said to all others."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from app.services.tasks.line import NEXT, Line, Place


async def lent(line: Line, stack: AsyncExitStack) -> Place:
    return await stack.enter_async_context(line.place())


async def test_the_next_ones_come_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.services.tasks.line.PATIENCE", 60)
    line = Line()
    came: list[int] = []

    async def come(number: int, place: Place) -> None:
        await place.come()
        came.append(number)
        place.leave()

    async with AsyncExitStack() as stack:
        first, *others = [await lent(line, stack) for _ in range(NEXT + 1)]
        await first.come()
        await first.come()  # the transaction is tried again
        waiting = [asyncio.create_task(come(n, place)) for n, place in enumerate(others)]
        await asyncio.wait(waiting, timeout=0)
        assert came == []
        first.leave()
        await asyncio.gather(*waiting)
    assert came == list(range(NEXT))


async def test_who_comes_behind_them_is_told() -> None:
    line = Line()
    async with AsyncExitStack() as stack:
        crowded = [(await lent(line, stack)).is_crowded for _ in range(NEXT + 3)]
        assert crowded == [False] * (NEXT + 1) + [True] * 2
    async with line.place() as place:
        assert not place.is_crowded


async def test_nobody_waits_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.services.tasks.line.PATIENCE", 0.01)
    line = Line()
    async with line.place() as first, line.place() as second:
        await first.come()
        await second.come()
    async with line.place() as third:
        await asyncio.wait_for(third.come(), 30)  # who went on without a turn has ended none
        with pytest.raises(TimeoutError):
            await line.begin(0.01)
