"""What can go wrong with a call: one class for each thing that a caller does differently.

Decide by the class, or by `code`, which is part of the gateway's contract. No error holds the key.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from kie_gateway_client.exact import instant, number

if TYPE_CHECKING:
    from kie_gateway_client.models import Task


@dataclass(frozen=True, slots=True)
class Flaw:
    """One thing wrong in a request: where, and what to do about it."""

    detail: str
    pointer: str | None = None
    """JSON pointer into the body; None: it is not in the body."""
    parameter: str | None = None
    """The parameter or header, for what is not in the body."""


class GatewayError(Exception):
    """Anything that this package raises of its own."""

    idempotency_key: str | None = None
    """Of a create: give it to the next one, and no second task is made."""

    def __init__(
        self,
        detail: str,
        *,
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        problem: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status = status
        """Of the HTTP answer; None: there was none."""
        self.code = code
        self.request_id = request_id
        """The gateway's log has it."""
        self.retry_after = retry_after
        """Seconds after which a repeat may be taken; None: the gateway does not know."""
        self.problem = problem or {}
        """The whole answer (RFC 9457)."""

    def __str__(self) -> str:
        request = f" (request {self.request_id})" if self.request_id else ""
        return f"{self.code}: {self.detail}{request}" if self.code else self.detail


class Unusable(GatewayError, ValueError):
    """An argument that cannot be used: nothing was sent."""


# -- the request was refused


class Invalid(GatewayError):
    """The request does not say what it must: `fields` says where."""

    @property
    def fields(self) -> tuple[Flaw, ...]:
        flaws = self.problem.get("errors")
        found = flaws if isinstance(flaws, list) else []
        return tuple(_flaw(flaw) for flaw in found if isinstance(flaw, dict))


class IdempotencyMismatch(Invalid):
    """The idempotency key was used before, with another body."""


class Unauthorized(GatewayError):
    """The key is missing, unknown, revoked or expired."""


class Forbidden(GatewayError):
    """The key is valid, and may not do this; or its client is disabled."""


class NotFound(GatewayError):
    """There is no such thing, or it is another client's."""


class Gone(GatewayError):
    """It was there, and is erased or deleted."""


class CursorLost(Gone):
    """The feed does not go on from this place: begin again, and read the tasks you wait for."""


class Conflict(GatewayError):
    """What it is about is in no state for this."""


class OverBudget(GatewayError):
    """A hard budget has no room for the task: nothing was stored."""

    @property
    def period(self) -> str | None:
        """`day`, `month` or `total`; None: the model's cost is not known yet."""
        found = self.problem.get("period")
        return found if isinstance(found, str) else None

    @property
    def remaining(self) -> Decimal | None:
        return number(self.problem.get("remaining"))

    @property
    def cost(self) -> Decimal | None:
        """Credits that the task would reserve."""
        return number(self.problem.get("cost"))

    @property
    def renews_at(self) -> datetime | None:
        """When there is room again; None: nobody knows, or never."""
        return instant(self.problem.get("renews_at"))


class RateLimited(GatewayError):
    """One too many: nothing was done; come back after `retry_after` seconds."""


class QueueFull(RateLimited):
    """As many of the client's tasks wait as may."""


class Overloaded(RateLimited):
    """The gateway has too much under way, most of it this client's."""


# -- the request may succeed later


class Unavailable(GatewayError):
    """The gateway, or what it needs, is away: the same may succeed later."""


class QueueTooLong(Unavailable):
    """The task could not start within its `submit_within`: nothing was stored."""


class Unreachable(Unavailable):
    """There was no answer."""

    sent = True
    """False: it is certain that the gateway did not have the request."""


class UnexpectedAnswer(GatewayError):
    """What answers is no kie-gateway, or one that this client does not understand."""


# -- the request was fine


class TaskFailed(GatewayError):
    """The task came to an end without success; `task` has all of it."""

    def __init__(self, task: "Task") -> None:
        words = task.fail_message or task.kie_message or "no reason is known"
        super().__init__(words, code=task.fail_code)
        self.args = (task,)
        self.task = task
        self.retryable = task.retryable
        """Whether the same task, created again, may succeed; None: nobody knows."""

    def __str__(self) -> str:
        code = f", {self.code}" if self.code else ""
        return f"task {self.task.id} {self.task.state}{code}: {self.detail}"


class TimedOut(GatewayError, TimeoutError):
    """The time to wait is over; the tasks go on, and can be waited for again."""

    def __init__(self, tasks: "tuple[Task, ...]") -> None:
        waiting = [task for task in tasks if not task.is_final]
        super().__init__(f"{len(waiting)} of {len(tasks)} tasks are not final yet")
        self.args = (tasks,)
        self.tasks = tasks
        """All that were waited for, as they were last seen."""

    @property
    def task(self) -> "Task":
        """The one task, where one was waited for."""
        return self.tasks[0]


class WebhookRejected(GatewayError, ValueError):
    """The webhook is not from the gateway, too old, or not what the gateway sends."""


def _flaw(flaw: Mapping[str, Any]) -> Flaw:
    texts = {name: flaw.get(name) for name in ("pointer", "parameter")}
    places = {name: found for name, found in texts.items() if isinstance(found, str)}
    return Flaw(str(flaw.get("detail", "")), **places)


CLASSES: Mapping[str, type[GatewayError]] = {
    "malformed_body": Invalid,
    "malformed_multipart": Invalid,
    "malformed_request": Invalid,
    "invalid_idempotency_key": Invalid,
    "invalid_request": Invalid,
    "method_not_allowed": Invalid,
    "body_too_large": Invalid,
    "url_too_long": Invalid,
    "headers_too_large": Invalid,
    "too_many_values": Invalid,
    "unsupported_file_type": Invalid,
    "range_not_satisfiable": Invalid,
    "upload_refused": Invalid,
    "file_not_fetchable": Invalid,
    "file_expired": Invalid,
    "idempotency_key_reused": IdempotencyMismatch,
    "unauthenticated": Unauthorized,
    "budget_exceeded": OverBudget,
    "model_cost_unknown": OverBudget,
    "insufficient_scope": Forbidden,
    "insufficient_role": Forbidden,
    "client_disabled": Forbidden,
    "not_permitted": Forbidden,
    "not_found": NotFound,
    "artifact_not_stored": Conflict,
    "not_cancelable": Conflict,
    "not_refreshable": Conflict,
    "not_erasable": Conflict,
    "not_stuck": Conflict,
    "may_pay_again": Conflict,
    "url_disabled": Conflict,
    "cursor_lost": CursorLost,
    "task_erased": Gone,
    "client_erased": Gone,
    "body_deleted": Gone,
    "rate_limited": RateLimited,
    "too_many_streams": RateLimited,
    "too_many_waits": RateLimited,
    "too_many_uploads": RateLimited,
    "queue_full": QueueFull,
    "overloaded": Overloaded,
    "request_timeout": Unavailable,
    "upload_stalled": Unavailable,
    "internal_error": Unavailable,
    "kie_not_answering": Unavailable,
    "database_unavailable": Unavailable,
    "archive_unavailable": Unavailable,
    "queue_too_long": QueueTooLong,
}
"""The class of each code; what is not here, a newer gateway's, goes by its status."""

BY_STATUS: Mapping[int, type[GatewayError]] = {
    401: Unauthorized,
    402: OverBudget,
    403: Forbidden,
    404: NotFound,
    408: Unavailable,
    409: Conflict,
    410: Gone,
    429: RateLimited,
}
SERVERS_FAULT = 500


def class_of(code: str | None, status: int) -> type[GatewayError]:
    """Return what to raise for a refusal, also for one that is not known here."""
    found = CLASSES.get(code or "") or BY_STATUS.get(status)
    return found or (Unavailable if status >= SERVERS_FAULT else Invalid)
