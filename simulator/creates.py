"""createTask: each create is judged, recorded and answered as its plan has it."""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from starlette.requests import Request
from starlette.responses import Response

from simulator import bodies, envelopes
from simulator.account import Account, Task
from simulator.answers import answer
from simulator.bodies import RefusedError, read_create
from simulator.chance import Plan, Plans
from simulator.create_faults import CREATE_FAULTS, USUAL, Treatment
from simulator.faults import Kind
from simulator.models import WARNING, Models


class Outcome(StrEnum):
    """What became of a create, whatever was answered."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    DROPPED = "dropped"
    """Neither accepted nor answered."""
    REPEATED = "repeated"
    """No task of its own: answered with an earlier one's id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CreateRecord:
    """One create that arrived; `arrived_at` is unix seconds, and what the limits go by."""

    arrived_at: float
    outcome: Outcome
    code: int | None
    """The answer's code: the envelope's, else the HTTP status. None: nothing legible was sent."""
    callback_url: str | None
    task_id: str | None
    faults: Sequence[str]
    """Those that it met: a create that is refused for its own sake has none."""


class Creates:
    """Answers creates and records them all."""

    def __init__(
        self,
        account: Account,
        plans: Plans,
        models: Models,
        on_accepted: Callable[[Task], Awaitable[None]],
        *,
        check_key: Callable[[Request], None],
        base_url: Callable[[Request], str],
    ) -> None:
        self._account = account
        self._plans = plans
        self._models = models
        self._on_accepted = on_accepted
        self._check_key = check_key
        self._base_url = base_url
        self.records: list[CreateRecord] = []

    async def create_task(self, request: Request) -> Response:
        plan = self._plans.take()
        chosen = plan.faults.get(Kind.CREATE)
        treatment = CREATE_FAULTS[chosen.name] if chosen else USUAL
        task = None
        try:
            body = await request.body() if treatment.reads else b""
            task = self._accept(request, body, plan, treatment)
        except RefusedError as refusal:
            return answer(envelopes.envelope(refusal.code, refusal.message, None))
        finally:
            if task is None:
                self._plans.give_back(plan)
        seconds = chosen.seconds if chosen else None
        if task is not None:
            await self._on_accepted(task)
        named = task or self._repeated(treatment)
        usual = answer(envelopes.created(named)) if named else Response()
        if task is not None and (warning := self._models.check(task.body.model)):
            usual.headers[WARNING] = warning
        return await treatment.reply(request, usual, seconds)

    def _repeated(self, treatment: Treatment) -> Task | None:
        """Return the task that the answer names although it is not this create's."""
        ledger = self._account.ledger
        return ledger[-1] if treatment.repeats and ledger else None

    def _accept(
        self, request: Request, body: bytes, plan: Plan, treatment: Treatment
    ) -> Task | None:
        """Accept a create or drop it; raises `RefusedError`. Nothing else happens meanwhile."""
        now = time.time()
        repeated = self._repeated(treatment)
        if not treatment.accepts and (repeated or not treatment.repeats):
            faults = [chosen.name for kind, chosen in plan.faults.items() if kind is Kind.CREATE]
            self._record(
                now,
                _unaccepted(treatment),
                treatment.code,
                bodies.callback_url(body),
                task_id=repeated.id if repeated else None,
                faults=faults,
            )
            return None
        try:
            self._check_key(request)
            self._account.check_limits(now)
            wanted = read_create(body)
            self._models.check(wanted.model)
            task = self._account.create(wanted, self._base_url(request), now, plan)
        except RefusedError as refusal:
            self._record(now, Outcome.REFUSED, refusal.code, bodies.callback_url(body))
            raise
        url, faults = task.body.callback_url, task.fault_names
        self._record(now, Outcome.ACCEPTED, treatment.code, url, task_id=task.id, faults=faults)
        return task

    def _record(
        self,
        now: float,
        outcome: Outcome,
        code: int | None,
        callback_url: str | None,
        *,
        task_id: str | None = None,
        faults: Sequence[str] = (),
    ) -> None:
        self.records.append(
            CreateRecord(
                arrived_at=now,
                outcome=outcome,
                code=code,
                callback_url=callback_url,
                task_id=task_id,
                faults=faults,
            )
        )


def _unaccepted(treatment: Treatment) -> Outcome:
    """Tell what becomes of a create that makes no task."""
    if treatment.repeats:
        return Outcome.REPEATED
    return Outcome.DROPPED if treatment.code is None else Outcome.REFUSED
