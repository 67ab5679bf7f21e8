"""Large answers: one at a time for each client and kind, and so many bytes per second."""

import asyncio
from collections.abc import Hashable

import pytest

from app.domain.errors import RateLimitedError
from app.services.limits import large
from app.services.limits.large import LONGEST, SMALL, LargeAnswers

NOISY, QUIET = "noisy", "quiet"
PAGES, TASKS = "pages", "tasks"
RATE = 10 * SMALL


def made(bytes_per_second: int = RATE) -> tuple[LargeAnswers, list[Hashable]]:
    refused: list[Hashable] = []
    return LargeAnswers(bytes_per_second, refused.append), refused


async def turns() -> None:
    """Let everybody do what can be done by now."""
    for _ in range(5):
        await asyncio.wait({asyncio.ensure_future(_nothing())})


async def _nothing() -> None:
    """Take one round of the loop."""


async def test_a_client_reads_one_page_at_a_time_and_holds_up_nobody_else() -> None:
    answers, refused = made()
    order: list[str] = []

    async def read(name: str, client: str, kind: str, go: asyncio.Event) -> None:
        async with answers.page(client, kind):
            order.append(name)
            await go.wait()

    go = asyncio.Event()
    reading = [
        asyncio.create_task(read(name, client, kind, go))
        for name, client, kind in (
            ("first", NOISY, PAGES),
            ("second", NOISY, PAGES),
            ("other kind", NOISY, TASKS),
            ("other client", QUIET, PAGES),
        )
    ]
    await turns()
    assert order == ["first", "other kind", "other client"]
    small = asyncio.create_task(answers.may_read(NOISY, PAGES))
    go.set()
    await asyncio.gather(*reading, small)
    assert (order[3:], refused, answers._lines) == (["second"], [], {})


async def test_who_read_much_rests_and_who_read_little_does_not() -> None:
    """Half a second's bytes take half a second, also where they were no page."""
    loop = asyncio.get_running_loop()
    answers, _ = made()
    answers.was_read(NOISY, TASKS, SMALL)
    assert answers._lines == {}
    began = loop.time()
    answers.was_read(NOISY, TASKS, RATE // 4)
    answers.was_read(NOISY, TASKS, RATE // 4)
    await asyncio.wait_for(answers.may_read(QUIET, TASKS), 0.1)
    await answers.may_read(NOISY, PAGES)
    assert loop.time() - began < 0.2
    first, second = (answers.may_read(NOISY, TASKS) for _ in range(2))
    await asyncio.gather(first, second)
    assert 0.49 < loop.time() - began < 0.9
    await turns()
    assert answers._lines == {}


async def test_what_waits_is_bounded_in_number_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large, "PATIENCE", 0.05)
    answers, refused = made()
    answers.was_read(NOISY, PAGES, 100 * RATE)
    waiting = [asyncio.create_task(answers.may_read(NOISY, PAGES)) for _ in range(LONGEST)]
    await turns()
    with pytest.raises(RateLimitedError) as too_many:
        await answers.may_read(NOISY, PAGES)
    assert 99 < (too_many.value.retry_after or 0) <= 100
    assert refused == [NOISY]
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(each) for each in found} == {RateLimitedError}
    assert len(refused) == 1 + LONGEST
    assert not answers._lines[NOISY, PAGES].waiting


async def test_a_turn_is_not_lost_with_who_gives_up() -> None:
    """One is canceled while it waits, one while it reads."""
    answers, _ = made()
    go = asyncio.Event()

    async def read() -> None:
        async with answers.page(NOISY, PAGES):
            await go.wait()

    first, waits, given, last = [asyncio.create_task(read()) for _ in range(4)]
    await turns()
    waits.cancel()
    first.cancel()
    await asyncio.gather(first, waits, return_exceptions=True)
    given.cancel()
    go.set()
    await asyncio.gather(given, last, return_exceptions=True)
    assert last.exception() is None
    assert answers._lines == {}
