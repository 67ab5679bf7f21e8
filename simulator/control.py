"""The simulator's own endpoints: they show the account and set what happens next."""

import time
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Annotated, TypeVar

from pydantic import Field, TypeAdapter, ValidationError
from simplejson import RawJSON
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from simulator import envelopes, record_faults
from simulator.account import Account, Task
from simulator.answers import answer
from simulator.behaviour import Next
from simulator.callbacks import CallbackAttempt, CallbackSender
from simulator.chance import Plans, RandomFaults
from simulator.choices import FAULT_RATES
from simulator.creates import CreateRecord
from simulator.faults import FAULTS
from simulator.latency import Delays, Latency
from simulator.limits import Limits
from simulator.models import Models
from simulator.vendor import Query, Vendor

Self = TypeVar("Self")


Credits = Annotated[Decimal, Field(ge=0, allow_inf_nan=False)]
_PRICES = TypeAdapter(dict[str, Credits])
"""The body of `PUT /simulator/prices`: credits by the model's whole name."""


class AccountChange(Limits):
    """The body of `PUT /simulator/account`: whatever is left out stays."""

    credits: Credits | None = None
    """The balance."""


def _reporting_errors(
    endpoint: Callable[[Self, Request], Awaitable[Response]],
) -> Callable[[Self, Request], Awaitable[Response]]:
    """Answer what cannot be understood with 400 and what is wrong with it."""

    async def reporting(self: Self, request: Request) -> Response:
        try:
            return await endpoint(self, request)
        except ValidationError as error:
            errors = error.errors(include_url=False, include_input=False, include_context=False)
            return answer({"errors": errors}, 400)
        except ValueError as error:
            return answer({"errors": [{"msg": str(error)}]}, 400)

    return reporting


class Control:
    """The endpoints, without a key. Instants are unix seconds."""

    def __init__(
        self,
        account: Account,
        callback_sender: CallbackSender,
        plans: Plans,
        random_faults: RandomFaults,
        delays: Delays,
        vendor: Vendor,
        models: Models,
    ) -> None:
        self._account = account
        self._callback_sender = callback_sender
        self._plans = plans
        self._random_faults = random_faults
        self._delays = delays
        self._vendor = vendor
        self._models = models

    def routes(self) -> list[Route]:
        return [
            Route("/simulator/next", self.expect, methods=["POST"]),
            Route("/simulator/faults", self.faults, methods=["GET"]),
            Route("/simulator/faults", self.set_faults, methods=["PUT"]),
            Route("/simulator/faults", self.clear_faults, methods=["DELETE"]),
            Route("/simulator/latency", self.latency, methods=["GET"]),
            Route("/simulator/latency", self.set_latency, methods=["PUT"]),
            Route("/simulator/account", self.account, methods=["GET"]),
            Route("/simulator/account", self.change_account, methods=["PUT"]),
            Route("/simulator/prices", self.prices, methods=["GET"]),
            Route("/simulator/prices", self.set_prices, methods=["PUT"]),
            Route("/simulator/models", self.models),
            Route("/simulator/ledger", self.ledger, methods=["GET"]),
            Route("/simulator/ledger", self.reset, methods=["DELETE"]),
            Route("/simulator/truth", self.truth),
            Route("/simulator/creates", self.creates),
            Route("/simulator/queries", self.queries),
            Route("/simulator/tasks/{task_id:path}", self.task),
            Route("/simulator/callbacks", self.callbacks),
        ]

    @_reporting_errors
    async def expect(self, request: Request) -> Response:
        """Queue a behaviour for the creates to come."""
        behaviour = Next.model_validate_json(await request.body())
        self._plans.expect(behaviour, behaviour.count)
        return answer({"count": behaviour.count})

    async def faults(self, _: Request) -> Response:
        """Show the rates, and all faults there are."""
        rates = self._random_faults.rates.items()
        return answer(
            {
                "set": {name: rate.model_dump(exclude_unset=True) for name, rate in rates},
                "known": {name: fault.description for name, fault in FAULTS.items()},
            }
        )

    @_reporting_errors
    async def set_faults(self, request: Request) -> Response:
        """Replace all rates."""
        self._random_faults.set(FAULT_RATES.validate_json(await request.body()))
        return await self.faults(request)

    async def clear_faults(self, request: Request) -> Response:
        """Leave nothing to chance, the rates of the start included."""
        self._random_faults.set({})
        return await self.faults(request)

    async def latency(self, _: Request) -> Response:
        """Show how long answers take."""
        return answer(self._delays.latency.model_dump())

    @_reporting_errors
    async def set_latency(self, request: Request) -> Response:
        """Replace both."""
        self._delays.latency = Latency.model_validate_json(await request.body())
        return await self.latency(request)

    async def account(self, _: Request) -> Response:
        """Show balance, tasks at once, and limits."""
        now = time.time()
        shown = {"credits": self._account.balance(now), "running": self._account.running(now)}
        return answer(shown | self._account.limits.model_dump(by_alias=True))

    @_reporting_errors
    async def change_account(self, request: Request) -> Response:
        """Change balance and limits until the ledger is cleared."""
        change = AccountChange.model_validate_json(await request.body())
        if change.credits is not None:
            self._account.set_balance(time.time(), change.credits)
        given = change.model_dump(exclude_unset=True, exclude={"credits"})
        self._account.limits = self._account.limits.model_copy(update=given)
        return await self.account(request)

    async def prices(self, _: Request) -> Response:
        """Show the prices that were set, by model."""
        return answer(dict(self._account.prices))

    @_reporting_errors
    async def set_prices(self, request: Request) -> Response:
        """Set what creates of these models cost from now on, until the ledger is cleared."""
        self._account.prices |= _PRICES.validate_json(await request.body())
        return await self.prices(request)

    async def models(self, _: Request) -> Response:
        """Show the models that are known, and whether others are refused."""
        return answer({"known": sorted(self._models.known), "strict": self._models.strict})

    async def ledger(self, _: Request) -> Response:
        """Show every create that was accepted, and what it cost."""
        now = time.time()
        rows = [_row(task, now) for task in self._account.ledger]
        return answer({"data": rows, "balance": self._account.balance(now)})

    async def truth(self, _: Request) -> Response:
        """Show what is true of every accepted create in the end, its end to come included."""
        return answer({"data": [_truth(task) for task in self._account.ledger]})

    async def creates(self, _: Request) -> Response:
        """Show every create that arrived, accepted or not."""
        return answer({"data": [_create(record) for record in self._vendor.creates]})

    async def queries(self, _: Request) -> Response:
        """Show every query that arrived, too many or not."""
        return answer({"data": [_query(query) for query in self._vendor.queries]})

    async def reset(self, request: Request) -> Response:
        """Start again: nothing created, nothing queued, no callback on its way.

        Rates and latency stay.
        """
        self._account.reset()
        self._plans.reset()
        self._delays.reset()
        self._vendor.creates.clear()
        self._vendor.queries.clear()
        await self._callback_sender.clear()
        return await self.ledger(request)

    async def task(self, request: Request) -> Response:
        """Show one row of the ledger, the state of its task, and what is true in the end."""
        task = self._account.find(request.path_params["task_id"])
        if task is None:
            raise HTTPException(404)
        now = time.time()
        return answer(_row(task, now) | {"state": task.state(now), "truth": _truth(task)})

    async def callbacks(self, _: Request) -> Response:
        """Show every callback attempt that is over, in that order."""
        return answer([_attempt(attempt) for attempt in self._callback_sender.attempts])


def _row(task: Task, now: float) -> dict[str, object]:
    return {
        "taskId": task.id,
        "model": task.body.model,
        "callBackUrl": task.body.callback_url,
        "credits": task.billed(now),
        "createdAt": task.created_at,
        "input": RawJSON(task.body.input),
        "faults": task.fault_names,
    }


def _truth(task: Task) -> dict[str, object]:
    told = {"taskId": task.id, "callBackUrl": task.body.callback_url, "model": task.body.model}
    shown = {"completeAt": record_faults.complete_at(task, task.ends[-1])}
    return told | envelopes.truth(task) | shown | {"faults": task.fault_names}


def _create(record: CreateRecord) -> dict[str, object]:
    return {
        "arrivedAt": record.arrived_at,
        "outcome": record.outcome,
        "code": record.code,
        "callBackUrl": record.callback_url,
        "taskId": record.task_id,
        "faults": record.faults,
    }


def _query(query: Query) -> dict[str, object]:
    return {"arrivedAt": query.arrived_at, "taskId": query.task_id, "refused": query.refused}


def _attempt(attempt: CallbackAttempt) -> dict[str, object]:
    return {
        "taskId": attempt.task_id,
        "url": attempt.url,
        "attempt": attempt.attempt,
        "status": attempt.status,
        "at": attempt.at,
    }
