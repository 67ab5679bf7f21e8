"""kie.ai's own endpoints, as a client calls them."""

import asyncio
import time
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from simulator import bodies, envelopes, record_faults, result_files
from simulator.account import EARLY, Account, Task
from simulator.answers import answer
from simulator.api_key import ApiKeyCheck
from simulator.bodies import RefusedError
from simulator.callback_faults import Ending, callbacks
from simulator.callbacks import CallbackSender
from simulator.chance import Plans
from simulator.creates import CreateRecord, Creates
from simulator.latency import Call, Delays
from simulator.models import Models

LINK_SECONDS = 20 * 60
"""Seconds; not enforced here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One query that arrived with the right key; `arrived_at` is unix seconds."""

    arrived_at: float
    task_id: str
    refused: int | None
    """The code, where there were too many; None: it was looked up."""


class Vendor:
    """Answers like kie.ai: always HTTP 200, the result in the envelope."""

    def __init__(
        self,
        account: Account,
        callback_sender: CallbackSender,
        plans: Plans,
        key_check: ApiKeyCheck,
        delays: Delays,
        models: Models,
        *,
        public_url: str | None,
        callback_delay: float,
    ) -> None:
        self._account = account
        self._callback_sender = callback_sender
        self._key_check = key_check
        self._delays = delays
        self._public_url = public_url
        self._callback_delay = callback_delay
        self.queries: list[Query] = []
        """In the order of their arrival."""
        self._creates = Creates(
            account,
            plans,
            models,
            self._send_callbacks,
            check_key=key_check.check,
            base_url=self._base_url,
        )

    @property
    def creates(self) -> list[CreateRecord]:
        """Every create that arrived, in that order."""
        return self._creates.records

    def routes(self) -> list[Route]:
        keyed = self._key_check.required
        delayed = self._delays.delayed
        create = self._creates.create_task  # checks the key itself: it notes the refused as well
        return [
            Route("/api/v1/jobs/createTask", delayed(Call.CREATE, create), methods=["POST"]),
            Route("/api/v1/jobs/recordInfo", delayed(Call.QUERY, keyed(self.record_info))),
            Route("/api/v1/chat/credit", keyed(self.credit)),
            Route("/api/v1/common/download-url", keyed(self.download_url), methods=["POST"]),
            Route("/files/{task_id}/{number:int}.png", self.file),
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
        return record_faults.answer_query(self._account.find(task_id), now)

    async def credit(self, _: Request) -> Response:
        return answer(envelopes.envelope(200, "success", self._account.balance(time.time())))

    async def download_url(self, request: Request) -> Response:
        """Return a link to a result that was made here; any other URL is refused as wrong."""
        now = time.time()
        url = bodies.file_url(await request.body())
        if url is None or not self._account.has_made(url, now):
            raise RefusedError(422, "url is wrong")
        link = f"{url}?expires={int(now) + LINK_SECONDS}"
        return answer(envelopes.envelope(envelopes.OK, "success", link))

    async def file(self, request: Request) -> Response:
        task_id, number = request.path_params["task_id"], request.path_params.get("number", 1)
        return await result_files.serve(self._account, task_id, number, request)

    async def _send_callbacks(self, task: Task) -> None:
        """Schedule the callbacks about each end of the task, if it has a callback URL."""
        url = task.body.callback_url
        if url is None or not task.calls_back:
            return
        tried = [
            self._callback_sender.send(task.id, url, callbacks(self._ending(task, at)))
            for at in task.ends
        ]
        if EARLY in task.fault_names:
            await asyncio.gather(*(event.wait() for event in tried[0]))

    def _ending(self, task: Task, at: float) -> Ending:
        return Ending(
            task=task,
            at=at,
            balance=lambda: self._account.balance(time.time()),
            delay=self._callback_delay,
        )

    def _base_url(self, request: Request) -> str:
        """Where results are served: without an URL of ours, where the client reached us.

        Put together as text: a hostile Host is not parsed.
        """
        reached = f"{request.scope['scheme']}://{request.headers.get('host', 'localhost')}"
        return (self._public_url or reached).rstrip("/")
