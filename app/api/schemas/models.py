"""The bodies about models, and about the balance against the books."""

from datetime import date, datetime

from pydantic import ConfigDict, Field

from app.api.schemas.answers import AnswerBody


class ModelSpan(AnswerBody):
    """How a model's tasks ended within a span of time; those that were canceled do not count."""

    tasks: int
    succeeded: int
    success_share: float | None = Field(description="Of 1; null: there were no tasks.")


class ModelCredits(AnswerBody):
    """What successes of the last 7 days cost, within half a percent."""

    p50: float | None
    p90: float | None


class ModelSeconds(AnswerBody):
    """How long kie.ai took for successes of the last 7 days, within 5 percent."""

    p50: float | None
    p95: float | None


class ModelBreaker(AnswerBody):
    """Why tasks of the model wait."""

    hold_reason: str
    held_until: datetime = Field(description="When the next one is tried.")


class ModelStatistics(AnswerBody):
    """What tasks say of their model; made anew each minute."""

    model: str
    last_24h: ModelSpan
    last_7d: ModelSpan
    credits: ModelCredits
    seconds: ModelSeconds
    last_success_at: datetime | None = Field(description="In the last 7 days.")
    withdrawn: bool = Field(
        description="Five tasks or more failed in the last 24 hours, by no fault of their caller, "
        "and none succeeded: kie.ai may have taken the model away."
    )
    breaker: ModelBreaker | None = Field(description="Null: its tasks are sent.")


class ModelList(AnswerBody):
    """The models of the last 7 days, the most used first."""

    data: list[ModelStatistics]
    next_cursor: str | None


class Reconciled(AnswerBody):
    """What the account lost between two readings of its balance, in credits."""

    balance_start: float
    balance_end: float
    lost: float = Field(description="The fall of the balance, top-ups added.")
    explained: float = Field(description="What tasks cost that was booked meanwhile.")
    in_flight_start: float = Field(description="What tasks under way may have cost at the start.")
    in_flight_end: float
    unknown_in_flight_end: int = Field(
        description="Tasks under way at the end of which nobody knows what they may cost."
    )
    unexplained: float = Field(
        description="Lost, and neither explained nor possibly in flight: a double payment, another "
        "user of the account."
    )
    top_ups: float = Field(description="Rises of the balance that no refund explains.")
    readings: int


class ReconciledDay(Reconciled):
    """The same of a day in UTC."""

    day: date


class ReconciliationList(AnswerBody):
    """The balance against the books, by day; days without two readings are left out."""

    model_config = ConfigDict(populate_by_name=True)

    data: list[ReconciledDay]
    total: Reconciled | None = Field(description="Null: there are no two readings.")
    unexplained_24h: float = Field(description="Of the last 24 hours: what the alert looks at.")
    alert_credits: float = Field(description="GATEWAY_UNEXPLAINED_ALERT_CREDITS.")
    first: date = Field(alias="from")
    last: date = Field(alias="to", description="Included.")
    next_cursor: str | None
