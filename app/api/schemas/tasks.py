"""The bodies of the API: what is accepted, checked here, and what is answered, for the document."""

import difflib
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal, TypeVar
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import ErrorDetails

from app.domain.admission import HoldReason
from app.domain.errors import Flaw, InvalidRequestError
from app.domain.evidence import Signature, Verdict
from app.domain.exact_json import pointer
from app.domain.task import FailSource, Source, State

MAX_WAIT = 55
"""Seconds that an answer is held at most: below the usual 60 of proxies."""

MAX_METADATA = 16
MAX_METADATA_KEY = 64
MAX_METADATA_VALUE = 512
MAX_WAITED = 100

MAX_SUBMIT_WITHIN = 7 * 24 * 3600


class RequestBody(BaseModel):
    """A body that means what it says: no unknown fields, no text where a number belongs."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def web_address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        message = "should be an http or https URL with a host"
        raise ValueError(message)
    try:
        parts.port  # noqa: B018  # reading it checks it
    except ValueError:
        message = "should have a port from 0 to 65535"
        raise ValueError(message) from None
    if any(ord(char) <= ord(" ") for char in value):
        message = "should have no spaces or control characters"
        raise ValueError(message)
    return value


def number(value: object) -> object:
    """Take a JSON number, however it was spelled; leave the rest for the type to refuse."""
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)):
        return value
    try:
        return float(value)
    except OverflowError:
        return float("inf")


def _identifier(value: object) -> object:
    """Take a UUID in any of its spellings; leave the rest for the type to refuse."""
    try:
        return UUID(value) if isinstance(value, str) else value
    except ValueError:
        return value


class TaskCreate(RequestBody):
    """A task to create. What is inside `input` belongs to kie.ai and is sent as it is."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "model": "google/nano-banana-edit",
                    "input": {
                        "prompt": "turn this photo into a character figure",
                        "image_urls": ["https://file.aiquickdraw.com/custom-page/akr/photo.png"],
                        "output_format": "png",
                        "image_size": "1:1",
                    },
                    "metadata": {"order": "A-1017"},
                }
            ]
        },
    )

    model: Annotated[str, StringConstraints(min_length=1, max_length=200)] = Field(
        description="kie.ai's name of the model."
    )
    input: dict[str, Any] = Field(description="The model's input, passed on unchanged.")
    webhook_url: (
        Annotated[str, StringConstraints(max_length=2048), AfterValidator(web_address)] | None
    ) = Field(
        default=None,
        description="Told of the task's events (docs/receiving.md), rather than the client's own.",
    )
    metadata: Annotated[
        dict[
            Annotated[str, StringConstraints(min_length=1, max_length=MAX_METADATA_KEY)],
            Annotated[str, StringConstraints(max_length=MAX_METADATA_VALUE)],
        ],
        Field(max_length=MAX_METADATA),
    ] = Field(default={}, description="Up to 16 pairs of text of your own.")
    priority: int = Field(
        default=5, ge=0, le=9, description="Orders your own waiting tasks; higher is sooner."
    )
    submit_within: (
        Annotated[
            float, BeforeValidator(number), Field(gt=0, le=MAX_SUBMIT_WITHIN, allow_inf_nan=False)
        ]
        | None
    ) = Field(default=None, description="Seconds that the task may wait to be sent.")


MAX_FLAWS = 20
"""So many are told at once: a body of a megabyte can have a hundred thousand."""

MAX_POINTER = 200

DID_YOU_MEAN = {"callBackUrl": "webhook_url", "callback_url": "webhook_url"}
"""kie.ai's own names, for whoever comes from there."""


class TaskWait(RequestBody):
    """Tasks to wait for."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"ids": ["01a204db-c799-726c-9c4c-4d3992420ebb"], "mode": "all", "timeout": 30}
            ]
        },
    )

    ids: Annotated[
        list[Annotated[UUID, BeforeValidator(_identifier)]],
        Field(min_length=1, max_length=MAX_WAITED),
    ]
    mode: Literal["any", "all"] = "all"
    timeout: Annotated[
        float, BeforeValidator(number), Field(ge=0, le=MAX_WAIT, allow_inf_nan=False)
    ] = MAX_WAIT


Body = TypeVar("Body", bound=RequestBody)


def validated(model: type[Body], document: object) -> Body:
    """Check a parsed body; raises `InvalidRequestError` with a pointer to each flaw."""
    if not isinstance(document, dict):
        needed = [f"`{name}`" for name, field in model.model_fields.items() if field.is_required()]
        least = f" with at least {' and '.join(needed)}" if needed else ""
        detail = f"The body should be a JSON object{least}."
        raise InvalidRequestError(detail, [Flaw("", "should be an object")])
    try:
        return model.model_validate(document)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        flaws = [_flaw(model, detail) for detail in found[:MAX_FLAWS]]
    said = (f"{flaw.pointer} {flaw.detail}".strip() for flaw in flaws)  # of the root: no pointer
    raise InvalidRequestError("; ".join(said), flaws)


def _flaw(model: type[BaseModel], error: ErrorDetails) -> Flaw:
    # pydantic marks a member's name by a third part, "[key]"
    where = pointer(*error["loc"][:2])[:MAX_POINTER]
    if error["type"] != "extra_forbidden":
        return Flaw(where, error["msg"].removeprefix("Value error, "))
    name = str(error["loc"][-1])[:MAX_POINTER]
    near = difflib.get_close_matches(name, model.model_fields, n=1)
    meant = DID_YOU_MEAN.get(name) or (near[0] if near else None)
    return Flaw(where, f"unknown field; did you mean {meant}?" if meant else "unknown field")


Number = Annotated[Decimal, WithJsonSchema({"type": "number"})]
"""A JSON number of any precision; pydantic would describe a text."""


class TaskUrls(BaseModel):
    """Where more about the task is found, relative to the gateway."""

    self: str
    events: str
    callbacks: str
    deliveries: str
    cancel: str
    refresh: str


class Task(BaseModel):
    """A task as its client sees it."""

    id: UUID
    state: State
    model: str
    input: dict[str, Any]
    metadata: dict[str, str]
    webhook_url: str | None
    priority: int
    kie_task_id: str | None
    kie_state: str | None = Field(description="kie.ai's own word for the state.")
    result: dict[str, Any] | None = Field(description="kie.ai's resultJson, as an object.")
    result_urls: list[str] = Field(description="Every media URL in the result, in order.")
    fail_code: str | None
    fail_message: str | None
    fail_source: FailSource | None = Field(description="Who declared the failure.")
    credits_consumed: Number | None
    duration_seconds: Number | None
    settled_by: Source | None = Field(description="How the end was learnt.")
    confirmed_at: datetime | None = Field(description="When a query to kie.ai said the same.")
    hold_reason: HoldReason | None = Field(description="Why a queued task has to wait.")
    estimated_start_at: datetime | None = Field(
        description="When a queued task will be sent, as far as can be seen; null in a pause."
    )
    created_at: datetime
    submitted_at: datetime | None
    finished_at: datetime | None
    updated_at: datetime
    urls: TaskUrls


class TaskList(BaseModel):
    """A page of tasks, newest first."""

    data: list[Task]
    next_cursor: str | None = Field(description="Give it as `cursor`; null: this was the last.")


class WaitedTasks(BaseModel):
    """The tasks in the order asked for, and whether what was waited for has come."""

    data: list[Task]
    done: bool


class Event(BaseModel):
    """One move of a task."""

    id: str = Field(description="The place in the feed: give it as `after`.")
    type: str = Field(description="`task.` and the state moved to.")
    task_id: UUID
    from_state: State | None
    to_state: State
    attempt: int
    reason: str | None
    at: datetime


class EventList(BaseModel):
    """Events, oldest first."""

    data: list[Event]
    next_cursor: str = Field(description="Give it as `after` to read on, now or later.")


class Callback(BaseModel):
    """One statement of kie.ai about a task: exact, parsed, and what was made of it."""

    id: UUID
    task_id: UUID
    source: Source
    received_at: datetime
    verdict: Verdict
    signature: Signature
    reason: str | None
    kie_task_id: str | None
    code: int | None
    message: str | None
    kie_state: str | None
    result: dict[str, Any] | None
    result_urls: list[str]
    fail_code: str | None
    fail_message: str | None
    credits_consumed: Number | None
    duration_seconds: Number | None
    headers: dict[str, str]
    raw: str = Field(description="The body as it came, token and account balance redacted.")


class CallbackList(BaseModel):
    """Statements, newest first."""

    data: list[Callback]
    next_cursor: str | None


class FieldError(BaseModel):
    """One thing wrong in a body."""

    pointer: str = Field(description="JSON pointer (RFC 6901) into the body.")
    detail: str


class ProblemDocument(BaseModel):
    """A refusal (RFC 9457). `code` is stable; `detail` says what to do."""

    EXAMPLE: ClassVar[dict[str, Any]] = {
        "type": "urn:kie-gateway:error:invalid_request",
        "title": "The request is not valid",
        "status": 422,
        "detail": "/callBackUrl unknown field; did you mean webhook_url?",
        "code": "invalid_request",
        "request_id": "0f6e2b6f8f0e4a0f9b1f6d1f6f3f2d10",
        "errors": [
            {"pointer": "/callBackUrl", "detail": "unknown field; did you mean webhook_url?"}
        ],
    }

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str | None
    errors: list[FieldError] | None = None


class Liveness(BaseModel):
    """The process answers."""

    status: Literal["ok"]
    service: Literal["kie-gateway"]


class Readiness(BaseModel):
    """Each thing looked at: "ok", or what is wrong with it.

    `admission` tells of the account's pause or hold, with which the process is fit all the same.
    """

    status: Literal["ok", "unavailable"]
    checks: dict[str, str]
