"""The account: its tasks, what was billed for them, and what is left."""

import heapq
import random
import secrets
from collections import deque
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from itertools import repeat
from urllib.parse import quote

from app.simulator.behaviour import AS_USUAL, Behaviour
from app.simulator.orders import Order, RefusedError

PRICES = (
    ("nano-banana", Decimal("4.0")),
    ("video", Decimal("100.0")),
    ("seedance", Decimal("100.0")),
    ("kling", Decimal("100.0")),
    ("hailuo", Decimal("100.0")),
    ("sora", Decimal("100.0")),
    ("veo", Decimal("100.0")),
)
"""Credits by model: the first row whose text stands in the name, vendor and version aside."""
USUAL_PRICE = Decimal("10.0")


class State(StrEnum):
    """kie.ai's words for where a task stands."""

    WAITING = "waiting"
    QUEUING = "queuing"
    GENERATING = "generating"
    SUCCESS = "success"
    FAIL = "fail"


STAGES = ((0.2, State.WAITING), (0.4, State.QUEUING))
"""Up to which fraction of its duration a task is what; beyond the last one it is generating."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a task fails, as kie.ai words it."""

    code: str | int | None
    message: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One accepted create. Its whole future is settled at birth: only the clock reveals it.

    Instants are unix seconds.
    """

    id: str
    order: Order
    credits: Decimal
    """What it costs, unless it fails."""
    created_at: float
    duration: float
    failure: Failure | None
    """None: it will succeed."""
    calls_back: bool
    base_url: str
    """Where its result is served."""

    @property
    def finished_at(self) -> float:
        return self.created_at + self.duration

    @property
    def result_url(self) -> str:
        return f"{self.base_url}/files/{quote(self.id, safe='')}.png"

    def state(self, now: float) -> State:
        if now >= self.finished_at:
            return State.FAIL if self.failure else State.SUCCESS
        elapsed = now - self.created_at
        reached = (state for until, state in STAGES if elapsed < until * self.duration)
        return next(reached, State.GENERATING)

    def billed(self, now: float) -> Decimal:
        """Credits taken for it: at once, and given back when it fails."""
        return Decimal("0.0") if self.state(now) is State.FAIL else self.credits


class Account:
    """One customer's tasks and credits, and what the tests have in store for them."""

    def __init__(
        self, *, start_credits: Decimal, duration: float, failure_rate: float, seed: int
    ) -> None:
        self._start_credits = start_credits
        self._duration = duration
        self._failure_rate = failure_rate
        self._seed = seed
        self._random = random.Random(seed)  # noqa: S311  # repeatable failures, no secret
        self._credits = start_credits
        self._refunds: list[tuple[float, Decimal]] = []
        self._upcoming: deque[Behaviour] = deque()
        self._tasks: dict[str, Task] = {}
        self.ledger: list[Task] = []
        """Every accepted create in order, even where two were made to share an id."""

    def reset(self) -> None:
        """Begin anew: no tasks, the starting credits, the same luck."""
        self._random.seed(self._seed)
        self._credits = self._start_credits
        for remembered in (self._refunds, self._upcoming, self._tasks, self.ledger):
            remembered.clear()

    def expect(self, behaviour: Behaviour, count: int) -> None:
        """Treat the next `count` accepted creates so, after those already spoken for."""
        self._upcoming.extend(repeat(behaviour, count))

    def create(self, order: Order, base_url: str, now: float) -> Task:
        """Accept and bill a create; raises `RefusedError` when it cannot be paid."""
        price = price_of(order.model)
        if price > self.balance(now):
            raise RefusedError(402, "Credits insufficient")
        task = self._begin(order, base_url, price, now)
        self._credits -= price
        if task.failure:
            heapq.heappush(self._refunds, (task.finished_at, price))
        self._tasks[task.id] = task
        self.ledger.append(task)
        return task

    def find(self, task_id: str) -> Task | None:
        return self._tasks.get(task_id)

    def balance(self, now: float) -> Decimal:
        """Credits left, those of tasks that have failed by now given back."""
        while self._refunds and self._refunds[0][0] <= now:
            self._credits += heapq.heappop(self._refunds)[1]
        return self._credits

    def _begin(self, order: Order, base_url: str, price: Decimal, now: float) -> Task:
        behaviour = self._upcoming.popleft() if self._upcoming else AS_USUAL
        duration = self._duration if behaviour.duration is None else behaviour.duration
        return Task(
            id=behaviour.task_id or secrets.token_hex(16),
            order=order,
            credits=price,
            created_at=now,
            duration=duration,
            failure=self._failure(behaviour),
            calls_back=behaviour.callback,
            base_url=base_url,
        )

    def _failure(self, behaviour: Behaviour) -> Failure | None:
        unlucky = self._random.random() < self._failure_rate  # drawn always: the seed fixes the row
        outcome = behaviour.outcome or ("fail" if unlucky else "success")
        if outcome == "success":
            return None
        return Failure(code=behaviour.fail_code, message=behaviour.fail_msg)


def price_of(model: str) -> Decimal:
    """Credits that one task of this model costs."""
    return next((price for text, price in PRICES if text in model), USUAL_PRICE)
