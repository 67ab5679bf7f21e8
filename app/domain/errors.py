"""What can be wrong with a request: stable codes and sentences that say what to do.

These know nothing of HTTP; `app/api/errors.py` maps each to its status, and a test proves that
none is missing there or in `docs/errors.md`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Flaw:
    """One thing wrong in a request: where, and what to do about it."""

    pointer: str | None
    """JSON pointer (RFC 6901) into the body; None: it is not in the body."""
    detail: str
    parameter: str | None = None
    """The parameter or header, for what is not in the body."""


class GatewayError(Exception):
    """An expected refusal. `code` is part of the public contract and never changes."""

    code: ClassVar[str]
    title: ClassVar[str]

    def __init__(self, detail: str, flaws: Sequence[Flaw] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.flaws = tuple(flaws)


class UnauthenticatedError(GatewayError):
    """No key, or one that is malformed, unknown, revoked or expired: never said which."""

    code = "unauthenticated"
    title = "A valid API key is needed"


class NotPermittedError(GatewayError):
    """The key is valid, and its client may not see this."""

    code = "not_permitted"
    title = "This client may not see this"


class InsufficientScopeError(GatewayError):
    """The API key is valid, and was not made for this."""

    code = "insufficient_scope"
    title = "This API key may not do this"


class InsufficientRoleError(GatewayError):
    """The admin key is valid, and its role does not include this."""

    code = "insufficient_role"
    title = "This admin key may not do this"


class ClientDisabledError(GatewayError):
    """The key is valid, and an operator has disabled its client."""

    code = "client_disabled"
    title = "This client is disabled"


class RateLimitedError(GatewayError):
    """Too many requests of one kind from one place."""

    code = "rate_limited"
    title = "Too many requests"

    def __init__(self, detail: str, *, retry_after: float) -> None:
        super().__init__(detail)
        self.retry_after = retry_after
        """Seconds after which the next one is looked at."""


class TooManyStreamsError(RateLimitedError):
    """The client, or the process, has as many streams open as it may."""

    code = "too_many_streams"
    title = "Too many open streams"


class TooManyWaitsError(RateLimitedError):
    """The client, or the process, has as many answers held by `wait` as it may."""

    code = "too_many_waits"
    title = "Too many held waits"


class NotFoundError(GatewayError):
    """Nothing there for this caller; also said of what belongs to somebody else."""

    code = "not_found"
    title = "Not found"


class MethodNotAllowedError(GatewayError):
    """The path exists and does not speak this method."""

    code = "method_not_allowed"
    title = "Method not allowed"


class MalformedBodyError(GatewayError):
    """The body is not JSON that can be kept."""

    code = "malformed_body"
    title = "The body is not usable JSON"


class InvalidRequestError(GatewayError):
    """The body or a parameter does not say what it must."""

    code = "invalid_request"
    title = "The request is not valid"


class BodyTooLargeError(GatewayError):
    """More bytes than `GATEWAY_MAX_BODY_BYTES`."""

    code = "body_too_large"
    title = "The body is too large"


class InvalidIdempotencyKeyError(GatewayError):
    """Empty, longer than 255 characters, or not printable ASCII."""

    code = "invalid_idempotency_key"
    title = "The Idempotency-Key is not valid"


class IdempotencyKeyReusedError(GatewayError):
    """The key stands for another body."""

    code = "idempotency_key_reused"
    title = "The Idempotency-Key was used with another body"


class CursorLostError(GatewayError):
    """The cursor names a place that the feed has not, or at which another event is now."""

    code = "cursor_lost"
    title = "The feed has no such place any more"


class TaskErasedError(GatewayError):
    """The task was the client's own, and nothing is kept of it."""

    code = "task_erased"
    title = "The task was erased"


class ClientErasedError(GatewayError):
    """The client is erased, or is about to be: its name stands for what it used."""

    code = "client_erased"
    title = "The client is erased"


class BodyDeletedError(GatewayError):
    """What was sent is no longer kept as it was sent."""

    code = "body_deleted"
    title = "The body is no longer kept"


class NotErasableError(GatewayError):
    """Something is not in a final state: more would come of it."""

    code = "not_erasable"
    title = "This cannot be erased yet"


class NotCancelableError(GatewayError):
    """The task is on its way to kie.ai, or at its end: kie.ai has no cancel."""

    code = "not_cancelable"
    title = "The task can no longer be canceled"


class NotRefreshableError(GatewayError):
    """The task has no id at kie.ai yet, or waits for an operator: nobody would ask about it."""

    code = "not_refreshable"
    title = "kie.ai cannot be asked about the task now"


class NotStuckError(GatewayError):
    """The task does not stand where this would help it."""

    code = "not_stuck"
    title = "The task is not stuck in this way"


class PaidTwiceRiskError(GatewayError):
    """It could be paid twice, and the operator has not said that this is meant."""

    code = "may_pay_again"
    title = "This may pay for the task again"


def require_risk_taken(*, may_pay_again: bool) -> None:
    """Raise `PaidTwiceRiskError` unless an operator has said that this is meant."""
    if not may_pay_again:
        detail = (
            "kie.ai may have taken this task already, and sending it again may pay again. Look "
            "for it in kie.ai's log first; if it is there, bind its id. Else say may_pay_again."
        )
        raise PaidTwiceRiskError(detail)


class KieNotAnsweringError(GatewayError):
    """kie.ai was asked while somebody waits, and did not say."""

    code = "kie_not_answering"
    title = "kie.ai does not answer"


class UrlDisabledError(GatewayError):
    """The URL answered 410, and nobody has enabled it since."""

    code = "url_disabled"
    title = "The URL is disabled"


class OverloadedError(GatewayError):
    """Too much is under way, and this caller has most of it."""

    code = "overloaded"
    title = "Too many requests under way"


class TooManyValuesError(GatewayError):
    """More JSON values than `GATEWAY_MAX_JSON_VALUES`."""

    code = "too_many_values"
    title = "The body has too many JSON values"


class QueueTooLongError(GatewayError):
    """The task could not start within its `submit_within`, as far as can be seen."""

    code = "queue_too_long"
    title = "The queue is too long"

    def __init__(self, detail: str, *, retry_after: float) -> None:
        super().__init__(detail)
        self.retry_after = retry_after
        """Seconds after which the same create would probably be taken."""


class QueueFullError(GatewayError):
    """As many of the client's tasks wait as may, or their inputs take as many bytes."""

    code = "queue_full"
    title = "Your queue is full"

    def __init__(
        self, detail: str, *, retry_after: float = 10.0, figures: Mapping[str, int] | None = None
    ) -> None:
        super().__init__(detail)
        self.retry_after = retry_after
        """Seconds after which there may be room, if the account's limits are all that it waits for.
        """
        self.figures = figures or {}
        """What is queued and what may be, by name."""


class BudgetExceededError(GatewayError):
    """A hard budget of the client's is spent, or reserved, so far that the task is not covered."""

    code = "budget_exceeded"
    title = "The budget is spent"

    def __init__(
        self,
        detail: str,
        *,
        retry_after: float | None = None,
        figures: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(detail)
        self.retry_after = retry_after
        """Seconds until the budget renews; None: it does not."""
        self.figures = figures or {}
        """How the budget stands, by name."""


class ModelCostUnknownError(BudgetExceededError):
    """Nobody knows what the model costs, and a task that will show it is under way."""

    code = "model_cost_unknown"
    title = "The cost of this model is not known yet"


class DatabaseUnavailableError(GatewayError):
    """PostgreSQL cannot be reached, or went away under a transaction."""

    code = "database_unavailable"
    title = "The database is away"

    def __init__(self, detail: str, *, task_id: UUID | None = None) -> None:
        super().__init__(detail)
        self.task_id = task_id
        """The task that may have been stored, for a caller that wants to look later."""


class InternalError(GatewayError):
    """A defect of ours."""

    code = "internal_error"
    title = "Something broke in the gateway"


def bad_member(pointer: str, trouble: str) -> InvalidRequestError:
    """Refuse one member of a body."""
    return InvalidRequestError(f"{pointer} {trouble}", [Flaw(pointer, trouble)])


def bad_parameter(name: str, trouble: str) -> InvalidRequestError:
    """Refuse one parameter or header."""
    return InvalidRequestError(f"{name}: {trouble}", [Flaw(None, trouble, parameter=name)])


def cursor_lost() -> CursorLostError:
    """Say what a reader of the feed does whose place is not there any more."""
    detail = (
        "The feed does not go on from this cursor: it is of an older version, or the database was "
        "restored. Begin again without a cursor, and read the tasks that you wait for by "
        "GET /v1/tasks?created_after=."
    )
    return CursorLostError(detail)


def no_such_task() -> NotFoundError:
    """Say it to an operator."""
    detail = "There is no task with this id."
    return NotFoundError(detail)


def not_your_task() -> NotFoundError:
    """Say the same of no task at all and of another client's."""
    detail = "You have no task with this id: check the id, and whose API key you use."
    return NotFoundError(detail)


def task_erased() -> TaskErasedError:
    """Say it to the client whose task it was."""
    detail = "This task was erased; nothing is kept of it."
    return TaskErasedError(detail)


def key_erased() -> TaskErasedError:
    """Say it to who repeats the create of an erased task: it pays no second time."""
    detail = (
        "The task of this Idempotency-Key was erased. Nothing was created; use a new key for a new "
        "task."
    )
    return TaskErasedError(detail)


def client_erased(name: str) -> ClientErasedError:
    """Say it to who would use the name again."""
    detail = (
        f"The client {name} is erased, or is about to be; its name stays for what it used. Take "
        "another name."
    )
    return ClientErasedError(detail)
