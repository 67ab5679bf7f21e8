"""The files of results: small pictures, or what the task's file fault makes of them."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from simulator import pictures
from simulator.account import Account, State, Task
from simulator.answers import HalfAnswer, closed_after
from simulator.choices import Chosen
from simulator.faults import Kind

PIECE = 64 * 1024
"""Bytes of a large file that are sent at a time."""

FORBIDDEN_AGENTS = ("python", "aiohttp", "curl", "wget", "go-http", "java", "httpx")
"""How the User-Agents of libraries begin, in small letters."""

INSIDE = "http://169.254.169.254/latest/meta-data/"
"""Where a redirect leads that nobody should follow."""


async def serve(account: Account, task_id: str, number: int, request: Request) -> Response:
    """Return file number `number`, from 1, of a task that has succeeded; 404 for all else."""
    now = time.time()
    task = account.find(task_id)
    if task is None or task.state(now) is not State.SUCCESS or number > len(task.result_urls):
        raise HTTPException(404)
    chosen = task.faults.get(Kind.FILE)
    if chosen is None:
        return _usual(content(task, number))
    return await SERVED[chosen.name](request, task, number, chosen)


def content(task: Task, number: int) -> bytes:
    """Return the bytes of a file, the same each time."""
    return pictures.draw(task.id if number == 1 else f"{task.id}/{number}")


def large(task_id: str, number: int, size: int) -> "hashlib._Hash":
    """Return the SHA-256 of a large file."""
    digest = hashlib.sha256()
    for piece in _pieces(task_id, number, size):
        digest.update(piece)
    return digest


def _pieces(task_id: str, number: int, size: int) -> list[bytes]:
    seed = hashlib.sha256(f"{task_id}/{number}".encode()).digest()
    piece = (seed * (PIECE // len(seed) + 1))[:PIECE]
    return [piece] * (size // PIECE) + [piece[: size % PIECE]]


def _usual(body: bytes) -> Response:
    return Response(body, media_type="image/png")


async def _slow(_: Request, task: Task, number: int, chosen: Chosen) -> Response:
    body = content(task, number)
    wait = (chosen.seconds or 0.0) / 10

    async def trickle() -> AsyncIterator[bytes]:
        for start in range(0, len(body), len(body) // 10):
            await asyncio.sleep(wait)
            yield body[start : start + len(body) // 10]

    headers = {"Content-Length": str(len(body))}
    return StreamingResponse(trickle(), media_type="image/png", headers=headers)


async def _cut_off(_: Request, task: Task, number: int, __: Chosen) -> Response:
    return HalfAnswer(content(task, number), media_type="image/png")


class _TooShort(Response):
    """Announces one byte more than it has."""

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        length = str(len(self.body) + 1).encode()
        kept = [(name, value) for name, value in self.raw_headers if name != b"content-length"]
        start = {"status": 200, "headers": [*kept, (b"content-length", length)]}
        await send({"type": "http.response.start", **start})
        await send({"type": "http.response.body", "body": bytes(self.body), "more_body": True})
        await closed_after(scope, receive)


async def _wrong_length(_: Request, task: Task, number: int, __: Chosen) -> Response:
    return _TooShort(content(task, number), media_type="image/png")


async def _picky(request: Request, task: Task, number: int, _: Chosen) -> Response:
    agent = request.headers.get("user-agent", "").lower()
    if not agent or agent.startswith(FORBIDDEN_AGENTS):
        raise HTTPException(403)
    return _usual(content(task, number))


async def _gone(_: Request, task: Task, number: int, chosen: Chosen) -> Response:
    if time.time() >= task.finished_at + (chosen.seconds or 0.0):
        raise HTTPException(404)
    return _usual(content(task, number))


async def _late(_: Request, task: Task, number: int, chosen: Chosen) -> Response:
    if chosen.seconds is None or time.time() < task.finished_at + chosen.seconds:
        raise HTTPException(503)
    return _usual(content(task, number))


async def _endless(_: Request, task: Task, number: int, __: Chosen) -> Response:
    body = content(task, number)

    async def on() -> AsyncIterator[bytes]:
        while True:
            yield body * 100
            await asyncio.sleep(0)

    return StreamingResponse(on(), media_type="image/png")


async def _redirecting(_: Request, __: Task, ___: int, ____: Chosen) -> Response:
    return RedirectResponse(INSIDE, 302)


async def _large(_: Request, task: Task, number: int, chosen: Chosen) -> Response:
    async def through() -> AsyncIterator[bytes]:
        for piece in _pieces(task.id, number, chosen.bytes):
            yield piece

    headers = {"Content-Length": str(chosen.bytes)}
    return StreamingResponse(through(), media_type="video/mp4", headers=headers)


_Serving = Callable[[Request, Task, int, Chosen], Awaitable[Response]]

SERVED: Mapping[str, _Serving] = {
    "file-slow": _slow,
    "file-cut-off": _cut_off,
    "file-wrong-length": _wrong_length,
    "file-picky": _picky,
    "file-gone": _gone,
    "file-late": _late,
    "file-endless": _endless,
    "file-redirect": _redirecting,
    "file-large": _large,
}
