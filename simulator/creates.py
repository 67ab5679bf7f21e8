"""createTask: each attempt is judged, remembered and answered as its plan has it."""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from starlette.requests import Request
from starlette.responses import Response

from simulator import orders, shapes
from simulator.account import Account, Task
from simulator.answers import answer
from simulator.chance import Plan, Plans
from simulator.create_faults import USUAL, WAYS, Way
from simulator.faults import Kind
from simulator.orders import RefusedError, read_order


class Outcome(StrEnum):
    """What became of an attempt, whatever the customer was told."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    DROPPED = "dropped"
    """Neither accepted nor answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One create that arrived; `arrived_at` is unix seconds, and what the limits go by."""

    arrived_at: float
    outcome: Outcome
    code: int | None
    """What the answer says: the envelope's code, else the HTTP status. None: nothing legible."""
    callback_url: str | None
    task_id: str | None
    faults: Sequence[str]
    """Those that befell it: a create that is refused for its own sake has none."""


class Creates:
    """Takes creates and remembers them all."""

    def __init__(
        self,
        account: Account,
        plans: Plans,
        announce: Callable[[Task], Awaitable[None]],
        *,
        check_key: Callable[[Request], None],
        base_url: Callable[[Request], str],
    ) -> None:
        self._account = account
        self._plans = plans
        self._announce = announce
        self._check_key = check_key
        self._base_url = base_url
        self.attempts: list[Attempt] = []

    async def create_task(self, request: Request) -> Response:
        plan = self._plans.take()
        chosen = plan.faults.get(Kind.CREATE)
        way = WAYS[chosen.name] if chosen else USUAL
        task = None
        try:
            body = await request.body() if way.reads else b""
            task = self._judge(request, body, plan, way)
        except RefusedError as refusal:
            return answer(shapes.envelope(refusal.code, refusal.message, None))
        finally:
            if task is None:
                self._plans.give_back(plan)
        seconds = chosen.seconds if chosen else None
        if task is None:
            return await way.reply(request, Response(), seconds)
        await self._announce(task)
        return await way.reply(request, answer(shapes.created(task)), seconds)

    def _judge(self, request: Request, body: bytes, plan: Plan, way: Way) -> Task | None:
        """Accept a create or drop it; raises `RefusedError`. Nothing else happens meanwhile."""
        now = time.time()
        if not way.accepts:
            outcome = Outcome.DROPPED if way.code is None else Outcome.REFUSED
            faults = [chosen.name for kind, chosen in plan.faults.items() if kind is Kind.CREATE]
            self._note(now, outcome, way.code, orders.callback_url(body), faults=faults)
            return None
        try:
            self._check_key(request)
            self._account.check_limits(now)
            task = self._account.create(read_order(body), self._base_url(request), now, plan)
        except RefusedError as refusal:
            self._note(now, Outcome.REFUSED, refusal.code, orders.callback_url(body))
            raise
        url, faults = task.order.callback_url, task.fault_names
        self._note(now, Outcome.ACCEPTED, way.code, url, task_id=task.id, faults=faults)
        return task

    def _note(
        self,
        now: float,
        outcome: Outcome,
        code: int | None,
        callback_url: str | None,
        *,
        task_id: str | None = None,
        faults: Sequence[str] = (),
    ) -> None:
        self.attempts.append(
            Attempt(
                arrived_at=now,
                outcome=outcome,
                code=code,
                callback_url=callback_url,
                task_id=task_id,
                faults=faults,
            )
        )
