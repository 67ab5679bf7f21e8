"""What the gateway answers.

Fields that are not known here are left in `raw`; none is required but what every gateway sends.
Credits are `Decimal`, instants are aware, seconds are `float`.
"""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any, TypeVar
from uuid import UUID

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    PrivateAttr,
    ValidationError,
    model_validator,
)
from typing_extensions import Self

from kie_gateway_client.errors import UnexpectedAnswer
from kie_gateway_client.words import (
    FINAL,
    ArtifactState,
    DeliveryState,
    DisableReason,
    EventType,
    FailClass,
    FailSource,
    HoldReason,
    Mode,
    Period,
    Signature,
    Source,
    State,
    Verdict,
)

A = TypeVar("A", bound="Answered")


class Answered(BaseModel):
    """An object of an answer."""

    # Built when the first one comes: a program uses few of them.
    model_config = ConfigDict(frozen=True, defer_build=True, populate_by_name=True)

    _raw: Mapping[str, Any] = PrivateAttr(default_factory=dict)

    @model_validator(mode="wrap")
    @classmethod
    def _with_raw(cls, value: Any, build: ModelWrapValidatorHandler[Self]) -> Self:  # noqa: ANN401
        made = build(value)
        if isinstance(value, Mapping):
            made._raw = value  # noqa: SLF001  # its own
        return made

    @property
    def raw(self) -> Mapping[str, Any]:
        """The JSON object as it came, with what is not known here."""
        return self._raw

    @classmethod
    def of(cls, raw: object) -> Self:
        """Read an object; raises `UnexpectedAnswer`, which names the fields."""
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            places = {".".join(map(str, flaw["loc"])) for flaw in error.errors()}
        message = f"not a {cls.__name__} as this client knows it: {', '.join(sorted(places))}"
        raise UnexpectedAnswer(message)


# -- tasks


class TaskUrls(Answered):
    """Where more about the task is found, relative to the gateway."""

    self: str
    events: str
    callbacks: str
    deliveries: str
    cancel: str
    refresh: str


class Artifact(Answered):
    """One file of a result, and its copy in the gateway's archive."""

    n: int
    source_url: str | None = None
    state: ArtifactState
    content_type: str | None = None
    bytes: int | None = None
    sha256: str | None = None
    reason: str | None = None
    url: str | None = None


class Task(Answered):
    """A task. Of two answers about one the higher `version` is the newer."""

    id: UUID
    state: State
    model: str
    input: dict[str, Any] = {}
    """Empty in lists that were not asked for it."""
    metadata: dict[str, str] = {}
    webhook_url: str | None = None
    priority: int = 5
    kie_task_id: str | None = None
    kie_state: str | None = None
    result: dict[str, Any] | None = None
    result_urls: list[str] = []
    artifacts: list[Artifact] = []
    fail_code: str | None = None
    fail_message: str | None = None
    fail_source: FailSource | None = None
    fail_class: FailClass | None = None
    retryable: bool | None = None
    kie_message: str | None = None
    credits_consumed: Decimal | None = None
    duration_seconds: float | None = None
    settled_by: Source | None = None
    confirmed_at: AwareDatetime | None = None
    hold_reason: HoldReason | None = None
    estimated_start_at: AwareDatetime | None = None
    estimated_finish_at: AwareDatetime | None = None
    created_at: AwareDatetime
    submitted_at: AwareDatetime | None = None
    finished_at: AwareDatetime | None = None
    updated_at: AwareDatetime
    version: int
    confirmed: bool = False
    result_expires_at: AwareDatetime | None = None
    urls: TaskUrls | None = None

    @property
    def is_final(self) -> bool:
        return self.state in FINAL


class Event(Answered):
    """One change of a task; `id` is its place: give it as `after`."""

    id: str
    type: str
    task_id: UUID
    from_state: State | None = None
    to_state: State
    attempt: int = 0
    reason: str | None = None
    at: AwareDatetime


class Callback(Answered):
    """One statement of kie.ai about a task."""

    id: UUID
    task_id: UUID
    source: Source
    received_at: AwareDatetime
    times_seen: int = 1
    last_seen_at: AwareDatetime | None = None
    more: int = 0
    verdict: Verdict
    signature: Signature
    reason: str | None = None
    kie_task_id: str | None = None
    code: int | None = None
    message: str | None = None
    kie_state: str | None = None
    result: dict[str, Any] | None = None
    result_urls: list[str] = []
    fail_code: str | None = None
    fail_message: str | None = None
    credits_consumed: Decimal | None = None
    duration_seconds: float | None = None
    headers: dict[str, str] = {}
    sha256: str | None = None
    size: int = 0
    whole: bool = True
    raw_deleted_at: AwareDatetime | None = None
    body: str = Field(default="", alias="raw")
    """As it came; the answer calls it `raw`."""


# -- webhooks that were sent


class DeliveryAttempt(Answered):
    """One time that a URL was called."""

    number: int
    at: AwareDatetime
    seconds: float
    status: int | None = None
    error: str | None = None
    address: str | None = None
    answer_bytes: int | None = None
    answer_type: str | None = None
    answer: str | None = None


class Delivery(Answered):
    """Something that you were, or are to be, notified of."""

    id: UUID
    task_id: UUID | None = None
    event: EventType
    url: str
    state: DeliveryState
    tries: int
    due_at: AwareDatetime | None = None
    created_at: AwareDatetime
    finished_at: AwareDatetime | None = None
    origin_id: UUID | None = None
    webhook_id: str
    attempts: list[DeliveryAttempt] = []


class Repetition(Answered):
    """A new delivery of the same body."""

    id: UUID
    origin_id: UUID


class Redelivered(Answered):
    """New deliveries; `next_cursor` is not None while there are more."""

    data: list[UUID]
    next_cursor: str | None = None
    disabled_urls: list[str] = []


class DisabledUrl(Answered):
    """A URL that is not called any more."""

    url: str
    reason: DisableReason
    disabled_at: AwareDatetime


# -- files


class File(Answered):
    """A file that kie.ai has; an `input` names it by its `reference`."""

    id: UUID
    name: str
    content_type: str
    bytes: int
    sha256: str
    url: str
    expires_at: AwareDatetime
    created_at: AwareDatetime
    reference: str


# -- what is spent


class Budget(Answered):
    """A budget, and how it stands."""

    period: Period
    credits: Decimal
    mode: Mode
    thresholds: list[int] = []
    spent: Decimal
    reserved: Decimal
    remaining: Decimal
    period_start: date | None = None
    renews_at: AwareDatetime | None = None


class EndedTasks(Answered):
    """How many tasks came to each final state."""

    succeeded: int = 0
    failed: int = 0
    canceled: int = 0
    expired: int = 0


class UsageSums(Answered):
    """What tasks came to."""

    tasks: EndedTasks
    credits: Decimal
    seconds: float


class UsageGroup(UsageSums):
    """The same of one group; a `metadata.KEY` is found by `value`."""

    day: date | None = None
    model: str | None = None
    fail_class: str | None = None

    def value(self, name: str) -> object:
        """Return the group's value for one of the names in `group_by`."""
        return self.raw.get(name)


class Usage(Answered):
    """Usage by group, and in all; both days are included."""

    data: list[UsageGroup]
    total: UsageSums
    first: date = Field(alias="from")
    last: date = Field(alias="to")
    group_by: list[str]


# -- models


class ModelSpan(Answered):
    """How a model's tasks ended within a span of time."""

    tasks: int
    succeeded: int
    success_share: float | None = None


class ModelCredits(Answered):
    """What successes of the last 7 days cost."""

    p50: Decimal | None = None
    p90: Decimal | None = None


class ModelSeconds(Answered):
    """How long successes of the last 7 days took."""

    p50: float | None = None
    p95: float | None = None


class ModelBreaker(Answered):
    """Why tasks of the model wait."""

    hold_reason: HoldReason
    held_until: AwareDatetime


class Model(Answered):
    """What your tasks of the last 7 days say of their model."""

    model: str
    last_24h: ModelSpan
    last_7d: ModelSpan
    credits: ModelCredits
    seconds: ModelSeconds
    last_success_at: AwareDatetime | None = None
    withdrawn: bool = False
    breaker: ModelBreaker | None = None
