"""What one client does that others feel: open streams, deliveries, and whatever else it may."""

import asyncio
import contextlib

import httpx

from tests.attacks.attack import Target
from tests.attacks.strangers import counted

STREAMS = 300
HELD = 10.0
"""Seconds for which streams are held."""


async def open_streams(target: Target) -> str:
    """Hold 300 streams of the client's feed, on which nothing happens."""
    answers: list[str] = []

    async def one(http: httpx.AsyncClient) -> None:
        headers = {"Accept": "text/event-stream"}
        try:
            async with http.stream("GET", "/v1/events", headers=headers) as answer:
                answers.append(str(answer.status_code))
                if answer.is_success:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(HELD):
                            async for _ in answer.aiter_bytes():
                                pass
        except httpx.HTTPError:
            answers.append("no answer")

    async with target.client() as http:
        await asyncio.gather(*(one(http) for _ in range(STREAMS)))
    return counted(answers)
