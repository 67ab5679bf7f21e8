"""The bodies about deliveries: what is accepted, and what is answered, for the document."""

from datetime import datetime
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import (
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from app.api.instants import BodyInstant
from app.api.schemas.answers import AnswerBody
from app.api.schemas.bodies import RequestBody, Url
from app.domain.delivery import DeliveryState, DisableReason, EventType


class Redelivery(RequestBody):
    """Which deliveries to repeat, by at least one of state and time."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"state": "exhausted", "created_after": "2026-11-22T06:00:00Z"}]
        },
    )

    state: Literal["exhausted", "disabled", "undeliverable", "delivered"] | None = Field(
        default=None, description="None: all four. What is pending is on its way already."
    )
    created_after: BodyInstant | None = None
    created_before: BodyInstant | None = None
    cursor: Annotated[str, StringConstraints(max_length=64)] | None = Field(
        default=None, description="`next_cursor` of the answer before, with the same choice."
    )

    @model_validator(mode="after")
    def _chooses(self) -> Self:
        if self.state is None and self.created_after is None and self.created_before is None:
            message = "should name at least one of state, created_after and created_before"
            raise ValueError(message)
        return self


class UrlEnable(RequestBody):
    """A URL of yours that was disabled and is to be called again."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"url": "https://hooks.example.com/kie"}]}
    )

    url: Url


DELIVERY_BODIES = (Redelivery, UrlEnable)
"""What `app/api/bodies.py` reads, and the OpenAPI document describes by name."""


class DeliveryAttempt(AnswerBody):
    """One time that the URL was called."""

    number: int
    at: datetime = Field(description="When it ended.")
    seconds: float
    status: int | None = Field(description="What your service answered; null: nothing.")
    error: str | None = Field(description="Why there was no answer.")
    address: str | None = Field(description="The address that was connected to.")
    answer_bytes: int | None = Field(
        description="Bytes of the answer's body, of which at most 16 KiB are read."
    )
    answer_type: str | None = Field(description="The answer's `Content-Type`.")
    answer: str | None = Field(
        description="The first 256 bytes of the answer's body; null where the host is not one of "
        "your `webhook_hosts`."
    )


class Delivery(AnswerBody):
    """Something that you were, or are to be, notified of."""

    id: UUID
    task_id: UUID | None = Field(description="Null: it is about no task, but about a budget.")
    event: EventType
    url: str
    state: DeliveryState = Field(
        description="`exhausted`: every attempt failed; `disabled`: the URL is not called, since "
        "it answered 410 or failed for five days; "
        "`undeliverable`: there is nowhere to send it, as the attempt's `error` says."
    )
    tries: int
    due_at: datetime | None = Field(description="The next attempt, while it is pending.")
    created_at: datetime
    finished_at: datetime | None
    origin_id: UUID | None = Field(description="The first delivery of this body; null: this is it.")
    webhook_id: str = Field(description="The header `webhook-id` of every attempt.")
    attempts: list[DeliveryAttempt]


class DeliveryList(AnswerBody):
    """A page of deliveries, newest first."""

    data: list[Delivery]
    next_cursor: str | None = Field(description="Give it as `cursor`; null: this was the last.")


class Repetition(AnswerBody):
    """A new delivery of the same body; GET /v1/deliveries/{id} shows its state."""

    id: UUID
    origin_id: UUID = Field(description="The first delivery of this body.")


class Redelivered(AnswerBody):
    """The new deliveries, at most 1,000."""

    data: list[UUID]
    next_cursor: str | None = Field(
        description="There is more: repeat the call with it as `cursor`. Null: that was all."
    )
    disabled_urls: list[str] = Field(
        description="URLs that are disabled: theirs are left out until they are enabled."
    )


class DisabledUrl(AnswerBody):
    """A URL that is not called any more."""

    url: str
    reason: DisableReason = Field(
        description="`gone`: it answered 410; `failing`: for five days no attempt succeeded."
    )
    disabled_at: datetime


class DisabledUrlList(AnswerBody):
    """Your disabled URLs, newest first; `POST /v1/deliveries/enable` puts one back."""

    data: list[DisabledUrl]
    next_cursor: str | None


class EnabledUrl(AnswerBody):
    """A URL that is called again."""

    url: str
