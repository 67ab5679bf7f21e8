"""The account: its tasks, what was billed for them, and what is left."""

import heapq
import random
import secrets
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any
from urllib.parse import quote

from simulator import result_faults
from simulator.bodies import CreateBody, RefusedError
from simulator.chance import Plan
from simulator.choices import Choice
from simulator.failures import FAILURES, Failure
from simulator.faults import OUT_OF_CREDITS, Kind
from simulator.limits import Limits, Window, is_full

PRICES = (
    ("nano-banana", Decimal("4.0")),
    ("video", Decimal("100.0")),
    ("seedance", Decimal("100.0")),
    ("kling", Decimal("100.0")),
    ("hailuo", Decimal("100.0")),
    ("sora", Decimal("100.0")),
    ("veo", Decimal("100.0")),
)
"""Credits by model: the first row whose text is part of the name, vendor and version aside."""
USUAL_PRICE = Decimal("10.0")
USUAL_PLAN = Plan()
NO_LIMITS = Limits()
EARLY = "callback-early"
"""Its task is finished when it is created."""
TURNING = "result-timeout-then-success"
"""Its task succeeds after it has failed."""
MANY_FILES = "result-files"
"""Its task's result has several files."""


class State(StrEnum):
    """kie.ai's names of a task's states."""

    WAITING = "waiting"
    QUEUING = "queuing"
    GENERATING = "generating"
    SUCCESS = "success"
    FAIL = "fail"


ENDS = (State.SUCCESS, State.FAIL)
STAGES = ((0.2, State.WAITING), (0.4, State.QUEUING))
"""Up to which fraction of its duration a task is what; beyond the last one it is generating."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One accepted create. Its whole course is fixed when it is created: only the clock reveals it.

    Instants are unix seconds.
    """

    id: str
    body: CreateBody
    credits: Decimal
    """What it costs, unless it fails."""
    created_at: float
    duration: float
    failure: Failure | None
    """None: it will succeed."""
    turns_after: float | None = None
    """Seconds after its end in which the failure becomes a success. None: it stays one."""
    calls_back: bool
    base_url: str
    """Where its result is served."""
    faults: Choice = field(default_factory=dict)

    @property
    def fault_names(self) -> list[str]:
        return [chosen.name for chosen in self.faults.values()]

    @property
    def finished_at(self) -> float:
        return self.created_at + self.duration

    @property
    def ends(self) -> tuple[float, ...]:
        """The instants at which it comes to an end: two of a failure that turns around."""
        if self.turns_after is None:
            return (self.finished_at,)
        return (self.finished_at, self.finished_at + self.turns_after)

    def ended_at(self, now: float) -> float:
        """When it came to the end that holds now."""
        return max((end for end in self.ends if end <= now), default=self.finished_at)

    def failure_at(self, now: float) -> Failure | None:
        """Return why it has failed, unless that has turned around by now."""
        return self.failure if self.turns_after is None or now < self.ends[-1] else None

    @property
    def result(self) -> dict[str, Any] | None:
        """What a success brings in truth."""
        return result_faults.result(self.faults, self.usual_result)

    @property
    def usual_result(self) -> dict[str, Any]:
        return {"resultUrls": self.result_urls}

    @property
    def result_urls(self) -> list[str]:
        chosen = self.faults.get(Kind.RESULT)
        files = chosen.times if chosen is not None and chosen.name == MANY_FILES else 1
        own = f"{self.base_url}/files/{quote(self.id, safe='')}"
        return [f"{own}.png", *(f"{own}/{number}.png" for number in range(2, files + 1))]

    def state(self, now: float) -> State:
        if now >= self.finished_at:
            return State.FAIL if self.failure_at(now) else State.SUCCESS
        elapsed = now - self.created_at
        reached = (state for until, state in STAGES if elapsed < until * self.duration)
        return next(reached, State.GENERATING)

    def billed(self, now: float) -> Decimal:
        """Credits taken for it: at once, given back when it fails, and taken if that turns."""
        return Decimal("0.0") if self.state(now) is State.FAIL else self.credits


class Account:
    """One customer's tasks, credits and limits."""

    def __init__(
        self,
        *,
        start_credits: Decimal,
        duration: float,
        failure_rate: float,
        seed: int,
        limits: Limits = NO_LIMITS,
    ) -> None:
        self._start_credits = start_credits
        self._start_limits = limits
        self._duration = duration
        self._failure_rate = failure_rate
        self._seed = seed
        self._random = random.Random(seed)  # noqa: S311  # repeatable failures, no secret
        self._credits = start_credits
        self._refunds: list[tuple[float, Decimal]] = []
        """When how much is given back; less than nothing is taken again."""
        self._ends: list[float] = []
        self._creates = Window()
        self._queries = Window()
        self._tasks: dict[str, Task] = {}
        self.limits = limits
        self.prices: dict[str, Decimal] = {}
        """Credits by the model's whole name, before those of `PRICES`."""
        self.ledger: list[Task] = []
        """Every accepted create in order, even where two were made to share an id."""

    def reset(self) -> None:
        """Start again: no tasks, credits, limits and prices as at the start, the same chances."""
        self._random.seed(self._seed)
        self._credits = self._start_credits
        self.limits = self._start_limits
        self.prices.clear()
        remembered = (self._refunds, self._ends, self._creates, self._queries, self._tasks)
        for each in (*remembered, self.ledger):
            each.clear()

    def create(self, body: CreateBody, base_url: str, now: float, plan: Plan = USUAL_PLAN) -> Task:
        """Accept and bill a create; raises `RefusedError` when it cannot be paid."""
        price = self.prices.get(body.model, price_of(body.model))
        if price > self.balance(now):
            raise RefusedError(self.limits.out_of_credits_code, OUT_OF_CREDITS)
        task = self._begin(body, base_url, price, now, plan)
        self._credits -= price
        if task.failure:
            for end, amount in zip(task.ends, (price, -price), strict=False):
                heapq.heappush(self._refunds, (end, amount))
        heapq.heappush(self._ends, task.finished_at)
        self._creates.add(now)
        self._tasks[task.id] = task
        self.ledger.append(task)
        return task

    def check_limits(self, now: float) -> None:
        """Raise `RefusedError` for a create too many; the refused do not count."""
        limits = self.limits
        if is_full(limits.creates_per_window, self._creates.count(now, limits.window_seconds)):
            raise RefusedError(429, "Called too often, try again later")
        if is_full(limits.running_cap, self.running(now)):
            raise RefusedError(429, "Too many tasks are running, try again later")

    def count_query(self, now: float) -> None:
        """Take note of a query; raises `RefusedError` for one too many, which does not count."""
        if is_full(self.limits.queries_per_second, self._queries.count(now, 1.0)):
            raise RefusedError(429, "Called too often, try again later")
        self._queries.add(now)

    def find(self, task_id: str) -> Task | None:
        return self._tasks.get(task_id)

    def has_made(self, url: str, now: float) -> bool:
        """Whether the URL is a finished task's result."""
        made = (
            task.state(now) is State.SUCCESS
            for task in self._tasks.values()
            if url in task.result_urls
        )
        return any(made)

    def running(self, now: float) -> int:
        while self._ends and self._ends[0] <= now:
            heapq.heappop(self._ends)
        return len(self._ends)

    def balance(self, now: float) -> Decimal:
        """Credits left, those of tasks that have failed by now given back."""
        while self._refunds and self._refunds[0][0] <= now:
            self._credits += heapq.heappop(self._refunds)[1]
        return self._credits

    def set_balance(self, now: float, credits_: Decimal) -> None:
        self._credits += credits_ - self.balance(now)

    def _begin(
        self, body: CreateBody, base_url: str, price: Decimal, now: float, plan: Plan
    ) -> Task:
        behaviour = plan.behaviour
        duration = self._duration if behaviour.duration is None else behaviour.duration
        failure = self._failure(plan)
        return Task(
            id=behaviour.task_id or secrets.token_hex(16),
            body=body,
            credits=price,
            created_at=now,
            duration=0.0 if plan.fault(Kind.CALLBACK) == EARLY else duration,
            failure=failure,
            turns_after=_turns_after(plan) if failure else None,
            calls_back=behaviour.callback,
            base_url=base_url,
            faults=plan.faults,
        )

    def _failure(self, plan: Plan) -> Failure | None:
        unlucky = self._random.random() < self._failure_rate  # drawn always: the seed fixes the row
        needs = (chosen.fault.needs for chosen in plan.faults.values() if chosen.fault.needs)
        outcome = plan.behaviour.outcome or next(needs, "fail" if unlucky else "success")
        if outcome == "success":
            return None
        fixed = (FAILURES[each.name] for each in plan.faults.values() if each.name in FAILURES)
        return next(fixed, None) or _usual_failure(plan)


def _usual_failure(plan: Plan) -> Failure:
    behaviour = plan.behaviour
    code = result_faults.FAIL_CODES.get(plan.fault(Kind.RESULT) or "", behaviour.fail_code)
    return Failure(code=code, message=behaviour.fail_msg)


def _turns_after(plan: Plan) -> float | None:
    chosen = plan.faults.get(Kind.RESULT)
    return chosen.seconds if chosen and chosen.name == TURNING else None


def price_of(model: str) -> Decimal:
    """Credits that one task of this model costs."""
    return next((price for text, price in PRICES if text in model), USUAL_PRICE)
