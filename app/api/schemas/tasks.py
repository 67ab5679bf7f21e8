"""The bodies of `/v1/tasks`: creates and waits, tasks, and kie.ai's statements about them."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints

from app.api.schemas.answers import AnswerBody
from app.api.schemas.bodies import Number, RequestBody, Url, number
from app.domain.admission import HoldReason
from app.domain.evidence import Signature, Verdict
from app.domain.files import ArtifactState
from app.domain.task import FailClass, FailSource, Source, State

MAX_WAIT = 55
"""Seconds that an answer is held at most: below the usual 60 of proxies."""

MAX_METADATA = 16
MAX_METADATA_KEY = 64
MAX_METADATA_VALUE = 512
MAX_WAITED = 100

MAX_SUBMIT_WITHIN = 7 * 24 * 3600


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
    webhook_url: Url | None = Field(
        default=None,
        description="Notified of the task's events (docs/receiving.md), instead of the client's.",
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


class TaskUrls(AnswerBody):
    """Where more about the task is found, relative to the gateway."""

    self: str
    events: str
    callbacks: str
    deliveries: str
    cancel: str
    refresh: str


class Artifact(AnswerBody):
    """One file of a result, and its copy in the gateway's archive."""

    n: int
    source_url: str | None = Field(
        description="Where it was; of a `data:` URL only its beginning. Null: it is the result "
        "itself, which names no file, or the copy is gone."
    )
    state: ArtifactState
    content_type: str | None
    bytes: int | None
    sha256: str | None = Field(description="Of its bytes, in hex.")
    reason: str | None = Field(description="Why it is not copied, or not yet.")
    url: str | None = Field(description="Where the copy is, relative to the gateway.")


class Task(AnswerBody):
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
    artifacts: list[Artifact] = Field(
        description="The result's files, as the archive has them; empty: there is no archive, or "
        "no result."
    )
    fail_code: str | None
    fail_message: str | None
    fail_source: FailSource | None = Field(description="Who declared the failure.")
    fail_class: FailClass | None = Field(description="What kind of trouble it was.")
    retryable: bool | None = Field(
        description="Whether the same task, created again, may succeed; null: nobody can say."
    )
    kie_message: str | None = Field(
        description="kie.ai's last words about the task, also while it waits or is unconfirmed."
    )
    credits_consumed: Number | None
    duration_seconds: Number | None
    settled_by: Source | None = Field(description="How the end was learnt.")
    confirmed_at: datetime | None = Field(description="When a query to kie.ai said the same.")
    hold_reason: HoldReason | None = Field(description="Why a queued task has to wait.")
    estimated_start_at: datetime | None = Field(
        description="When a queued task will be sent, as far as can be seen; null in a pause."
    )
    estimated_finish_at: datetime | None = Field(
        description="When a running task is likely to end, by the durations of its model's tasks; "
        "null: nobody knows, or it lasts longer than most."
    )
    created_at: datetime
    submitted_at: datetime | None
    finished_at: datetime | None
    updated_at: datetime
    version: int = Field(
        description="Grows with each change. Of two bodies of a task the higher one is the newer."
    )
    confirmed: bool = Field(description="Whether kie.ai's record vouches for the end.")
    result_expires_at: datetime | None = Field(
        description="When kie.ai deletes the media: 14 days after the end."
    )
    urls: TaskUrls


class ListedTask(Task):
    """A task as lists show it."""

    input: dict[str, Any] = Field(
        default_factory=dict, description="Only with `include=input`; read a task to see its own."
    )


class TaskList(AnswerBody):
    """A page of tasks, newest first."""

    data: list[ListedTask]
    next_cursor: str | None = Field(description="Give it as `cursor`; null: this was the last.")


class WaitedTasks(AnswerBody):
    """The tasks in the order asked for, and whether what was waited for has come."""

    data: list[Task]
    done: bool


class Callback(AnswerBody):
    """One statement of kie.ai about a task: exact, parsed, and what was made of it."""

    id: UUID
    task_id: UUID
    source: Source
    received_at: datetime
    times_seen: int = Field(description="How often the same came; it is kept once.")
    last_seen_at: datetime | None = Field(description="When it came last; null: it came once.")
    more: int = Field(description="How many came after it of which only this number is kept.")
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
    sha256: str | None = Field(
        description="Of the body as it came, in hex; null before migration 0012."
    )
    size: int = Field(description="Bytes of the body as it came.")
    whole: bool = Field(description="False: only the beginning of the body is kept.")
    raw_deleted_at: datetime | None = Field(
        description="Since when `raw` and `headers` are empty, because they were old."
    )
    raw: str = Field(
        description="The body as it came, token and account balance redacted; 64 KiB at most."
    )


class CallbackList(AnswerBody):
    """Statements, newest first."""

    data: list[Callback]
    next_cursor: str | None


TASK_BODIES = (TaskCreate, TaskWait)
"""What `app/api/bodies.py` reads, and the OpenAPI document describes by name."""
