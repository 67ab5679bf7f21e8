"""kie.ai's own endpoints, as a customer meets them."""

import asyncio
import time
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from simulator import orders, pictures, record_faults, shapes
from simulator.account import EARLY, Account, State, Task
from simulator.answers import answer
from simulator.callback_faults import News, letters
from simulator.callbacks import Callbacks
from simulator.chance import Plans
from simulator.creates import Attempt, Creates
from simulator.guard import Guard
from simulator.latency import Call, Delays
from simulator.orders import RefusedError

LINK_LIVES = 20 * 60
"""Seconds. Nobody here looks whether they are over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One query that arrived with the right key; `arrived_at` is unix seconds."""

    arrived_at: float
    task_id: str
    refused: int | None
    """The code, where there were too many; None: it was looked up."""


class Vendor:
    """Answers like kie.ai: HTTP 200 whatever happened, the truth in the envelope."""

    def __init__(
        self,
        account: Account,
        callbacks: Callbacks,
        plans: Plans,
        guard: Guard,
        delays: Delays,
        *,
        public_url: str | None,
        callback_delay: float,
    ) -> None:
        self._account = account
        self._callbacks = callbacks
        self._guard = guard
        self._delays = delays
        self._public_url = public_url
        self._callback_delay = callback_delay
        self.queries: list[Query] = []
        """In the order of their arrival."""
        self._creates = Creates(
            account, plans, self._announce, check_key=guard.check, base_url=self._base_url
        )

    @property
    def creates(self) -> list[Attempt]:
        """Every create that arrived, in that order."""
        return self._creates.attempts

    def routes(self) -> list[Route]:
        guarded = self._guard.guarded
        late = self._delays.late
        create = self._creates.create_task  # checks the key itself: it notes the refused as well
        return [
            Route("/api/v1/jobs/createTask", late(Call.CREATE, create), methods=["POST"]),
            Route("/api/v1/jobs/recordInfo", late(Call.QUERY, guarded(self.record_info))),
            Route("/api/v1/chat/credit", guarded(self.credit)),
            Route("/api/v1/common/download-url", guarded(self.download_url), methods=["POST"]),
            Route("/files/{task_id:path}.png", self.file),
        ]

    async def record_info(self, request: Request) -> Response:
        now = time.time()
        task_id = request.query_params.get("taskId", "")
        try:
            self._account.count_query(now)
        except RefusedError as refusal:
            self.queries.append(Query(arrived_at=now, task_id=task_id, refused=refusal.code))
            raise
        self.queries.append(Query(arrived_at=now, task_id=task_id, refused=None))
        return record_faults.look_up(self._account.find(task_id), now)

    async def credit(self, _: Request) -> Response:
        return answer(shapes.envelope(200, "success", self._account.balance(time.time())))

    async def download_url(self, request: Request) -> Response:
        """Give a link to a result that was made here; of any other URL kie.ai says no more."""
        now = time.time()
        url = orders.file_url(await request.body())
        if url is None or not self._account.has_made(url, now):
            raise RefusedError(422, "url is wrong")
        link = f"{url}?expires={int(now) + LINK_LIVES}"
        return answer(shapes.envelope(shapes.OK, "success", link))

    async def file(self, request: Request) -> Response:
        task = self._account.find(request.path_params["task_id"])
        if task is None or task.state(time.time()) is not State.SUCCESS:
            raise HTTPException(404)
        return Response(pictures.draw(task.id), media_type="image/png")

    async def _announce(self, task: Task) -> None:
        """See to it that the customer will hear of the task's end, if there is a way to."""
        url = task.order.callback_url
        if url is None or not task.calls_back:
            return
        news = News(
            task=task,
            balance=lambda: self._account.balance(time.time()),
            delay=self._callback_delay,
        )
        tried = self._callbacks.send(task.id, url, letters(news))
        if EARLY in task.fault_names:
            await asyncio.gather(*(event.wait() for event in tried))

    def _base_url(self, request: Request) -> str:
        """Where results are served: without an URL of ours, where the customer reached us.

        Put together as text: a hostile Host is not parsed.
        """
        reached = f"{request.scope['scheme']}://{request.headers.get('host', 'localhost')}"
        return (self._public_url or reached).rstrip("/")
