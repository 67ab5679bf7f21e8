"""How refusals look."""

from datetime import date, datetime
from typing import Any, ClassVar
from uuid import UUID

from pydantic import Field

from app.api.schemas.answers import AnswerBody


class FieldError(AnswerBody):
    """One thing wrong in a request: in its body, or in a parameter or header."""

    pointer: str | None = Field(
        default=None, description="JSON pointer (RFC 6901), for what is in the body."
    )
    parameter: str | None = Field(
        default=None, description="The parameter or header, for what is not in the body."
    )
    detail: str


class ProblemDocument(AnswerBody):
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
    task_id: UUID | None = Field(
        default=None,
        description="With a 503 to a create: the id that the task has, if it was stored.",
    )
    queued_tasks: int | None = Field(
        default=None, description="With `queue_full`: how many of your tasks wait."
    )
    queued_tasks_allowed: int | None = Field(
        default=None, description="With `queue_full`: how many may wait."
    )
    queued_bytes: int | None = Field(
        default=None,
        description="With `queue_full`: bytes of the inputs of these, the refused one included.",
    )
    queued_bytes_allowed: int | None = Field(
        default=None, description="With `queue_full`: how many bytes these may have."
    )
    period: str | None = Field(
        default=None, description="With `budget_exceeded`: `day`, `month` or `total`."
    )
    credits: float | None = Field(default=None, description="The same: the whole budget.")
    mode: str | None = Field(default=None, description="The same: always `hard`.")
    thresholds: list[int] | None = None
    spent: float | None = Field(default=None, description="The same: what is spent.")
    reserved: float | None = Field(default=None, description="The same: what may be spent yet.")
    remaining: float | None = Field(default=None, description="The same: what is left.")
    cost: float | None = Field(
        default=None, description="The same: what the task would reserve; null: nobody knows."
    )
    period_start: date | None = Field(default=None, description="Null: the period is all of time.")
    renews_at: datetime | None = Field(
        default=None, description="With `budget_exceeded`: when the budget renews; null: never."
    )
    errors: list[FieldError] | None = None
