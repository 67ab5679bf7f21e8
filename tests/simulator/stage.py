"""What the tests of the simulator share: its client, and a receiver of callbacks."""

import contextlib
import json
import ssl
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.stage import PATIENCE, eventually


class Simulator:
    """A running simulator, as its client and its test see it."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http

    @classmethod
    @contextlib.asynccontextmanager
    async def at(cls, url: str) -> AsyncIterator["Simulator"]:
        headers = {"Authorization": "Bearer any-key"}
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # unused; the default takes 100 ms to load
        async with httpx.AsyncClient(
            base_url=url, headers=headers, verify=tls, trust_env=False
        ) as http:
            yield cls(http)

    @property
    def url(self) -> str:
        return str(self.http.base_url).rstrip("/")

    async def post(self, body: object) -> dict[str, Any]:
        """Send any body to createTask; the answer is HTTP 200 whatever it says."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return _envelope(await self.http.post("/api/v1/jobs/createTask", content=content))

    async def create(self, **members: object) -> str:
        """Create a task that is accepted; returns its id."""
        body = {"model": "google/nano-banana", "input": {"prompt": "a cat"}} | members
        answer = await self.post(body)
        assert answer["code"] == 200, answer
        return str(answer["data"]["taskId"])

    async def query(self, task_id: str) -> dict[str, Any]:
        params = {"taskId": task_id}
        return _envelope(await self.http.get("/api/v1/jobs/recordInfo", params=params))

    async def finished(self, task_id: str) -> dict[str, Any]:
        """Query until the task has ended; returns that record's envelope."""

        async def look() -> dict[str, Any] | None:
            answer = await self.query(task_id)
            return answer if answer["data"]["state"] in ("success", "fail") else None

        return await eventually(look)

    async def balance(self) -> object:
        return _envelope(await self.http.get("/api/v1/chat/credit"))["data"]

    async def expect(self, **behaviour: object) -> None:
        response = await self.http.post("/simulator/next", json=behaviour)
        assert response.status_code == 200, response.text

    async def send(
        self, *, callback_url: str | None = None, patience: float = PATIENCE
    ) -> httpx.Response:
        """Send a create whose answer may be anything, or none at all."""
        body = {"model": "google/nano-banana", "input": {"prompt": "a cat"}}
        if callback_url:
            body["callBackUrl"] = callback_url
        return await self.http.post("/api/v1/jobs/createTask", json=body, timeout=patience)

    async def look_up(self, task_id: str) -> httpx.Response:
        """Query a task whose answer may be anything."""
        return await self.http.get("/api/v1/jobs/recordInfo", params={"taskId": task_id})

    async def creates(self) -> list[dict[str, Any]]:
        """Every create that arrived."""
        rows: list[dict[str, Any]] = _object(await self.http.get("/simulator/creates"))["data"]
        return rows

    async def put(self, path: str, document: object) -> dict[str, Any]:
        """Change the simulator's faults or its account."""
        response = await self.http.put(f"/simulator/{path}", json=document)
        assert response.status_code == 200, response.text
        return _object(response)

    async def ledger(self) -> dict[str, Any]:
        return _object(await self.http.get("/simulator/ledger"))

    async def truth(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = _object(await self.http.get("/simulator/truth"))["data"]
        return rows

    async def attempts(self, count: int) -> list[dict[str, Any]]:
        """Wait until `count` callback attempts are on record."""

        async def look() -> list[dict[str, Any]] | None:
            found: list[dict[str, Any]] = (await self.http.get("/simulator/callbacks")).json()
            return found if len(found) >= count else None

        return await eventually(look)


@dataclass
class Receiver:
    """A client's callback URL: records what comes, answers with `answers`, else 200."""

    url: str = ""
    answers: deque[int] = field(default_factory=deque)
    requests: list[tuple[httpx.Headers, dict[str, Any]]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    """Those of all requests, the unreadable included."""
    at: list[float] = field(default_factory=list)
    """When each came, in unix seconds."""

    def clear(self) -> None:
        for remembered in (self.answers, self.requests, self.bodies, self.at):
            remembered.clear()

    def app(self) -> Starlette:
        return Starlette(routes=[Route("/{rest:path}", self._receive, methods=["POST"])])

    async def received(self, count: int = 1) -> list[tuple[httpx.Headers, dict[str, Any]]]:
        """Wait until `count` callbacks have come."""

        async def look() -> list[tuple[httpx.Headers, dict[str, Any]]] | None:
            return self.requests if len(self.requests) >= count else None

        return await eventually(look)

    async def _receive(self, request: Request) -> Response:
        self.bodies.append(await request.body())
        self.at.append(time.time())
        with contextlib.suppress(ValueError):
            body = json.loads(self.bodies[-1])
            self.requests.append((httpx.Headers(request.headers.raw), body))
        return Response(status_code=self.answers.popleft() if self.answers else 200)


def _envelope(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200
    return _object(response)


def _object(response: httpx.Response) -> dict[str, Any]:
    assert response.headers["content-type"] == "application/json"
    document = response.json()
    assert isinstance(document, dict)
    return document
