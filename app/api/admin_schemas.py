"""The bodies of the admin API: what operators say, and what they are shown.

Clients appear by name. Keys, secrets, inputs and webhook URLs are nobody's to read here.
"""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.api.schemas import Number, RequestBody
from app.domain.admission import HoldReason
from app.domain.audit import Action, Actor
from app.domain.task import State
from app.services.keys import MAX_WEIGHT
from app.services.operate import MAX_NOTE

Name = Annotated[str, StringConstraints(min_length=1, max_length=64)]
Weight = Annotated[int, Field(ge=1, le=MAX_WEIGHT)]


def _example(**members: Any) -> ConfigDict:  # noqa: ANN401  # JSON
    return ConfigDict(json_schema_extra={"examples": [members]})


class AdmissionPause(RequestBody):
    """What to pause; without `client` everything."""

    model_config = _example(client="shop", note="their budget is spent")

    client: Name | None = None
    note: Annotated[str, StringConstraints(max_length=MAX_NOTE)] | None = Field(
        default=None, description="One line for whoever looks next."
    )


class AdmissionResume(RequestBody):
    """What to resume; without `client` everything but the clients that are paused by name."""

    model_config = _example(client="shop")

    client: Name | None = None


class TaskBind(RequestBody):
    """The id that kie.ai's log has for the task."""

    model_config = _example(kie_task_id="281e5b0f39b9bb3cbcbd9bd01bdcfb1f")

    kie_task_id: Annotated[str, StringConstraints(min_length=1, max_length=200)]


class TaskRequeue(RequestBody):
    """Sent again, the task may be paid again: that has to be said."""

    model_config = _example(may_pay_again=True)

    may_pay_again: bool = Field(
        default=False, description="Without true it is refused, and the answer says what to do."
    )


class ClientChange(RequestBody):
    """What to change of a client."""

    model_config = _example(weight=3)

    weight: Weight


class KeyCreate(RequestBody):
    """Whose key; the client is created if its name is new."""

    model_config = _example(client="shop")

    client: Name


READ = (AdmissionPause, AdmissionResume, TaskBind, TaskRequeue, ClientChange, KeyCreate)
"""The bodies that are read by us, and described to the document by their names."""


class AdminClient(BaseModel):
    """A client's place in the fair queue."""

    client: str
    weight: int = Field(description="Its parts of what the account may create.")
    paused_at: datetime | None = Field(description="Nothing of it is sent since then.")
    pause_note: str | None
    queued: int = Field(description="How many of its tasks wait.")
    created_at: datetime


class AdmissionState(BaseModel):
    """Whether anything may be sent to kie.ai, and who waits for it."""

    paused_at: datetime | None = Field(description="Nothing at all is sent since then.")
    pause_note: str | None
    hold_reason: HoldReason | None = Field(description="Why the account holds itself.")
    hold_detail: str | None = Field(description="What kie.ai or the network said.")
    held_since: datetime | None
    held_until: datetime | None = Field(description="The next probe.")
    creates_allowed: int = Field(description="Create slots; fewer where others use the account.")
    creates_free: int
    running_limit: int
    running: int = Field(description="Tasks that count as running at kie.ai.")
    clients: list[AdminClient]


class AdminClientList(BaseModel):
    """All clients, by name."""

    data: list[AdminClient]
    next_cursor: str | None


class AdminTask(BaseModel):
    """A task as operators see it."""

    id: UUID
    why: Literal["set_aside", "lease_over", "unconfirmed", "overdue"] | None = Field(
        description="Why it is among the stuck; null: it is not."
    )
    client: str
    state: State
    model: str
    kie_task_id: str | None
    attempt: int
    created_at: datetime
    submitted_at: datetime | None
    due_at: datetime | None
    leased_until: datetime | None
    set_aside_at: datetime | None
    breakdown: str | None = Field(description="The defect that asking about it met last.")


class AdminTaskList(BaseModel):
    """Tasks, the oldest first, 200 at most."""

    data: list[AdminTask]
    next_cursor: str | None


class AuditEntry(BaseModel):
    """What somebody did, or what the gateway found."""

    id: int
    at: datetime
    actor: Actor
    action: Action
    client: str | None
    task_id: UUID | None
    detail: dict[str, str]


class AuditList(BaseModel):
    """The newest 200 entries, newest first."""

    data: list[AuditEntry]
    next_cursor: str | None


class AdminKey(BaseModel):
    """A key as lists show it: by its beginning."""

    client: str
    id: UUID
    hint: str
    created_at: datetime
    revoked_at: datetime | None


class AdminKeyList(BaseModel):
    """All keys, revoked ones too."""

    data: list[AdminKey]
    next_cursor: str | None


class IssuedKey(BaseModel):
    """A new key, shown this once."""

    id: UUID
    client: str
    api_key: str


class Balance(BaseModel):
    """What kie.ai says just now."""

    balance: Number = Field(description="The account's credits.")
