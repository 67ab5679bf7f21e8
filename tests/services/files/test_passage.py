"""The clock of an upload: each step sets it anew, and it says who stood still."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from app.domain.errors import KieNotAnsweringError
from app.domain.file_errors import UploadStalledError
from app.services.files.passage import Passage

STALL = 0.1
"""Seconds."""


async def moving(seconds: float) -> AsyncIterator[bytes]:
    """Give a byte in each round of the event loop for so long, and stand still then."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while loop.time() < until:
        step = loop.create_future()
        loop.call_soon(step.set_result, None)
        await step
        yield b"x"
    await loop.create_future()


def passage(source: AsyncIterator[bytes]) -> Passage:
    return Passage(source, max_bytes=1_000_000_000, stall=STALL)


async def whole(upload: Passage) -> None:
    async with upload.bounded():
        async for _ in upload.through():
            pass


async def test_progress_sets_the_clock_anew() -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    upload = passage(moving(3 * STALL))
    with pytest.raises(UploadStalledError):
        await whole(upload)
    assert loop.time() >= began + 4 * STALL
    assert not upload.is_whole


async def test_a_sender_who_stands_still_in_the_first_bytes_is_told_so() -> None:
    async def two_bytes() -> AsyncIterator[bytes]:
        yield b"xy"
        await asyncio.get_running_loop().create_future()

    async def head() -> None:
        async with upload.bounded():
            await upload.head()

    upload = passage(two_bytes())
    with pytest.raises(UploadStalledError):
        await head()


async def test_who_does_not_take_the_bytes_is_kie() -> None:
    async def one_piece() -> None:
        async with upload.bounded():
            await anext(upload.through())
            await asyncio.get_running_loop().create_future()

    upload = passage(moving(1))
    with pytest.raises(KieNotAnsweringError):
        await one_piece()
