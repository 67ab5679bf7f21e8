"""The bodies of the admin API: what operators send, and what they are shown.

Clients appear by name. Keys, secrets, inputs and webhook URLs are nobody's to read here.
"""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import (
    BeforeValidator,
    Field,
    Strict,
    StringConstraints,
)

from app.api.instants import BodyInstant
from app.api.schemas.answers import AnswerBody
from app.api.schemas.bodies import Name, Number, RequestBody, example, number
from app.api.schemas.clients import AdminClient, ClientPatch
from app.api.schemas.deliveries import DeliveryAttempt
from app.domain.access import Scope
from app.domain.admission import HoldReason
from app.domain.audit import Action, Actor
from app.domain.client import (
    MAX_GRACE,
    USUAL_GRACE,
)
from app.domain.delivery import DeliveryState, EventType
from app.domain.task import State
from app.services.account.pauses import MAX_NOTE


class AdmissionPause(RequestBody):
    """What to pause; without `client` everything."""

    model_config = example(client="shop", note="their budget is spent")

    client: Name | None = None
    note: Annotated[str, StringConstraints(max_length=MAX_NOTE)] | None = Field(
        default=None, description="One line for whoever looks next."
    )


class AdmissionResume(RequestBody):
    """What to resume; without `client` everything but the clients that are paused by name."""

    model_config = example(client="shop")

    client: Name | None = None
    restored: bool = Field(
        default=False,
        description="True ends the hold `database_restored`, and nothing else: after "
        "`GET /v1/admin/review` was seen to.",
    )


class MoveExpected(RequestBody):
    """A planned move of the database."""

    model_config = example(hours=4)

    hours: Annotated[float, Field(gt=0, le=24)] | None = Field(
        default=4, description="How long it may take; null: it is off, send again from here."
    )


class TaskBind(RequestBody):
    """The id that kie.ai's log has for the task."""

    model_config = example(kie_task_id="281e5b0f39b9bb3cbcbd9bd01bdcfb1f")

    kie_task_id: Annotated[str, StringConstraints(min_length=1, max_length=200)]


class TaskRequeue(RequestBody):
    """Sent again, the task may be paid again: that has to be confirmed."""

    model_config = example(may_pay_again=True)

    may_pay_again: bool = Field(
        default=False, description="Without true it is refused, and the answer says what to do."
    )


class SecretRotate(RequestBody):
    """For how long the secret of before signs too."""

    model_config = example(grace=86400)

    grace: Annotated[
        float, BeforeValidator(number), Field(ge=0, le=MAX_GRACE, allow_inf_nan=False)
    ] = Field(default=USUAL_GRACE, description="Seconds; 0: it signs no more.")


class KeyCreate(RequestBody):
    """Whose key; the client is created if its name is new."""

    model_config = example(
        client="shop", scopes=["tasks:read", "tasks:write"], expires_at="2027-06-30T00:00:00Z"
    )

    client: Name
    scopes: Annotated[list[Annotated[Scope, Strict(strict=False)]], Field(min_length=1)] | None = (
        Field(default=None, description="What the key may be used for; null: everything.")
    )
    expires_at: BodyInstant | None = Field(default=None, description="Null: never.")


ADMIN_BODIES = (
    AdmissionPause,
    AdmissionResume,
    MoveExpected,
    TaskBind,
    TaskRequeue,
    ClientPatch,
    SecretRotate,
    KeyCreate,
)
"""What `app/api/bodies.py` reads, and the OpenAPI document describes by name."""


class HeldPair(AnswerBody):
    """A client's model to which nothing is sent but a probe now and then."""

    client: str
    model: str
    hold_reason: HoldReason
    hold_detail: str | None = Field(description="What kie.ai or something on the way said.")
    held_since: datetime
    held_until: datetime = Field(description="The next probe.")
    hold_tries: int = Field(description="Probes that failed in a row, the first trouble included.")


class ClientSeats(AnswerBody):
    """What a client has of the seats, tasks that run at the same time."""

    client: str
    running: int = Field(description="Its tasks that count as running at kie.ai.")
    running_limit: int = Field(description="As many as it may have at all.")
    waits: bool = Field(description="It has tasks that could be sent.")
    may_take: int = Field(
        description="How many more its shares leave it now: none while it has more than its "
        "weight's and somebody with less waits."
    )


class AdmissionState(AnswerBody):
    """Whether anything may be sent to kie.ai, and who waits for it."""

    paused_at: datetime | None = Field(description="Nothing at all is sent since then.")
    pause_note: str | None
    hold_reason: HoldReason | None = Field(
        description="Why the account holds itself. `database_restored` ends by a person's word."
    )
    hold_detail: str | None = Field(description="What kie.ai or the network said, or what is lost.")
    held_since: datetime | None
    held_until: datetime | None = Field(
        description="The next probe; of `database_moving`, when no move is expected any more."
    )
    creates_allowed: int = Field(description="Create slots; fewer where others use the account.")
    creates_free: int
    running_limit: int
    running: int = Field(description="Tasks that count as running at kie.ai.")
    held_pairs: list[HeldPair] = Field(
        description="The pairs of a client and a model that are held while others go on, at most "
        "100, those first whose probes failed most often."
    )
    held_pairs_total: int = Field(description="How many there are.")
    seats: list[ClientSeats] = Field(description="Who has the seats, and who waits for one.")
    clients: list[AdminClient]


class AdminAttempt(DeliveryAttempt):
    """One time that the URL was called, as operators see it."""

    answer: str | None = Field(description="The first 1 KiB of the answer's body.")


class AdminDelivery(AnswerBody):
    """A delivery of whichever client: of its URL only the host, the rest may be a secret."""

    client: str
    webhook_host: str
    id: UUID
    task_id: UUID
    event: EventType
    state: DeliveryState
    tries: int
    due_at: datetime | None
    created_at: datetime
    finished_at: datetime | None
    origin_id: UUID | None
    webhook_id: str
    attempts: list[AdminAttempt]


class AdminTask(AnswerBody):
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


class AdminTaskList(AnswerBody):
    """Tasks, the oldest first, 200 at most."""

    data: list[AdminTask]
    next_cursor: str | None


class AuditEntry(AnswerBody):
    """What somebody did, or what the gateway found."""

    id: int
    at: datetime
    actor: Actor
    action: Action
    client: str | None
    task_id: UUID | None
    detail: dict[str, str]
    who: str | None = Field(
        description="The admin key's name, or the user who ran the command; null: an entry from "
        "before there were names."
    )
    address: str | None = Field(description="Where the request came from.")
    request_id: str | None = Field(description="That of the request, as in the log.")


class AuditList(AnswerBody):
    """The newest 200 entries, newest first."""

    data: list[AuditEntry]
    next_cursor: str | None


class AdminKey(AnswerBody):
    """A key as lists show it: by its beginning."""

    client: str
    id: UUID
    hint: str
    scopes: list[Scope] | None = Field(description="What it may be used for; null: everything.")
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None = Field(description="To the minute.")
    revoked_at: datetime | None


class AdminKeyList(AnswerBody):
    """All keys, revoked ones too."""

    data: list[AdminKey]
    next_cursor: str | None


class IssuedKey(AnswerBody):
    """A new key, shown this once."""

    id: UUID
    client: str
    api_key: str
    scopes: list[Scope] | None
    expires_at: datetime | None


class RotatedSecret(AnswerBody):
    """A new signing secret, shown this once."""

    client: str
    signing_secret: str
    previous_secret_until: datetime | None = Field(
        description="Until when the one before signs too; null: it does not."
    )


class Balance(AnswerBody):
    """kie.ai's answer just now."""

    balance: Number = Field(description="The account's credits.")
