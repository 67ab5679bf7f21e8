"""A kie.ai that does what a test says and remembers what it was asked."""

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

BALANCE = 2510330
"""Given away in every record, and to be seen in no answer of the gateway's."""

LINK = "https://tempfile.test/for-20-minutes"

Create = Callable[[Mapping[str, Any]], Awaitable[Response]]


def accepted(kie_task_id: str) -> Response:
    data = {"taskId": kie_task_id, "recordId": kie_task_id}
    return JSONResponse({"code": 200, "msg": "success", "data": data})


def credits_left(balance: float) -> Response:
    return JSONResponse({"code": 200, "msg": "success", "data": balance})


def refused(code: int, message: str) -> Response:
    return JSONResponse({"code": code, "msg": message, "data": None})


@dataclass
class Upstream:
    """Accepts every create and finds every task running, until told otherwise."""

    url: str = ""
    creates: list[dict[str, Any]] = field(default_factory=list)
    """The bodies of all creates, in order."""
    bodies: list[bytes] = field(default_factory=list)
    """The same, byte for byte."""
    headers: list[Mapping[str, str]] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)
    """The ids of all queries, in order."""
    queried_at: list[float] = field(default_factory=list)
    """When each of them came, by the loop's clock."""
    on_credit: Callable[[], Awaitable[Response]] | None = None
    credit_calls: int = 0
    on_create: Create | None = None
    on_query: Callable[[str], Awaitable[None]] | None = None
    """What comes between a question, by its id, and the answer."""
    downloads: list[Any] = field(default_factory=list)
    """The bodies of all wishes for a link, in order."""
    on_upload: Callable[[], Response] | None = None
    on_download: Callable[[], Response] | None = None
    records: dict[str, Any] = field(default_factory=dict)
    """Envelopes by id; an id that is not here runs."""
    urls: dict[str, str] = field(default_factory=dict)
    """The callback URL that each accepted create came with: its record echoes it."""
    last_id: str = ""
    """The newest that was given out, answered or not."""
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def reset(self) -> None:
        url, numbers = self.url, self._numbers
        self.__init__()  # type: ignore[misc]  # all fields anew
        self.url, self._numbers = url, numbers

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/api/v1/jobs/createTask", self._create, methods=["POST"]),
                Route("/api/v1/jobs/recordInfo", self._record, methods=["GET"]),
                Route("/api/v1/chat/credit", self._credit, methods=["GET"]),
                Route("/api/v1/common/download-url", self._download, methods=["POST"]),
                Route("/api/file-stream-upload", self._upload, methods=["POST"]),
            ]
        )

    async def _upload(self, request: Request) -> Response:
        """Take any file, and keep none: the simulator does more."""
        await request.body()
        if self.on_upload is not None:
            return self.on_upload()
        url = "https://tempfile.test/r/1.png"
        return JSONResponse({"code": 200, "msg": "success", "data": {"downloadUrl": url}})

    @property
    def callback_path(self) -> str:
        """The path of the newest create's callback URL."""
        url: str = self.creates[-1]["callBackUrl"]
        return "/" + url.split("/", 3)[3]

    def has(self, kie_task_id: str, envelope: dict[str, Any]) -> None:
        """Keep a record under an id that was not answered, for the newest create."""
        self.records[kie_task_id] = envelope
        self.urls[kie_task_id] = self.creates[-1]["callBackUrl"]

    def answers(self, response: Callable[[], Response]) -> None:
        """Answer every create from now on like this."""

        async def create(_: Mapping[str, Any]) -> Response:
            return response()

        self.on_create = create

    def answers_credit(self, response: Callable[[], Response]) -> None:
        """Answer every credit call from now on like this."""

        async def credit() -> Response:
            return response()

        self.on_credit = credit

    def holds(self) -> asyncio.Event:
        """Keep creates waiting for their answer until the event is set."""
        go = asyncio.Event()

        async def create(_: Mapping[str, Any]) -> Response:
            kie_task_id = self.next_id()
            await go.wait()
            return accepted(kie_task_id)

        self.on_create = create
        return go

    def next_id(self) -> str:
        self.last_id = f"{next(self._numbers):032x}"
        return self.last_id

    async def _create(self, request: Request) -> Response:
        self.bodies.append(await request.body())
        body = json.loads(self.bodies[-1])
        self.creates.append(body)
        self.headers.append(dict(request.headers))
        if self.on_create is not None:
            answer = await self.on_create(body)
            self._note(answer, body)
            return answer
        answer = accepted(self.next_id())
        self._note(answer, body)
        return answer

    def _note(self, answer: Response, body: Mapping[str, Any]) -> None:
        """Remember the URL under the id that was answered."""
        with suppress(ValueError, TypeError, KeyError, AttributeError):
            kie_task_id = json.loads(bytes(answer.body))["data"]["taskId"]
            self.urls[kie_task_id] = body["callBackUrl"]

    async def _record(self, request: Request) -> Response:
        kie_task_id = request.query_params["taskId"]
        self.queries.append(kie_task_id)
        self.queried_at.append(asyncio.get_running_loop().time())
        if self.on_query is not None:
            await self.on_query(kie_task_id)
        return JSONResponse(self._echoing(kie_task_id))

    def _echoing(self, kie_task_id: str) -> Any:  # JSON
        envelope = self.records.get(kie_task_id) or running(kie_task_id)
        data = envelope.get("data") if isinstance(envelope, dict) else None
        if not isinstance(data, dict) or "param" in data or kie_task_id not in self.urls:
            return envelope
        param = json.dumps({"callBackUrl": self.urls[kie_task_id], "input": "{}"})
        return {**envelope, "data": {**data, "param": param}}

    async def _credit(self, _: Request) -> Response:
        self.credit_calls += 1
        return credits_left(BALANCE) if self.on_credit is None else await self.on_credit()

    async def _download(self, request: Request) -> Response:
        self.downloads.append(await request.json())
        if self.on_download is not None:
            return self.on_download()
        return JSONResponse({"code": 200, "msg": "success", "data": LINK})


def running(kie_task_id: str) -> dict[str, Any]:
    data = {"taskId": kie_task_id, "state": "generating", "resultJson": "", "failCode": None}
    return {"code": 200, "msg": "success", "data": data}


def succeeded(kie_task_id: str, **members: Any) -> dict[str, Any]:  # JSON
    """The envelope of a success, as a callback and as a record."""
    data = {
        "taskId": kie_task_id,
        "state": "success",
        "resultJson": json.dumps({"resultUrls": ["https://example.com/generated-image.jpg"]}),
        "consumeCredits": 100,
        "remainedCredits": BALANCE,
        "costTime": 8,
        "createTime": 1755599634000,
        "completeTime": 1755599644000,
    }
    return {"code": 200, "msg": "Playground task completed successfully.", "data": data | members}


def failed(kie_task_id: str, **members: Any) -> dict[str, Any]:  # JSON
    """The envelope of a failure, as a callback and as a record."""
    data = {
        "taskId": kie_task_id,
        "state": "fail",
        "failCode": "500",
        "failMsg": "Internal server error",
        "consumeCredits": 0,
        "remainedCredits": BALANCE,
        "costTime": 0,
    }
    return {"code": 501, "msg": "Playground task failed.", "data": data | members}
