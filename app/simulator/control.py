"""The simulator's own endpoints: what a test sees of the account and how it steers it."""

import time

from pydantic import ValidationError
from simplejson import RawJSON
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.simulator.behaviour import Next
from app.simulator.callbacks import Attempt, Callbacks
from app.simulator.tasks import Account, Task
from app.simulator.vendor import answer


class Control:
    """Shows and steers; asks for no key. Instants are unix seconds."""

    def __init__(self, account: Account, callbacks: Callbacks) -> None:
        self._account = account
        self._callbacks = callbacks

    def routes(self) -> list[Route]:
        return [
            Route("/simulator/next", self.expect, methods=["POST"]),
            Route("/simulator/ledger", self.ledger, methods=["GET"]),
            Route("/simulator/ledger", self.reset, methods=["DELETE"]),
            Route("/simulator/tasks/{task_id:path}", self.task),
            Route("/simulator/callbacks", self.callbacks),
        ]

    async def expect(self, request: Request) -> Response:
        """Queue a behaviour for the creates to come."""
        try:
            behaviour = Next.model_validate_json(await request.body())
        except ValidationError as error:
            return answer({"errors": error.errors(include_url=False, include_input=False)}, 400)
        self._account.expect(behaviour, behaviour.count)
        return answer({"count": behaviour.count})

    async def ledger(self, _: Request) -> Response:
        """Show every create that was accepted, and what it cost."""
        now = time.time()
        rows = [_row(task, now) for task in self._account.ledger]
        return answer({"data": rows, "balance": self._account.balance(now)})

    async def reset(self, request: Request) -> Response:
        """Begin anew: nothing created, nothing queued, no callback on its way."""
        self._account.reset()
        await self._callbacks.forget()
        return await self.ledger(request)

    async def task(self, request: Request) -> Response:
        """Show one row of the ledger, and the state of its task."""
        task = self._account.find(request.path_params["task_id"])
        if task is None:
            raise HTTPException(404)
        now = time.time()
        return answer(_row(task, now) | {"state": task.state(now)})

    async def callbacks(self, _: Request) -> Response:
        """Show every callback attempt that is over, in that order."""
        return answer([_attempt(attempt) for attempt in self._callbacks.attempts])


def _row(task: Task, now: float) -> dict[str, object]:
    return {
        "taskId": task.id,
        "model": task.order.model,
        "callBackUrl": task.order.callback_url,
        "credits": task.billed(now),
        "createdAt": task.created_at,
        "input": RawJSON(task.order.input),
    }


def _attempt(attempt: Attempt) -> dict[str, object]:
    return {
        "taskId": attempt.task_id,
        "url": attempt.url,
        "attempt": attempt.attempt,
        "status": attempt.status,
        "at": attempt.at,
    }
