"""The bodies about events."""

from datetime import datetime
from uuid import UUID

from pydantic import Field

from app.api.schemas.answers import AnswerBody
from app.domain.task import State


class Event(AnswerBody):
    """One change of a task."""

    id: str = Field(description="The event's place in this list: give it as `after`.")
    type: str = Field(
        description="`task.` and the state moved to; `task.filled` or `task.corrected` where later "
        "evidence added to an end or replaced it."
    )
    task_id: UUID
    from_state: State | None
    to_state: State
    attempt: int
    reason: str | None
    at: datetime


class EventList(AnswerBody):
    """Events, oldest first."""

    data: list[Event]
    next_cursor: str = Field(description="Give it as `after` to read on, now or later.")
