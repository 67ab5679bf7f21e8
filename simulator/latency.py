"""How long answers take beyond their time: drawn evenly between two bounds, seeded.

What an answer says was settled on arrival, limits included: only the answer itself is late.
"""

import random
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import Response

from simulator.answers import wait_or_disconnect
from simulator.choices import Seconds

Endpoint = Callable[[Request], Awaitable[Response]]


def _rising(bounds: tuple[float, float]) -> tuple[float, float]:
    least, most = bounds
    if least > most:
        message = f"the least, {least:g}, is more than the most, {most:g}"
        raise ValueError(message)
    return bounds


Span = Annotated[tuple[Seconds, Seconds], AfterValidator(_rising)]
"""Seconds: the least and the most."""


class Call(StrEnum):
    """The calls whose answers can be late."""

    CREATE = "create"
    QUERY = "query"


class Latency(BaseModel):
    """The body of `PUT /simulator/latency`; None: answers come at once."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    create: Span | None = None
    query: Span | None = None

    def of(self, call: Call) -> Span | None:
        match call:
            case Call.CREATE:
                return self.create
            case Call.QUERY:
                return self.query


class Delays:
    """Makes answers late. Each call has its own seeded numbers, one drawn for every request."""

    def __init__(self, seed: int, latency: Latency) -> None:
        self._seed = seed
        self._random: dict[Call, random.Random] = {}
        self.latency = latency
        self.reset()

    def reset(self) -> None:
        """Start the same random numbers again; the bounds stay."""
        self._random = {call: random.Random(f"{self._seed}/{call}/latency") for call in Call}  # noqa: S311  # repeatable, no secret

    def delayed(self, call: Call, endpoint: Endpoint) -> Endpoint:
        """Answer as the endpoint does, later."""

        async def delayed(request: Request) -> Response:
            seconds = self._draw(call)
            response = await endpoint(request)
            if seconds:
                await wait_or_disconnect(request, seconds)
            return response

        return delayed

    def _draw(self, call: Call) -> float:
        """Draw always, so that a change of the bounds does not shift later draws."""
        share = self._random[call].random()
        least, most = self.latency.of(call) or (0.0, 0.0)
        return least + share * (most - least)
