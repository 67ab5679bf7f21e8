"""Calls about tasks: create, wait, read, end."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

from kie_gateway_client.errors import GatewayError, TaskFailed, TimedOut, Unusable
from kie_gateway_client.reading import Calling, Id, Rows, rows, spelled, written
from kie_gateway_client.shapes import CALLBACK, TASK
from kie_gateway_client.steps import Call, Items, Sleep
from kie_gateway_client.words import FINAL, FailClass, State

if TYPE_CHECKING:
    from kie_gateway_client.models import Callback, Task

T = TypeVar("T")

HOLD = 50.0
"""Seconds for which one answer is held at most: the gateway and most proxies allow more."""
EARLY, PAUSE = 1.0, 0.5
"""An answer that comes within so many seconds, though it was to be held: then pause so long."""
AT_ONCE = 100
"""Tasks that one answer waits for."""
NO_INPUT: Mapping[str, Any] = {}


class TaskCalls(Calling):
    """Calls about tasks."""

    def run(
        self,
        model: str,
        input: Mapping[str, Any],  # noqa: A002  # the API's word
        *,
        idempotency_key: str | None = None,
        timeout: float | None = None,
        metadata: Mapping[str, str] | None = None,
        webhook_url: str | None = None,
        priority: int | None = None,
        submit_within: float | None = None,
    ) -> "Call[Task]":
        """Create a task, wait for its end and return it, succeeded.

        Whatever is lost on the way, it is one task: each try has the same idempotency key, made
        here where none is given. Raises `TaskFailed` for any other end, `TimedOut` after `timeout`
        seconds (None: the gateway ends every task), and what `create` raises.
        """
        options = {
            "metadata": metadata,
            "webhook_url": webhook_url,
            "priority": priority,
            "submit_within": submit_within,
        }
        key = idempotency_key or str(uuid.uuid4())
        body = {"model": model, "input": input}
        task = yield from keyed(key, self._run(body, options, key, Left(self, timeout)))
        return self.read(TASK, task)

    def _run(
        self, body: Mapping[str, Any], options: Mapping[str, Any], key: str, left: "Left"
    ) -> Call[dict[str, Any]]:
        task = yield from self._created(body, options, key, left.hold())
        if task["state"] not in FINAL:
            task = yield from self._waited(task["id"], left)
        if task["state"] != State.SUCCEEDED:
            raise TaskFailed(TASK.of(task))
        return task

    def create(
        self,
        model: str,
        input: Mapping[str, Any],  # noqa: A002  # the API's word
        *,
        idempotency_key: str | None = None,
        metadata: Mapping[str, str] | None = None,
        webhook_url: str | None = None,
        priority: int | None = None,
        submit_within: float | None = None,
    ) -> "Call[Task]":
        """Create a task and return it as it is then.

        Raises `Invalid`, `OverBudget`, `RateLimited`, `Unavailable` and the like; their
        `idempotency_key` is the one that was used: repeat with it, and it is never paid twice.
        """
        options = {
            "metadata": metadata,
            "webhook_url": webhook_url,
            "priority": priority,
            "submit_within": submit_within,
        }
        key = idempotency_key or str(uuid.uuid4())
        body = {"model": model, "input": input}
        task = yield from keyed(key, self._created(body, options, key, None))
        return self.read(TASK, task)

    def _created(
        self,
        body: Mapping[str, Any],
        options: Mapping[str, Any],
        key: str,
        hold: float | None,
    ) -> Call[dict[str, Any]]:
        given = {name: value for name, value in options.items() if value is not None}
        request = self.terms.request(
            "POST",
            "tasks",
            params={"wait": hold},
            headers={"Idempotency-Key": key},
            body=written({**body, **given}),
            held=hold or 0.0,
        )
        return (yield from self.raw(TASK, request))

    def get(self, task_id: Id) -> "Call[Task]":
        """Return a task as it is now; raises `NotFound`, and `Gone` where it was erased."""
        return (yield from self.one(TASK, self.terms.request("GET", "tasks", task_id)))

    def wait(self, task_id: Id, *, timeout: float | None = None) -> "Call[Task]":
        """Return a task once its state is final, whichever it is.

        Raises `TimedOut` after `timeout` seconds; None: the gateway ends every task.
        """
        task = yield from self._waited(task_id, Left(self, timeout))
        return self.read(TASK, task)

    def _waited(self, task_id: Id, left: "Left") -> Call[dict[str, Any]]:
        while True:
            hold = left.hold()
            began = self.terms.clock()
            request = self.terms.request(
                "GET", "tasks", task_id, params={"wait": hold or None}, held=hold
            )
            task = yield from self.raw(TASK, request)
            if task["state"] in FINAL:
                return task
            if left.is_over():
                raise TimedOut((TASK.of(task),))
            yield from self._unless_early(began)

    def _unless_early(self, began: float) -> Call[None]:
        """Pause where the answer was not held: a gateway that stops answers at once."""
        if self.terms.clock() - began < EARLY:
            yield Sleep(PAUSE)

    def wait_any(
        self, task_ids: Sequence[Id], *, timeout: float | None = None
    ) -> "Call[tuple[Task, ...]]":
        """Return those of up to 100 tasks that are final, as soon as there is one.

        Raises `TimedOut` after `timeout` seconds.
        """
        if not 0 < len(task_ids) <= AT_ONCE:
            message = f"wait_any takes 1 to {AT_ONCE} ids"
            raise Unusable(message)
        tasks = yield from self._several(task_ids, "any", Left(self, timeout))
        return tuple(self.read(TASK, task) for task in tasks if task["state"] in FINAL)

    def wait_all(
        self, task_ids: Sequence[Id], *, timeout: float | None = None
    ) -> "Call[tuple[Task, ...]]":
        """Return the tasks, in this order, once all are final.

        Raises `TimedOut` after `timeout` seconds: its `tasks` are those that were looked at last.
        """
        left = Left(self, timeout)
        found: list[Any] = []
        for first in range(0, len(task_ids), AT_ONCE):
            some = task_ids[first : first + AT_ONCE]
            found += yield from self._several(some, "all", left)
        return tuple(self.read(TASK, task) for task in found)

    def _several(self, task_ids: Sequence[Id], mode: str, left: "Left") -> Call[Rows]:
        ids = [str(task_id) for task_id in task_ids]
        while True:
            hold = left.hold()
            began = self.terms.clock()
            body = written({"ids": ids, "mode": mode, "timeout": hold})
            request = self.terms.request("POST", "tasks", "wait", body=body, held=hold)
            answer = yield from self.terms.document(request)
            tasks = rows(answer)
            ended = [task["state"] in FINAL for task in tasks]
            if any(ended) if mode == "any" else all(ended):
                return tasks
            if left.is_over():
                raise TimedOut(tuple(map(TASK.of, tasks)))
            yield from self._unless_early(began)

    def list(
        self,
        *,
        state: State | str | Iterable[State | str] | None = None,
        model: str | None = None,
        fail_class: FailClass | str | None = None,
        retryable: bool | None = None,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        metadata: Mapping[str, str] | None = None,
        with_input: bool = False,
        most: int | None = None,
    ) -> "Items[Task]":
        """Iterate over your tasks, newest first, page by page; `most` is how many at most.

        Their `input` is empty unless `with_input`.
        """
        states = [state] if isinstance(state, str) else [*(state or ())]
        params = {
            "state": states,
            "model": model,
            "fail_class": fail_class,
            "retryable": None if retryable is None else str(retryable).lower(),
            "created_after": spelled(created_after),
            "created_before": spelled(created_before),
            "include": "input" if with_input else None,
            **{f"metadata.{key}": value for key, value in (metadata or {}).items()},
        }
        yield from self.pages(TASK, "tasks", params=params, most=most)

    def cancel(self, task_id: Id) -> "Call[Task]":
        """Cancel a task that is still queued; raises `Conflict` for one that was sent."""
        return (yield from self.one(TASK, self.terms.request("POST", "tasks", task_id, "cancel")))

    def refresh(self, task_id: Id) -> "Call[Task]":
        """Have kie.ai asked about a task now; raises `Conflict` where it cannot be."""
        return (yield from self.one(TASK, self.terms.request("POST", "tasks", task_id, "refresh")))

    def erase(self, task_id: Id) -> Call[None]:
        """Erase a task in a final state, for good; raises `Conflict` for another."""
        yield from self.terms.answer(self.terms.request("DELETE", "tasks", task_id))

    def callbacks(self, task_id: Id) -> "Items[Callback]":
        """Iterate over kie.ai's statements on a task, newest first."""
        yield from self.pages(CALLBACK, "tasks", task_id, "callbacks", is_sized=False)


def keyed(key: str, call: Call[T]) -> Call[T]:
    """Have errors say by which key to go on."""
    try:
        return (yield from call)
    except GatewayError as error:
        error.idempotency_key = key
        raise


class Left:
    """The time that is left to wait; None: no end."""

    def __init__(self, calls: Calling, timeout: float | None) -> None:
        self._clock = calls.terms.clock
        self._until = None if timeout is None else self._clock() + timeout

    def hold(self) -> float:
        """Return the seconds for which the next answer may be held."""
        left = HOLD if self._until is None else self._until - self._clock()
        return round(min(HOLD, max(0.0, left)), 3)

    def is_over(self) -> bool:
        return self._until is not None and self._clock() >= self._until
