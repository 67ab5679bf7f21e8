"""How the next creates are treated: one `Behaviour` for each of them."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PlainValidator
from pydantic.alias_generators import to_camel

from simulator.choices import Choice, Seconds, read_choice


class Behaviour(BaseModel):
    """What happens to one create; whatever is left out is as usual."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        alias_generator=to_camel,
        validate_by_name=True,
    )

    fault: Annotated[Choice | None, PlainValidator(read_choice)] = None
    """What goes wrong with it, those and no others. Left out: the rates decide."""
    duration: Seconds | None = None
    """Seconds until the task is finished."""
    outcome: Literal["success", "fail"] | None = None
    """Left out: the failure rate decides, or the fault that would not show otherwise."""
    fail_code: str | int | None = "500"
    """Sent exactly so: kie.ai has been seen to use texts, numbers, words and null."""
    fail_msg: str | None = "Internal server error"
    task_id: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    """Left out: 32 random hex digits. One id for several creates is allowed, and confusing."""
    callback: bool = True
    """False: the callback never comes."""


class Next(Behaviour):
    """The body of `POST /simulator/next`: a behaviour for the next `count` creates.

    Creates that are not accepted use it up only if it holds a create fault.
    """

    count: Annotated[int, Field(ge=1, le=10_000)] = 1


AS_USUAL = Behaviour()
