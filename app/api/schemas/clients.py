"""A client, as operators see it and change it.

Clients appear by name. Of a webhook URL only the host is shown: the rest may be a secret.
"""

from datetime import datetime
from typing import Annotated, Self

from pydantic import (
    BeforeValidator,
    Field,
    Strict,
    WithJsonSchema,
    model_validator,
)

from app.api.schemas.answers import AnswerBody
from app.api.schemas.bodies import RequestBody, Url, example
from app.domain.client import (
    MAX_ARCHIVE_DAYS,
    MAX_HOSTS,
    MAX_QUEUED_BYTES,
    MAX_QUEUED_TASKS,
    MAX_WEIGHT,
)
from app.domain.delivery import EventType
from app.domain.limits import MOST

Weight = Annotated[int, Field(ge=1, le=MAX_WEIGHT)]
_WEIGHT = {"type": "integer", "minimum": 1, "maximum": MAX_WEIGHT}
"""The same without null, which is only the default of what is not given."""

Limit = Annotated[int, Field(ge=1, le=MOST)]
_USUAL = "Null: what the settings allow each client."


def _not_null(value: object) -> object:
    if value is None:
        message = "should not be null"
        raise ValueError(message)
    return value


class ClientPatch(RequestBody):
    """What to change of a client: at least one of these."""

    model_config = example(
        weight=3,
        webhook_url="https://hooks.example.com/kie",
        webhook_hosts=["hooks.example.com"],
        webhook_events=["task.succeeded", "task.failed"],
        sees_balance=True,
        requests_per_second=100,
    )

    weight: Annotated[Weight | None, BeforeValidator(_not_null), WithJsonSchema(_WEIGHT)] = Field(
        default=None, description="Its parts of what the account may create."
    )
    webhook_url: Url | None = Field(
        default=None,
        description="Where it is notified of tasks that name no URL of their own; null: nowhere.",
    )
    webhook_hosts: Annotated[list[str], Field(min_length=1, max_length=MAX_HOSTS)] | None = Field(
        default=None, description="The only hosts that it may be notified at; null: any."
    )
    webhook_events: (
        Annotated[list[Annotated[EventType, Strict(strict=False)]], Field(max_length=50)] | None
    ) = Field(
        default=None,
        description="What it is notified of; null: every final state, so not `task.running`.",
    )

    sees_balance: Annotated[
        bool | None, BeforeValidator(_not_null), WithJsonSchema({"type": "boolean"})
    ] = Field(default=None, description="Whether it may ask for the account's credits.")
    disabled: Annotated[
        bool | None, BeforeValidator(_not_null), WithJsonSchema({"type": "boolean"})
    ] = Field(
        default=None,
        description="True: its keys are refused from the next request on, and nothing of it is "
        "sent. What runs is settled, and its deliveries go on.",
    )
    requests_per_second: Limit | None = Field(default=None, description=f"To one process. {_USUAL}")
    streams: Limit | None = Field(default=None, description=f"Open at one process. {_USUAL}")
    waits: Limit | None = Field(default=None, description=f"Held by one process. {_USUAL}")
    running_share: Annotated[float, Field(ge=0.001, le=1)] | None = Field(
        default=None, description="Its share of the seats; null: as the settings say."
    )
    queued_tasks: Annotated[int, Field(ge=1, le=MAX_QUEUED_TASKS)] | None = Field(
        default=None, description="How many of its tasks may wait; null: as the settings say."
    )
    queued_bytes: Annotated[int, Field(ge=1, le=MAX_QUEUED_BYTES)] | None = Field(
        default=None, description="Of the inputs of these; null: as the settings say."
    )
    archives: bool | None = Field(
        default=None,
        description="Whether its results are copied into the archive; null: where there is one.",
    )
    archive_days: Annotated[int, Field(ge=1, le=MAX_ARCHIVE_DAYS)] | None = Field(
        default=None, description="Days that the copies are kept; null: as long as their tasks."
    )

    @model_validator(mode="after")
    def _changes(self) -> Self:
        if not self.model_fields_set:
            message = "should name something to change"
            raise ValueError(message)
        return self


class AdminClient(AnswerBody):
    """A client's place in the fair queue, and how it is notified."""

    client: str
    weight: int = Field(description="Its parts of what the account may create.")
    paused_at: datetime | None = Field(description="Nothing of it is sent since then.")
    pause_note: str | None
    disabled_at: datetime | None = Field(
        description="Its keys are refused since then, and nothing of it is sent."
    )
    queued: int = Field(description="How many of its tasks wait.")
    webhook_host: str | None = Field(description="Of its URL: the rest may be a secret.")
    webhook_hosts: list[str] | None = Field(description="The only ones that it may be notified at.")
    webhook_events: list[EventType] | None = Field(description="Null: every final state.")
    previous_secret_until: datetime | None = Field(
        description="Until when the signing secret before the last rotation signs too."
    )
    sees_balance: bool = Field(description="It may ask for the account's credits.")
    requests_per_second: int | None = Field(description=_USUAL)
    streams: int | None = Field(description=_USUAL)
    waits: int | None = Field(description=_USUAL)
    running_share: float | None = Field(
        description="Its own share of the seats; null: GATEWAY_CLIENT_RUNNING_SHARE."
    )
    queued_tasks: int | None = Field(
        description="How many of its tasks may wait; null: GATEWAY_CLIENT_QUEUED_TASKS."
    )
    queued_bytes: int | None = Field(
        description="Of their inputs; null: GATEWAY_CLIENT_QUEUED_BYTES."
    )
    archives: bool | None = Field(
        description="Whether its results are copied; null: where there is an archive."
    )
    archive_days: int | None = Field(
        description="Days that the copies are kept; null: as long as their tasks."
    )
    created_at: datetime


class AdminClientList(AnswerBody):
    """All clients, by name."""

    data: list[AdminClient]
    next_cursor: str | None
