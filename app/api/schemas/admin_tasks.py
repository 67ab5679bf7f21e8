"""The tasks of all clients, as operators see them."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, Field

from app.api.schemas.bodies import Number
from app.domain.task import FailClass, FailSource, Source, State


class AnyTask(BaseModel):
    """A task of whichever client: nothing that the client wrote but the model."""

    id: UUID
    client: str
    state: State
    model: str
    priority: int
    kie_task_id: str | None
    kie_state: str | None = Field(description="kie.ai's own word for the state.")
    attempt: int = Field(description="How often a create was started.")
    fail_code: str | None
    fail_message: str | None
    fail_source: FailSource | None
    fail_class: FailClass | None
    retryable: bool | None
    credits_consumed: Number | None
    duration_seconds: Number | None
    settled_by: Source | None
    created_at: datetime
    submitted_at: datetime | None
    finished_at: datetime | None
    updated_at: datetime
    version: int


class AnyTaskList(BaseModel):
    """A page of tasks, newest first."""

    data: list[AnyTask]
    next_cursor: str | None
