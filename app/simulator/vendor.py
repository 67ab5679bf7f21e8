"""kie.ai's own endpoints, as a customer meets them."""

import hmac
import time
from collections.abc import Awaitable, Callable

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.simulator import documents, pictures, shapes
from app.simulator.callbacks import Callbacks
from app.simulator.orders import RefusedError, read_order
from app.simulator.tasks import Account, State, Task

Endpoint = Callable[[Request], Awaitable[Response]]


class Vendor:
    """Answers like kie.ai: HTTP 200 whatever happened, the truth in the envelope."""

    def __init__(
        self,
        account: Account,
        callbacks: Callbacks,
        *,
        api_key: str | None,
        public_url: str | None,
        callback_delay: float,
    ) -> None:
        self._account = account
        self._callbacks = callbacks
        self._api_key = api_key
        self._public_url = public_url
        self._callback_delay = callback_delay

    def routes(self) -> list[Route]:
        return [
            Route("/api/v1/jobs/createTask", self._guarded(self.create_task), methods=["POST"]),
            Route("/api/v1/jobs/recordInfo", self._guarded(self.record_info)),
            Route("/api/v1/chat/credit", self._guarded(self.credit)),
            Route("/files/{task_id:path}.png", self.file),
        ]

    async def create_task(self, request: Request) -> Response:
        order = read_order(await request.body())
        base_url = self._public_url or _base_url(request)
        task = self._account.create(order, base_url.rstrip("/"), time.time())
        self._announce(task)
        return answer(shapes.created(task))

    async def record_info(self, request: Request) -> Response:
        task = self._account.find(request.query_params.get("taskId", ""))
        if task is None:
            raise RefusedError(422, "recordInfo is null")
        return answer(shapes.record(task, time.time()))

    async def credit(self, _: Request) -> Response:
        return answer(shapes.envelope(200, "success", self._account.balance(time.time())))

    async def file(self, request: Request) -> Response:
        task = self._account.find(request.path_params["task_id"])
        if task is None or task.state(time.time()) is not State.SUCCESS:
            raise HTTPException(404)
        return Response(pictures.draw(task.id), media_type="image/png")

    def _announce(self, task: Task) -> None:
        """See to it that the customer will hear of the task's end, if there is a way to."""
        url = task.order.callback_url
        if url is None or not task.calls_back:
            return

        def write() -> bytes:
            return documents.encode(shapes.callback(task, self._account.balance(time.time())))

        self._callbacks.schedule(task.finished_at + self._callback_delay, task.id, url, write)

    def _guarded(self, endpoint: Endpoint) -> Endpoint:
        """Let only those in who bring the right key, and say every no in an envelope."""

        async def guarded(request: Request) -> Response:
            try:
                self._check_key(request)
                return await endpoint(request)
            except RefusedError as refusal:
                return answer(shapes.envelope(refusal.code, refusal.message, None))

        return guarded

    def _check_key(self, request: Request) -> None:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not self._is_right(key.strip()):
            raise RefusedError(401, "You do not have access permissions")

    def _is_right(self, key: str) -> bool:
        if self._api_key is None:
            return bool(key)
        return hmac.compare_digest(key.encode(), self._api_key.encode())


def answer(value: object, status: int = 200) -> Response:
    """Answer JSON, each number digit for digit."""
    return Response(documents.encode(value), status, media_type="application/json")


def _base_url(request: Request) -> str:
    """Where the customer reached us. Put together as text: a hostile Host is not parsed."""
    return f"{request.scope['scheme']}://{request.headers.get('host', 'localhost')}"
