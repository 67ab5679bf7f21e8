"""The bodies about events."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, Field

from app.domain.task import State


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
