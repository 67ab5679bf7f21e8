"""The bodies of operators' acts on many tasks, and what they answer."""

from typing import Annotated, Any
from uuid import UUID

from pydantic import BeforeValidator, ConfigDict, Field, Strict, StringConstraints

from app.api.schemas.answers import AnswerBody
from app.api.schemas.bodies import Name, RequestBody, number
from app.domain.bulk import MAX_AGE, MAX_IDS, MAX_REASON, Selection
from app.domain.task import State

Age = Annotated[float, BeforeValidator(number), Field(ge=0, le=MAX_AGE, allow_inf_nan=False)]
Model = Annotated[str, StringConstraints(min_length=1, max_length=200)]


def _example(**members: Any) -> ConfigDict:  # noqa: ANN401  # JSON
    return ConfigDict(json_schema_extra={"examples": [members]})


class TaskSelection(RequestBody):
    """Which tasks are meant: at least one of `ids`, `client`, `states`, `model`, `older_than`."""

    ids: Annotated[
        list[Annotated[UUID, Strict(strict=False)]] | None, Field(min_length=1, max_length=MAX_IDS)
    ] = None
    client: Name | None = Field(default=None, description="Only this client's.")
    states: Annotated[
        list[Annotated[State, Strict(strict=False)]] | None, Field(min_length=1, max_length=10)
    ] = Field(
        default=None, description="Only those in these states; without it: all that this can leave."
    )
    model: Model | None = Field(default=None, description="Only tasks of this model.")
    older_than: Age | None = Field(
        default=None, description="Only those that were created so many seconds ago, or earlier."
    )
    dry_run: bool = Field(default=False, description="Change nothing, and show what is meant.")

    @property
    def selection(self) -> Selection:
        """What is meant, as the services read it."""
        return Selection(
            ids=tuple(self.ids or ()),
            client=self.client,
            states=tuple(self.states or ()),
            model=self.model,
            older_than=self.older_than,
        )


class TasksCancel(TaskSelection):
    """Which queued tasks to take out of the queue."""

    model_config = _example(client="shop", older_than=7200, dry_run=True)


class TasksRequeue(TaskSelection):
    """Which unconfirmed tasks to send again: each may be paid again, and that has to be said."""

    model_config = _example(ids=["0193a1f2-5b7c-7d1e-9c3a-2f4b6d8e0a1c"], may_pay_again=True)

    may_pay_again: bool = Field(
        default=False, description="Without true it is refused, but for a dry run."
    )


class TasksFail(TaskSelection):
    """Which queued or unconfirmed tasks to fail, and what their callers are told."""

    model_config = _example(model="google/nano-banana", reason="the campaign was called off")

    reason: Annotated[str, StringConstraints(min_length=1, max_length=MAX_REASON)] = Field(
        description="One line, which becomes the tasks' `fail_message`."
    )


BULK_BODIES = (TasksCancel, TasksRequeue, TasksFail)
"""What `app/api/bodies.py` reads, and the OpenAPI document describes by name."""


class TaskGroup(AnswerBody):
    """How many of the tasks that were meant have these in common."""

    client: str
    state: State
    model: str
    tasks: int


class BulkAnswer(AnswerBody):
    """What was meant, and what was done."""

    dry_run: bool
    meant: int = Field(description="Tasks that were meant before.")
    done: int = Field(description="Tasks that this call changed, 500 at most.")
    remaining: int = Field(
        description="Tasks that are meant still: repeat the call, until it is 0."
    )
    groups: list[TaskGroup] = Field(description="What was meant, the most first, 50 at most.")
    first_ids: list[UUID] = Field(description="The oldest of what was meant, 5 at most.")
