"""The bodies of usage and budgets."""

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, ConfigDict, Field, Strict, WithJsonSchema

from app.api.schemas.answers import AnswerBody
from app.api.schemas.bodies import RequestBody
from app.domain.spend import MAX_CREDITS, MAX_THRESHOLD, MAX_THRESHOLDS, Mode, Period


def _exact(value: object) -> object:
    """Take a JSON number digit by digit; leave the rest for the type to refuse."""
    return Decimal(value) if isinstance(value, int) and not isinstance(value, bool) else value


_CREDITS = {"type": "number", "minimum": 0, "maximum": int(MAX_CREDITS)}


class BudgetPut(RequestBody):
    """What a client may spend in a period, in UTC."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"credits": 500, "mode": "hard", "thresholds": [80, 95]}]}
    )

    credits: Annotated[Decimal, BeforeValidator(_exact), WithJsonSchema(_CREDITS)] = Field(
        description="At most so much, with at most six decimals."
    )
    mode: Annotated[Mode, Strict(strict=False)] = Field(
        default=Mode.HARD,
        description="`hard`: a create that may cost more than is left is refused with 402; `warn`: "
        "thresholds are announced, and nothing is refused.",
    )
    thresholds: Annotated[
        list[Annotated[int, Field(ge=1, le=MAX_THRESHOLD)]], Field(max_length=MAX_THRESHOLDS)
    ] = Field(
        default=[80, 95, 100],
        description="Percent of the credits: that so much is spent is announced once in a period.",
    )


SPEND_BODIES = (BudgetPut,)
"""What `app/api/bodies.py` reads, and the OpenAPI document describes by name."""


class Budget(AnswerBody):
    """A budget, and how it stands."""

    period: Period
    credits: float = Field(description="What may be spent in the period.")
    mode: Mode
    thresholds: list[int]
    spent: float = Field(description="Of the tasks that were created in this period.")
    reserved: float = Field(
        description="What tasks may cost yet whose cost is not known: each the most that its model "
        "had cost."
    )
    remaining: float
    period_start: date | None = Field(description="Null: the period is all of time.")
    renews_at: datetime | None = Field(description="Null: never.")


class BudgetList(AnswerBody):
    """Your budgets; none: nothing bounds what you spend."""

    data: list[Budget]
    next_cursor: str | None


class ClientBudget(Budget):
    """A budget of a client's."""

    client: str


class ClientBudgetList(AnswerBody):
    """Budgets of clients, by their names."""

    data: list[ClientBudget]
    next_cursor: str | None


class EndedTasks(AnswerBody):
    """How many tasks came to each final state."""

    succeeded: int
    failed: int
    canceled: int
    expired: int


class UsageSums(AnswerBody):
    """What tasks came to."""

    tasks: EndedTasks
    credits: float
    seconds: float = Field(description="That kie.ai took for them, as far as it said so.")


class UsageGroup(UsageSums):
    """The same of one group: a member for each name in `group_by`, `metadata.KEY` among them."""

    model_config = ConfigDict(extra="allow")

    day: date | None = None
    client: str | None = None
    model: str | None = None
    fail_class: str | None = None


class UsageList(AnswerBody):
    """Usage by group, and in all."""

    model_config = ConfigDict(populate_by_name=True)

    data: list[UsageGroup]
    total: UsageSums
    first: date = Field(alias="from")
    last: date = Field(alias="to", description="Included.")
    group_by: list[str]
    next_cursor: str | None
