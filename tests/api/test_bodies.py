"""Reading bodies within bounds, whatever their sender does."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import pytest
from starlette.requests import Request
from starlette.types import Message

from app.api import bodies
from app.api.bodies import HEAD, drain, whole_or_head

LIMIT = HEAD * 4


def sent(chunks: Iterable[bytes], *, ends: bool = True, announced: int = 0) -> Request:
    """A request whose sender sends these chunks, and then an end or nothing more."""
    left = list(chunks)

    async def receive() -> Message:
        if left:
            return {"type": "http.request", "body": left.pop(0), "more_body": True}
        if not ends:
            await asyncio.Event().wait()
        return {"type": "http.request", "body": b"", "more_body": False}

    headers = [(b"content-length", str(announced).encode())] if announced else []
    receiver: Callable[[], Awaitable[Message]] = receive
    return Request({"type": "http", "method": "POST", "headers": headers}, receiver)


@pytest.mark.parametrize("size", [0, 1, HEAD, LIMIT])
async def test_a_body_within_the_bound_is_whole(size: int) -> None:
    body = b"x" * size
    assert await whole_or_head(sent([body[:7], body[7:]]), LIMIT) == (body, True)


@pytest.mark.parametrize("announced", [0, LIMIT + 1])
async def test_of_a_larger_one_there_is_the_head(announced: int) -> None:
    body = bytes(range(256)) * (LIMIT // 256 + 1)
    chunks = [body[start : start + 1000] for start in range(0, len(body), 1000)]
    request = sent(chunks, announced=announced)
    assert await whole_or_head(request, LIMIT) == (body[:HEAD], False)
    await drain(request)
    assert await request.is_disconnected() is False


async def test_of_one_that_does_not_end_there_is_the_head(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bodies, "PATIENCE", 0.01)
    monkeypatch.setattr(bodies, "DRAIN", 0.01)
    request = sent([b"abc"], ends=False)
    assert await whole_or_head(request, LIMIT) == (b"abc", False)
    await drain(request)
